"""An encoder's feature maps, gathered, rectified and scored: what a classifier's head and its evidence see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def rectified(features: Tensor) -> Tensor:
    """The positive and the negative part of features, next to each other, neither below zero.

    Args:
        features: (N, C, ...), signed.

    Returns:
        (N, 2C, ...): max(f, 0), then max(-f, 0).

    Examples:
        >>> rectified(torch.tensor([[2.0, -3.0]]))
        tensor([[2., 0., 0., 3.]])
    """
    return torch.cat([features, -features], dim=1).relu()


def scores_of_rectified(features: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """A linear layer on the `rectified` features of every pixel, without building them.

        w⁺ · max(f, 0) + w⁻ · max(-f, 0) + b = (w⁺ + w⁻) · max(f, 0) - w⁻ · f + b

    The right side reads half as much memory as the left, which is what such a layer of few outputs takes its time for.

    Args:
        features: (N, C, h, w), signed.
        weights: (S, 2C), of the positive parts, then of the negative ones.
        bias: (S,).

    Returns:
        (N, S, h, w).

    Examples:
        >>> features, weights, bias = torch.randn(2, 4, 5, 5), torch.randn(3, 8), torch.randn(3)
        >>> scores = scores_of_rectified(features, weights, bias)
        >>> parts = F.conv2d(rectified(features), weights[:, :, None, None], bias)
        >>> torch.testing.assert_close(scores, parts, atol=1e-4, rtol=1e-4)
    """
    positive, negative = weights[:, :, None, None].chunk(2, dim=1)
    # The terms are larger than their difference: not in bfloat16. (torch.autocast refuses meta tensors.)
    with torch.autocast("cpu" if features.is_meta else features.device.type, enabled=False):
        features = features.to(weights)
        return F.conv2d(features.relu(), positive + negative, bias) - F.conv2d(features, negative)


def gathered(maps: Sequence[Tensor], levels: Sequence[int]) -> Tensor:
    """Some of an encoder's feature maps as one, at the size of the finest of them.

    Args:
        maps: each (N, C_l, h_l, w_l), from fine to coarse.
        levels: which of them.

    Returns:
        (N, Σ C_l, h, w).

    Examples:
        >>> gathered([torch.rand(1, 2, 8, 8), torch.rand(1, 3, 4, 4)], levels=(-2, -1)).shape
        torch.Size([1, 5, 8, 8])
    """
    chosen = [maps[level] for level in levels]
    if len(chosen) == 1:
        return chosen[0]
    size = max((m.shape[-2:] for m in chosen), key=lambda shape: shape.numel())
    return torch.cat([F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in chosen], dim=1)


def check_levels(levels: Sequence[int], count: int) -> None:
    """Raise a ValueError unless levels choose different ones of so many feature maps, counted from the end."""
    known = range(-count, 0)
    if not levels or len(set(levels)) < len(levels) or not all(type(n) is int and n in known for n in levels):
        raise ValueError(
            f"Expected `levels` to be different numbers from {known.start} (the finest feature map) to -1 (the "
            f"coarsest), at least one, but got {list(levels)}."
        )
