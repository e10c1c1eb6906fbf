"""Names of the classes that are known to occur, as rows of tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def names_by_image(tags: Any, count: int, class_names: Sequence[str]) -> Sequence[Sequence[str]] | None:
    """Names for each image.

    Args:
        tags: names for all images, or a list of names for each; None if they are not known.
        count: of the images.
        class_names: of the K-1 classes.

    Raises:
        ValueError: if a name is no class, or there are not as many lists as images.

    Examples:
        >>> names_by_image(["dog"], 2, ["cat", "dog"])
        [['dog'], ['dog']]
    """
    if tags is None:
        return None
    if isinstance(tags, str):
        raise ValueError(f"Expected `tags` to be a list of class names, but got the text {tags!r}.")
    each = [tags] * count if all(isinstance(tag, str) for tag in tags) else list(tags)
    if len(each) != count:
        raise ValueError(f"Expected `tags` to hold a list of names for each of {count} images, but got {len(each)}.")
    if unknown := sorted({tag for names in each for tag in names} - set(class_names)):
        raise ValueError(f"Expected `tags` to be among {', '.join(class_names)}, but got {unknown}.")
    return each


def tag_rows(names: Sequence[Sequence[str]], class_names: Sequence[str]) -> Tensor:
    """Tags (B, K-1), {0, 1}, of the names for each image.

    Examples:
        >>> tag_rows([["dog"], []], ["cat", "dog"])
        tensor([[0., 1.],
                [0., 0.]])
    """
    return torch.tensor([[float(name in own) for name in class_names] for own in names]).view(-1, len(class_names))
