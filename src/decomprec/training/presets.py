"""Presets: every setting of a run, as plain values that are saved beside its checkpoints."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from decomprec._files import written_whole
from decomprec._yaml import load_yaml
from decomprec.functional import Absent
from decomprec.training.setting_types import check_types


@dataclass(frozen=True)
class GuideSettings:
    """How the guide is built and trained; the defaults are the paper's (sections 4.2 and 4.3).

    Attributes:
        model: "resnet18" (torchvision's), "small" (`SmallEncoder`), or an encoder of smp or timm.
        weights: "imagenet", a local .safetensors file, or None.
        options: passed on to the small encoder or timm's.
        learning_rate: of Adam, betas (0.9, 0.999).
        batch_size: images per step.
        accumulate: parts that each step is done in, one after the other, to need less memory; "auto" starts with one
            and doubles them when the memory does not suffice. They must divide the batch into equal parts.
        epochs: passes over the training images.
        min_steps: steps that are made at least: on few images, in more epochs.
        occlusion: share of the training images of which a random part is hidden, so that the guide knows
            masked views; the paper has none.
        one_cycle: warm the learning rate up and down over the run instead of keeping it constant.
        frozen: parts of the classifier that stay as they start, such as "encoder".
        standardise: as of `PooledClassifier`; for a frozen encoder.
        weight_decay: L2 penalty of Adam, and of the head that is refitted.
        refit_head: as of `GuideModule`; for a frozen encoder.
        scales: of the training images' height and width, which take turns from step to step.
    """

    model: str = "resnet18"
    weights: str | None = "imagenet"
    options: dict[str, Any] = field(default_factory=dict)
    learning_rate: float = 1e-4
    batch_size: int = 32
    accumulate: int | Literal["auto"] = 1
    epochs: int = 10
    min_steps: int = 0
    occlusion: float = 0.0
    one_cycle: bool = False
    frozen: tuple[str, ...] = ()
    standardise: bool = False
    weight_decay: float = 0.0
    refit_head: bool = False
    scales: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class SegmenterSettings:
    """How the segmenter is built and trained; the defaults are the paper's (section 4.3, Appendix A).

    Attributes:
        encoder: "paper", "guide" (starts from a copy of the trained guide's encoder), or an encoder of smp or timm.
        encoder_weights: "imagenet", a local .safetensors file, or None.
        encoder_options: passed on to the encoder's network.
        decoder_widths: channels of smp's decoder blocks, from coarse to fine.
        learning_rate: of Adam, betas (0.9, 0.999).
        batch_size: images per step.
        accumulate: as of `GuideSettings`.
        epochs: passes over the training images.
        min_steps: as of `GuideSettings`.
        one_cycle: warm the learning rate up and down over the run instead of keeping it constant.
        image_size: height and width to which training images are reduced in this stage; None leaves them.
        lambda_mask: λ_m of Eq. 7.
        lambda_cls: λ_c of Eq. 7.
        absent: what L_cls asks of an absent class's component.
        absent_slots: how many absent classes stand for all of them in L_cls, as of `ClsLoss`; None shows the guide all.
        content: what the guide is shown inside each mask: "components" is the paper's Î_k on black; the others
            are those of `FilledView`.
        fills: what stands outside the masks, by the names in `FILLS`; for contents other than "components".
        prior: "tags" (Eq. 4) or "hinge" (`HingeAreaLoss`).
        area_range: smallest and largest expected area of a present class, for the hinge.
        smoothness: weight of `EdgeAwareSmoothness`.
        evidence: whether the mask decoder starts from the guide's evidence (`evidence_layer`); it then is a
            `ShortcutDecoder`. Needs `encoder="guide"` and a guide that standardises its features.
        seeds: weight of a `PseudoLabelLoss` whose teacher is the guide's evidence (`EvidenceMasks`); needs the
            like.
        frozen: parts of the segmenter that stay as they start, such as "encoder".
        background_bias: added to the background's logit once the training is over, as of `SegmenterModule`.
    """

    encoder: str = "paper"
    encoder_weights: str | None = None
    encoder_options: dict[str, Any] = field(default_factory=dict)
    decoder_widths: tuple[int, ...] | None = None
    learning_rate: float = 1e-4
    batch_size: int = 4
    accumulate: int | Literal["auto"] = 1
    epochs: int = 10
    min_steps: int = 0
    one_cycle: bool = False
    image_size: int | None = None
    lambda_mask: float = 1e-3
    lambda_cls: float = 1e-3
    absent: Absent = "ignore"
    absent_slots: int | None = None
    content: Literal["components", "imagelets", "stopped", "images"] = "components"
    fills: tuple[str, ...] = ()
    prior: Literal["tags", "hinge"] = "tags"
    area_range: tuple[float, float] = (0.02, 0.6)
    smoothness: float = 0.0
    evidence: bool = False
    seeds: float = 0.0
    frozen: tuple[str, ...] = ()
    background_bias: float = 0.0


@dataclass(frozen=True)
class Preset:
    """All settings of a run.

    Attributes:
        name: of the preset.
        image_size: height and width of the training images, in pixels.
        augment: random crops, flips and colour changes of the training images.
        guide: stage one.
        segmenter: stage two.

    Examples:
        >>> PRESETS["paper"].segmenter.lambda_cls
        0.001
    """

    name: str
    image_size: int = 224
    augment: bool = False
    guide: GuideSettings = field(default_factory=GuideSettings)
    segmenter: SegmenterSettings = field(default_factory=SegmenterSettings)

    def with_values(self, settings: Sequence[str]) -> Preset:
        """A copy with some settings changed.

        Args:
            settings: each "key=value", where the key may be dotted and the value is YAML.

        Raises:
            ValueError: if a key is unknown, a setting has no "=" or no YAML after it, or a value is of another type.

        Examples:
            >>> PRESETS["paper"].with_values(["image_size=112", "segmenter.epochs=3"]).segmenter.epochs
            3
            >>> PRESETS["paper"].with_values(["guide.learning_rate=1e-3"]).guide.learning_rate
            0.001
        """
        values = dataclasses.asdict(self)
        for setting in settings:
            key, equals, value = setting.partition("=")
            *parents, name = key.split(".")
            group: Any = values
            for parent in parents:
                group = group.get(parent) if isinstance(group, dict) else None
            if not equals or not isinstance(group, dict) or name not in group or name in _STAGES:
                raise ValueError(f"Expected a setting such as segmenter.epochs=3, but got {setting!r}.")
            try:
                group[name] = load_yaml(value)
            except ValueError as error:
                raise ValueError(f"Expected YAML after {key}=, but {error}, in {reprlib.repr(value)}.") from error
        return self._from_values(values)

    def save(self, path: str | Path) -> None:
        """Write the preset as YAML."""
        values = dataclasses.asdict(self)
        with written_whole(path) as partial:
            partial.write_text(yaml.safe_dump(_plain(values), sort_keys=False), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Preset:
        """Read a preset that `save` wrote.

        Raises:
            ValueError: if the file is no YAML of plain values, or holds an unknown setting or a value of another type.
        """
        try:
            return cls._from_values(_without_unused(load_yaml(Path(path).read_bytes())))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            problem = f"{error}".rstrip(".")
            raise ValueError(f"Expected {path} to be a preset that `Preset.save` wrote, but: {problem}.") from error

    @classmethod
    def _from_values(cls, values: dict[str, Any]) -> Preset:
        built = dict(values)
        for stage, settings in _STAGES.items():
            given = {name: tuple(v) if isinstance(v, list) else v for name, v in built[stage].items()}
            built[stage] = settings(**given)
        preset = cls(**built)
        check_types(preset)
        return preset


_STAGES: dict[str, type[Any]] = {
    "guide": GuideSettings,
    "segmenter": SegmenterSettings,
}


def _without_unused(values: dict[str, Any]) -> dict[str, Any]:
    # Earlier versions had a third stage and a price on undecided pixels, and wrote both even where they were unused.
    kept = dict(values)
    if kept.get("self_training", {}).get("epochs") == 0:
        del kept["self_training"]
    if kept["segmenter"].get("entropy") == 0:
        kept["segmenter"] = {name: value for name, value in kept["segmenter"].items() if name != "entropy"}
    return kept


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


# Beyond the paper: the guide judges the image's own pixels on varied fills, so that only the masks can help it,
# objects keep to their evidence by a price on area, and the segmenter starts from the guide's encoder.
_EVIDENCE = SegmenterSettings(
    encoder="guide",
    one_cycle=True,
    lambda_mask=0.1,
    lambda_cls=0.1,
    absent="reject",
    content="images",
    fills=("mean", "noise", "blur"),
    prior="hinge",
)

# How these settings came about: docs/results.md.
_ROBUST = Preset(
    name="robust",
    image_size=224,
    augment=True,
    guide=GuideSettings(
        model="mobilenetv1_100",
        options={"output_stride": 16},
        learning_rate=1e-2,
        epochs=3,
        occlusion=0.3,
        one_cycle=True,
        frozen=("encoder",),
        standardise=True,
        weight_decay=0.01,
        refit_head=True,
        scales=(1.0, 1.4),
    ),
    segmenter=replace(
        _EVIDENCE,
        decoder_widths=(96, 64, 32, 16, 16),
        learning_rate=5e-4,
        batch_size=32,
        epochs=1,
        min_steps=100,
        image_size=160,
        absent_slots=1,
        area_range=(0.1, 0.5),
        smoothness=0.3,
        evidence=True,
        seeds=0.3,
        frozen=("encoder",),
        background_bias=-1.2,
    ),
)

PRESETS = {
    "paper": Preset(name="paper"),
    "demo": Preset(
        name="demo",
        image_size=64,
        guide=GuideSettings(
            model="small",
            weights=None,
            learning_rate=3e-3,
            epochs=6,
            occlusion=0.5,
            one_cycle=True,
            scales=(1.0, 1.4),
        ),
        segmenter=replace(
            _EVIDENCE,
            decoder_widths=(64, 32, 16),
            learning_rate=1e-3,
            batch_size=16,
            epochs=2,
            area_range=(0.05, 0.05),
        ),
    ),
    "robust": _ROBUST,
    # As "robust" on smaller images, with one size and two epochs for the guide: minutes on a laptop's CPU.
    "fast": replace(
        _ROBUST,
        name="fast",
        image_size=160,
        guide=replace(_ROBUST.guide, epochs=2, scales=(1.0,)),
        segmenter=replace(_ROBUST.segmenter, image_size=112),
    ),
}
