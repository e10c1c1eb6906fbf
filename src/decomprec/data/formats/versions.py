"""Folders of the same images in several versions, which are no classes."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_COMPARED, _FEWEST = 8, 4
_MOST_FOLDERS = 12  # nobody keeps more versions, and to compare all pairs takes time
_SIDE = 16


def check_versions(root: Path, folders: Mapping[str, Sequence[Path]]) -> None:
    """Refuse folders of one image in versions, such as raw photographs and the retouched ones of experts.

    These have images of the same names, and each looks more like the one of its name in the other folder than like any
    other there. The latter tells them from classes whose images are only numbered alike.

    Args:
        root: of the data set, for messages.
        folders: images of each folder that may be a class.

    Raises:
        FileNotFoundError: if two folders are versions of each other.
    """
    if len(folders) > _MOST_FOLDERS:
        return
    named = {name: {file.stem: file for file in files} for name, files in folders.items()}
    looks: dict[Path, NDArray[np.float64] | None] = {}
    for first, second in combinations(named, 2):
        shared = sorted(named[first].keys() & named[second].keys())
        if len(shared) < max(_FEWEST, min(len(named[first]), len(named[second])) // 2):
            continue
        stems = shared[:: max(1, len(shared) // _COMPARED)][:_COMPARED]
        sides = [[_look(named[name][stem], looks) for stem in stems] for name in (first, second)]
        if _match(*sides):
            raise FileNotFoundError(
                f"Expected {root} to hold a folder per class, but {first} and {second} hold the same images in two "
                f"versions, such as {named[first][stems[0]].name}; list the images of one folder with their tags in "
                "tags.csv or, if these folders are the classes, name them as `classes`."
            )


def _match(first: list[NDArray[np.float64] | None], second: list[NDArray[np.float64] | None]) -> bool:
    """Whether each look is most like the one at its place among the others."""
    known = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if len(known) < _FEWEST:
        return False
    alike = np.stack([a for a, _ in known]) @ np.stack([b for _, b in known]).T
    places = np.arange(len(known))
    return bool((alike.argmax(axis=1) == places).all() and (alike.argmax(axis=0) == places).all())


def _look(file: Path, looks: dict[Path, NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    """The shades of an image, of mean 0 and length 1; None if it can't be read or has one shade."""
    if file not in looks:
        looks[file] = _shades(file)
    return looks[file]


def _shades(file: Path) -> NDArray[np.float64] | None:
    try:
        with Image.open(file) as image:
            image.draft("L", (_SIDE, _SIDE))
            shades = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float64)
    except Exception:  # of any type; training names the file
        return None
    centred = shades.ravel() - shades.mean()
    length = float(np.linalg.norm(centred))
    return centred / length if length > 0 else None
