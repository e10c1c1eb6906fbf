"""True masks of some training images, in place of what the tags alone tell."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from decomprec.data.class_lists import find_class_list, read_class_list
from decomprec.data.dataset import TaggedImages
from decomprec.data.image_io import read_mask
from decomprec.data.mask_files import MaskFiles, mask_images
from decomprec.data.mask_meaning import Look, white_as, white_is_class
from decomprec.data.notices import say
from decomprec.data.record import MaskValues, Record
from decomprec.data.samples import IGNORE
from decomprec.data.tags import TagTable


def with_masks(images: TaggedImages, folder: str | Path) -> TaggedImages:
    """Return a copy of a training set that knows the true masks of some of its images.

    `decomprec.training.train` learns from these masks in place of the guide's evidence. The mask of ``dog/park.jpg`` is
    ``dog/park.png``, else ``park.png`` if only one image has the name. Values are numbers of the classes in the
    folder's ``classes.txt``, which are matched by name, or, without this file, of the data's classes. Others are
    background, and 255 is ignored. If the masks hold only 0 and 255, 255 is the class that the image is tagged with.
    An image gets the tags of the classes that its mask shows.

    Args:
        images: with tags, made with ``masks=False``.
        folder: of the masks, of any number of images.

    Raises:
        FileNotFoundError: if there is no such folder, or no mask belongs to an image.
        ValueError: if a mask fits several images or can't be read, or the folder names none of the classes.
    """
    folder = Path(folder)
    files = mask_images(folder) if folder.is_dir() else []
    found = _paired(images, folder) if files else {}
    if not found:
        raise FileNotFoundError(
            f"Expected {folder} to hold masks of training images, but none of its {len(files)} images is named like "
            f"one; the mask of {images.records[0].image.name} is {images.records[0].image.stem}.png."
        )
    if unused := sorted(set(files) - set(found.values())):
        say(f"{folder}: {len(unused)} of {len(files)} masks belong to no training image, such as {unused[0].name}.")
    decode = _decoder(folder, images.class_names)
    records = {i: replace(images.records[i], mask=file) for i, file in found.items()}
    reads = {i: partial(_read, record, decode) for i, record in records.items()}
    bar = tqdm(reads.items(), "reading masks", unit="mask", leave=False, disable=None)
    shown = {i: set(read().unique().tolist()) for i, read in bar}
    if set().union(*shown.values()) == {IGNORE}:
        raise ValueError(
            f"Expected the masks in {folder} to hold the numbers of classes, but they hold only {IGNORE} (unknown "
            "class); write the number of the class where the object is."
        )
    looks = [Look(found[i], records[i].tags, values) for i, values in shown.items()]
    if white_is_class(looks, images.class_names):
        labels = {i: [images.class_names.index(tag) + 1 for tag in record.tags] for i, record in records.items()}
        reads = {i: partial(_read_white, records[i], decode, labels[i]) for i in reads}
        shown = {i: {0, *labels[i]} if IGNORE in values and labels[i] else values for i, values in shown.items()}
        if untagged := [records[i].mask for i, values in shown.items() if IGNORE in values]:
            say(f"{len(untagged)} white masks are of images without a tag, {untagged[0]} first: they are unknown.")
    return _corrected(images, shown, reads)


def _paired(images: TaggedImages, folder: Path) -> dict[int, Path]:
    masks = MaskFiles(folder)
    found = {i: file for i, record in enumerate(images.records) if (file := masks.find(record.image)) is not None}
    if several := [file for file, count in Counter(found.values()).items() if count > 1]:
        first, second, *_ = (images.records[i].image for i, file in found.items() if file == several[0])
        raise ValueError(
            f"Expected {several[0]} to be the mask of one image, but {first} and {second} have its name; put it into "
            f"a folder such as {first.parent.name}."
        )
    return found


def _decoder(folder: Path, class_names: tuple[str, ...]) -> MaskValues:
    listed = find_class_list(folder)
    if listed is None:
        say(
            f"{folder} names no classes: 1 is {class_names[0]}, and so on. A classes.txt, background first, names them."
        )
        return MaskValues.from_names(("background", *class_names), class_names)
    names = read_class_list(listed)
    if not set(names) & set(class_names):
        raise ValueError(
            f"Expected {listed} to name classes of the training images, {', '.join(class_names)}, but it has "
            f"{', '.join(names[1:])}."
        )
    return MaskValues.from_names(names, class_names)


def _read(record: Record, decode: MaskValues) -> Tensor:
    assert record.mask is not None
    return decode(read_mask(record.mask, record.image), record)


def _read_white(record: Record, decode: MaskValues, tags: list[int]) -> Tensor:
    return white_as(_read(record, decode), tags, record.mask)


def _corrected(images: TaggedImages, shown: dict[int, set[int]], reads: dict[int, partial[Tensor]]) -> TaggedImages:
    """The copy, whose tags agree with the masks where these show more."""
    corrected = copy.copy(images)
    corrected.label_maps = reads
    records, known = list(images.records), set(images.class_names)
    added, missed = [], []
    for i, values in shown.items():
        seen = {images.class_names[value - 1] for value in values - {0, IGNORE}}
        had = known.intersection(records[i].tags)
        if seen - had:
            added.append(records[i].name)
        elif IGNORE not in values and had - seen:
            missed.append(records[i].name)
        tags = tuple(name for name in images.class_names if name in seen | had)
        records[i] = replace(records[i], tags=tags)
    corrected.records = tuple(records)
    corrected.tag_table = TagTable.from_names((record.tags for record in records), images.class_names)
    if added:
        say(f"{len(added)} images get a tag that their mask shows, {added[0]} first.")
    if missed:
        say(f"{len(missed)} masks lack a class that their image is tagged with, {missed[0]} first: the masks count.")
    return corrected
