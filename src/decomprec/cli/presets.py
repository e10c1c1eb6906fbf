"""The preset of a call: a name, a file, or written out in a config file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from decomprec.training import PRESETS, Preset
from decomprec.training.choose import choose_preset

_END = "\n..."  # of a YAML document that is a plain word or number


def preset_of(written: Mapping[str, Any] | None, name: str | None, settings: Sequence[str], default: str) -> Preset:
    """The preset of that name or file; without one, what a config file holds or, without that, the default.

    Raises:
        ValueError: as for `choose_preset`.
    """
    if name is None and written is not None:
        return choose_preset("paper", [*settings_of(written), *settings])  # whose settings are all defaults
    return choose_preset(name or default, settings)


def settings_of(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Each setting as "key=value", as `Preset.with_values` takes them.

    Examples:
        >>> settings_of({"image_size": 64, "guide": {"learning_rate": 1e-5, "weights": None}})
        ['image_size=64', 'guide.learning_rate=1.0e-05', 'guide.weights=null']
    """
    settings = []
    for key, value in values.items():
        if key in ("guide", "segmenter") and isinstance(value, Mapping):
            settings += settings_of(value, f"{key}.")
        else:
            text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"))
            settings.append(f"{prefix}{key}={text.strip().removesuffix(_END)}")
    return settings


def changes(preset: Preset) -> list[str]:
    """How a preset differs from the one of its name, as settings."""
    if preset.name not in PRESETS:
        return []
    original = settings_of(dataclasses.asdict(PRESETS[preset.name]))
    return [setting for setting in settings_of(dataclasses.asdict(preset)) if setting not in original]
