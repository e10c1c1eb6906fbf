"""The preset that a command line asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from decomprec.training.presets import PRESETS, Preset


def choose_preset(name: str | Path, settings: Sequence[str] = ()) -> Preset:
    """One of `PRESETS` or a file that `Preset.save` wrote, with some settings changed.

    Args:
        name: of the preset, or a YAML file.
        settings: each "key=value", as for `Preset.with_values`.

    Raises:
        ValueError: if there is no such preset or setting, or a value is of another type than its setting.

    Examples:
        >>> choose_preset("paper", ["segmenter.epochs=3"]).segmenter.epochs
        3
        >>> choose_preset("paper", ["segmenter.epochs=few"])
        Traceback (most recent call last):
        ValueError: Expected segmenter.epochs to be int, but got 'few'.
    """
    if str(name) not in PRESETS and not Path(name).is_file():
        raise ValueError(f"Expected --preset to be one of {', '.join(PRESETS)} or a YAML file, but got {str(name)!r}.")
    preset = PRESETS[str(name)] if str(name) in PRESETS else Preset.load(name)
    return preset.with_values(settings)
