"""Scores of label maps in files: folders of label PNGs, COCO files and the devkit of Pascal VOC."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from decomprec.data import VOCDevkit
from decomprec.data.formats.coco import coco_readers
from decomprec.data.formats.voc import VOC_CLASSES
from decomprec.data.image_io import read_labels
from decomprec.data.loading import detect_format
from decomprec.data.paths import read_text
from decomprec.data.samples import IGNORE
from decomprec.evaluation.comparison import number_cell, text_table
from decomprec.evaluation.metrics import ScoreAccumulator, SegmentationScores

CLASSES = "classes.txt"
"""File in a folder of label maps with one name per line: line k names label k, the background is first."""


@dataclass(frozen=True)
class LabelMap:
    """A label map in a file.

    Attributes:
        name: path below its folder, without the suffix; pairs a prediction with its truth.
        where: its place, for messages.
        read: returns the labels (H, W), integers, 255 where the class is unknown.
    """

    name: str
    where: str
    read: Callable[[], Tensor]


def score_label_files(masks: str | Path, truth: str | Path) -> tuple[SegmentationScores, tuple[str, ...]]:
    """Compare predicted with true label maps, one pair in memory at a time.

    Each side is a folder of label PNGs, a COCO file or a VOC2012 devkit (its split "val"). A truth is paired with the
    prediction of its path or, without one, of its file name; other predictions are ignored.

    The classes are those of `masks`: the categories of a COCO file, or the names in a folder's `classes.txt`. COCO's
    categories and VOC's classes in `truth` are matched to them by name; objects of other classes are background. Labels
    in a folder of PNGs keep their numbers.

    Args:
        masks: predictions.
        truth: ground truth; pixels of 255 are left out.

    Returns:
        The scores, with the IoU of each image, and the names of the K classes, background first ("class 1" etc. if
        `masks` has no names). A class counts as absent from an image if the image's truth lacks it.

    Raises:
        FileNotFoundError: if a source is missing or empty, or a truth has no prediction.
        ValueError: if a file can't be read, `truth` lacks a class of `masks`, several predictions fit a truth, sizes
            differ, a label is no class, or the truth holds only 0 and 255.

    Examples:
        >>> import tempfile
        >>> from decomprec.viz import save_label_map
        >>> root = Path(tempfile.mkdtemp())
        >>> save_label_map(torch.tensor([[0, 0, 1, 1]]), root / "masks" / "a.png")
        >>> save_label_map(torch.tensor([[0, 1, 1, 255]]), root / "truth" / "a.png")
        >>> scores, names = score_label_files(root / "masks", root / "truth")
        >>> scores.iou, names
        ((0.5, 0.5), ('background', 'class 1'))
    """
    masks, truth = Path(masks), Path(truth)
    class_names, predicted = read_label_maps(masks)
    _, true = read_label_maps(truth, class_names)
    pairs = _pair(predicted, true, masks)
    names = ("background", *class_names) if class_names is not None else _numbers(pairs)
    accumulator = ScoreAccumulator(len(names), use_tags=False)
    known, unknown = False, False
    for name, labels, expected in tqdm(_stream(pairs, len(names)), "evaluating", len(pairs), unit="image"):
        present = [float((expected == k).any()) for k in range(1, len(names))]
        known, unknown = known or any(present), unknown or bool((expected == IGNORE).any())
        accumulator.update(labels[None], expected[None], torch.tensor([present]), [name])
    if unknown and not known:
        raise ValueError(
            f"Expected {truth} to hold the numbers of classes, 1 to {len(names) - 1}, but it holds only 0 and {IGNORE} "
            "(unknown class); write the number of the class where the object is."
        )
    return accumulator.compute(), names


def read_label_maps(
    source: Path, classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...] | None, list[LabelMap]]:
    """Find the label maps of a folder of PNGs, a COCO file or a VOC devkit; each is read when its `read` is called.

    Args:
        source: where they are.
        classes: number the K-1 classes of a COCO file or a devkit like this; other objects are background. None for
            their own order. PNGs keep their numbers.

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
    if source.is_dir() and detect_format(source) == "voc":
        _check_classes(classes, VOC_CLASSES, source)
        data = VOCDevkit(source, "val", classes=classes, masks=True)
        order = sorted(range(len(data)), key=lambda index: data.records[index].image)
        return None, [_voc_map(data, index) for index in order]
    if not source.is_dir():
        raise FileNotFoundError(f"Expected a folder of label PNGs, a COCO file or a VOC devkit, but found no {source}.")
    files = sorted(file for file in source.rglob("*") if file.suffix.lower() == ".png")
    if not files:
        raise FileNotFoundError(f"Expected {source} to hold label PNGs, but got none.")
    maps = [
        LabelMap(file.relative_to(source).with_suffix("").as_posix(), str(file), partial(read_labels, file))
        for file in files
    ]
    return _read_names(source / CLASSES), maps


def label_table(scores: SegmentationScores, names: Iterable[str]) -> str:
    """A table with one line per class, and the means.

    Examples:
        >>> scores = SegmentationScores(iou=(0.75, 0.5), false_area=(0.125,), images=4, images_with=(2,))
        >>> print(label_table(scores, ["background", "dog"]))
        | class           | IoU   | images with it | area where absent |
        | --------------- | ----- | -------------- | ----------------- |
        | background      | 0.750 | -              | -                 |
        | dog             | 0.500 | 2              | 0.125             |
        | foreground mean | 0.500 | -              | 0.125             |
        | mean            | 0.625 | -              | -                 |
    """
    false_area = (None, *(scores.false_area or [None] * len(scores.images_with)))
    images_with = ("-", *map(str, scores.images_with))
    lines = [
        [name, number_cell(iou), count, number_cell(area)]
        for name, iou, count, area in zip(names, scores.iou, images_with, false_area, strict=True)
    ]
    lines.append(["foreground mean", number_cell(scores.mean_foreground_iou), "-", number_cell(scores.mean_false_area)])
    lines.append(["mean", number_cell(scores.mean_iou), "-", "-"])
    return text_table([["class", "IoU", "images with it", "area where absent"], *lines])


def _name(file_name: str) -> str:
    """The name of a COCO file's image; a path that leads out of its folder counts by its last part."""
    path = Path(file_name).with_suffix("")
    return path.name if path.is_absolute() or ".." in path.parts else path.as_posix()


def _check_classes(classes: Sequence[str] | None, known: Sequence[str], source: Path) -> None:
    if missing := [name for name in classes or () if name not in known]:
        raise ValueError(f"Expected {source} to have the classes of the masks, but it lacks {', '.join(missing)}.")


def _voc_map(data: VOCDevkit, index: int) -> LabelMap:
    record = data.records[index]
    return LabelMap(record.name, str(record.mask or record.image), lambda: data[index]["mask"])


def _read_names(path: Path) -> tuple[str, ...] | None:
    """The K-1 classes of a `classes.txt`, if there is one."""
    if not path.is_file():
        return None
    names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if len(names) < 2:
        raise ValueError(f"Expected {path} to name the background and at least one class, but got {list(names)}.")
    return names[1:]


def _pair(predicted: Sequence[LabelMap], true: Sequence[LabelMap], masks: Path) -> list[tuple[LabelMap, LabelMap]]:
    by_name, by_stem = defaultdict(list), defaultdict(list)
    for label_map in predicted:
        by_name[label_map.name].append(label_map)
        by_stem[Path(label_map.name).name].append(label_map)
    pairs = []
    for expected in true:
        fitting = by_name[expected.name] or by_stem[Path(expected.name).name]
        if not fitting:
            raise FileNotFoundError(
                f"Expected {masks} to hold a mask for each truth, but got none for {expected.where}."
            )
        if len(fitting) > 1:
            raise ValueError(
                f"Expected one mask for {expected.where}, but got {len(fitting)}, {fitting[0].where} first."
            )
        pairs.append((fitting[0], expected))
    return pairs


def _stream(pairs: Iterable[tuple[LabelMap, LabelMap]], num_classes: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, prediction and truth, both (H, W), int64, of each pair; checked to fit each other and the classes."""
    for mask, true in pairs:
        labels, expected = mask.read().long(), true.read().long()
        if labels.shape != expected.shape:
            size, found = (f"{width} x {height}" for height, width in (expected.shape, labels.shape))
            raise ValueError(f"Expected {mask.where} to have the size of {true.where}, {size}, but got {found}.")
        for where, values in ((mask.where, labels), (true.where, expected[expected != IGNORE])):
            if values.numel() and values.max() >= num_classes:
                raise ValueError(f"Expected {where} to hold labels of 0 to {num_classes - 1}, but got {values.max()}.")
        yield true.name, labels, expected


def _numbers(pairs: Iterable[tuple[LabelMap, LabelMap]]) -> tuple[str, ...]:
    """Names of classes that have only numbers: up to the highest label in any file."""
    labels = (label_map.read() for pair in pairs for label_map in pair)
    highest = max(int(values.masked_fill(values == IGNORE, 0).max()) for values in labels)
    return ("background", *(f"class {k}" for k in range(1, max(highest, 1) + 1)))
