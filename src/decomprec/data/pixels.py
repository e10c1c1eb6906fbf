"""Pixels of an image in any of Pillow's modes, as RGB with 8 bits."""

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from decomprec.data.bit_depths import bits_of, decoded, grey_values, is_tiff, name_of, tag
from decomprec.data.notices import say_once

QUARTER_TURNS = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What EXIF orientations with a quarter turn do to the stored image."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    **QUARTER_TURNS,
}
_EXIF_ORIENTATION = 0x0112
_RGB, _CMYK = 2, 5  # photometric interpretations of TIFF
_ALPHA = {1, 2, 999}  # extra samples of TIFF: both kinds of alpha, and what Corel Draw writes
_STRIP = 1 << 20  # pixels that are copied at once
_PAGES = ("GIF", "TIFF", "PNG", "WEBP", "AVIF")  # not MPO: cameras append previews


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1 if there is none, or none that can be read.

    Examples:
        >>> orientation(Image.new("L", (3, 1)))
        1
    """
    try:
        value: int = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF data are common: the image stays as stored
        return 1
    return value


def reduction(image: Image.Image, most_pixels: int | None) -> int:
    """Return the smallest whole number to divide both sides by; 1 if the image is small enough."""
    return 1 if most_pixels is None else math.ceil(math.sqrt(image.width * image.height / most_pixels))


def rgb_pixels(image: Image.Image, most_pixels: int | None = None) -> Tensor:
    """Convert an image in any of Pillow's modes to RGB, turned by its EXIF orientation.

    Greyscale, palette and CMYK are converted. What else is done to the values, and logged once of each kind:

    - Transparent pixels are laid over white. A fourth band of a TIFF file counts as alpha if the file says so and at
      least half of its values above 0 are the highest; else the first three bands are read.
    - Integers of more than 8 bits are scaled to 8. White is the file's own range if it states fewer than 16 bits, else
      the next power of two above its highest value, less one: 4095 for 12 bits in 16.
    - Floating point values up to 1 are multiplied by 255. Up to 255, they are rounded; larger ones are scaled like
      integers.
    - Of several pages or frames, the first is read.

    Args:
        image: as opened from a file, or made in memory.
        most_pixels: a larger image is reduced, by a whole number, to at most this many pixels.

    Returns:
        (3, H, W), uint8.

    Raises:
        ValueError: if values are negative, not finite or beyond 16 bits, or if there are more than four bands.

    Examples:
        >>> rgb_pixels(Image.new("RGBA", (1, 1), (255, 0, 0, 51))).flatten()
        tensor([255, 204, 204], dtype=torch.uint8)
        >>> rgb_pixels(Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16)))[0]
        tensor([[  0, 128, 255]], dtype=torch.uint8)
    """
    if image.format in _PAGES and getattr(image, "is_animated", False) and image.tell() == 0:
        say_once(
            "pages",
            "%s has several pages or frames: the first is read. Other such files are read in the same way.",
            name_of(image),
        )
    rgb = _rgb(image)
    turn = _TURNS.get(orientation(image))
    if turn is not None:
        rgb = rgb.transpose(turn)
    factor = reduction(rgb, most_pixels)
    if factor > 1:
        rgb = rgb.reduce(factor)
    pixels = np.empty((3, rgb.height, rgb.width), dtype=np.uint8)
    rows = max(1, _STRIP // rgb.width)
    for top in range(0, rgb.height, rows):  # at once, Pillow would copy a large image several times
        strip = rgb.crop((0, top, rgb.width, min(top + rows, rgb.height)))
        pixels[:, top : top + rows] = np.asarray(strip).transpose(2, 0, 1)
    return torch.from_numpy(pixels)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode[0] in "IF":
        return Image.fromarray(grey_values(image)).convert("RGB")
    _check_bands(image)
    image, associated = decoded(image)
    if not ({"A", "a"} & set(image.getbands()) or "transparency" in image.info):
        return image if image.mode == "RGB" else image.convert("RGB")
    with_alpha = image.convert("RGBA")
    if is_tiff(image) and not _is_alpha(image, with_alpha.getchannel("A")):
        say_once(
            "bands",
            "%s has a fourth band that is no transparency: the first three are read as red, green and blue. Other such "
            "files are read in the same way.",
            name_of(image),
        )
        return Image.merge("RGB", with_alpha.split()[:3])
    if associated:  # colours hold their share already
        values = np.asarray(with_alpha).astype(np.int32)
        return Image.fromarray(np.minimum(values[..., :3] + 255 - values[..., 3:], 255).astype(np.uint8))
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(with_alpha)
    return white.convert("RGB")


def _check_bands(image: Image.Image) -> None:
    """Raise a ValueError for bands whose meaning is unknown, and say if only the first are read."""
    if not is_tiff(image) or tag(image, "PhotometricInterpretation", _RGB) == _CMYK:
        return
    if tag(image, "PlanarConfiguration", 1) == 2 and max(bits_of(image)) > 8:  # which Pillow reads as noise
        raise ValueError("its 16-bit bands are stored one after the other; save them pixel by pixel, or with 8 bits")
    bands = tag(image, "SamplesPerPixel", 1)
    if bands > 4:
        raise ValueError(f"it has {bands} bands; save the three that show red, green and blue")
    if bands in (2, 4) and image.mode in ("L", "RGB"):
        say_once(
            f"{bands} bands",
            "%s has %d bands, and none is marked as alpha: the first %s. Other such files are read in the same way.",
            name_of(image),
            bands,
            "is read as grey" if bands == 2 else "three are read as red, green and blue",
        )


def _is_alpha(image: Image.Image, band: Image.Image) -> bool:
    """Whether a TIFF's last band is transparency: some writers mark any fourth band, such as infrared, as alpha."""
    if image.mode != "RGBA":
        return True
    counts = band.histogram()
    shown = sum(counts[1:])
    return bool(_ALPHA & set(tag(image, "ExtraSamples", ()))) and 0 < shown <= 2 * counts[255]
