"""Folders of photographs for `benchmarks.quality.comparison`, and the halves of those that have masks.

Two layouts are known: DIR/SPLIT/CLASS/*.jpg with DIR/SPLIT_masks/*.png, and DIR/tags.csv (columns image, split and
tags) with DIR/images, DIR/masks and, where masks count other classes too, DIR/classes.txt.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

from decomprec.data import Record, TaggedCSV, TaggedFolder, TaggedImages, eval_transform
from decomprec.data.samples import Transform
from decomprec.data.transforms import crop_transforms
from decomprec.training import Preset

Half = Literal["tune", "report"]


def half(name: str) -> Half:
    """The half of an image: settings may be chosen on "tune", "report" is for the table.

    Args:
        name: of the image's file, without folder and ending.

    Examples:
        >>> [half(name) for name in ("c", "d", "e", "f")]
        ['tune', 'tune', 'report', 'report']
    """
    return "report" if sha256(name.encode()).digest()[0] % 2 else "tune"


def training_images(root: Path, classes: Sequence[str] | None, transform: Transform) -> TaggedImages:
    """The split "train", with tags and without masks."""
    if (root / "tags.csv").is_file():
        return TaggedCSV(root / "tags.csv", split="train", classes=classes, transform=transform)
    return TaggedFolder(root, "train", classes=classes, transform=transform)


def transforms(root: Path, classes: Sequence[str] | None, preset: Preset) -> tuple[Transform, Transform]:
    """Crops to train on and to validate with, as `decomprec train` has them for the training images of a folder."""
    return crop_transforms(training_images(root, classes, eval_transform(None)), preset.image_size, preset.augment)


def evaluation_images(root: Path, classes: Sequence[str]) -> TaggedImages:
    """The images of the split "val", or else of all but "train", whose every pixel is known.

    That leaves out images with a tag and without a mask. An image without any of the classes needs no mask.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if no image has a mask.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"Expected --eval to be a folder, but got {root}.")
    split = _evaluation_split(root)
    if (root / "tags.csv").is_file():
        images: TaggedImages = TaggedCSV(root / "tags.csv", split=split, classes=classes, masks=True)
    elif split is None or (root / "train").is_dir():
        images = TaggedFolder(root, split, classes=classes, masks=True)
    else:
        images = _lone_split(root, split, classes)
    if not any(record.mask for record in images.records):
        raise ValueError(
            f"Expected --eval to hold masks, but none of the {len(images)} images in {root} has one; "
            "put them beside the images as PNG files."
        )
    known = [record for record in images.records if record.mask or not record.tags]
    return _with_records(images, known)


def of_half(images: TaggedImages, which: str, transform: Transform | None) -> TaggedImages:
    """The images of a half, or "all".

    Raises:
        ValueError: if there is none.
    """
    records = [record for record in images.records if which in (half(record.name), "all")]
    if not records:
        raise ValueError(
            f"Expected the half {which!r} to hold images, but all {len(images)} fall into the other; give more."
        )
    return _with_records(images, records, transform)


def _with_records(data: TaggedImages, records: Sequence[Record], transform: Transform | None = None) -> TaggedImages:
    return TaggedImages(records, data.class_names, masks=True, decode_mask=data.decode_mask, transform=transform)


def _evaluation_split(root: Path) -> str | None:
    """The split "val", or else the only other split besides "train"; None if there is no split."""
    found = [split for split in _splits(root) if split != "train"]
    if "val" not in found and len(found) > 1:
        raise ValueError(f"Expected --eval to have a split 'val', but {root} has {found}.")
    return "val" if "val" in found else found[0] if found else None


def _splits(root: Path) -> list[str]:
    if (root / "tags.csv").is_file():
        with (root / "tags.csv").open(newline="", encoding="utf-8-sig") as file:
            return sorted({row["split"] for row in csv.DictReader(file) if row.get("split")})
    folders = [path for path in root.iterdir() if path.is_dir() and not path.name.endswith("_masks")]
    return sorted(path.name for path in folders if any(child.is_dir() for child in path.iterdir()))


def _lone_split(root: Path, split: str, classes: Sequence[str]) -> TaggedImages:
    """A split in a folder without "train", by which `TaggedFolder` knows splits."""
    images = TaggedFolder(root / split, classes=classes, masks=True)
    folder = root / f"{split}_masks"
    folder = folder if folder.is_dir() else root / "masks"
    files = [folder / f"{record.name}.png" for record in images.records]
    pairs = zip(images.records, files, strict=True)
    return _with_records(images, [replace(record, mask=file if file.is_file() else None) for record, file in pairs])
