"""A uniform sample of rows that come one batch after the other, in bounded memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Sample:
    """At most so many of all rows that were added, each of them as likely as any other; all while they fit.

    Every row draws a random key, and the rows with the smallest keys stay. Samples of several processes or epochs,
    added up, are then a sample of all.

    Args:
        most: rows that are kept.

    Examples:
        >>> sample = Sample(most=2)
        >>> for number in range(5):
        ...     sample.add(torch.full((1, 3), number), torch.full((1, 1), number), torch.rand(1))
        >>> features, tags, keys = sample.rows
        >>> features.shape, bool((features[:, 0] == tags[:, 0]).all())
        (torch.Size([2, 3]), True)
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._parts: list[tuple[Tensor, ...]] = []
        self._held = 0

    def add(self, *columns: Tensor) -> None:
        """Add rows: columns (n, ...), the last of which holds their keys (n,)."""
        self._parts.append(columns)
        self._held += len(columns[-1])
        if self._held > 2 * self.most:  # not at each step, for it copies all that is kept
            self._parts = [self.rows]
            self._held = len(self._parts[0][-1])

    @property
    def rows(self) -> tuple[Tensor, ...]:
        """The columns of the sample."""
        columns = tuple(torch.cat(parts) for parts in zip(*self._parts, strict=True))
        keys = columns[-1]
        if len(keys) <= self.most:
            return columns
        kept = keys.topk(self.most, largest=False).indices.sort().values
        return tuple(column[kept] for column in columns)

    def __bool__(self) -> bool:
        return bool(self._parts)

    def clear(self) -> None:
        """Forget all rows."""
        self._parts, self._held = [], 0

    def state_dict(self) -> dict[str, Any]:
        """The sample, for a checkpoint."""
        return {"rows": list(self.rows) if self._parts else []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.clear()
        if state_dict["rows"]:
            self.add(*state_dict["rows"])
