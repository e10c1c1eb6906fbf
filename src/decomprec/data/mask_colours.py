"""Masks whose classes are colours."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]


class Colours(NamedTuple):
    """The colours of classes in masks.

    Attributes:
        file: list that states them.
        values: the mask value of each colour.
    """

    file: Path
    values: tuple[tuple[Colour, int], ...]


def values_of_colours(pixels: NDArray[np.uint8], colours: Colours, where: object) -> NDArray[np.uint8]:
    """Return the values (H, W) of a mask (H, W, 3).

    Args:
        pixels: the mask in RGB.
        colours: of the classes.
        where: the mask, for messages.

    Raises:
        ValueError: if it has another colour.

    Examples:
        >>> pixels = np.full((1, 2, 3), (250, 50, 83), dtype=np.uint8)
        >>> values_of_colours(pixels, Colours(Path("labelmap.txt"), (((250, 50, 83), 1),)), "a.png")
        array([[1, 1]], dtype=uint8)
    """
    table = {red << 16 | green << 8 | blue: value for (red, green, blue), value in colours.values}
    found, inverse, counts = np.unique(
        pixels.astype(np.int64) @ (1 << 16, 1 << 8, 1), return_inverse=True, return_counts=True
    )
    codes = dict(zip(found.tolist(), counts.tolist(), strict=True))
    if unknown := [code for code in codes if code not in table]:
        code = unknown[0]
        raise ValueError(
            f"Expected mask {where} to have the {len(table)} colours in {colours.file}, but {codes[code]} pixels are "
            f"{code >> 16},{code >> 8 & 255},{code & 255}; add that colour, or save masks without smoothing and JPEG."
        )
    return np.array([table[code] for code in codes], dtype=np.uint8)[inverse].reshape(pixels.shape[:2])
