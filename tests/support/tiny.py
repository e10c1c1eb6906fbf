"""The smallest training of both stages that the tests share, and modules of both stages that no BatchNorm disturbs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from support.two_processes import Plain, segmenter_module

from decomprec.models import PooledClassifier
from decomprec.training import PRESETS, GuideModule, GuideSettings, Preset, SegmenterModule

QUIET: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}
BARE = QUIET | {"enable_model_summary": False, "logger": False, "enable_checkpointing": False}  # writes nothing
TINY: dict[str, Any] = {
    "image_size": 32,
    "guide.encoder_options": {"widths": [4, 8]},
    "guide.epochs": 1,
    "guide.batch_size": 8,
    "segmenter.decoder_widths": [8, 4],
    "segmenter.epochs": 1,
    "segmenter.batch_size": 8,
}


def tiny(changes: Mapping[str, Any] = {}) -> Preset:
    """The preset `demo` with the settings of TINY and these changes."""
    return PRESETS["demo"].override({**TINY, **changes})


def tiny_words(changes: Mapping[str, Any] = {}) -> list[str]:
    """The same settings as "key=value", which the command line parses."""
    return [f"{key}={json.dumps(value)}" for key, value in {**TINY, **changes}.items()]


def set_options(words: Sequence[str]) -> list[str]:
    """`--set` before each setting."""
    return [word for setting in words for word in ("--set", setting)]


def guide_stage() -> GuideModule:
    settings = GuideSettings(learning_rate=1e-2, scales=(1.0, 2.0))
    return GuideModule(PooledClassifier(Plain(), num_classes=4), settings, one_cycle=True)


def segmenter_stage() -> SegmenterModule:
    return segmenter_module()
