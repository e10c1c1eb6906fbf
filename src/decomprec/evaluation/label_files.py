"""Scores of label maps in files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from decomprec.data.checks import OnError
from decomprec.data.samples import IGNORE
from decomprec.evaluation.comparison import number_cell, text_table
from decomprec.evaluation.label_maps import LabelMap, without_white
from decomprec.evaluation.label_pairs import MatchedLabels, match_label_files
from decomprec.evaluation.metrics import ScoreAccumulator, SegmentationScores

CLASSES = "classes.txt"
"""File in a folder of label maps with one name per line: line k names label k, the background is first."""


def score_label_files(masks: str | Path, truth: str | Path) -> tuple[SegmentationScores, tuple[str, ...]]:
    """Compare predicted with true label maps, one pair in memory at a time.

    Each side is a folder of label PNGs, a COCO file or a VOC devkit (its split "val"). A ground truth is paired with
    the prediction of its path or, without one, of its file name, which may have a word such as "_mask" more and differ
    in case and Unicode form; other predictions are ignored.

    The classes are those of `masks`: the categories of a COCO file, or the names in a folder's `classes.txt`. COCO's
    categories, VOC's classes and the names in a `classes.txt` of `truth` are matched to them by name; objects of other
    classes are background. Labels in a folder of PNGs without such a list keep their numbers.

    Args:
        masks: predictions.
        truth: ground truth; pixels of 255 are left out. With one class, masks that hold only 0 and 255 show it as 255,
            on either side.

    Returns:
        The scores, with the IoU of each image, and the names of the K classes, background first ("class 1" etc. if
        `masks` has no names). A class counts as absent from an image if the image's truth lacks it and is not all 255.

    Raises:
        FileNotFoundError: if a source is missing or empty, or a truth has no prediction.
        ValueError: if a file can't be read, `truth` lacks a class of `masks`, several predictions fit a truth or
            several truths a prediction, sizes differ, a label is no class, or the ground truth holds only 0 and 255.

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
    scores, names, _ = score_pairs(match_label_files(masks, truth))
    return scores, names


def score_pairs(
    matched: MatchedLabels, on_error: OnError = "raise"
) -> tuple[SegmentationScores, tuple[str, ...], tuple[str, ...]]:
    """Compare label maps, one pair in memory at a time.

    Args:
        matched: of `match_label_files`.
        on_error: "raise" an error for a pair that can't be compared, or "skip" it.

    Returns:
        The scores and names of `score_label_files`, and why each skipped pair, or truth without a prediction, is not
        compared.

    Raises:
        ValueError: if no pair can be compared, or the ground truth holds only 0 and 255; others as `score_label_files`.
    """
    pairs, class_names, truth = matched.pairs, matched.class_names, matched.truth
    names = ("background", *class_names) if class_names is not None else _numbers(pairs, on_error)
    if len(names) == 2:
        sides = (without_white([pair[side] for pair in pairs]) for side in (0, 1))
        pairs = tuple(zip(*sides, strict=True))
    accumulator = ScoreAccumulator(len(names), use_tags=False)
    known, unknown = False, False
    problems: list[str] = []
    for pair in tqdm(pairs, "evaluating", unit="image"):
        try:
            labels, expected = _read(pair, len(names))
        except (ValueError, OSError) as error:
            if on_error == "raise":
                raise
            problems.append(str(error))
            continue
        hidden = expected == IGNORE
        present = [bool((expected == k).any()) for k in range(1, len(names))]
        known, unknown = known or any(present), unknown or bool(hidden.any())
        # Where all is unknown, no class is known to be absent.
        tags = torch.tensor([[float(there or bool(hidden.all())) for there in present]])
        accumulator.update(labels[None], expected[None], tags, [pair[1].name])
    if len(problems) == len(pairs):
        many = f"Expected some of {len(pairs)} masks to be comparable, but none is: " if len(pairs) > 1 else ""
        raise ValueError(many + problems[0])
    if unknown and not known:
        raise ValueError(
            f"Expected {truth} to hold the numbers of classes, 1 to {len(names) - 1}, but it holds only 0 and {IGNORE} "
            "(unknown class); write the number of the class where the object is."
        )
    return accumulator.compute(), names, (*matched.problems, *problems)


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


def _read(pair: tuple[LabelMap, LabelMap], num_classes: int) -> tuple[Tensor, Tensor]:
    """Prediction and truth of a pair, both (H, W), int64; checked to fit each other and the classes."""
    mask, true = pair
    labels, expected = mask.read().long(), true.read().long()
    if labels.shape != expected.shape:
        size, found = tuple(expected.shape), tuple(labels.shape)
        raise ValueError(
            f"Expected {mask.where} to have the height and width of {true.where}, {size}, but got {found}."
        )
    for where, values in ((mask.where, labels), (true.where, expected[expected != IGNORE])):
        if values.numel() and values.max() >= num_classes:
            raise ValueError(
                f"Expected {where} to hold labels of 0 to {num_classes - 1}, but got {values.max()}; name that class "
                f"in {CLASSES}, or write 0 there for the background or {IGNORE} for unknown."
            )
    return labels, expected


def _numbers(pairs: Iterable[tuple[LabelMap, LabelMap]], on_error: OnError) -> tuple[str, ...]:
    """Names of classes that have only numbers: up to the highest label in any file."""
    highest = 1
    for label_map in (label_map for pair in pairs for label_map in pair):
        try:
            values = label_map.read()
        except (ValueError, OSError):  # skipped later
            if on_error == "raise":
                raise
            continue
        highest = max(highest, int(values.masked_fill(values == IGNORE, 0).max()))
    return ("background", *(f"class {k}" for k in range(1, highest + 1)))
