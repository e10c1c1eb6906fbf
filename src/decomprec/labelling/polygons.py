"""Masks as polygons, whose edges run between the pixels: drawn again, they are the same masks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from contourpy import FillType, contour_generator
from numpy.typing import NDArray

from decomprec.data.formats.coco_masks import mask_api
from decomprec.labelling.label_maps import Mask

Ring = NDArray[np.float64]

_FARTHEST = 10  # how far out of the image a polygon may reach, in its sides


def polygons(mask: Mask) -> list[Ring]:
    """The outline of each part of a mask (H, W), as points (N, 2) of x and y in pixels.

    A hole is joined to the outline by a cut, since the formats know no holes.

    Examples:
        >>> [ring.tolist() for ring in polygons(np.array([[False, True, True, False]]))]
        [[[1.0, 0.5], [1.5, 0.0], [2.5, 0.0], [3.0, 0.5], [2.5, 1.0], [1.5, 1.0]]]
    """
    height, width = mask.shape
    # One pixel of background around the mask closes what its edge would cut.
    x, y = np.arange(-0.5, width + 1), np.arange(-0.5, height + 1)
    generator = contour_generator(x, y, np.pad(mask, 1).astype(np.float64), fill_type=FillType.OuterOffset)
    rings = []
    for points, offsets in zip(*generator.filled(0.5, 2.0), strict=True):
        ends = offsets.tolist()
        outer, *holes = (_bare(points[start:end]) for start, end in pairwise(ends))
        for hole in sorted(holes, key=lambda ring: ring[:, 0].min()):
            outer = _joined(outer, hole)
        rings.append(outer)
    return rings


def fill(ring: Sequence[float], size: tuple[int, int]) -> Mask:
    """The pixels (H, W) of a polygon.

    Args:
        ring: x and y of each point in turn, in pixels; at least three points.
        size: height and width.

    Raises:
        ValueError: if there are fewer points, or one lies far out of the image.
    """
    api = mask_api()
    height, width = size
    if len(ring) < 6 or not all(abs(value) <= _FARTHEST * max(size) for value in ring):
        raise ValueError("a polygon has fewer than three points, or leads far out of the image")
    return np.asarray(api.decode(api.merge(api.frPyObjects([list(ring)], height, width))), dtype=bool)


def _bare(ring: Ring) -> Ring:
    """A ring without its last point, which is the first again, and without points on a straight line."""
    ring = ring[:-1]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return np.asarray(ring[turns != 0])


def _joined(outer: Ring, hole: Ring) -> Ring:
    """One ring that goes around both, by a cut from the hole's leftmost point to the nearest point of the outline."""
    start = int(hole[:, 0].argmin())
    near = int(((outer - hole[start]) ** 2).sum(axis=1).argmin())
    return np.concatenate([outer[: near + 1], np.roll(hole, -start, axis=0), hole[start : start + 1], outer[near:]])
