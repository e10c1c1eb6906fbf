"""How far the masks of each class can be trusted, from tags alone, and what would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from decomprec._processes import gathered
from decomprec.evaluation.comparison import number_cell, text_table

FEW_IMAGES = 40
"""Fewer validation images with a class, or without it, say little about it."""
SMALL_AREA = 0.02
"""A class that covers a smaller share of its images than this may be too small at the size of the network's input."""
LARGE_AREA = 0.95
"""Of a class that covers more of its images than this, masks say nothing that the tags do not."""
GOOD, FAIR = 0.6, 0.3
"""Of the images that the usual answer gets wrong, the share that a guide must get right for each grade."""


@dataclass(frozen=True)
class Verdict:
    """What is known of one class.

    Attributes:
        name: of the class.
        images_with: validation images that have it.
        images_without: those that do not.
        accuracy: share of the images about which the guide is right.
        usual: accuracy of the same answer for all images, whichever is right more often.
        area: mean share of the image that is drawn, where the image has the class; None if no image has.
    """

    name: str
    images_with: int
    images_without: int
    accuracy: float
    usual: float
    area: float | None

    @property
    def skill(self) -> float | None:
        """How much of what the usual answer gets wrong the guide gets right: 1 is all, 0 none; None for nothing."""
        return None if self.usual == 1 else (self.accuracy - self.usual) / (1 - self.usual)

    @property
    def grade(self) -> str:
        """One of "good", "fair", "poor" and, where the usual answer is never wrong, "unknown"."""
        if self.skill is None:
            return "unknown"
        return "good" if self.skill >= GOOD else "fair" if self.skill >= FAIR else "poor"

    @property
    def advice(self) -> tuple[str, ...]:
        """What would help, in short sentences."""
        known = self.grade in ("good", "fair")
        rules = {
            "add images without it": self.images_without == 0,
            "add images with it": self.images_with == 0 or (not known and self.images_with < FEW_IMAGES),
            "check its tags": self.grade == "poor" and min(self.images_with, self.images_without) >= FEW_IMAGES,
            "nothing is drawn: look at its images": self.area == 0,
            "all is drawn: look at its images": self.area is not None and self.area > LARGE_AREA,
            "it is small: try a larger image_size": self.area is not None and 0 < self.area < SMALL_AREA,
        }
        return tuple(sentence for sentence, applies in rules.items() if applies)


class VerdictAccumulator:
    """Accumulates tags, the guide's answers and what is drawn, batch by batch.

    Examples:
        >>> accumulator = VerdictAccumulator(["dog"])
        >>> labels = torch.tensor([[[0, 1]], [[0, 0]]])
        >>> accumulator.update(torch.tensor([[1.0], [0.0]]), torch.tensor([[2.0], [-2.0]]), labels)
        >>> (verdict,) = accumulator.compute()
        >>> verdict.accuracy, verdict.usual, verdict.area, verdict.grade
        (1.0, 0.5, 0.5, 'good')
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._tags: list[Tensor] = []
        self._right: list[Tensor] = []
        self._areas: list[Tensor] = []

    def update(self, tags: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add images with tags and the guide's logits, both (B, K-1), and label maps (B, H, W) drawn with the tags."""
        present = (tags == 1).cpu()
        self._tags.append(present)
        self._right.append((logits > 0).cpu() == present)
        labels = labels.cpu()  # a Mac's GPU has no float64
        classes = range(1, len(self.class_names) + 1)
        self._areas.append(torch.stack([(labels == c).double().mean(dim=(1, 2)) for c in classes], dim=1))

    def gather(self) -> None:
        """Add the images of all processes that compute together; all must call it."""
        parts = gathered((self._tags, self._right, self._areas))
        self._tags, self._right, self._areas = ([*chain(*lists)] for lists in zip(*parts, strict=True))

    def compute(self) -> tuple[Verdict, ...]:
        """One verdict for each class.

        Raises:
            ValueError: if there are no images.
        """
        if not self._tags:
            raise ValueError("Expected at least one image, but got none.")
        tags, right, areas = (torch.cat(parts) for parts in (self._tags, self._right, self._areas))
        verdicts = []
        for j, name in enumerate(self.class_names):
            present = tags[:, j]
            share = present.double().mean().item()
            verdicts.append(
                Verdict(
                    name,
                    images_with=int(present.sum()),
                    images_without=int((~present).sum()),
                    accuracy=right[:, j].double().mean().item(),
                    usual=max(share, 1 - share),
                    area=areas[present, j].mean().item() if present.any() else None,
                )
            )
        return tuple(verdicts)


HEAD = ("class", "images with", "without", "guide is right", "usual answer", "area drawn", "masks", "what would help")


def verdict_rows(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """The cells below `HEAD`, the worst known classes first."""
    ordered = sorted(verdicts, key=lambda verdict: -1.0 if verdict.skill is None else verdict.skill)
    return [
        [
            *(v.name, str(v.images_with), str(v.images_without)),
            *map(number_cell, (v.accuracy, v.usual, v.area)),
            *(v.grade, "; ".join(v.advice)),
        ]
        for v in ordered
    ]


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as a Markdown table.

    Examples:
        >>> print(verdict_table([Verdict("dog", 50, 50, accuracy=0.9, usual=0.5, area=0.3)]))
        | class | images with | without | guide is right | usual answer | area drawn | masks | what would help |
        | ----- | ----------- | ------- | -------------- | ------------ | ---------- | ----- | --------------- |
        | dog   | 50          | 50      | 0.900          | 0.500        | 0.300      | good  |                 |
    """
    return text_table([HEAD, *verdict_rows(verdicts)])


def verdicts_as_json(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """The verdicts with their grades and advice, as JSON values."""
    return [{**vars(verdict), "grade": verdict.grade, "advice": list(verdict.advice)} for verdict in verdicts]


def verdicts_from_json(entries: Any) -> tuple[Verdict, ...]:
    """What `verdicts_as_json` made.

    Raises:
        ValueError: for anything else.
    """
    types = {"name": str, "images_with": int, "images_without": int, "accuracy": float, "usual": float}
    entries = entries if isinstance(entries, list) else [entries]
    for entry in entries:
        fits = isinstance(entry, dict) and all(type(entry.get(key)) is type_ for key, type_ in types.items())
        if not fits or not isinstance(entry.get("area"), float | None):
            raise ValueError(f"Expected verdicts as `train` writes them, but got {entry!r:.200}.")
    return tuple(Verdict(**{key: entry[key] for key in (*types, "area")}) for entry in entries)
