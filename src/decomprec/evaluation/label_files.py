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
from decomprec.data.formats.voc_devkit import devkit_classes, find_devkit
from decomprec.data.image_io import read_labels
from decomprec.data.mask_files import mask_images, names_of_images, normal_path
from decomprec.data.paths import read_text
from decomprec.data.samples import IGNORE
from decomprec.evaluation.comparison import number_cell, text_table
from decomprec.evaluation.metrics import ScoreAccumulator, SegmentationScores

CLASSES = "classes.txt"
"""File in a folder of label maps with one name per line: line k names label k, the background is first."""

_LISTS = (CLASSES, "class_names.txt", "labelmap.txt")


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

    Each side is a folder of label PNGs, a COCO file or a VOC devkit (its split "val"). A truth is paired with the
    prediction of its path or, without one, of its file name, which may have a word such as "_mask" more and differ in
    case and Unicode form; other predictions are ignored.

    The classes are those of `masks`: the categories of a COCO file, or the names in a folder's `classes.txt`. COCO's
    categories, VOC's classes and the names in a `classes.txt` of `truth` are matched to them by name; objects of other
    classes are background. Labels in a folder of PNGs without such a list keep their numbers.

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
    return score_pairs(match_label_files(masks, truth))


@dataclass(frozen=True)
class MatchedLabels:
    """Predicted label maps with their ground truth.

    Attributes:
        pairs: a prediction and its truth each.
        class_names: of the K-1 classes, if either side has a list of them.
        truth: where the ground truth is.
        notes: what was understood of both sides, in sentences.
    """

    pairs: tuple[tuple[LabelMap, LabelMap], ...]
    class_names: tuple[str, ...] | None
    truth: Path
    notes: tuple[str, ...]


def match_label_files(masks: str | Path, truth: str | Path) -> MatchedLabels:
    """Pair predicted with true label maps, see `score_label_files`; none is read yet.

    Raises:
        FileNotFoundError: if a source is missing or empty, or a truth has no prediction.
        ValueError: if `truth` lacks a class of `masks`, or several predictions fit a truth.
    """
    masks, truth = Path(masks), Path(truth)
    class_names, predicted = read_label_maps(masks)
    true_names, true = read_label_maps(truth, class_names)
    pairs = tuple(_pair(predicted, true, masks))
    both = class_names is not None and (true_names is not None or find_devkit(truth) is not None)
    known = true_names if class_names is None else class_names
    notes = [
        f"{len(predicted)} masks and {len(true)} true label maps, {len(pairs)} of them paired by name",
        "classes are matched by name"
        if both
        else "equal numbers mean equal classes: one side has no list of their names",
    ]
    if known is not None:
        notes.append(f"classes: {', '.join(known)}")
    return MatchedLabels(pairs, known, truth, tuple(notes))


def score_pairs(matched: MatchedLabels) -> tuple[SegmentationScores, tuple[str, ...]]:
    """Compare label maps, one pair in memory at a time; see `score_label_files` for the result and errors."""
    pairs, class_names, truth = matched.pairs, matched.class_names, matched.truth
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
    listed = _read_names(source)
    _check_classes(classes, listed if listed is not None else classes or (), source)
    numbers = None if listed is None or classes is None else _renumbering(listed, classes)
    maps = [
        LabelMap(file.relative_to(source).with_suffix("").as_posix(), str(file), partial(_read_png, file, numbers))
        for file in files
    ]
    return listed, maps


def _read_png(file: Path, numbers: Tensor | None) -> Tensor:
    """The labels in a file, renumbered by a table of 256 if there is one."""
    labels = read_labels(file)
    return labels if numbers is None else numbers[labels.long()]


def _renumbering(names: Sequence[str], classes: Sequence[str]) -> Tensor:
    """The labels of `classes` by those of `names`: 0 for other classes; values without a name stay, to be refused."""
    table = torch.arange(IGNORE + 1)
    for value, name in enumerate(names, 1):
        table[value] = classes.index(name) + 1 if name in classes else 0
    beyond = torch.arange(len(names) + 1, IGNORE)
    table[beyond] = torch.maximum(beyond, torch.tensor(len(classes) + 1))
    return table


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


def _read_names(folder: Path) -> tuple[str, ...] | None:
    """The K-1 classes in a folder's list of classes, if there is one."""
    path = next((folder / name for name in _LISTS if (folder / name).is_file()), None)
    if path is None:
        return None
    names = [line.split(":")[0].strip() for line in read_text(path).splitlines() if not line.startswith("#")]
    names = [name for name in names if name and name != "__ignore__"]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"Expected {path} to name the background and at least one class, each once, but got {names}.")
    return tuple(names[1:])


def _pair(predicted: Sequence[LabelMap], true: Sequence[LabelMap], masks: Path) -> list[tuple[LabelMap, LabelMap]]:
    by_name = _ByName(predicted)
    pairs = []
    for expected in true:
        fitting = by_name.find(expected.name)
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


class _ByName:
    """Label maps by their path, else by their file name, else by what the usual spellings of both share."""

    def __init__(self, label_maps: Sequence[LabelMap]) -> None:
        self._tables = [defaultdict[str, list[LabelMap]](list) for _ in _spellings("")]
        for label_map in label_maps:
            for table, keys in zip(self._tables, _spellings(label_map.name), strict=True):
                for key in keys:
                    table[key].append(label_map)

    def find(self, name: str) -> list[LabelMap]:
        for table, keys in zip(self._tables, _spellings(name), strict=True):
            if fitting := [label_map for key in keys for label_map in table.get(key, ())]:
                return list(dict.fromkeys(fitting))
        return []


def _spellings(name: str) -> list[list[str]]:
    """Keys of a label map, from its whole path to its bare name."""
    path = Path(name)
    bare = [key for _, key in names_of_images(Path(f"{path.name}.png"))]
    folder = normal_path(path.parent)
    return [[name], [path.name], [normal_path(path)], [f"{folder}/{key}" for key in bare], bare]


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
