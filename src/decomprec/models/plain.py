"""Encoders and decoders as plain values, and back: only classes of this library, from a table, are built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from decomprec.models.decoders import ShortcutDecoder, UnetDecoder
from decomprec.models.encoders import NamedEncoder, SmallEncoder
from decomprec.models.paper_unet import PaperDecoder, PaperEncoder

ValueTypes = Mapping[str, type | tuple[type, ...]]
Kinds = Mapping[str, tuple[type[nn.Module], ValueTypes]]

# What can be rebuilt, and the values that each needs for it.
ENCODERS: Kinds = {
    "paper": (PaperEncoder, {}),
    "pretrained": (NamedEncoder, {"name": str, "depth": int, "options": dict}),
    "small": (SmallEncoder, {"widths": list}),
}
DECODERS: Kinds = {
    "paper": (PaperDecoder, {}),
    "unet": (UnetDecoder, {"widths": list}),
    "shortcut_unet": (ShortcutDecoder, {"widths": list}),
}
# More stages than this would want images of more than 2^8 pixels, however small the file.
_MOST_STAGES, _MOST_CHANNELS = 8, 65536


def describe(module: nn.Module, known: Kinds) -> dict[str, Any]:
    """The kind of a part of a model and the values that it was built with.

    Raises:
        ValueError: for a module of another class, such as the user's own.

    Examples:
        >>> describe(SmallEncoder((8, 16)), ENCODERS)
        {'kind': 'small', 'widths': [8, 16]}
    """
    for kind, (built, _) in known.items():
        if type(module) is built:
            return {"kind": kind, **getattr(module, "config", {})}
    names = " or ".join(built.__name__ for built, _ in known.values())
    raise ValueError(
        f"Expected a {names}, which can be rebuilt from plain values, but got {type(module).__name__}; "
        "save the model's state dict instead."
    )


def check_values(entry: Any, expected: ValueTypes, what: str) -> None:
    """Raise a ValueError unless an entry holds just the expected names, with values of their types."""
    if not isinstance(entry, dict) or entry.keys() != expected.keys():
        got = sorted(entry) if isinstance(entry, dict) else repr(entry)
        raise ValueError(f"Expected {what} to hold {sorted(expected)}, but got {got}.")
    for name, types in expected.items():
        # A bool is an int to Python.
        if not isinstance(entry[name], types) or (isinstance(entry[name], bool) and types is not bool):
            options = " or ".join(t.__name__ for t in (types if isinstance(types, tuple) else (types,)))
            raise ValueError(f"Expected {name!r} in {what} to be {options}, but got {entry[name]!r}.")


def _checked_kind(entry: Any, known: Kinds, role: str) -> str:
    kind = entry.get("kind") if isinstance(entry, dict) else entry
    if not isinstance(kind, str) or kind not in known:
        raise ValueError(f"Expected the config's {role} to be of kind {' or '.join(known)}, but got {kind!r}.")
    check_values(entry, {"kind": str, **known[kind][1]}, f"the config's {role} of kind {kind!r}")
    return kind


def build_encoder(entry: Any) -> nn.Module:
    """An encoder with random weights, from what `describe` gave.

    Raises:
        ValueError: if the entry is not of that form, or the network refuses its values.
    """
    match _checked_kind(entry, ENCODERS, "encoder"):
        case "paper":
            return PaperEncoder()
        case "small":
            return SmallEncoder(_channels(entry["widths"]))
    try:
        return NamedEncoder(entry["name"], None, entry["depth"], **entry["options"])
    except TypeError as error:  # an option by the name of another argument
        raise ValueError(f"Expected other encoder options than {entry['options']}: {error}.") from error


def build_decoder(entry: Any, encoder: Any, out_channels: int) -> nn.Module:
    """Likewise a decoder, for an encoder's features."""
    kind = _checked_kind(entry, DECODERS, "decoder")
    if kind == "paper":
        return PaperDecoder(out_channels)
    unet = UnetDecoder if kind == "unet" else ShortcutDecoder
    return unet(encoder.out_channels, out_channels, _channels(entry["widths"]))


def _channels(widths: list[Any]) -> list[int]:
    if not all(type(width) is int and 0 < width <= _MOST_CHANNELS for width in widths):
        raise ValueError(f"Expected `widths` to be numbers of channels, at most {_MOST_CHANNELS}, but got {widths}.")
    if not 0 < len(widths) <= _MOST_STAGES:
        raise ValueError(f"Expected `widths` to be of 1 to {_MOST_STAGES} stages, but got {len(widths)}.")
    return widths
