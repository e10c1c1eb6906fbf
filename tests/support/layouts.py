"""Small data sets in the layouts of other tools: every image is different, and its name says what it shows."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from decomprec.data import load_images

SIZE = (6, 8)


def image(path: Path) -> Path:
    """An image of noise that depends on its path: no two are equal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = np.frombuffer(str(path).encode(), dtype=np.uint8)
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def mask(path: Path, value: int) -> Path:
    """A mask whose upper half has a value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.zeros(SIZE, dtype=np.uint8)
    labels[: SIZE[0] // 2] = value
    Image.fromarray(labels).save(path)
    return path


def photo(path: Path) -> None:
    """A photograph of more colours than a mask has, unlike any other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = np.frombuffer(str(path).encode(), dtype=np.uint8)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(path)


def drawn(path: Path, value: int) -> None:
    """A mask of a photograph, whose upper half has a value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.zeros((12, 16), dtype=np.uint8)
    labels[:6] = value
    Image.fromarray(labels).save(path)


def text(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def coco(folder: Path, shown: Mapping[str, Sequence[str]], categories: Sequence[Mapping[str, Any]], name: str) -> Path:
    """A COCO file in the folder of its images, with a triangle for each object that an image shows."""
    ids = {category["name"]: category["id"] for category in categories}
    images, annotations = [], []
    for number, (file, objects) in enumerate(shown.items()):
        image(folder / file)
        images.append({"id": number, "file_name": file, "height": SIZE[0], "width": SIZE[1]})
        for thing in objects:
            outline = [[0, 0, 4, 0, 4, 4]]
            entry = {"id": len(annotations), "image_id": number, "category_id": ids[thing], "segmentation": outline}
            annotations.append(entry)
    content = {"images": images, "categories": list(categories), "annotations": annotations}
    return text(folder / name, json.dumps(content))


def xml(path: Path, names: Iterable[str]) -> Path:
    objects = "".join(f"<object><name>{name}</name></object>" for name in names)
    return text(path, f"<annotation>{objects}</annotation>")


def read(path: Path, split: str, **options: Any) -> Any:
    """A split as `train` reads it: with masks if it validates."""
    return load_images(path, **options)(split, transform=None, masks=split != "train")


def tags_by_name(data: Any) -> dict[str, set[str]]:
    """What each image of a data set is said to show."""
    return {
        record.name: {name for name, tag in zip(data.class_names, tags, strict=True) if tag}
        for record, tags in zip(data.records, data.tags.tolist(), strict=True)
    }


def masked(data: Any) -> set[str]:
    """Names of the images whose mask was found."""
    return {record.name for record in data.records if record.mask is not None}
