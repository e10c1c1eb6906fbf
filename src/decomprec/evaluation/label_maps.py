"""Label maps in files: folders of label PNGs, COCO files and the devkit of Pascal VOC."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from decomprec.data import VOCDevkit
from decomprec.data.class_lists import find_class_list, read_class_list, read_colours
from decomprec.data.formats.coco import coco_readers
from decomprec.data.formats.voc_devkit import devkit_classes, find_devkit
from decomprec.data.image_io import read_labels
from decomprec.data.mask_colours import Colours
from decomprec.data.mask_files import mask_images
from decomprec.data.mask_meaning import only_white, white_as
from decomprec.data.notices import say
from decomprec.data.samples import IGNORE


@dataclass(frozen=True)
class LabelMap:
    """A label map in a file.

    Attributes:
        name: path below its folder, without the suffix; pairs a prediction with its truth.
        where: its place, for messages.
        read: returns the labels (H, W), integers, 255 where the class is unknown.
        stored: whether the labels are those of an image file, where 255 may also be white.
    """

    name: str
    where: str
    read: Callable[[], Tensor]
    stored: bool = False


def read_label_maps(
    source: Path, classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...] | None, list[LabelMap]]:
    """Find the label maps of a folder of PNGs, a COCO file or a VOC devkit; each is read when its `read` is called.

    Args:
        source: where they are.
        classes: number the K-1 classes of the source like this, by its names; other objects are background. None for
            their own order. PNGs without a list of classes keep their numbers.

    Returns:
        The names of the K-1 classes, if the source has its own list of them, and the label maps by path.

    Raises:
        FileNotFoundError: if the source is missing or empty.
        ValueError: if a file can't be read, or a class is unknown.
    """
    if source.is_file():
        names, readers = coco_readers(source, classes)
        _check_classes(classes, names, source)
        maps = [LabelMap(_name(file), f"{file} in {source}", read) for file, read in readers]
        return names, sorted(maps, key=lambda label_map: Path(label_map.name))
    if not source.is_dir():
        raise FileNotFoundError(f"Expected a folder of label PNGs, a COCO file or a VOC devkit, but found no {source}.")
    if (devkit := find_devkit(source)) is not None:
        return None, _voc_maps(source, devkit, classes)
    files = mask_images(source)
    files = [file for file in files if file.suffix.lower() == ".png"] or files
    if not files:
        raise FileNotFoundError(f"Expected {source} to hold label PNGs, but got none.")
    file = find_class_list(source)
    listed = None if file is None else read_class_list(file)[1:]
    colours = read_colours(file)
    _check_classes(classes, listed if listed is not None else classes or (), source)
    numbers = None if listed is None or classes is None else _renumbering(listed, classes)
    stems = [file.relative_to(source).with_suffix("").as_posix() for file in files]
    reads = [partial(_read_png, file, colours, numbers) for file in files]
    return listed, [LabelMap(*found, stored=True) for found in zip(stems, map(str, files), reads, strict=True)]


def without_white(label_maps: Sequence[LabelMap]) -> list[LabelMap]:
    """The label maps of one class, in which it is 1: also where all hold only 0 and 255, masks of black and white."""
    if not all(label_map.stored for label_map in label_maps) or not only_white(_values(label_maps)):
        return list(label_maps)
    say(f"masks hold only 0 and {IGNORE}, such as {label_maps[0].where}: {IGNORE} is the class.")
    return [replace(label_map, read=partial(_read_white, label_map)) for label_map in label_maps]


def _values(label_maps: Sequence[LabelMap]) -> Iterator[set[int]]:
    for label_map in label_maps:
        with suppress(ValueError, OSError):  # raised again when it is compared
            yield set(label_map.read().unique().tolist())


def _read_white(label_map: LabelMap) -> Tensor:
    return white_as(label_map.read(), [1], label_map.where)


def _read_png(file: Path, colours: Colours | None, numbers: Tensor | None) -> Tensor:
    """The labels in a file, renumbered by a table of 256 if there is one."""
    labels = read_labels(file, colours)
    return labels if numbers is None else numbers[labels.long()]


def _renumbering(names: Sequence[str], classes: Sequence[str]) -> Tensor:
    """The labels of `classes` by those of `names`: 0 for other classes; values without a name stay, to be refused."""
    table = torch.arange(IGNORE + 1)
    for value, name in enumerate(names, 1):
        table[value] = classes.index(name) + 1 if name in classes else 0
    beyond = torch.arange(len(names) + 1, IGNORE)
    table[beyond] = torch.maximum(beyond, torch.tensor(len(classes) + 1))
    return table


def _name(file_name: str) -> str:
    """The name of a COCO file's image; a path that leads out of its folder counts by its last part."""
    path = Path(file_name).with_suffix("")
    return path.name if path.is_absolute() or ".." in path.parts else path.as_posix()


def _check_classes(classes: Sequence[str] | None, known: Sequence[str], source: Path) -> None:
    if missing := [name for name in classes or () if name not in known]:
        raise ValueError(f"Expected {source} to have the classes of the masks, but it lacks {', '.join(missing)}.")


def _voc_maps(source: Path, devkit: Path, classes: Sequence[str] | None) -> list[LabelMap]:
    if classes is not None:
        annotated = [file.stem for file in (devkit / "Annotations").glob("*.xml")]
        _check_classes(classes, devkit_classes(devkit, annotated).names, source)
    data = VOCDevkit(devkit, "val", classes=classes, masks=True)
    order = sorted(range(len(data)), key=lambda index: data.records[index].image)
    return [_voc_map(data, index) for index in order]


def _voc_map(data: VOCDevkit, index: int) -> LabelMap:
    record = data.records[index]
    return LabelMap(record.name, str(record.mask or record.image), lambda: data[index]["mask"])
