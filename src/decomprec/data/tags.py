"""The tags of many images as class numbers: memory grows with the tags, not with images times classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor


class TagTable:
    """The tags of all images of a data set, made dense for some images at a time.

    Args:
        numbers: for each image the numbers of its classes, each once, in [0, K-1).
        num_tags: K-1, the number of classes without the background.

    Examples:
        >>> table = TagTable([[2], [], [0, 2]], num_tags=3)
        >>> len(table), table.dense([2, 0]).tolist(), table.counts().tolist()
        (3, [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], [1, 0, 2])
    """

    def __init__(self, numbers: Iterable[Sequence[int]], num_tags: int) -> None:
        rows = list(numbers)
        self.num_tags = num_tags
        self._numbers = torch.tensor(list(chain.from_iterable(rows)), dtype=torch.int32)
        self._starts = torch.tensor([0, *map(len, rows)]).cumsum(0)

    @classmethod
    def from_names(cls, tags: Iterable[Iterable[str]], class_names: Sequence[str]) -> TagTable:
        """The table of tags by their names; those that are not in `class_names` are left out."""
        number = {name: j for j, name in enumerate(class_names)}
        return cls(([number[t] for t in dict.fromkeys(names) if t in number] for names in tags), len(class_names))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def dense(self, images: Sequence[int] | None = None) -> Tensor:
        """Tags (n, K-1), float32, {0, 1}, of some images, or of all."""
        chosen = torch.arange(len(self)) if images is None else torch.as_tensor(images, dtype=torch.int64)
        counts = self.sizes()[chosen]
        row = torch.arange(len(chosen)).repeat_interleave(counts)
        first = (self._starts[chosen] - counts.cumsum(0) + counts).repeat_interleave(counts)
        tags = torch.zeros(len(chosen), self.num_tags)
        tags[row, self._numbers[first + torch.arange(len(row))].long()] = 1
        return tags

    def counts(self) -> Tensor:
        """How many images have each class: (K-1,), int64."""
        return torch.bincount(self._numbers, minlength=self.num_tags)

    def sizes(self) -> Tensor:
        """How many classes each image has: (N,), int64."""
        return self._starts.diff()

    def images_with(self) -> list[tuple[int, ...]]:
        """The images that have each class, in order."""
        images = torch.arange(len(self)).repeat_interleave(self.sizes())
        order = self._numbers.argsort(stable=True)
        return [tuple(part.tolist()) for part in images[order].split(self.counts().tolist())]

    def rows(self) -> list[list[int]]:
        """The class numbers of each image."""
        return [part.tolist() for part in self._numbers.split(self.sizes().tolist())]

    def select(self, images: Sequence[int]) -> TagTable:
        """The table of some images."""
        rows = self.rows()
        return TagTable([rows[i] for i in images], self.num_tags)

    def to_bytes(self) -> bytes:
        """All of it, to tell tables apart."""
        return self._starts.numpy().tobytes() + self._numbers.numpy().tobytes()


def tag_table(dataset: Any) -> TagTable:
    """The tags of a data set: its own table, or one made of its dense `tags`.

    Examples:
        >>> from types import SimpleNamespace
        >>> tag_table(SimpleNamespace(tags=torch.eye(2))).rows()
        [[0], [1]]
    """
    table = getattr(dataset, "tag_table", None)
    if isinstance(table, TagTable):
        return table
    return TagTable([row.nonzero()[:, 0].tolist() for row in dataset.tags], dataset.tags.shape[1])
