"""The run lengths in which Label Studio keeps brush strokes: bits of the four channels of an RGBA image.

A header says how many values there are (32 bits), how many bits each has (5) and how many bits the four sizes of run
lengths have (4 each). Then come runs: a bit for a repeated value, the size of the length (2 bits), the length, and the
value; or, without that bit, as many values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from decomprec.labelling.label_maps import Mask

_LENGTH_BITS = (3, 4, 8, 16)
_LONGEST = 2 ** _LENGTH_BITS[-1]
_OPAQUE = 255
_CHANNELS = 4


def encode(mask: Mask) -> list[int]:
    """Encode the pixels (H, W) of a stroke as bytes.

    Examples:
        >>> encode(np.array([[False, True]]))
        [0, 0, 0, 8, 57, 27, 252, 96, 17, 255, 128]
    """
    values = mask.ravel()
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True)) + 1
    lengths = _CHANNELS * np.diff(ends, prepend=0)
    bits = [f"{_CHANNELS * values.size:032b}{7:05b}", *(f"{size - 1:04b}" for size in _LENGTH_BITS)]
    for length, opaque in zip(lengths.tolist(), values[ends - 1].tolist(), strict=True):
        value = f"{_OPAQUE if opaque else 0:08b}"
        whole, rest = divmod(length, _LONGEST)
        bits += [_run(_LONGEST) + value] * whole + ([_run(rest) + value] if rest else [])
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


def decode(rle: Sequence[int], size: tuple[int, int]) -> Mask:
    """Decode bytes to the pixels (H, W) that are more than half opaque.

    Args:
        rle: the bytes.
        size: height and width.

    Raises:
        ValueError: if these are no such bytes, or of another size.

    Examples:
        >>> decode([0, 0, 0, 8, 57, 27, 252, 96, 17, 255, 128], (1, 2))
        array([[False,  True]])
    """
    try:
        return _decode(rle, size)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"it is no brush of {size[1]} x {size[0]} pixels: {error}") from error


def _decode(rle: Sequence[int], size: tuple[int, int]) -> Mask:
    if not all(isinstance(byte, int) and 0 <= byte < 256 for byte in rle):
        raise ValueError("it holds other values than bytes")
    text = "".join(f"{byte:08b}" for byte in rle)
    at = 0

    def read(bits: int) -> int:
        nonlocal at
        at += bits
        if at > len(text):
            raise ValueError("it ends early")
        return int(text[at - bits : at], 2)

    count, word = read(32), read(5) + 1
    if count != _CHANNELS * size[0] * size[1] or word != 8:
        raise ValueError(f"it has {count} values of {word} bits")
    lengths = [read(4) + 1 for _ in range(4)]
    values = np.zeros(count, dtype=np.uint8)
    done = 0
    while done < count:
        repeated = read(1)
        end = done + 1 + read(lengths[read(2)])
        if end > count:
            raise ValueError("it is too long")
        values[done:end] = read(word) if repeated else [read(word) for _ in range(end - done)]
        done = end
    return np.asarray(values.reshape(*size, _CHANNELS)[..., -1] > _OPAQUE // 2)


def _run(length: int) -> str:
    """The bits of a repeated value: how long its run is, in the smallest size that holds it."""
    size = next(i for i, bits in enumerate(_LENGTH_BITS) if length <= 2**bits)
    return f"1{size:02b}{length - 1:0{_LENGTH_BITS[size]}b}"
