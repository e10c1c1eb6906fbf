"""Folders that may be classes, and the images in them."""

from collections.abc import Collection
from pathlib import Path

from decomprec.data.image_io import IMAGE_SUFFIXES, image_files
from decomprec.data.mask_files import without_masks
from decomprec.data.names import (
    has_role,
    holds_images,
    holds_masks,
    in_system,
    is_aside,
    is_system,
    plain,
    split_of,
    subfolders,
)


def class_images(folder: Path) -> list[Path]:
    """List the images in a class folder and below it, without masks and visualizations that lie there too."""
    return without_masks(file for file in image_files(folder) if not _lies_aside(file.relative_to(folder)))


def has_class_images(folder: Path) -> bool:
    """Whether `class_images` lists any, without going through all of them."""
    inside = (file.relative_to(folder) for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    return any(not in_system(file) and not _lies_aside(file) for file in inside)


def candidates(folder: Path, classes: Collection[str]) -> dict[str, Path]:
    """The folders in a folder whose names may be those of classes."""
    return {child.name: child for child in subfolders(folder) if child.name in classes or not has_role(child.name)}


def candidates_of_split(folder: Path, classes: Collection[str]) -> dict[str, Path]:
    """The folders of classes in a split, or in its folder of images; a split in itself, ``train/train``, is none."""
    found = candidates(folder, classes)
    if len(found) == 1 and split_of(next(iter(found))) == split_of(folder.name):
        return {}
    if found:
        return found
    images = [c for c in subfolders(folder) if holds_images(c.name) and plain(c.name) != "jpegimages"]  # of videos
    return next((found for child in images if (found := candidates(child, classes))), {})


def is_empty(folder: Path) -> bool:
    """Whether a folder holds no image itself."""
    return not any(file.suffix.lower() in IMAGE_SUFFIXES and not is_system(file.name) for file in folder.iterdir())


def _lies_aside(file: Path) -> bool:
    return any(holds_masks(name) or is_aside(name) for name in file.parent.parts)
