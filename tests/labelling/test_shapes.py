"""Polygons and brush strokes stand for the same pixels as the masks that they are made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from decomprec.labelling import brush_rle
from decomprec.labelling.label_maps import Mask
from decomprec.labelling.polygons import polygons

MASKS = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@given(MASKS)
@settings(max_examples=60, deadline=None)
def test_polygons_drawn_by_pycocotools_are_the_mask(mask: Mask) -> None:
    rings = [ring.ravel().tolist() for ring in polygons(mask)]
    drawn = coco.decode(coco.merge(coco.frPyObjects(rings, *mask.shape))) if rings else np.zeros(mask.shape)
    assert (drawn.astype(bool) == mask).all()


@given(MASKS)
@settings(max_examples=60, deadline=None)
def test_a_brush_stroke_is_the_mask(mask: Mask) -> None:
    rle = brush_rle.encode(mask)
    assert all(0 <= byte < 256 for byte in rle)
    assert (brush_rle.decode(rle, mask.shape) == mask).all()


def test_long_runs_are_cut_and_read() -> None:
    mask = np.zeros((300, 300), dtype=bool)  # 360,000 values of four channels
    mask[200:] = True
    assert (brush_rle.decode(brush_rle.encode(mask), mask.shape) == mask).all()


def test_single_values_are_read() -> None:
    """Label Studio's own pages write runs of different values too, and other sizes of lengths."""
    values = [0, 0, 0, 9, 0, 0, 0, 200]  # two pixels; the fourth channel counts
    sizes = (1, 2, 5, 7)
    bits = f"{8:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    bits += "0" + "10" + f"{7:05b}" + "".join(f"{value:08b}" for value in values)
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert brush_rle.decode(rle, (1, 2)).tolist() == [[False, True]]


@pytest.mark.parametrize("rle", [[], [0, 0, 0, 8], [0, 0, 0, 4, 57, 27, 254, 48], [300], ["a"], [255] * 40])
def test_what_is_no_stroke_is_refused(rle: list[int]) -> None:
    with pytest.raises(ValueError, match="no brush of 2 x 1 pixels"):
        brush_rle.decode(rle, (1, 2))
