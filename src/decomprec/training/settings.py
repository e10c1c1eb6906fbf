"""Settings of both stages: typed values that YAML, the command line and Python build alike."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

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
            ValueError: names the first setting that is unknown, of another type, out of range, or contradicts others.
        """
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise ValueError(_sentence(error, cls)) from error


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
        description="Train the head alone, on standardised features.",
    )
    head_steps: int = Field(
        default=1000,
        ge=0,
        description="Steps of the head at least, if the encoder is frozen; further ones reuse an epoch's features.",
    )
    levels: Several[Annotated[int, Field(lt=0)]] = Field(
        default=(-1,),
        min_length=1,
        description="Which of the encoder's feature maps the head sees, from the end: -1 is the coarsest.",
    )
    pooling: Pooling = Field(
        default="mean",
        description="From the pixels' scores to a logit: mean, top (the highest fifth) or lse (log-sum-exp).",
    )
    learning_rate: Positive = Field(default=1e-4, description="Of Adam.")
    weight_decay: NonNegative = Field(default=0.0, description="L2 penalty of Adam.")
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
        description="As `image_size` of the preset, in this stage; null is image_size.",
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
    cls_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="Share of the images of each step, drawn anew, that stand for all of them in L_cls."
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
    background_bias: float = Field(
        default=0.0, description="Is added to the background's logit after training; below 0, masks become larger."
    )

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
        if self.encoder == "paper" and self.enlarge > 1:
            raise ValueError(
                "Expected segmenter.enlarge to be 1 with the encoder 'paper', whose decoders need its finest maps, but "
                f"got {self.enlarge}."
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


def _sentence(error: ValidationError, settings: type[Settings]) -> str:
    """The first thing that pydantic has found, in a sentence."""
    problem = error.errors()[0]
    name, got = ".".join(map(str, problem["loc"])), reprlib.repr(problem["input"])
    if problem["type"] == "value_error":  # of one of our own checks
        return str(problem["ctx"]["error"])
    if problem["type"] in ("extra_forbidden", "invalid_key"):
        return unknown(name, list(_names(settings)))
    _, starts, expected = problem["msg"].partition("Input should be ")
    if starts:
        return f"Expected {name or 'a preset'} to be {expected}, but got {got}."
    return f"Expected another value of {name} than {got}: {problem['msg']}."


def unknown(name: str, known: Collection[str]) -> str:
    """That there is no such setting, and one that is close."""
    close = difflib.get_close_matches(name, known, n=1) or ["segmenter.epochs"]
    return f"Expected a setting such as {close[0]}, but got {name!r}."


def _names(settings: type[Settings]) -> Iterator[str]:
    """The names of all settings of a class, with a dot after those that hold settings themselves."""
    for name, field in settings.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            yield from (f"{name}.{deeper}" for deeper in _names(inner))
        else:
            yield name
