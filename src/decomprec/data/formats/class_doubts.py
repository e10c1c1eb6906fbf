"""Refusals of folders that hold no classes, though they look like it: masks, parts of the data, or all images."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from decomprec.data.formats.cures import find_listings
from decomprec.data.formats.drawn import are_drawn
from decomprec.data.image_io import image_files
from decomprec.data.mask_files import MaskFiles, mask_images
from decomprec.data.names import (
    are_dated,
    are_numbered,
    holds_images,
    holds_masks,
    looks_like_group,
    masks_of,
    may_hold_images,
    plain,
    split_of,
    subfolders,
)

_TOGETHER = (r"[+&,;]", r"(?<![^\W_])and(?![^\W_])", r"[\W_]+")  # between the names in a name
_MOST_FOLDERS = 12  # whose images are looked at


def check_groups(root: Path, names: Collection[str]) -> None:
    """Refuse folders that are numbered or dated parts of the data, such as patients, or just 0 and 1."""
    if set(names) == {"0", "1"}:
        raise FileNotFoundError(
            f"Expected {root} to hold a folder per class, but got 0 and 1; if 1 means that something is in the image, "
            "call 0 none and 1 like it; if both are classes, name them as `classes`."
        )
    if len(names) > 1 and (all(map(looks_like_group, names)) or are_numbered(names) or are_dated(names)):
        first = sorted(names)[0]
        raise FileNotFoundError(
            f"Expected {root} to hold a folder per class, but its {len(names)} folders, such as {first}, are named "
            "like parts of the data; list the images with their tags in tags.csv, or put the images of each class into "
            "a folder; if they are the classes, name them as `classes`."
        )


def check_combined(root: Path, names: Collection[str]) -> None:
    """Refuse a folder that is named like several others together, such as dog+cat: its images may show both."""
    plain_names = {plain(name) for name in names}
    for name in sorted(names):
        for sign in _TOGETHER:
            parts = [part for part in re.split(sign, name) if plain(part)]
            if len(parts) > 1 and plain_names.issuperset(map(plain, parts)):
                raise FileNotFoundError(
                    f"Expected {root} to hold a folder per class, but {name} is named like {' and '.join(parts)} "
                    "together; if its images show all of them, list the images with their tags in tags.csv; if it is "
                    "a class, name the `classes`."
                )


def check_drawn(root: Path, folders: Mapping[str, Sequence[Path]]) -> None:
    """Refuse folders of masks next to folders of photographs: images of few values, as many or of the same names.

    Args:
        root: of the data set, for messages.
        folders: images of each folder that may be a class.
    """
    if not 1 < len(folders) <= _MOST_FOLDERS:
        return
    counts = Counter(map(len, folders.values()))
    shared = Counter(stem for files in folders.values() for stem in {file.stem for file in files})
    paired = {
        name: files
        for name, files in folders.items()
        if counts[len(files)] > 1 or any(shared[file.stem] > 1 for file in files)
    }
    drawn = [name for name, files in paired.items() if are_drawn(files)]
    if drawn and len(drawn) < len(paired):
        photographs = next(name for name in paired if name not in drawn)
        raise FileNotFoundError(
            f"Expected {root} to hold a folder per class, but the images in {drawn[0]} have few values, as masks have; "
            f"if they are the masks of those in {photographs}, call the folders masks and images; if both are classes, "
            "name them as `classes`."
        )


def check_single(root: Path, name: str, images: Sequence[Path]) -> None:
    """Refuse a single folder if its images are tagged in masks of another name or a list, or its name is no class."""
    found = find_listings(root, images)
    listings = [file.name for file in found if not any(map(split_of, re.split(r"[\W_]+", file.stem)))]
    if listings:
        raise FileNotFoundError(
            f"Expected {root} to hold a folder per class, but got only {name}, and {', '.join(listings)} "
            f"list{'s' * (len(listings) == 1)} its images; if that says their tags, save it as tags.csv with the "
            f"columns image and tags, or with one of 0 and 1 for each class; if {name} is the only class, name it as "
            "`classes`."
        )
    others = [child.name for child in subfolders(root) if child.name != name and _holds_pair(child, root, images)]
    if others:
        raise FileNotFoundError(
            f"Expected {root} to hold a folder per class, but got only {name}, next to {others[0]}; if these are "
            "images and their masks, call the folders images and masks; else make a folder of each class, or list the "
            "images with their tags in tags.csv."
        )
    if may_hold_images(name) or looks_like_group(name):
        raise FileNotFoundError(
            f"Expected {root} to hold a folder per class, but got only {name}, which may just mean images; make a "
            f"folder of each class, or list the images with their tags in tags.csv; if {name} is the only class, name "
            "it as `classes`."
        )


def _holds_pair(folder: Path, root: Path, images: Sequence[Path]) -> bool:
    """Whether a folder holds masks or images that go with some, but not as a folder of their masks would."""
    if holds_masks(folder.name):
        masks = MaskFiles(folder, root)
        of = masks_of(folder.name)
        fits = any(masks.find(image.relative_to(root)) for image in images)
        return (of is not None and split_of(of) is None) or (bool(mask_images(folder)) and not fits)
    files = [] if any(image.is_relative_to(folder) for image in images) else image_files(folder)
    return holds_images(folder.name) and {image.stem for image in images} <= {file.stem for file in files}
