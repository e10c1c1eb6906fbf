"""Predicted label maps with their ground truth, paired by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from decomprec.data.checks import OnError
from decomprec.data.formats.voc_devkit import find_devkit
from decomprec.data.mask_files import names_of_images, normal_path
from decomprec.evaluation.label_maps import LabelMap, read_label_maps


@dataclass(frozen=True)
class MatchedLabels:
    """Predicted label maps with their ground truth.

    Attributes:
        pairs: a prediction and its truth each.
        class_names: of the K-1 classes, if either side has a list of them.
        truth: where the ground truth is.
        notes: what was understood of both sides, in sentences.
        problems: why other ground truths have no prediction, in a sentence each.
    """

    pairs: tuple[tuple[LabelMap, LabelMap], ...]
    class_names: tuple[str, ...] | None
    truth: Path
    notes: tuple[str, ...]
    problems: tuple[str, ...] = ()


def match_label_files(masks: str | Path, truth: str | Path, on_error: OnError = "raise") -> MatchedLabels:
    """Pair predicted with true label maps, see `score_label_files`; none is read yet.

    Args:
        masks: predictions.
        truth: ground truth.
        on_error: "raise" an error for a ground truth without a prediction, or if several fit, or "skip" it.

    Raises:
        FileNotFoundError: if a source is missing or empty, or truths have no prediction.
        ValueError: if `truth` lacks a class of `masks`, several predictions fit a truth, or several truths a
            prediction.
    """
    masks, truth = Path(masks), Path(truth)
    class_names, predicted = read_label_maps(masks)
    true_names, true = read_label_maps(truth, class_names)
    pairs, problems = _pair(predicted, true, masks, on_error)
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
    return MatchedLabels(tuple(pairs), known, truth, tuple(notes), tuple(problems))


def _pair(
    predicted: Sequence[LabelMap], true: Sequence[LabelMap], masks: Path, on_error: OnError
) -> tuple[list[tuple[LabelMap, LabelMap]], list[str]]:
    """Pairs of a prediction and its ground truth, and what is wrong with the other ground truths."""
    by_name = _ByName(predicted)
    found = {expected: by_name.find(expected.name) for expected in true}
    claimed: dict[LabelMap, dict[int, list[LabelMap]]] = defaultdict(lambda: defaultdict(list))
    for expected, (rank, fitting) in found.items():
        if len(fitting) == 1:
            claimed[fitting[0]][rank].append(expected)
    pairs: list[tuple[LabelMap, LabelMap]] = []
    problems: list[ValueError | FileNotFoundError] = []
    for expected, (_, fitting) in found.items():
        if len(fitting) > 1:
            problems.append(_doubt("mask", expected, fitting))
            continue
        claims = claimed[fitting[0]] if fitting else {}
        best = claims[min(claims)] if claims else []
        if expected not in best:  # no mask, or one that fits another ground truth better
            text = f"Expected {masks} to hold a mask for each ground truth, but got none for {expected.where}."
            problems.append(FileNotFoundError(text))
        elif len(best) > 1:
            others = [other for other in best if other is not expected]
            problems.append(_doubt("ground truth", fitting[0], [expected, *others]))
        else:
            pairs.append((fitting[0], expected))
    if problems and (on_error == "raise" or not pairs):
        raise problems[0]
    return pairs, list(map(str, problems))


def _doubt(what: str, of: LabelMap, fitting: Sequence[LabelMap]) -> ValueError:
    first, second = (label_map.where for label_map in fitting[:2])
    return ValueError(
        f"Expected one {what} for {of.where}, but {first} and {second} fit; remove one, or put masks and ground truth "
        "into folders of the same names."
    )


class _ByName:
    """Label maps by their path, else by their file name, else by what the usual spellings of both share."""

    def __init__(self, label_maps: Sequence[LabelMap]) -> None:
        self._tables = [defaultdict[str, list[LabelMap]](list) for _ in _spellings("")]
        for label_map in label_maps:
            for table, keys in zip(self._tables, _spellings(label_map.name), strict=True):
                for key in keys:
                    table[key].append(label_map)

    def find(self, name: str) -> tuple[int, list[LabelMap]]:
        """The label maps that fit a name best, and at which of the spellings; the first is the closest."""
        for rank, (table, keys) in enumerate(zip(self._tables, _spellings(name), strict=True)):
            if fitting := [label_map for key in keys for label_map in table.get(key, ())]:
                return rank, list(dict.fromkeys(fitting))
        return len(self._tables), []


def _spellings(name: str) -> list[list[str]]:
    """Keys of a label map, from its whole path to its bare name."""
    path = Path(name)
    bare = [key for _, key in names_of_images(Path(f"{path.name}.png"))]
    folder = normal_path(path.parent)
    return [[name], [path.name], [normal_path(path)], [f"{folder}/{key}" for key in bare], bare]
