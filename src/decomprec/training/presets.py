"""Presets: every setting of a run, as plain values that are saved beside its checkpoints."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from decomprec.functional import Absent


@dataclass(frozen=True)
class GuideSettings:
    """How the guide is built and trained; the defaults are the paper's (sections 4.2 and 4.3).

    Attributes:
        model: "resnet18" (torchvision's) or the name of a convolutional model of timm.
        weights: "imagenet", a local .safetensors file, or None.
        options: passed on to timm's model.
        learning_rate: of Adam, betas (0.9, 0.999).
        batch_size: images per step.
        epochs: passes over the training images.
        occlusion: share of the training images of which a random part is hidden, so that the guide knows
            masked views; the paper has none.
        one_cycle: warm the learning rate up and down over the run instead of keeping it constant.
    """

    model: str = "resnet18"
    weights: str | None = "imagenet"
    options: dict[str, Any] = field(default_factory=dict)
    learning_rate: float = 1e-4
    batch_size: int = 32
    epochs: int = 10
    occlusion: float = 0.0
    one_cycle: bool = False


@dataclass(frozen=True)
class SegmenterSettings:
    """How the segmenter is built and trained; the defaults are the paper's (section 4.3, Appendix A).

    Attributes:
        encoder: "paper" or an encoder of smp or timm.
        encoder_weights: "imagenet", a local .safetensors file, or None.
        encoder_options: passed on to the encoder's network.
        decoder_widths: channels of smp's decoder blocks, from coarse to fine.
        learning_rate: of Adam, betas (0.9, 0.999).
        batch_size: images per step.
        epochs: passes over the training images.
        one_cycle: warm the learning rate up and down over the run instead of keeping it constant.
        lambda_mask: λ_m of Eq. 7.
        lambda_cls: λ_c of Eq. 7.
        absent: what L_cls asks of an absent class's component.
        content: what the guide is shown inside each mask: "components" is the paper's Î_k on black; the others
            are those of `FilledView`.
        fills: what stands outside the masks, by the names in `FILLS`; for contents other than "components".
        prior: "tags" (Eq. 4) or "hinge" (`HingeAreaLoss`).
        area_range: smallest and largest expected area of a present class, for the hinge.
        smoothness: weight of `EdgeAwareSmoothness`.
        entropy: weight of `MaskEntropy`.
    """

    encoder: str = "paper"
    encoder_weights: str | None = None
    encoder_options: dict[str, Any] = field(default_factory=dict)
    decoder_widths: tuple[int, ...] | None = None
    learning_rate: float = 1e-4
    batch_size: int = 4
    epochs: int = 10
    one_cycle: bool = False
    lambda_mask: float = 1e-3
    lambda_cls: float = 1e-3
    absent: Absent = "ignore"
    content: Literal["components", "imagelets", "stopped", "images"] = "components"
    fills: tuple[str, ...] = ()
    prior: Literal["tags", "hinge"] = "tags"
    area_range: tuple[float, float] = (0.02, 0.6)
    smoothness: float = 0.0
    entropy: float = 0.0


@dataclass(frozen=True)
class Preset:
    """All settings of a run.

    Attributes:
        name: of the preset.
        image_size: height and width of the training images, in pixels.
        augment: random crops, flips and colour changes of the training images.
        guide: stage one.
        segmenter: stage two.

    Example:
        >>> PRESETS["paper"].segmenter.lambda_cls
        0.001
    """

    name: str
    image_size: int = 224
    augment: bool = False
    guide: GuideSettings = field(default_factory=GuideSettings)
    segmenter: SegmenterSettings = field(default_factory=SegmenterSettings)

    def save(self, path: str | Path) -> None:
        """Write the preset as YAML."""
        values = dataclasses.asdict(self)
        Path(path).write_text(yaml.safe_dump(_plain(values), sort_keys=False), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Preset:
        """Read a preset that `save` wrote.

        Raises:
            ValueError: if the file holds an unknown setting.
        """
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        try:
            segmenter: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in values.pop("segmenter").items()
            }
            guide = GuideSettings(**values.pop("guide"))
            return cls(**values, guide=guide, segmenter=SegmenterSettings(**segmenter))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"Expected {path} to be a preset that `Preset.save` wrote, but: {error}.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


PRESETS = {
    "paper": Preset(name="paper"),
}
