"""Presets: every setting of a run, and those that have a name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any, Self

import yaml
from pydantic import Field, model_validator

from decomprec._files import written_whole
from decomprec._yaml import load_yaml
from decomprec.training.settings import Count, GuideSettings, SegmenterSettings, Settings, unknown


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
    image_size: Count = Field(default=224, description="Side of a square with as many pixels as the training images.")
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
                parts = math.gcd(self.guide.batch_size, self.segmenter.batch_size, self.accumulate)
                raise ValueError(
                    f"Expected accumulate to divide the {stage}.batch_size of {size}, but got {self.accumulate}; set "
                    f"{stage}.batch_size={math.ceil(size / self.accumulate) * self.accumulate} or accumulate={parts}."
                )
        return self

    @property
    def segmenter_size(self) -> int:
        """Short side of the images that the segmenter is shown, in pixels; of its training, the side of a square."""
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
            ValueError: if a setting is unknown, of another type, out of range, or contradicts others.
        """
        values = self.model_dump()
        known = _by_dotted_name(values)
        for key, value in changes.items():
            if key not in known:
                raise ValueError(unknown(str(key), known))
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
            >>> preset = PRESETS["paper"].override({"guide.encoder_weights": "/models/encoder.safetensors"})
            >>> preset.without_folders().guide.encoder_weights
            'encoder.safetensors'
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


# Beyond the paper: masks learn from the guide's evidence (seeds), the guide judges the image's own pixels on varied
# fills, where only the masks can help it, and the segmenter shares the guide's frozen encoder.
# How these settings came about: docs/results/experiments.md.
_ROBUST = Preset(
    name="robust",
    image_size=224,
    augment=True,
    one_cycle=True,
    accumulate=2,
    guide=GuideSettings(
        encoder="tf_efficientnet_lite2",
        encoder_options={"output_stride": 16, "repeat_borders": True},
        freeze_encoder=True,
        levels=(-2, -1),
        pooling="lse",
        learning_rate=1e-2,
        weight_decay=0.1,
        epochs=1,
        scales=(1.4,),
    ),
    segmenter=SegmenterSettings(
        encoder="guide",
        freeze_encoder=True,
        decoder_widths=(96, 64, 32, 16, 16),
        learning_rate=5e-4,
        batch_size=16,
        epochs=1,
        min_steps=200,
        image_size=160,
        enlarge=2,
        lambda_mask=0.1,
        lambda_cls=0.01,
        absent="reject",
        absent_slots=1,
        cls_share=0.25,
        content="images",
        fills=("mean", "noise", "blur"),
        area_range=(0.0, 1.0),
        seeds=1.0,
        background_bias=-0.75,
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
    # Like "robust" on smaller images, in fewer and larger steps: minutes on a laptop's CPU.
    "fast": _ROBUST.override(
        {
            "name": "fast",
            "image_size": 160,
            "segmenter.image_size": 112,
            "segmenter.learning_rate": 2e-3,
            "segmenter.min_steps": 100,
        }
    ),
}
