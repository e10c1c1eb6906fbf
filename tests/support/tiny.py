"""The smallest training of both stages that the tests share."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from decomprec.training import PRESETS, Preset

QUIET: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}
BARE = QUIET | {"enable_model_summary": False, "logger": False, "enable_checkpointing": False}  # writes nothing
TINY: dict[str, Any] = {
    "image_size": 32,
    "guide.options": {"widths": [4, 8]},
    "guide.epochs": 1,
    "guide.batch_size": 8,
    "segmenter.decoder_widths": [8, 4],
    "segmenter.epochs": 1,
    "segmenter.batch_size": 8,
}


def tiny(changes: Mapping[str, Any] = {}) -> Preset:
    """The preset `demo` with the settings of TINY and these changes."""
    return PRESETS["demo"].with_values(tiny_words(changes))


def tiny_words(changes: Mapping[str, Any] = {}) -> list[str]:
    """The same settings as "key=value", which the command line parses."""
    return [f"{key}={json.dumps(value)}" for key, value in {**TINY, **changes}.items()]


def set_options(words: Sequence[str]) -> list[str]:
    """`--set` before each setting."""
    return [word for setting in words for word in ("--set", setting)]
