"""PNG and TIFF files written byte by byte, with bands and bit depths that Pillow does not write."""

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}
_LETTERS = {3: "H", 4: "I"}


def png_of_16_bits(pixels: NDArray[Any]) -> bytes:
    """A PNG of (H, W, C) values: grey, grey with alpha, RGB or RGBA."""
    height, width, bands = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return _png(width, height, 16, _PNG_COLOUR[bands], rows)


def grey_png(pixels: NDArray[Any], bits: int) -> bytes:
    """A greyscale PNG of (H, W) values of 1, 2 or 4 bits."""
    digits = (pixels[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = b"".join(b"\0" + np.packbits(row.astype(np.uint8)).tobytes() for row in digits)
    return _png(pixels.shape[1], pixels.shape[0], bits, 0, rows)


def _png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(
    pixels: NDArray[Any],
    *,
    order: str = "<",
    photometric: int | None = None,
    extra: Sequence[int] | None = None,
    planar: bool = False,
) -> bytes:
    """An uncompressed TIFF of (H, W, C) values.

    Args:
        pixels: integers or floating point values.
        order: of bytes, "<" or ">".
        photometric: 0 white is zero, 1 black is zero, 2 RGB; by default the latter if there are three bands or more.
        extra: what the file says of the bands beyond grey or RGB: 0 nothing, 1 associated alpha, 2 alpha.
        planar: one band after the other.
    """
    height, width, bands = pixels.shape
    stored = pixels.transpose(2, 0, 1) if planar else pixels
    data = stored.astype(pixels.dtype.newbyteorder(order)).tobytes()
    strips = bands if planar else 1
    sample = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    tags: dict[int, tuple[int, list[int]]] = {
        256: (3, [width]),
        257: (3, [height]),
        258: (3, [8 * pixels.dtype.itemsize] * bands),
        259: (3, [1]),
        262: (3, [photometric if photometric is not None else 2 if bands > 2 else 1]),
        273: (4, [0] * strips),
        277: (3, [bands]),
        278: (3, [height]),
        279: (4, [len(data) // strips] * strips),
        284: (3, [2 if planar else 1]),
        **({} if extra is None else {338: (3, list(extra))}),
        339: (3, [sample] * bands),
    }
    first = 8 + 2 + 12 * len(tags) + 4
    sizes = {tag: len(values) * (2 if kind == 3 else 4) for tag, (kind, values) in tags.items()}
    start = first + sum(size for size in sizes.values() if size > 4)
    tags[273] = 4, [start + i * (len(data) // strips) for i in range(strips)]
    entries, values_outside = b"", b""
    for tag, (kind, values) in tags.items():
        packed = struct.pack(f"{order}{len(values)}{_LETTERS[kind]}", *values)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", first + len(values_outside))
            values_outside += packed
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + place
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(tags))
    return head + entries + struct.pack(f"{order}I", 0) + values_outside + data
