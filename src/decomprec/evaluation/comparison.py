"""One table of models and baselines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decomprec._files import written_whole
from decomprec._processes import gathered
from decomprec.evaluation.baselines import (
    CamSweep,
    CentredEllipse,
    EveryPixel,
    Maps,
    candidate_classes,
    normalised_maps,
)
from decomprec.evaluation.metrics import Loader, ScoreAccumulator, SegmentationScores, accuracy, masked_batches
from decomprec.protocols import Localiser, Predictor

MAX_CLASS_COLUMNS = 7
DRAWN = "PAMR, guide's tags"
"""End of the name of the row that measures what `decomprec predict` draws."""


@dataclass(frozen=True)
class Row:
    """One method, with or without tags at test time.

    Attributes:
        method: its name.
        tags: whether it was given the tags of the images.
        scores: of the data set.
        settings: numbers chosen for it, by name.
    """

    method: str
    tags: bool
    scores: SegmentationScores
    settings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """The results of `compare`.

    Attributes:
        rows: for each method, one with tags and one without.
        class_names: of the K-1 foreground classes.
        guide: accuracy of the classifier behind CAM, see `guide_accuracy`.
        run: provenance, such as the command, the seed and the machine.

    Examples:
        >>> scores = SegmentationScores(iou=(0.75, 0.5), false_area=(0.125,), images=4, images_with=(2,))
        >>> guide = {"per_class": [0.9], "mean": 0.9, "exact_match": 0.9, "images": 4}
        >>> print(Results((Row("decomprec", False, scores),), ("dog",), guide).table())
        | method    | tags at test time | dog   | foreground IoU | IoU with background | area where absent |
        | --------- | ----------------- | ----- | -------------- | ------------------- | ----------------- |
        | decomprec | no                | 0.500 | 0.500          | 0.625               | 0.125             |
    """

    rows: tuple[Row, ...]
    class_names: tuple[str, ...]
    guide: dict[str, Any]
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def without_mask(self) -> int:
        """Number of images that have no mask, and are not measured."""
        return self.rows[0].scores.images_without_mask

    def to_dict(self) -> dict[str, Any]:
        """All results as JSON values, None for undefined numbers."""
        rows = [
            {"method": row.method, "tags": row.tags, "settings": row.settings, **row.scores.to_dict()}
            for row in self.rows
        ]
        return {
            "run": self.run,
            "class_names": list(self.class_names),
            "rows": rows,
            "guide_accuracy": self.guide,
        }

    def table(self) -> str:
        """A Markdown table, aligned to be read as plain text: IoU per class (for at most 7 classes) and means.

        The last column is the mean predicted share of a class in images without it.
        """
        per_class = len(self.class_names) <= MAX_CLASS_COLUMNS
        head = ["method", "tags at test time", *(self.class_names if per_class else ())]
        head += ["foreground IoU", "IoU with background", "area where absent"]
        lines = [head]
        for row in self.rows:
            s = row.scores
            numbers = [*(s.iou[1:] if per_class else ()), s.mean_foreground_iou, s.mean_iou, s.mean_false_area]
            lines.append([row.method, "yes" if row.tags else "no", *map(number_cell, numbers)])
        return text_table(lines)

    def save(self, path: str | Path) -> None:
        """Write `to_dict()` as JSON; a reader sees the old file or the whole new one."""
        with written_whole(path) as partial:
            partial.write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")


@torch.inference_mode()
def compare(
    predictors: Mapping[str, Predictor],
    classifier: Localiser,
    loader: Loader,
    class_names: Sequence[str],
    device: torch.device | str = "cpu",
    ellipse_share: float = 0.5,
    maps: Mapping[str, Maps] | None = None,
    per_image: bool = False,
    distributed: bool = False,
) -> Results:
    """Score predictors, CAM of their guide, a centred ellipse and "every pixel", each with and without tags.

    Without tags, the baselines use the classes that the classifier predicts. CAM and other maps are cut at their best
    threshold for the scored data, see `best_cam_threshold`. For a threshold from other data, pass a `CamPredictor`.

    Args:
        predictors: by row name, such as `model.predict`, on `device`.
        classifier: of the guide, on `device`.
        loader: yields batches with "image", "tags" and "mask"; read once, so a progress bar can wrap it.
        class_names: of the K-1 foreground classes.
        device: to which batches are moved.
        ellipse_share: of the image; the default is the area that Eq. 4 favours for one tag.
        maps: other localisation maps by row name: functions from images (B, 3, H, W) to maps (B, K-1, h, w), which are
            enlarged, cut at thresholds and reported like CAM.
        per_image: record the IoU of every image under its "name" in the batch, for `predictors`.
        distributed: whether all processes of a `torch.distributed` group call this, each with its share of the images;
            all get the results of all images.

    Raises:
        ValueError: if `maps` has an entry "CAM", a batch lacks the mask or a required name, shapes or labels don't fit,
            or `loader` is empty.

    Examples:
        >>> from decomprec.models import PooledClassifier, SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=2)
        >>> batch = {"image": torch.rand(2, 3, 8, 8), "tags": torch.ones(2, 1), "mask": torch.ones(2, 8, 8).long()}
        >>> results = compare({"decomprec": EveryPixel(classifier)}, classifier, [batch], ["dog"])
        >>> [row.method for row in results.rows if row.tags]
        ['decomprec', 'CAM (best threshold)', 'centred ellipse', 'every pixel']
    """
    maps = maps or {}
    if "CAM" in maps:
        raise ValueError("Expected no `maps` called 'CAM', the name of the guide's own maps; rename yours.")
    maps = {"CAM": classifier.activation_maps, **maps}
    num_classes = len(class_names) + 1
    ellipse, everywhere = CentredEllipse(ellipse_share), EveryPixel()
    contests = {use_tags: _Contest(predictors, maps, num_classes, use_tags) for use_tags in (True, False)}
    right = []
    for images, tags, truth, names in masked_batches(loader, device, per_image):
        found = candidate_classes(images, None, classifier)
        right.append((found == (tags == 1)).cpu())
        normalised = {name: normalised_maps(classifier, these, images) for name, these in maps.items()}
        for name, predictor in predictors.items():
            for use_tags, labels in zip((True, False), _both(predictor, images, tags), strict=True):
                contests[use_tags].ours[name].update(labels, truth, tags, names)
        for use_tags, contest in contests.items():
            candidates = tags == 1 if use_tags else found
            for name, these in normalised.items():
                contest.maps[name].update(these, candidates, truth, tags)
            contest.ellipse.update(ellipse(images, candidates), truth, tags)
            contest.everywhere.update(everywhere(images, candidates), truth, tags)
    if distributed:
        contests, right = _merged(gathered((contests, right)))
    guide = accuracy(right)
    rows = [row for contest in contests.values() for row in contest.rows(ellipse_share)]
    return Results(tuple(rows), tuple(class_names), guide)


def _merged(
    parts: Sequence[tuple[dict[bool, _Contest], list[Tensor]]],
) -> tuple[dict[bool, _Contest], list[Tensor]]:
    """The scores, and what the guide was right about, of all processes."""
    contests, _ = parts[0]
    for others, _ in parts[1:]:
        for use_tags, contest in contests.items():
            contest.merge(others[use_tags])
    return contests, [decisions for _, right in parts for decisions in right]


def _both(predictor: Predictor, images: Tensor, tags: Tensor) -> tuple[Tensor, Tensor]:
    """Label maps given the tags, and without them; a `RefinedPredictor` has them at once."""
    at_once = getattr(predictor, "with_and_without_tags", None)
    if at_once is None:
        return predictor(images, tags), predictor(images, None)
    labels: tuple[Tensor, Tensor] = at_once(images, tags)
    return labels


class _Contest:
    """The scores of all methods, with tags or without."""

    def __init__(self, ours: Iterable[str], maps: Iterable[str], num_classes: int, use_tags: bool) -> None:
        self.use_tags = use_tags
        self.ours = {name: ScoreAccumulator(num_classes, use_tags) for name in ours}
        self.maps = {name: CamSweep(num_classes, use_tags) for name in maps}
        self.ellipse = ScoreAccumulator(num_classes, use_tags)
        self.everywhere = ScoreAccumulator(num_classes, use_tags)

    def merge(self, other: _Contest) -> None:
        for name, ours in self.ours.items():
            ours.merge(other.ours[name])
        for name, sweep in self.maps.items():
            sweep.merge(other.maps[name])
        self.ellipse.merge(other.ellipse)
        self.everywhere.merge(other.everywhere)

    def rows(self, ellipse_share: float) -> list[Row]:
        best = {name: sweep.best() for name, sweep in self.maps.items()}
        return [
            *(Row(name, self.use_tags, ours.compute()) for name, ours in self.ours.items()),
            *(
                Row(f"{name} (best threshold)", self.use_tags, scores, {"threshold": threshold})
                for name, (threshold, scores) in best.items()
            ),
            Row("centred ellipse", self.use_tags, self.ellipse.compute(), {"share": ellipse_share}),
            Row("every pixel", self.use_tags, self.everywhere.compute()),
        ]


def text_table(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned to be read as plain text; the first line is the header."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    ruled = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in ruled
    )


def number_cell(value: float | None) -> str:
    """A number with three decimals, or "-" if it is undefined."""
    return "-" if value is None or value != value else f"{value:.3f}"
