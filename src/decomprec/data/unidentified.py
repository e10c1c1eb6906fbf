"""Why Pillow can't tell what an image file is, and what to do about it."""

import io
from pathlib import Path
from typing import BinaryIO

from PIL import TiffImagePlugin

_BITS, _SAMPLES, _SAMPLE_FORMAT = 258, 277, 339  # tags of TIFF
_NUMBERS = {1: "whole numbers", 2: "signed whole numbers", 3: "floating point values"}
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def why_unidentified(image: Path | io.BytesIO) -> str | None:
    r"""Say what an image file, perhaps in memory, holds that Pillow does not read, and the cure; None if unknown.

    Examples:
        >>> import tempfile
        >>> photo = Path(tempfile.mkdtemp()) / "photo.jpg"
        >>> _ = photo.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
        >>> why_unidentified(photo)
        'it is HEIC or HEIF; do pip install pillow-heif, or save it as JPEG'
    """
    with _opened(image) as file:
        start = file.read(32)
        if start[4:8] == b"ftyp" and start[8:12] in _HEIF:
            return "it is HEIC or HEIF; do pip install pillow-heif, or save it as JPEG"
        if start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis"):
            return "it is AVIF, which this Pillow can't decode; do pip install -U pillow, or save it as JPEG"
        if start.startswith(b"version https://git-lfs"):
            return "it only points to a file of Git LFS; do git lfs pull"
        if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
            return "it is a web page, as failed downloads are; download it again"
        if start[:12] == b"\0\0\0\x0cJXL \r\n\x87\n" or start[:2] == b"\xff\x0a":
            return "it is JPEG XL; save it as JPEG or PNG"
        if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _tiff_pixels(image)
    return None


def _opened(image: Path | io.BytesIO) -> BinaryIO:
    return image.open("rb") if isinstance(image, Path) else io.BytesIO(image.getvalue())


def _tiff_pixels(image: Path | io.BytesIO) -> str | None:
    """Say which pixels a TIFF file has."""
    try:
        with _opened(image) as file:
            header = file.read(8)
            tags = TiffImagePlugin.ImageFileDirectory_v2(header + (file.read(8) if 43 in header[2:4] else b""))
            file.seek(tags.next)
            tags.load(file)
        bands, bits = tags.get(_SAMPLES, 1), max(tags.get(_BITS, (1,)))
        numbers = _NUMBERS[max(tags.get(_SAMPLE_FORMAT, (1,)))]
    except Exception:  # of any type, for damaged tags: the cure is then unknown
        return None
    return (
        f"it is a TIFF file of {bands} band{'s' * (bands != 1)} with {bits}-bit {numbers}, in an arrangement that is "
        "not read; save the three bands that show red, green and blue, as RGB with 8 or 16 bits"
    )
