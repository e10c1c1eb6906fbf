"""Whether settings that come from a text have the types of their fields."""

from __future__ import annotations

import reprlib
import types
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check_types(settings: Any, prefix: str = "") -> None:
    """See that every field of a dataclass, and of those within it, holds what its annotation says.

    Args:
        settings: a dataclass.
        prefix: what stands before the names in a message.

    Raises:
        ValueError: names the first field that does not.
    """
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        value, hint = getattr(settings, field.name), hints[field.name]
        if is_dataclass(value):
            check_types(value, f"{field.name}.")
        elif not _fits(value, hint):
            expected = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
            raise ValueError(f"Expected {prefix}{field.name} to be {expected}, but got {reprlib.repr(value)}.")


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
