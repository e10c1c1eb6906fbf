"""The preset that a command line asks for."""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

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
    try:
        preset = PRESETS[str(name)] if str(name) in PRESETS else Preset.load(name)
    except yaml.YAMLError as error:
        raise ValueError(f"Expected {name} to be a preset in YAML, but it is not YAML.") from error
    for setting in settings:
        try:
            preset = preset.with_values([setting])
        except yaml.YAMLError as error:
            raise ValueError(f"Expected a setting such as segmenter.epochs=3, but {setting!r} is not YAML.") from error
    _check_types(preset, "")
    return preset


def _check_types(settings: Any, prefix: str) -> None:
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        value, hint = getattr(settings, field.name), hints[field.name]
        if is_dataclass(value):
            _check_types(value, f"{field.name}.")
        elif not _fits(value, hint):
            expected = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
            raise ValueError(f"Expected {prefix}{field.name} to be {expected}, but got {value!r}.")


def _fits(value: Any, hint: Any) -> bool:
    origin, options = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in options)
    if origin is Literal:
        return value in options
    if origin is tuple and options[-1] is Ellipsis:
        return isinstance(value, tuple) and all(_fits(entry, options[0]) for entry in value)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(options) and all(map(_fits, value, options))
    if hint in (int, float):  # a bool is an int to Python
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return isinstance(value, origin or hint)
