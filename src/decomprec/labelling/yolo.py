"""YOLO's segmentation labels: polygons in shares of the image, one text file for each image."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import yaml
from torch import Tensor

from decomprec._files import write_text, written_whole
from decomprec._yaml import load_yaml
from decomprec.data.class_lists import LISTS, find_class_list, listed_names
from decomprec.data.image_io import image_files, stored_size
from decomprec.data.paths import read_text
from decomprec.labelling.label_maps import IGNORED, Labelled, LabelMaps, paint, regions
from decomprec.labelling.polygons import fill, polygons

DATA, IMAGES, LABELS = "data.yaml", "images", "labels"


def write(labelled: Iterable[Labelled], class_names: Sequence[str], out: Path) -> None:
    """Write data.yaml, labels, and copies of the images, which trainers look for next to them.

    Each part of a class is an object. Pixels of 255 have no place in the format, and are left out.
    """
    numbers = {name: k for k, name in enumerate(class_names)}
    for item in labelled:
        labels = item.read()
        height, width = labels.shape
        lines = [
            " ".join([str(numbers[name]), *(f"{x / width:.6f} {y / height:.6f}" for x, y in ring.tolist())])
            for name, mask in regions(labels, class_names)
            if name != IGNORED
            for ring in polygons(mask)
        ]
        write_text(out / LABELS / f"{item.name}.txt", "".join(f"{line}\n" for line in lines))
        with written_whole(out / IMAGES / item.file_name) as partial_file:
            shutil.copyfile(item.image, partial_file)
    content = {"path": str(out.resolve()), "train": IMAGES, "val": IMAGES, "names": dict(enumerate(class_names))}
    write_text(out / DATA, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def read(source: Path) -> LabelMaps:
    """Find the label maps of images with labels in a folder with any splits.

    Raises:
        ValueError: if data.yaml, or a list such as classes.txt, names no classes, or an image is missing.
    """
    names = _names(source)
    numbers = {key: number for number, key in enumerate(names, 1)}
    images = {_stem(file, source, IMAGES): file for file in image_files(source)}
    maps: list[tuple[str, Callable[[], Tensor]]] = []
    for file in sorted(source.rglob("*.txt")):
        name = _stem(file, source, LABELS)
        if LABELS not in file.relative_to(source).parts or file.name in LISTS:
            continue
        if name not in images:
            raise ValueError(
                f"Expected an image for {file.relative_to(source)}, from which its size is known, but found none; put "
                f"the images into {IMAGES}/ next to {LABELS}/."
            )
        maps.append((name, partial(_draw, file, images[name], numbers)))
    return LabelMaps(tuple(names.values()), maps)


def _names(source: Path) -> dict[int, str]:
    """The classes by their numbers: of data.yaml, else of a list such as classes.txt."""
    file = source / DATA
    if not file.is_file():
        listed = find_class_list(source)
        return {} if listed is None else dict(enumerate(listed_names(listed)))
    try:
        content = load_yaml(read_text(file))
    except ValueError as error:
        raise ValueError(f"Expected {file.name} to be YAML, but {error}.") from error
    names = content.get("names") if isinstance(content, Mapping) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, Mapping) or not all(isinstance(key, int) for key in names):
        raise ValueError(f"Expected {file.name} to name the classes at `names`, but it has {names!r:.60}.")
    return {key: str(name) for key, name in names.items()}


def _stem(file: Path, source: Path, role: str) -> str:
    """A path without the folder of its role and the ending: what an image and its labels share."""
    parts = list(file.relative_to(source).with_suffix("").parts)
    if role in parts[:-1]:
        parts.remove(role)
    return "/".join(parts)


def _draw(file: Path, image: Path, labels: Mapping[int, int]) -> Tensor:
    height, width = stored_size(image)
    found = []
    for count, line in enumerate(read_text(file).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            label, ring = labels[int(words[0])], [float(word) for word in words[1:]]
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"Expected line {count} of {file.name} to be a class and a polygon, but: {error}."
            ) from error
        if len(ring) < 6 or len(ring) % 2:
            raise ValueError(
                f"Expected line {count} of {file.name} to be a polygon, in shares of the image, but got {line[:60]!r}; "
                "boxes are no masks."
            )
        points = [part * side for part, side in zip(ring, [width, height] * (len(ring) // 2), strict=True)]
        try:
            found.append((label, fill(points, (height, width))))
        except ValueError as error:
            raise ValueError(
                f"Expected line {count} of {file.name} to be in shares of the image, but: {error}."
            ) from error
    return paint(found, (height, width))
