"""Images that are equal or look alike, across splits and within."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from decomprec.data.findings import Finding, Level
from decomprec.data.inspection import Inspected

CLOSE = 8
"""Bits of 64 in which each of the two hashes may differ between images that look alike.

Copies that are compressed, resized, brightened or cropped by 2 % are found; no two of 7,000 different photographs are
as close.
"""

_ROWS = 1024


def duplicate_findings(images: Sequence[Inspected]) -> list[Finding]:
    """Find equal images, and images that look alike if their looks are known.

    Returns:
        An error for equal images in two splits, warnings for the others.

    Examples:
        >>> images = [Inspected("train", "a.png", ("dog",), content=b"1"), Inspected("val", "b.png", (), content=b"1")]
        >>> [(finding.level, finding.check) for finding in duplicate_findings(images)]
        [('error', 'equal across splits'), ('warning', 'tags that differ')]
    """
    images = [image for image in images if image.problem is None]
    equal, alike = equal_groups(images), alike_groups(images)
    found = [
        _finding(
            "error",
            "equal across splits",
            [group for group in equal if _splits(group) > 1],
            "are in both splits: scores on them measure memory; remove one of each",
        ),
        _finding(
            "warning",
            "equal within a split",
            [group for group in equal if len(group) > _splits(group)],
            "of one split are equal: they count more than others; keep one of each",
        ),
        _finding(
            "warning",
            "tags that differ",
            [group for group in equal if len({image.tags for image in group}) > 1],
            "are equal but have other tags: list an image once, with all its tags",
        ),
        _finding(
            "warning",
            "near duplicates across splits",
            [group for group in alike if _splits(group) > 1],
            "look alike across the splits: scores may measure memory; keep images of a scene in one split",
        ),
        _finding(
            "warning",
            "near duplicates",
            [group for group in alike if _splits(group) == 1],
            "of one split look alike: they teach less than their number says",
        ),
    ]
    return [finding for finding in found if finding is not None]


def equal_groups(images: Sequence[Inspected]) -> list[tuple[Inspected, ...]]:
    """Group images of equal pixels; images that have no twin are left out."""
    groups = defaultdict(list)
    for image in images:
        groups[image.content].append(image)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def alike_groups(images: Sequence[Inspected]) -> list[tuple[Inspected, ...]]:
    """Group images that look alike, directly or by way of others; of images of equal pixels the first is taken."""
    first: dict[bytes, Inspected] = {}
    for image in images:
        if image.look is not None:
            first.setdefault(image.content, image)
    if not first:
        return []
    distinct = list(first.values())
    leader = list(range(len(distinct)))
    for i, j in _close(torch.stack([image.look for image in distinct if image.look is not None])):
        low, high = sorted((_leader_of(i, leader), _leader_of(j, leader)))
        leader[high] = low
    groups = defaultdict(list)
    for i, image in enumerate(distinct):
        groups[_leader_of(i, leader)].append(image)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _leader_of(index: int, leader: list[int]) -> int:
    while leader[index] != index:
        leader[index] = leader[leader[index]]
        index = leader[index]
    return index


def _close(looks: Tensor) -> Iterator[tuple[int, int]]:
    """Yield i < j of the rows of looks (N, 128) that differ in at most `CLOSE` places in each half."""
    halves = [2 * half.float() - 1 for half in looks.chunk(2, dim=1)]
    least = halves[0].shape[1] - 2 * CLOSE  # the product of two rows of -1 and 1 that differ in CLOSE places
    for start in range(0, len(looks), _ROWS):
        close = torch.stack([half[start : start + _ROWS] @ half[start:].T >= least for half in halves]).all(dim=0)
        yield from ((start + i, start + j) for i, j in close.triu(1).nonzero().tolist())


def _finding(level: Level, check: str, groups: Sequence[Sequence[Inspected]], what: str) -> Finding | None:
    if not groups:
        return None
    files = tuple(tuple(image.file for image in group) for group in groups)
    count = len({file for group in files for file in group})
    return Finding(level, check, f"{count} images {what}", files)


def _splits(group: Sequence[Inspected]) -> int:
    return len({image.split for image in group})
