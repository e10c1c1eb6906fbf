"""Presets: every setting of a run as a typed value that YAML, the command line and Python build alike."""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from decomprec._files import written_whole
from decomprec._yaml import load_yaml
from decomprec.functional import Absent
from decomprec.models.pooling import Pooling

T = TypeVar("T")
Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
# Not strict: YAML has lists only. Their entries stay strict.
Several = Annotated[tuple[T, ...], Field(strict=False)]
Pair = Annotated[tuple[T, T], Field(strict=False)]


class Settings(BaseModel):
    """Settings that cannot be changed, of the exact types: no text for a number, no bool for an int, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Build the settings from a mapping.

        Raises:
            ValueError: names the first setting that is unknown, of another type, out of range, or at odds with others.
        """
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise ValueError(_sentence(error)) from error


class GuideSettings(Settings):
    """How the guide is built and trained. The defaults are the paper's (sections 4.2 and 4.3).

    Examples:
        >>> GuideSettings(encoder="small", encoder_weights=None, epochs=3).learning_rate
        0.0001
    """

    encoder: str = Field(
        default="resnet18", description='Encoder: "small" (`SmallEncoder`), or a network of timm by its name.'
    )
    encoder_weights: str | None = Field(
        default="imagenet", description='"imagenet", a .safetensors file, or null for random.'
    )
    encoder_options: dict[str, JsonValue] = Field(
        default={}, description="Options of the small encoder or of timm's network."
    )
    freeze_encoder: bool = Field(
        default=False,
        description="Train the head alone, on standardised features, and fit it by L-BFGS once the training is over.",
    )
    levels: Several[Annotated[int, Field(lt=0)]] = Field(
        default=(-1,),
        min_length=1,
        description="Which of the encoder's feature maps the head sees, from the end: -1 is the coarsest.",
    )
    pooling: Pooling = Field(
        default="mean",
        description="From maps to the head: mean, top (the largest fifth of the pixels), lse (log-sum-exp) or gem.",
    )
    learning_rate: Positive = Field(default=1e-4, description="Of Adam.")
    weight_decay: NonNegative = Field(
        default=0.0, description="L2 penalty of Adam, and of the head that is fitted by L-BFGS."
    )
    batch_size: Count = Field(default=32, description="Images per step and process.")
    epochs: int = Field(default=10, ge=0, description="Passes over the training images.")
    occlusion: Share = Field(default=0.0, description="Share of the training images of which a random part is hidden.")
    scales: Several[Positive] = Field(
        default=(1.0,), min_length=1, description="Factors of the training images' height and width; steps take turns."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.encoder == "small" and self.encoder_weights is not None:
            raise ValueError(
                "Expected guide.encoder_weights to be null for the small encoder, which has no pretrained weights, "
                f"but got {self.encoder_weights!r}."
            )
        return self


class SegmenterSettings(Settings):
    """How the segmenter is built and trained. The defaults are the paper's (section 4.3, Appendix A).

    Examples:
        >>> SegmenterSettings(encoder="guide", lambda_mask=0.1).lambda_cls
        0.001
    """

    encoder: str = Field(
        default="paper",
        description='"paper" (Appendix A), "guide" (a copy of the trained guide\'s), or as for the guide.',
    )
    encoder_weights: str | None = Field(
        default=None, description='"imagenet", a .safetensors file, or null for random.'
    )
    encoder_options: dict[str, JsonValue] = Field(default={}, description="Options of timm's network.")
    freeze_encoder: bool = Field(default=False, description="Train the decoders alone.")
    decoder_widths: Several[Count] | None = Field(
        default=None,
        min_length=1,
        description="Channels of the U-Net decoders' blocks, from coarse to fine, for any number of feature maps.",
    )
    learning_rate: Positive = Field(default=1e-4, description="Of Adam.")
    batch_size: Count = Field(default=4, description="Images per step and process.")
    epochs: int = Field(default=10, ge=0, description="Passes over the training images.")
    min_steps: int = Field(default=0, ge=0, description="Steps that are made at least: on few images, in more epochs.")
    image_size: Count | None = Field(
        default=None,
        description="Height and width of the training images in this stage, in pixels; null is image_size.",
    )
    enlarge: Count = Field(
        default=1,
        description="Factor by which images are enlarged for the encoder; its maps finer than stride 2 are left out.",
    )
    lambda_mask: NonNegative = Field(default=1e-3, description="λ_m of Eq. 7.")
    lambda_cls: NonNegative = Field(default=1e-3, description="λ_c of Eq. 7.")
    absent: Absent = Field(default="ignore", description="What L_cls asks of an absent class's component.")
    absent_slots: Count | None = Field(
        default=None, description="Absent classes drawn per image that stand for all of them in L_cls; null takes all."
    )
    shown_slots_only: bool = Field(
        default=False,
        description="Compute masks and image-lets of the slots that L_cls is shown only: memory flat in the classes.",
    )
    content: Literal["imagelets", "stopped", "images"] = Field(
        default="imagelets",
        description="What the guide sees inside a mask: image-lets, the same without a gradient, or the image itself.",
    )
    fills: Several[Literal["black", "mean", "noise", "blur"]] = Field(
        default=(),
        description="What the guide sees outside a mask, drawn anew in each step; empty is the paper's black.",
    )
    area_range: Pair[Share] | None = Field(
        default=None, description="Smallest and largest expected area of a present class, as shares; null is Eq. 4."
    )
    seeds: NonNegative = Field(default=0.0, description="Weight of the pseudo-labels that are the guide's evidence.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.encoder in ("paper", "guide") and (self.encoder_weights is not None or self.encoder_options):
            raise ValueError(
                f"Expected segmenter.encoder_weights and encoder_options only for a network of timm, but got "
                f"the encoder {self.encoder!r}."
            )
        if self.encoder == "paper" and self.decoder_widths:
            raise ValueError(
                "Expected no segmenter.decoder_widths with the encoder 'paper', whose decoders have widths of their "
                f"own, but got {self.decoder_widths}."
            )
        if self.shown_slots_only and self.absent_slots is None:
            raise ValueError(
                "Expected segmenter.absent_slots to be a number, such as 4, with segmenter.shown_slots_only, but got "
                "null, which shows all."
            )
        if self.content != "imagelets" and not self.fills:
            raise ValueError(
                f"Expected segmenter.fills to hold at least one fill with segmenter.content={self.content}, "
                "but got none."
            )
        if self.area_range and self.area_range[0] > self.area_range[1]:
            raise ValueError(
                f"Expected segmenter.area_range to go from small to large, but got {list(self.area_range)}."
            )
        return self


class Preset(Settings):
    """All settings of a run. The defaults are the paper's.

    Examples:
        >>> PRESETS["robust"].segmenter_size
        160
        >>> PRESETS["paper"].override({"image_size": 112, "segmenter.epochs": 3}).segmenter.epochs
        3
        >>> PRESETS["paper"].override({"segmenter.epochs": "few"})
        Traceback (most recent call last):
        ValueError: Expected segmenter.epochs to be a valid integer, but got 'few'.
    """

    name: str = Field(default="paper", description="Of the preset.")
    image_size: Count = Field(default=224, description="Height and width of the training images, in pixels.")
    augment: bool = Field(default=False, description="Crop, flip and recolour the training images at random.")
    one_cycle: bool = Field(default=False, description="Warm the learning rate up and down over each stage.")
    accumulate: Count = Field(
        default=1, description="Parts that each step is done in, one after the other, to need less memory."
    )
    guide: GuideSettings = Field(default=GuideSettings(), description="Stage one.")
    segmenter: SegmenterSettings = Field(default=SegmenterSettings(), description="Stage two.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for stage, size in (("guide", self.guide.batch_size), ("segmenter", self.segmenter.batch_size)):
            if size % self.accumulate:
                raise ValueError(
                    f"Expected accumulate to divide the {stage}.batch_size of {size}, but got {self.accumulate}."
                )
        return self

    @property
    def segmenter_size(self) -> int:
        """Height and width of the images that the segmenter is trained on and shown, in pixels."""
        return self.segmenter.image_size or self.image_size

    @property
    def standardise_guide(self) -> bool:
        """Whether the guide standardises its features, as a head on a frozen encoder and the evidence need it."""
        return self.guide.freeze_encoder or self.segmenter.seeds > 0

    @property
    def next_accumulate(self) -> int | None:
        """The next larger number of parts that divides the batches of both stages, if there is one."""
        common = math.gcd(self.guide.batch_size, self.segmenter.batch_size)
        return next((n for n in range(self.accumulate + 1, common + 1) if common % n == 0), None)

    def override(self, changes: Mapping[str, Any]) -> Preset:
        """A copy with some settings changed.

        Args:
            changes: values by the names of their settings, with a dot after the stage, such as "segmenter.epochs".

        Raises:
            ValueError: if a setting is unknown, of another type, out of range, or at odds with others.
        """
        values = self.model_dump()
        known = _by_dotted_name(values)
        for key, value in changes.items():
            if key not in known:
                raise ValueError(_unknown(str(key), known))
            stage, dot, name = key.rpartition(".")
            (values[stage] if dot else values)[name] = value
        return Preset.model_validate(values)

    def changes(self) -> dict[str, Any]:
        """The settings that differ from those of the preset of this name, as `override` takes them.

        Examples:
            >>> PRESETS["demo"].override({"guide.epochs": 2}).changes()
            {'guide.epochs': 2}
        """
        if self.name not in PRESETS:
            return {}
        original = _by_dotted_name(PRESETS[self.name].model_dump(mode="json"))
        mine = _by_dotted_name(self.model_dump(mode="json"))
        return {key: value for key, value in mine.items() if value != original[key]}

    def without_folders(self) -> Preset:
        """A copy with files of weights by their names, for results that others see.

        Examples:
            >>> preset = PRESETS["paper"].override({"guide.encoder_weights": "/models/trunk.safetensors"})
            >>> preset.without_folders().guide.encoder_weights
            'trunk.safetensors'
        """
        files = {"guide": self.guide.encoder_weights, "segmenter": self.segmenter.encoder_weights}
        # Both kinds of separators: the run may come from another system.
        names = {f"{stage}.encoder_weights": PureWindowsPath(file).name for stage, file in files.items() if file}
        return self.override(names)

    def save(self, path: str | Path) -> None:
        """Write the preset as YAML."""
        with written_whole(path) as partial:
            partial.write_text(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False), encoding="utf-8")

    @classmethod
    def load(cls, source: str | Path) -> Preset:
        """One of `PRESETS` by its name, or a preset that `save` wrote.

        Raises:
            ValueError: if there is no such preset or file, or the file is no YAML of known settings that are valid.
        """
        if str(source) in PRESETS:
            return PRESETS[str(source)]
        if not Path(source).is_file():
            raise ValueError(
                f"Expected the preset to be one of {', '.join(PRESETS)} or a YAML file, but got {str(source)!r}."
            )
        try:
            return cls.model_validate(load_yaml(Path(source).read_bytes()))
        except ValueError as error:
            problem = str(error).rstrip(".")
            raise ValueError(f"Expected {source} to be a preset that `Preset.save` wrote, but: {problem}.") from error


def _by_dotted_name(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a preset by their names, with a dot after the stage."""
    return {
        name: setting
        for key, value in values.items()
        for name, setting in (
            [(f"{key}.{inner}", v) for inner, v in value.items()] if key in ("guide", "segmenter") else [(key, value)]
        )
    }


def _sentence(error: ValidationError) -> str:
    """The first thing that pydantic has found, in a sentence."""
    problem = error.errors()[0]
    name, got = ".".join(map(str, problem["loc"])), reprlib.repr(problem["input"])
    if problem["type"] == "value_error":  # of one of our own checks
        return str(problem["ctx"]["error"])
    if problem["type"] in ("extra_forbidden", "invalid_key"):
        return _unknown(name, _by_dotted_name(Preset().model_dump()))
    _, starts, expected = problem["msg"].partition("Input should be ")
    if starts:
        return f"Expected {name or 'a preset'} to be {expected}, but got {got}."
    return f"Expected another value of {name} than {got}: {problem['msg']}."


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1) or ["segmenter.epochs"]
    return f"Expected a setting such as {close[0]}, but got {name!r}."


# Beyond the paper: masks learn from the guide's evidence (seeds), the guide judges the image's own pixels on varied
# fills, where only the masks can help it, and the segmenter shares the guide's frozen encoder.
# How these settings came about: docs/results/index.md.
_ROBUST = Preset(
    name="robust",
    image_size=224,
    augment=True,
    one_cycle=True,
    accumulate=4,
    guide=GuideSettings(
        encoder="tf_efficientnet_lite2",
        encoder_options={"output_stride": 16},
        freeze_encoder=True,
        levels=(-2, -1),
        pooling="lse",
        learning_rate=1e-2,
        weight_decay=0.01,
        epochs=3,
        occlusion=0.3,
        scales=(1.0, 1.4),
    ),
    segmenter=SegmenterSettings(
        encoder="guide",
        freeze_encoder=True,
        decoder_widths=(96, 64, 32, 16, 16),
        learning_rate=5e-4,
        batch_size=32,
        epochs=1,
        min_steps=100,
        image_size=160,
        enlarge=2,
        lambda_mask=0.1,
        lambda_cls=0.01,
        absent="reject",
        absent_slots=1,
        content="images",
        fills=("mean", "noise", "blur"),
        area_range=(0.0, 1.0),
        seeds=1.0,
    ),
)

PRESETS = {
    "paper": Preset(name="paper"),
    "demo": Preset(
        name="demo",
        image_size=64,
        one_cycle=True,
        guide=GuideSettings(
            encoder="small",
            encoder_weights=None,
            learning_rate=3e-3,
            epochs=6,
            occlusion=0.5,
            scales=(1.0, 1.4),
        ),
        segmenter=SegmenterSettings(
            encoder="guide",
            decoder_widths=(64, 32, 16),
            learning_rate=1e-3,
            batch_size=16,
            epochs=2,
            lambda_mask=0.1,
            lambda_cls=0.1,
            absent="reject",
            content="images",
            fills=("mean", "noise", "blur"),
            area_range=(0.05, 0.05),
        ),
    ),
    "robust": _ROBUST,
    # Like "robust" on smaller images, with one size and two epochs for the guide: minutes on a laptop's CPU.
    "fast": _ROBUST.override(
        {
            "name": "fast",
            "image_size": 160,
            "guide.epochs": 2,
            "guide.scales": (1.0,),
            "segmenter.image_size": 112,
        }
    ),
}
