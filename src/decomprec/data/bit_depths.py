"""Values of an image file of any bit depth in 8 bits."""

import io
import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, TiffTags

from decomprec.data.notices import say_once

_TIFF = {tag.name: number for number, tag in TiffTags.TAGS_V2.items()}


def is_tiff(image: Image.Image) -> bool:
    """Return whether an image was opened from a TIFF file, and knows its tags."""
    return isinstance(getattr(image, "tag_v2", None), TiffImagePlugin.ImageFileDirectory_v2)


def tag(image: Any, name: str, default: Any) -> Any:
    """Return what a TIFF file says in the tag of this name."""
    return image.tag_v2.get(_TIFF[name], default)


def decoded(image: Any) -> tuple[Image.Image, bool]:
    """Decode several bands to 8 bits, and tell whether the colours hold their share of alpha.

    Pillow keeps the upper 8 of 16 bits, for values of any range, and divides colours by an alpha that may
    be none. So the file is decoded again, in other raw modes.
    """
    raw_mode = _raw_mode(image)
    associated = raw_mode.startswith("RGBa")
    if (";16" not in raw_mode and not associated) or image.fp is None:
        return image, False
    at = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read()
    image.fp.seek(at)
    raw_mode = raw_mode.replace("RGBa", "RGBA")
    upper = _bytes_of_bands(content, raw_mode)
    colours = 3 if image.mode == "RGBA" else upper.shape[2]
    pixels = upper
    if ";16" in raw_mode and upper[..., :colours].max() < 128:  # else they take all 16 bits
        values = upper.astype(np.uint16) << 8 | _bytes_of_bands(content, _swapped(raw_mode))
        if raw_mode == "LA;16B":
            values = values[..., [1, 1, 1, 3]]
        pixels = np.concatenate([_integers(values[..., :colours], None, image), upper[..., colours:]], axis=2)
    return as_opened(Image.fromarray(pixels, image.mode), image), associated


def _bytes_of_bands(content: bytes, raw_mode: str) -> NDArray[np.uint8]:
    image: Any = Image.open(io.BytesIO(content))
    image.tile = [
        tile._replace(args=raw_mode if isinstance(tile.args, str) else (raw_mode, *tile.args[1:]))
        for tile in image.tile
    ]
    return np.asarray(image)


def _swapped(raw_mode: str) -> str:
    """Return the raw mode whose upper bytes are the lower bytes of this one: that of the other byte order."""
    if raw_mode == "LA;16B":  # the other one is unknown to Pillow: as four bands of 8 bits
        return "RGBA"
    big = raw_mode.endswith("B") or (raw_mode.endswith("N") and sys.byteorder == "big")
    return f"{raw_mode[:-1]}{'L' if big else 'B'}"


def _raw_mode(image: Any) -> str:
    args = image.tile[0].args if getattr(image, "tile", None) else ""
    return str(args if isinstance(args, str) else args[0] if args else "")


def as_opened(image: Image.Image, opened: Any) -> Image.Image:
    """Let a converted image tell what its file says."""
    converted: Any = image  # attributes of images from files, which Pillow's types lack
    converted.filename = name_of(opened)
    if is_tiff(opened):
        converted.tag_v2 = opened.tag_v2
    return image


def bits_of(image: Image.Image) -> tuple[int, ...]:
    """Return the bits of each band of a TIFF file."""
    return tuple(tag(image, "BitsPerSample", (1,)))


def grey_values(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels (H, W) of an image of one band of integers beyond 8 bits, or of floating point values.

    Raises:
        ValueError: if they are negative, not finite, or beyond 16 bits.
    """
    white = _stated_white(image)  # before the image is decoded
    values = np.asarray(image)
    if values.dtype.kind == "f":
        return _floats(values, image)
    if is_tiff(image) and tag(image, "PhotometricInterpretation", 1) == 0:  # 0 is white
        white = white or 65535
        values = white - values.astype(np.int64)
    return _integers(values, white, image)


def _stated_white(image: Any) -> int | None:
    """Return the highest value that a file's own header allows; None if it is that of 16 bits or more."""
    if image.format == "JPEG2000" or (image.format == "PPM" and _raw_mode(image) != "I;16B"):
        return 65535  # Pillow scales these to it
    bits = max(bits_of(image)) if is_tiff(image) else 16
    return (1 << bits) - 1 if bits < 16 else None


def _integers(values: NDArray[Any], white: int | None, image: Image.Image) -> NDArray[np.uint8]:
    _check_range(values)
    if white is None:
        white = _next_white(int(values.max()), image)
    return ((values.astype(np.int64) * 255 + white // 2) // white).clip(max=255).astype(np.uint8)


def _floats(values: NDArray[Any], image: Image.Image) -> NDArray[np.uint8]:
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise ValueError(
            f"{bad} of its {values.size} values are NaN or infinite, in floating point; save them with 8 or 16 bits"
        )
    _check_range(values)
    highest = values.max()
    white = 1 if highest <= 1 else 255 if highest <= 255 else _next_white(math.ceil(highest), image)
    if white <= 255:
        say_once(
            f"floats {white}",
            "%s holds floating point values from %g to %g: white is taken to be %d. Other such files are read in the "
            "same way.",
            name_of(image),
            values.min(),
            highest,
            white,
        )
    return np.rint(values * (255.0 / white)).astype(np.uint8)


def _check_range(values: NDArray[Any]) -> None:
    lowest, highest = values.min(), values.max()
    if lowest < 0 or highest > 65535:
        raise ValueError(f"its values, {lowest} to {highest}, are not of 16 bits; save it with 8 or 16 bits")


def _next_white(highest: int, image: Image.Image) -> int:
    """Return the highest value of the fewest bits, from 8, that hold a file's own highest value."""
    white = max(255, (1 << highest.bit_length()) - 1)
    if white < 65535:
        say_once(
            f"white {white}",
            "%s has 16 bits and values up to %d: white is taken to be %d. Other such files are read in the same way.",
            name_of(image),
            highest,
            white,
        )
    return white


def name_of(image: Image.Image) -> str:
    """Return an image's file, for messages."""
    return str(getattr(image, "filename", "") or "An image")
