"""Label maps on their way to a labelling tool, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from decomprec.data.names import plain
from decomprec.data.paths import read_text
from decomprec.data.samples import IGNORE

IGNORED = "ignore"
"""Name of the pixels that are 255, in tools that know names only."""

_FIXED = {"background": 0, IGNORED: IGNORE}

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Labelled:
    """An image with its label map, to be exported.

    Attributes:
        name: of the label map: its path below its folder, without the ending.
        image: file of the image.
        read: returns the label map (H, W), integers; 0 is the background, 255 unknown.
        score: how sure the model is, in [0, 1]; None if that is not known.
    """

    name: str
    image: Path
    read: Callable[[], Tensor]
    score: float | None = None

    @property
    def file_name(self) -> str:
        """The name with the ending of the image."""
        return f"{self.name}{self.image.suffix}"


class LabelMaps(NamedTuple):
    """What a tool has exported.

    Attributes:
        names: of the labels, from 1; "background" and "ignore" may be among them.
        maps: the name of each image, a path, and a function that returns its label map (H, W), integers: the number of
            a label, 0 where there is none, 255 where it is unknown.
    """

    names: tuple[str, ...]
    maps: list[tuple[str, Callable[[], Tensor]]]


def regions(labels: Tensor, class_names: Iterable[str]) -> list[tuple[str, Mask]]:
    """The classes in a label map (H, W), each with its pixels (H, W); those of 255 are called "ignore".

    Raises:
        ValueError: if a label is no class.

    Examples:
        >>> [(name, mask.tolist()) for name, mask in regions(torch.tensor([[0, 2, 255]]), ["cat", "dog"])]
        [('dog', [[False, True, False]]), ('ignore', [[False, False, True]])]
    """
    names = {**dict(enumerate(class_names, 1)), IGNORE: IGNORED}
    values = labels.cpu().numpy()
    present = [k for k in np.unique(values).tolist() if k != 0]
    if unknown := [k for k in present if k not in names]:
        raise ValueError(f"Expected labels of 0 to {len(names) - 1}, or {IGNORE}, but got {unknown}.")
    return [(names[k], values == k) for k in present]


def classes_of(names: Iterable[str]) -> tuple[str, ...]:
    """The names that are classes: neither "background" nor "ignore".

    Examples:
        >>> classes_of(["background", "dog", "ignore", "cat"])
        ('dog', 'cat')
    """
    return tuple(name for name in names if plain(name) not in _FIXED)


def renumbering(names: Sequence[str], classes: Sequence[str]) -> Tensor:
    """The label (256,) of each of a tool's numbers: 255 stays, and is "ignore"; what is no class is background.

    Examples:
        >>> renumbering(["background", "dog", "ignore", "cat"], ["cat"])[[0, 1, 2, 3, 4, 255]].tolist()
        [0, 0, 0, 255, 1, 255]
    """
    table = torch.zeros(IGNORE + 1, dtype=torch.long)
    table[IGNORE] = IGNORE
    labels = {**_FIXED, **{name: label for label, name in enumerate(classes, 1)}}
    for number, name in enumerate(names, 1):
        table[number] = labels.get(name if name in labels else plain(name), 0)
    return table


def paint(found: Iterable[tuple[int, Mask]], size: tuple[int, int]) -> Tensor:
    """The label map (H, W), int64, of regions (label, pixels); 255 where those of different labels overlap.

    Examples:
        >>> paint([(1, np.array([[True, True, False]])), (2, np.array([[False, True, False]]))], (1, 3))
        tensor([[  1, 255,   0]])
    """
    drawn = np.full(size, -1, dtype=np.int64)
    for label, mask in found:
        drawn[mask] = np.where((drawn[mask] == -1) | (drawn[mask] == label), label, IGNORE)
    return torch.from_numpy(np.where(drawn == -1, 0, drawn))


def read_json(file: Path, where: object) -> Any:
    """The content of a JSON file.

    Args:
        file: to read.
        where: the file, for messages.

    Raises:
        ValueError: if it is no JSON.
    """
    try:
        return json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected {where} to hold JSON, but: {error}.") from error


def entries(value: Any, key: str, where: object) -> list[dict[str, Any]]:
    """The list of mappings at a key of a JSON file.

    Raises:
        ValueError: if it is none.
    """
    found = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(entry, Mapping) for entry in found):
        raise ValueError(f"Expected {where} to have a list {key!r} of mappings, but it has none.")
    return found
