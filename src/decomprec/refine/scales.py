"""Images and masks of other sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def at_scale(mask_logits: Callable[[Tensor], Tensor], scale: float) -> Callable[[Tensor], Tensor]:
    """Show a network rescaled images, and bring its logits back to the images' size.

    Args:
        mask_logits: maps images (B, 3, H, W) of any size to logits (B, K, H, W).
        scale: of the images' height and width, above 0.

    Returns:
        A function of the same form as `mask_logits`.

    Examples:
        >>> seen = []
        >>> logits = at_scale(lambda images: seen.append(images.shape[2:]) or images[:, :2], 0.5)
        >>> logits(torch.rand(1, 3, 32, 48)).shape, seen
        (torch.Size([1, 2, 32, 48]), [torch.Size([16, 24])])
    """
    return lambda images: resize(mask_logits(rescale(images, scale)), images.shape[-2:])


def resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resize images or masks (B, C, H, W) to `size` (height, width), bilinearly and with antialiasing.

    Rounding can take the values slightly beyond their range; clamp them where that matters. Half precision is resized
    in float32: on a CPU torch has no antialiasing in bfloat16.

    Examples:
        >>> resize(torch.tensor([[[[0.0, 1.0, 1.0, 1.0]]]]), (1, 2))
        tensor([[[[0.5714, 1.0000]]]])
    """
    if images.shape[-2:] == tuple(size):
        return images
    wide = images.to(torch.promote_types(images.dtype, torch.float32))
    return F.interpolate(wide, size=tuple(size), mode="bilinear", antialias=True, align_corners=False).to(images.dtype)


def rescale(images: Tensor, scale: float) -> Tensor:
    """Images (B, C, H, W) in [0, 1] at `scale` times their height and width, see `resize`.

    Examples:
        >>> rescale(torch.rand(1, 3, 16, 24), 0.5).shape
        torch.Size([1, 3, 8, 12])
    """
    resized = resize(images, [max(1, round(scale * side)) for side in images.shape[-2:]])
    return images if resized is images else resized.clamp(0, 1)


def rescale_to(images: Tensor, side: float) -> Tensor:
    """Images (B, C, H, W) in [0, 1] with as many pixels as a square of `side`, in their own shape, see `resize`.

    Examples:
        >>> rescale_to(torch.rand(1, 3, 20, 5), 30).shape
        torch.Size([1, 3, 60, 15])
    """
    return rescale(images, side / math.sqrt(images.shape[-2] * images.shape[-1]))


def resize_labels(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Resize label maps (B, H, W), integers, to `size` (height, width) by nearest neighbour.

    Examples:
        >>> resize_labels(torch.tensor([[[0, 0, 7, 255]]]), (1, 2))
        tensor([[[  0, 255]]])
    """
    return F.interpolate(labels[:, None].float(), tuple(size), mode="nearest-exact")[:, 0].to(labels.dtype)
