"""Scores of label maps that lie in files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import torch
from tqdm import tqdm

from decomprec.data.image_io import read_labels
from decomprec.data.paths import read_text
from decomprec.data.samples import IGNORE
from decomprec.evaluation.comparison import number_cell, text_table
from decomprec.evaluation.metrics import ScoreAccumulator, SegmentationScores

CLASSES = "classes.txt"
"""Beside label maps: the name of each label in a line of its own, the background's first."""


def score_label_files(masks: Path, truth: Path) -> tuple[SegmentationScores, tuple[str, ...]]:
    """Compare the label PNGs of two folders; pixels that are 255 in the truth are left out.

    The masks may be more than the truth, and lie in other folders below: a truth's mask has its path or, if there is
    none, its name.

    Args:
        masks: folder of predicted label PNGs, perhaps with a `classes.txt`.
        truth: folder of true label PNGs, in which the same numbers mean the same classes.

    Returns:
        The scores, with an IoU per image. A class counts as absent from an image if its truth is without it.
        And the names of the K labels, background first: their numbers, if there is no `classes.txt`.

    Raises:
        FileNotFoundError: if a folder is missing, holds no PNG, or has no mask for a truth.
        ValueError: if a file is no label map, several masks fit a truth, sizes differ, a label is no class, or the
            truth has none but 255.
    """
    pairs = _pair(masks, truth)
    names = _read_names(masks / CLASSES) if (masks / CLASSES).is_file() else _numbers(pairs)
    accumulator = ScoreAccumulator(len(names), use_tags=False)
    found, unknown = False, False
    for mask, true in tqdm(pairs, "evaluating", unit="image"):
        labels, expected = (read_labels(path).long() for path in (mask, true))
        if labels.shape != expected.shape:
            sizes = [f"{width} x {height}" for height, width in (labels.shape, expected.shape)]
            raise ValueError(f"Expected {mask} to have the size of {true}, {sizes[1]}, but got {sizes[0]}.")
        for path, values in ((mask, labels), (true, expected[expected != IGNORE])):
            if values.numel() and values.max() >= len(names):
                raise ValueError(f"Expected {path} to hold labels of 0 to {len(names) - 1}, but got {values.max()}.")
        present = [float((expected == k).any()) for k in range(1, len(names))]
        found, unknown = found or any(present), unknown or bool((expected == IGNORE).any())
        accumulator.update(
            labels[None], expected[None], torch.tensor([present]), [true.relative_to(truth).with_suffix("").as_posix()]
        )
    if unknown and not found:
        raise ValueError(
            f"Expected {truth} to hold the numbers of classes, 1 to {len(names) - 1}, but its files hold only 0 and "
            f"{IGNORE}, which means that the class is unknown; write the class's number where it is."
        )
    return accumulator.compute(), names


def label_table(scores: SegmentationScores, names: Iterable[str]) -> str:
    """A table with a line for each class, and the means.

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


def _pair(masks: Path, truth: Path) -> list[tuple[Path, Path]]:
    files = {}
    for folder in (masks, truth):
        if not folder.is_dir():
            raise FileNotFoundError(f"Expected a folder of label PNGs, but found no {folder}.")
        files[folder] = sorted(file for file in folder.rglob("*") if file.suffix.lower() == ".png")
        if not files[folder]:
            raise FileNotFoundError(f"Expected {folder} to hold label PNGs, but got none.")
    by_stem = defaultdict(list)
    for file in files[masks]:
        by_stem[file.stem].append(file)
    pairs = []
    for true in files[truth]:
        same_path = masks / true.relative_to(truth)
        fitting = [same_path] if same_path.is_file() else by_stem[true.stem]
        if not fitting:
            raise FileNotFoundError(f"Expected {masks} to hold a mask for each truth, but got none for {true}.")
        if len(fitting) > 1:
            raise ValueError(f"Expected one mask for {true}, but got {len(fitting)}, {fitting[0]} first.")
        pairs.append((fitting[0], true))
    return pairs


def _read_names(path: Path) -> tuple[str, ...]:
    names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if len(names) < 2:
        raise ValueError(f"Expected {path} to name the background and at least one class, but got {list(names)}.")
    return names


def _numbers(pairs: Iterable[tuple[Path, Path]]) -> tuple[str, ...]:
    """The names of labels that have none; 255 is no label."""
    highest = 1
    for pair in pairs:
        for labels in map(read_labels, pair):
            highest = max(highest, int(labels.masked_fill(labels == IGNORE, 0).max()))
    return ("background", *(f"class {k}" for k in range(1, highest + 1)))
