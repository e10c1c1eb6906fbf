"""The processes of a job that compute together, as torch.distributed knows them; one without it."""

from __future__ import annotations

from typing import TypeVar

import torch.distributed as dist

T = TypeVar("T")


def number_of_processes() -> int:
    """How many processes compute together."""
    return dist.get_world_size() if _meet() else 1


def rank() -> int:
    """The place of this process among them, from 0."""
    return dist.get_rank() if _meet() else 0


def gathered(part: T) -> list[T]:
    """What each process passes to this function, in order of ranks; all must call it.

    Examples:
        >>> gathered("alone")
        ['alone']
    """
    parts: list[T] = [part] * number_of_processes()
    if len(parts) > 1:
        dist.all_gather_object(parts, part)
    return parts


def _meet() -> bool:
    return dist.is_available() and dist.is_initialized()
