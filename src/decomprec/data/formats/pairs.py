"""Folders of images next to folders of their masks or labels: where they are, by split."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from decomprec.data.formats.class_candidates import is_empty
from decomprec.data.formats.class_folders import UNSPLIT
from decomprec.data.formats.drawn import are_drawn, most_values
from decomprec.data.image_io import image_files
from decomprec.data.mask_files import (
    MaskFiles,
    fit_by_affixes,
    is_mask_name,
    mask_images,
    normal_path,
    without_masks,
)
from decomprec.data.names import (
    has_role,
    holds_images,
    holds_masks,
    in_system,
    is_aside,
    masks_of,
    may_hold_images,
    plain,
    split_of,
    subfolders,
)
from decomprec.data.notices import say

Kind = Literal["masks", "xml", "yolo", "json"]
_ENDINGS: dict[Kind, str | None] = {"masks": None, "xml": ".xml", "yolo": ".txt", "json": ".json"}


class Pair(NamedTuple):
    """A folder of images and one of what is in them.

    Attributes:
        split: its name in the data set; `UNSPLIT` if there are none.
        images: folder of the images.
        labels: folder of masks or labels; the same if they lie together.
        kind: of the labels.
        ending: of the labels in lower case, if they have the names of their images; None if `MaskFiles` finds them.
    """

    split: str
    images: Path
    labels: Path
    kind: Kind
    ending: str | None


def find_pairs(root: Path) -> list[Pair]:
    """Find folders of images with folders of labels: ``images`` and ``labels`` or ``masks``, with or without splits.

    The splits may be outside (``train/images``, ``train/masks``), inside (``images/train``, ``labels/train``), or in
    the names (``train_images``, ``train_masks``). Masks and labels may also lie next to each image; a mask of the same
    name, ``a.png`` for ``a.jpg``, is recognised by its few values.

    Returns:
        A pair for each split, or one; none if the folder is laid out otherwise.

    Raises:
        ValueError: if the labels are JSON files, one for each image, the splits have different kinds of labels, or it
            is unclear which of two folders, or two files of one name, are the masks.
    """
    pairs = _pairs(root)
    for pair in pairs:
        if pair.kind == "json":
            raise ValueError(
                f"Expected masks, XML or YOLO labels in {pair.labels}, but got JSON; convert it to COCO or, with "
                "labelme2voc, to VOC."
            )
        if pair.kind != pairs[0].kind:
            raise ValueError(
                f"Expected {pair.labels} to hold {pairs[0].kind}, as the other splits, but got {pair.kind}."
            )
    return pairs


def _pairs(root: Path) -> list[Pair]:
    children = subfolders(root)
    splits = [child for child in children if split_of(child.name)]
    outside = [Pair(child.name, *pair) for child in splits if (pair := _pair_in(_inner(child)))]
    if outside:
        return outside
    named = list(_named_pairs(children))
    if named:
        return named
    images = next((child for child in children if holds_images(child.name)), None)
    if images is None:
        pair = _pair_in(root)
        return [Pair(UNSPLIT, *pair)] if pair else []
    inside = [Pair(child.name, *pair) for child in subfolders(images) if (pair := _split_inside(root, child))]
    pair = _pair_in(root)
    return inside or ([Pair(UNSPLIT, *pair)] if pair else [])


def label_kind(folder: Path, beside_images: bool = False) -> Kind | None:
    """Return the kind of labels in a folder; None if it holds none.

    Args:
        folder: of labels.
        beside_images: images lie there too: only files with a word such as "mask" in their name are masks.
    """
    if any(not beside_images or is_mask_name(file.stem) for file in mask_images(folder)):
        return "masks"
    files = [file for file in folder.rglob("*") if not in_system(file.relative_to(folder))]
    if any(file.suffix.lower() == ".xml" for file in files):
        return "xml"
    if any(file.suffix.lower() == ".txt" and _is_yolo(file) for file in files):
        return "yolo"
    return "json" if any(file.suffix.lower() == ".json" for file in files) else None


def pair_images(pair: Pair) -> list[Path]:
    """List the images of a pair, without folders of masks and masks next to them."""
    files = [file for file in mask_images(pair.images) if file.suffix.lower() != pair.ending]
    return without_masks(f for f in files if not any(map(holds_masks, f.relative_to(pair.images).parent.parts)))


def _inner(split: Path) -> Path:
    """The folder of a split, which archives may hold in another of the same name: train/train."""
    children = subfolders(split)
    twice = len(children) == 1 and split_of(children[0].name) == split_of(split.name) and is_empty(split)
    return children[0] if twice else split


def _pair_in(folder: Path) -> tuple[Path, Path, Kind, str | None] | None:
    """The images and labels in a folder."""
    children = subfolders(folder)
    images = next((child for child in children if holds_images(child.name)), None)
    others = [child for child in children if not has_role(child.name)]
    images = images or (_only_images(children, others) if others else folder)
    if images is None or is_empty(images) or _may_hold_classes(images):
        return None
    others = [other for other in others if other != images]
    for child in sorted(children, key=lambda child: "mask" not in plain(child.name)):
        if holds_masks(child.name) and child != images and (kind := label_kind(child)):
            if kind == "masks":
                _check_rivals(folder, images, child)
            if unused := [other.name for other in others if image_files(other)]:
                say(f"{folder}: {child.name} says what is in the images; {', '.join(unused)} is not used.")
            return images, child, kind, _ENDINGS[kind]
    if (beside := label_kind(images, beside_images=True)) and beside != "json":
        return images, images, beside, _ENDINGS[beside]
    drawn = [other for other in others if _are_masks(images, other)]
    if len(drawn) == 1:
        say(f"{folder}: {drawn[0].name} holds the masks of {images.name}, as their names and values say.")
        return images, drawn[0], "masks", None
    ending = _twin_ending(images)
    return (images, images, "masks", ending) if ending else None


def _only_images(children: list[Path], others: list[Path]) -> Path | None:
    """The only folder of images, by another name: next to masks, "input" and the like, or with labels next to each."""
    held = [other for other in others if not is_empty(other)]
    if len(held) != 1:
        return None
    masked = any(holds_masks(child.name) and label_kind(child) == "masks" for child in children)
    named = may_hold_images(held[0].name) and masked
    return held[0] if named or label_kind(held[0], beside_images=True) in ("yolo", "xml") else None


def _are_masks(images: Path, folder: Path) -> bool:
    """Whether a folder holds drawn images with the names of most images, which are none."""
    files = image_files(images)
    masks = MaskFiles(folder)
    fitting = sum(masks.find(file.relative_to(images)) is not None for file in files)
    if 2 * fitting < len(files) and not fit_by_affixes(files, mask_images(folder)):
        return False
    return are_drawn(mask_images(folder)) and not are_drawn(files)


def _check_rivals(folder: Path, images: Path, masks: Path) -> None:
    """Refuse a second folder with a mask for each image, such as one of the field of view next to the ground truth."""
    count = len(image_files(images))
    others = [c for c in subfolders(folder) if c not in (images, masks) and not is_aside(c.name)]
    for other in others:
        files = [image_files(place) for place in (masks, other)]
        if len(files[1]) == count and all(found and most_values(found) <= 2 for found in files):
            raise ValueError(
                f"Expected one folder of masks in {folder}, but {masks.name} and {other.name} both hold an image of "
                "two values for each image; move the one that is not the ground truth away, and call the other masks."
            )


def _twin_ending(folder: Path) -> str | None:
    """The ending of masks whose names fit those of images in the same folder; None if there are none.

    Raises:
        ValueError: if each name is that of two files, and it is unclear which are the masks.
    """
    by_ending: dict[str, dict[str, Path]] = {}
    for file in mask_images(folder):
        by_ending.setdefault(file.suffix.lower(), {})[normal_path(file.with_suffix(""))] = file
    same = len(set(map(frozenset, by_ending.values()))) == 1
    sides = [list(files.values()) for files in by_ending.values()]
    if len(sides) != 2 or not (same or fit_by_affixes(*sides)):
        return None
    drawn = [ending for ending, files in zip(by_ending, sides, strict=True) if are_drawn(files)]
    if len(drawn) == 1:
        return drawn[0]
    if not same:
        return None
    first, second = (sorted(files.values())[0].name for files in by_ending.values())
    raise ValueError(
        f"Expected images in {folder}, but each name is that of two files, {first} and {second}, and it can't be told "
        f"which are masks; move the masks into masks/, or call them {Path(first).stem}_mask.png."
    )


def _named_pairs(children: list[Path]) -> Iterator[Pair]:
    """Pairs such as train_images and train_masks, or train and train_masks."""
    for child in children:
        for other in children:
            if split_of(child.name) and (of := masks_of(other.name)) and split_of(of) == split_of(child.name):
                kind = label_kind(other)
                if kind and not is_empty(child) and not _may_hold_classes(child):
                    yield Pair(child.name, child, other, kind, _ENDINGS[kind])


def _split_inside(root: Path, images: Path) -> tuple[Path, Path, Kind, str | None] | None:
    """The images of a split with the labels of the same split: images/train and labels/train."""
    if split_of(images.name) is None or is_empty(images):
        return None
    for child in sorted(subfolders(root), key=lambda child: "mask" not in plain(child.name)):
        for labels in subfolders(child) if holds_masks(child.name) else ():
            if split_of(labels.name) == split_of(images.name) and (kind := label_kind(labels)):
                return images, labels, kind, _ENDINGS[kind]
    return None


def _may_hold_classes(folder: Path) -> bool:
    return any(not has_role(child.name) and not split_of(child.name) for child in subfolders(folder))


def _is_yolo(file: Path) -> bool:
    words = file.read_bytes()[:200].split(b"\n")[0].split()
    return not words or (len(words) >= 5 and words[0].isdigit())
