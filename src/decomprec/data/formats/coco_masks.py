"""Label maps of COCO's annotations: polygons and run-length encodings, drawn."""

import ast
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from decomprec.data.formats.coco_file import CocoImage, id_of, is_crowd
from decomprec.data.samples import IGNORE

_FARTHEST = 10  # how far out of the image a polygon may reach, in its sides
_FEWEST = 6  # numbers of a polygon: three points

Polygon = NDArray[np.float64]


def label_map(image: CocoImage, size: tuple[int, int], labels: Mapping[str, int]) -> Tensor:
    """Draw the label map (H, W), int64, of an image's instances.

    Args:
        image: with its annotations.
        size: height and width.
        labels: by the id of a category; objects of others are background.

    Raises:
        ValueError: if a segmentation is neither polygons nor RLE.
    """
    objects: dict[int, NDArray[np.bool_]] = defaultdict(lambda: np.zeros(size, dtype=bool))
    unknown = np.zeros(size, dtype=bool)
    for instance in image.instances:
        label = labels.get(instance["category_id"])
        if label is None:
            continue
        if not has_segmentation(instance):
            unknown[:] = True
            continue
        region, vague = _region(instance, image, size)
        unknown |= vague
        if is_crowd(instance):
            unknown |= region
        else:
            objects[label] |= region
    drawn = np.where(unknown, IGNORE, 0)
    for label, region in objects.items():
        drawn[region] = label
    if objects:
        drawn[sum(region.astype(int) for region in objects.values()) > 1] = IGNORE
    return torch.from_numpy(drawn).long()


def has_segmentation(instance: Mapping[str, Any]) -> bool:
    """Return whether an annotation has a segmentation, with anything in it."""
    segmentation = instance.get("segmentation")
    return any(map(_holds, segmentation)) if isinstance(segmentation, list) else bool(segmentation)


def short_polygons(instance: Mapping[str, Any]) -> int:
    """Count an annotation's polygons of fewer than three points."""
    segmentation = instance.get("segmentation")
    if not isinstance(segmentation, list):
        return 0
    try:
        return sum(len(polygon) < _FEWEST for polygon in _polygons(segmentation))
    except ValueError:  # drawing it says more
        return 0


def mask_api() -> Any:
    """Import pycocotools' functions on masks.

    Raises:
        ValueError: if pycocotools is missing.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ValueError(
            "Expected pycocotools to be installed, which COCO's masks need; do pip install pycocotools."
        ) from error
    return mask


def _holds(part: Any) -> bool:
    return not isinstance(part, list | dict) or bool(part)


def _region(
    instance: Mapping[str, Any], image: CocoImage, size: tuple[int, int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw the pixels (H, W) of an object, and those that may be its: around polygons of fewer than three points."""
    segmentation = instance["segmentation"]
    region, vague = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    try:
        if isinstance(segmentation, dict):
            return _decoded(segmentation, size), vague
        if not isinstance(segmentation, list):
            raise ValueError(f"it is {segmentation!r:.40}")
        if all(isinstance(part, dict) for part in segmentation):
            return np.any([_decoded(code, size) for code in segmentation], axis=0), vague
        polygons = _polygons(segmentation)
        for polygon in polygons:
            if not (abs(polygon) <= _FARTHEST * max(size)).all():
                raise ValueError("a polygon leads far out of the image")
            if len(polygon) < _FEWEST:
                vague[_extent(polygon, size)] = True
        if areas := [polygon.tolist() for polygon in polygons if len(polygon) >= _FEWEST]:
            api = mask_api()
            region = api.decode(api.merge(api.frPyObjects(areas, *size))).astype(bool)
    except Exception as error:  # pycocotools raises bare exceptions
        which = f"that of annotation {instance['id']}" if id_of(instance.get("id")) else "one of its annotations"
        raise ValueError(
            f"Expected a segmentation of {image.file_name} in {image.path} to be polygons or RLE, but {which} is not: "
            f"{error}. Correct it, or remove it and keep the tag."
        ) from error
    return region, vague


def _polygons(segmentation: Sequence[Any]) -> list[Polygon]:
    """Return polygons x1, y1, x2, y2, ...: one without its outer list is read too, and points that are pairs."""
    if not any(isinstance(part, list) for part in segmentation) or (
        len(segmentation) >= _FEWEST // 2 and all(map(_is_pair, segmentation))
    ):
        segmentation = [segmentation]
    polygons = []
    for part in segmentation:
        points = [value for pair in part for value in pair] if part and all(map(_is_pair, part)) else part
        if not isinstance(points, list) or any(isinstance(value, list | dict) for value in points):
            raise ValueError("a polygon is no list of numbers")
        try:
            polygon = np.asarray(points, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError("a polygon is no list of numbers") from error
        if len(polygon) % 2:
            raise ValueError(f"a polygon has {len(polygon)} numbers, not an x and a y for each point")
        if len(polygon):
            polygons.append(polygon)
    return polygons


def _is_pair(part: Any) -> bool:
    return isinstance(part, list) and len(part) == 2 and not any(isinstance(value, list | dict) for value in part)


def _extent(polygon: Polygon, size: tuple[int, int]) -> tuple[slice, slice]:
    points = polygon.reshape(-1, 2)[:, ::-1].clip(0, size)
    first, last = np.floor(points.min(axis=0)).astype(int), np.ceil(points.max(axis=0)).astype(int)
    return slice(first[0], max(last[0], first[0] + 1)), slice(first[1], max(last[1], first[1] + 1))


def _decoded(code: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw compressed or uncompressed RLE; the size of the image is taken where it names none."""
    counts, stated = code.get("counts"), [int(side) for side in code.get("size") or size]
    if stated != list(size):
        raise ValueError(f"it has the height and width {stated}, not those of the image, {list(size)}")
    if isinstance(counts, str):
        lengths = _lengths(counts)
    elif isinstance(counts, list):
        lengths = [int(count) for count in counts]
    else:
        raise ValueError(f"its counts are {counts!r:.40}")
    if min(lengths, default=0) < 0 or sum(lengths) != size[0] * size[1]:
        raise ValueError(f"its counts are not of the image's {size[0] * size[1]} pixels")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(size[::-1]).T  # column by column


def _lengths(text: str) -> list[int]:
    """Return the counts of compressed RLE: six bits a letter, and from the third count on the change over two."""
    if text[:2] in ("b'", 'b"'):  # bytes that were written as Python shows them
        text = ast.literal_eval(text).decode("ascii")
    lengths: list[int] = []
    value = bits = 0
    for letter in text:
        digit = ord(letter) - ord("0")
        if not 0 <= digit < 64:
            raise ValueError(f"its counts are {text!r:.40}")
        value |= (digit & 31) << bits
        bits += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << bits
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = bits = 0
    return lengths
