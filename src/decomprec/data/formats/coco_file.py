"""COCO's JSON files, as COCO and other tools write them."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from decomprec.data.class_lists import classes_in
from decomprec.data.names import is_nothing
from decomprec.data.notices import say, say_once
from decomprec.data.paths import read_text


@dataclass
class CocoImage:
    """An image and its annotations.

    Attributes:
        path: of the annotations' file, for messages.
        file_name: as written.
        size: height and width; None if the file says neither.
        instances: the annotations, whose "category_id" is as `CocoFile` has it.
    """

    path: Path
    file_name: str
    size: tuple[int, int] | None
    instances: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class CocoFile:
    """The images and categories of a COCO file.

    Ids may be numbers or text. Categories of one name are one class. A category that no object has is left out if it is
    only the `supercategory` of others, or called "background" or the like; `classes` leaves out the latter in any case.
    Annotations of images that are not listed are left out and counted.

    Attributes:
        images: in the file's order.
        categories: names by id, in the order of the ids.
    """

    images: list[CocoImage]
    categories: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, in the order of their ids."""
        return tuple(dict.fromkeys(self.categories.values()))

    def classes(self, chosen: Collection[str] | None = None) -> list[str]:
        """Return the names that are classes: not "background" and the like, unless the user has chosen them.

        Raises:
            ValueError: if two names differ only in case or spaces, and `chosen` does not say which are classes.
        """
        return classes_in(self.names, chosen, self.images[0].path if self.images else "the file", _nothing)

    def labels(self, class_names: Sequence[str]) -> dict[str, int]:
        """Return the label of each category that is a class."""
        label = {name: k for k, name in enumerate(class_names, 1)}
        return {key: label[name] for key, name in self.categories.items() if name in label}

    @classmethod
    def read(cls, path: Path) -> "CocoFile":
        """Read a file.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it has another form, in one sentence that says where.
        """
        if not path.is_file():
            raise FileNotFoundError(f"Expected `annotations` to be a file, but got {path}.")
        try:
            content = json.loads(read_text(path))
            images = _images(_entries(content, "images"), path)
            categories = _categories(_entries(content, "categories"))
            used = _attach(_entries(content, "annotations"), images, categories)
            unused = _no_classes(_entries(content, "categories")) - used
        except (ValueError, OverflowError, RecursionError) as error:
            reason = (
                f"{type(error).__name__}: {error}"
                if isinstance(error, json.JSONDecodeError | RecursionError)
                else error
            )
            raise ValueError(f"Expected {path} to hold COCO's instance annotations, but: {reason}.") from error
        if unused:
            say(f"{path}: {', '.join(repr(categories[key]) for key in sorted(unused))} has no object and is no class.")
        kept = {key: name for key, name in categories.items() if key not in unused}
        return cls(list(images.values()), dict(sorted(kept.items(), key=lambda pair: id_order(pair[0]))))


def _nothing(names: Collection[str]) -> list[str]:
    return [name for name in names if is_nothing(name)]


def id_of(value: Any) -> str | None:
    """Return an id as text, so that 7, 7.0 and "7" are one; None if it is no id."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    return str(int(value)) if abs(value) != math.inf and value == int(value) else str(value)


def is_crowd(instance: Mapping[str, Any]) -> bool:
    """Return whether an annotation is of a crowd."""
    return instance.get("iscrowd") in (1, True, "1", "true", "True")


def id_order(key: str) -> tuple[float, str]:
    """Return what sorts ids as numbers, and those that are text behind them."""
    return (float(key) if key.lstrip("-").isdecimal() else math.inf), key


def _entries(content: Any, name: str) -> list[dict[str, Any]]:
    if isinstance(content, list):
        raise ValueError("it is a list of detections; give the file with `images`, `categories` and `annotations`")
    entries = content.get(name) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"it has no list `{name}`")
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f"{name}[{i}] is no mapping")
    return entries


def _images(entries: Sequence[dict[str, Any]], path: Path) -> dict[str, CocoImage]:
    images: dict[str, CocoImage] = {}
    for i, entry in enumerate(entries):
        key = _key(entry, "id", f"images[{i}]")
        name = entry.get("file_name")
        if not isinstance(name, str) or not name:
            raise ValueError(f"image {key} has no `file_name`")
        if key in images and images[key].file_name != name:
            raise ValueError(f"several images have one id, {key}: {images[key].file_name} and {name}")
        images[key] = CocoImage(path, name, _size(entry, name))
    if len(images) < len(entries):
        repeated = len(entries) - len(images)
        say_once(f"{path} repeated", "%s repeats %d entries of images: they are left out.", path, repeated)
    return images


def _size(entry: Mapping[str, Any], name: str) -> tuple[int, int] | None:
    values: tuple[Any, Any] = entry.get("height"), entry.get("width")
    if None in values or values == (0, 0):
        return None
    try:
        height, width = (int(float(value)) for value in values if not isinstance(value, bool))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} has the size {values}") from error
    if min(height, width) < 1 or height * width > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise ValueError(f"{name} has the size {(height, width)}")
    return height, width


def _categories(entries: Sequence[dict[str, Any]]) -> dict[str, str]:
    categories: dict[str, str] = {}
    for i, entry in enumerate(entries):
        key = _key(entry, "id", f"categories[{i}]")
        if not isinstance(entry.get("name"), str | int):
            raise ValueError(f"category {key} has no `name`")
        name = str(entry["name"])
        if categories.setdefault(key, name) != name:
            raise ValueError(f"several categories have one id, {key}: {categories[key]} and {name}")
    return categories


def _no_classes(entries: Sequence[dict[str, Any]]) -> set[str]:
    """Ids of categories that only group others, or whose names mean nothing."""
    above = {str(entry.get("supercategory")) for entry in entries if entry.get("supercategory") != entry["name"]}
    tops = [entry for entry in entries if entry.get("supercategory") in (None, "", "none")]
    groups = {str(id_of(entry["id"])) for entry in tops if str(entry["name"]) in above}
    return groups | {str(id_of(entry["id"])) for entry in entries if is_nothing(str(entry["name"]))}


def _attach(
    entries: Sequence[dict[str, Any]], images: Mapping[str, CocoImage], categories: Mapping[str, str]
) -> set[str]:
    """Give each image its annotations, and return the ids of the categories that they have."""
    used = set()
    unlisted: list[str] = []
    for i, entry in enumerate(entries):
        where = f"annotation {entry['id']}" if id_of(entry.get("id")) else f"annotations[{i}]"
        if "segments_info" in entry:
            raise ValueError("it is of panoptic segmentation; give the file of instances, such as instances_train.json")
        image, category = _key(entry, "image_id", where), _key(entry, "category_id", where)
        if category not in categories:
            raise ValueError(f"{where} is of category {category}, which `categories` lacks; add it there")
        if image not in images:
            unlisted.append(f"{where} is of image {image}")
            continue
        entry["category_id"] = category
        images[image].instances.append(entry)
        used.add(category)
    if unlisted and len(unlisted) == len(entries):
        raise ValueError(f"no annotation is of a listed image; {unlisted[0]}, which `images` lacks")
    if unlisted:
        path = next(iter(images.values())).path
        say_once(
            f"{path} unlisted",
            "%s has %d annotations of images that it does not list: they are left out.",
            path,
            len(unlisted),
        )
    return used


def _key(entry: Mapping[str, Any], name: str, where: str) -> str:
    key = id_of(entry.get(name))
    if key is None:
        raise ValueError(f"{where} has " + (f"the `{name}` {entry[name]!r:.40}" if name in entry else f"no `{name}`"))
    return key
