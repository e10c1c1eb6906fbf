"""Checks of arguments. Each raises one ValueError: the argument, what was expected, what came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from decomprec.decomposition import Decomposition


def check_images(images: Tensor, name: str = "images") -> None:
    """Raise a ValueError unless `images` is (B, 3, H, W), floating point, finite and within [0, 1].

    Values are not looked at while torch compiles or exports: that would break the graph.
    """
    if not isinstance(images, Tensor):
        raise ValueError(f"Expected `{name}` to be a torch.Tensor, but got {type(images).__name__}.")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"Expected `{name}` to have shape (B, 3, H, W), but got {tuple(images.shape)}.")
    if min(images.shape) == 0:
        raise ValueError(f"Expected `{name}` to hold at least one pixel, but got shape {tuple(images.shape)}.")
    if not images.is_floating_point():
        raise ValueError(
            f"Expected `{name}` to be floating point in [0, 1], but got {images.dtype}; divide uint8 by 255."
        )
    if not torch.compiler.is_compiling() and not images.is_meta:
        low, high = (v.item() for v in torch.aminmax(images.detach()))
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"Expected `{name}` to lie in [0, 1], but got values from {low:.4g} to {high:.4g}; "
                "leave mean and standard deviation to the guide and scale pixels to [0, 1]."
            )


def check_tags(tags: Tensor, batch: int, num_classes: int, name: str = "tags") -> None:
    """Raise a ValueError unless `tags` is (B, K-1) with entries 0 or 1."""
    expected = (batch, num_classes - 1)
    if not isinstance(tags, Tensor) or tuple(tags.shape) != expected:
        got = tuple(tags.shape) if isinstance(tags, Tensor) else type(tags).__name__
        raise ValueError(
            f"Expected `{name}` to have shape (B, K-1) = {expected}, without the background, but got {got}."
        )
    if not torch.compiler.is_compiling() and not tags.is_meta and not ((tags == 0) | (tags == 1)).all():
        raise ValueError(f"Expected `{name}` to hold only 0 and 1, but got other values.")


def check_decomposition(out: Decomposition, images: Tensor) -> None:
    """Raise a ValueError unless `out` belongs to `images` and its parts fit each other."""
    batch, _, height, width = images.shape
    logits, imagelets = out.mask_logits, out.imagelets
    if logits.ndim != 4 or (logits.shape[0], *logits.shape[2:]) != (batch, height, width):
        raise ValueError(
            f"Expected `mask_logits` to have shape (B, K, H, W) = ({batch}, K, {height}, {width}), "
            f"but got {tuple(logits.shape)}."
        )
    expected = (batch, logits.shape[1], 3, height, width)
    if tuple(imagelets.shape) != expected:
        raise ValueError(
            f"Expected `imagelets` to have shape (B, K, 3, H, W) = {expected}, but got {tuple(imagelets.shape)}."
        )
