"""COCO files of labelling tools: one in each folder of a split, as Roboflow writes, or one for all images."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from decomprec.data.formats.coco import CocoInstances
from decomprec.data.formats.coco_splits import instance_files, load_coco
from decomprec.data.names import is_nothing, is_system, split_of, subfolders
from decomprec.data.notes import say
from decomprec.data.paths import read_text
from decomprec.data.splits import choose_part, held_out

_NAME = "_annotations.coco.json"


def load_coco_files(path: Path, split: str, *, classes: Sequence[str] | None = None, **options: Any) -> CocoInstances:
    """Load a split of COCO files: one in each split's folder, or what `load_coco` knows.

    Categories that only group others, as in exports of Roboflow, are no classes unless `classes` has them.

    Args:
        path: the folder, or one of its files.
        split: "train" or "val" or, of split folders, "test".
        classes: see `CocoInstances`.
        **options: of `CocoInstances`.

    Raises:
        ValueError: if the split is unknown or empty, or a file can't be read.
    """
    files = split_files(path)
    if not files:
        single = _single_file(path)
        if single is not None and classes is None:
            classes = _classes([single])
        return load_coco(path if single is None else single, split, classes=classes, **options)
    part = choose_part(files, split, path)
    chosen = _classes(list(files.values())) if classes is None else tuple(classes)
    file = files[part.source]
    images = next((child for child in subfolders(file.parent) if child.name == "images"), file.parent)
    data = CocoInstances(file, images=images, classes=chosen, **options)
    if part.share == "all":
        return data
    out = held_out(record.name for record in data.records)
    return data.select([i for i, record in enumerate(data.records) if (record.name in out) == (part.share == "val")])


def split_files(path: Path) -> dict[str, Path]:
    """Return the COCO file in each folder of a split, by the folder's name; none if the layout is another.

    Args:
        path: the folder that holds those of the splits, or one of the files.
    """
    if path.is_file():
        if split_of(path.parent.name) is None:
            return {}
        found = split_files(path.parent.parent)
        return found if path in found.values() else {}
    files = {child.name: coco_file(child) for child in subfolders(path) if split_of(child.name)}
    return {name: file for name, file in files.items() if file is not None}


def coco_file(folder: Path) -> Path | None:
    """Return the COCO file of a folder; None if it holds none, or several."""
    files = [file for file in sorted(folder.glob("*.json")) if not is_system(file.name)]
    named = [file for file in files if file.name == _NAME] or [file for file in files if _is_coco(file)]
    return named[0] if len(named) == 1 else None


def _single_file(path: Path) -> Path | None:
    """The file of all images; None if there is one for each split, as in COCO itself."""
    if path.is_file():
        return None if "train" in path.name else path
    instances = instance_files(path)
    return coco_file(path) if not instances else instances[0] if len(instances) == 1 else None


def _is_coco(file: Path) -> bool:
    content = file.read_bytes()
    return all(f'"{key}"'.encode() in content for key in ("images", "annotations", "categories"))


def _classes(files: Sequence[Path]) -> tuple[str, ...] | None:
    """The categories of all files that are classes, in the order of their ids; None if that can't be told."""
    try:
        contents = [json.loads(read_text(file)) for file in files]
        categories = [category for content in contents for category in content["categories"]]
        used = {str(instance["category_id"]) for content in contents for instance in content["annotations"]}
        ids = {str(category["name"]): category["id"] for category in reversed(categories)}
        groups = {str(category.get("supercategory")) for category in categories}
        used_names = {str(category["name"]) for category in categories if str(category["id"]) in used}
        order = sorted(ids, key=lambda name: float(ids[name]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None  # the reader of the file says what is wrong
    unused = [name for name in order if name not in used_names and (name in groups or is_nothing(name))]
    if unused and used_names:
        say(f"{files[0]}: {', '.join(map(repr, unused))} groups other categories or means none, and is no class.")
        order = [name for name in order if name not in unused]
    return tuple(order) or None
