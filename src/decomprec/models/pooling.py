"""From feature maps to one value per channel and image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor

Pooling = Literal["mean", "top", "lse", "gem"]
POOLINGS: tuple[str, ...] = get_args(Pooling)

_TOP_SHARE = 0.2
_SHARPNESS = 5.0
_POWER = 3.0


def pool(features: Tensor, pooling: Pooling) -> Tensor:
    """Pool every channel over the pixels. In a mean a small thing vanishes; the others favour the strongest pixels.

    - "mean": 1/N Σ_p f_p.
    - "top": the mean of the largest fifth of the pixels, at least one.
    - "lse": log-sum-exp, between mean and maximum: log(1/N Σ_p exp(5 f_p)) / 5 (Pinheiro & Collobert, From
      Image-level to Pixel-level Labeling, 2015).
    - "gem": the generalised mean (1/N Σ_p max(f_p, 0)^3)^(1/3) (Radenović et al., Fine-tuning CNN Image Retrieval,
      2018); for features that are not negative, such as `rectified` ones.

    Args:
        features: (N, C, h, w).
        pooling: which.

    Returns:
        (N, C).

    Examples:
        >>> import torch
        >>> features = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0]).view(1, 1, 1, 5)
        >>> [round(pool(features, pooling).item(), 2) for pooling in ("mean", "top", "lse", "gem")]
        [0.2, 1.0, 0.68, 0.58]
    """
    return _POOL[pooling](features.flatten(2))


def _mean(pixels: Tensor) -> Tensor:
    return pixels.mean(dim=2)


def _top(pixels: Tensor) -> Tensor:
    return pixels.topk(max(1, round(_TOP_SHARE * pixels.shape[2])), dim=2).values.mean(dim=2)


def _log_sum_exp(pixels: Tensor) -> Tensor:
    return ((_SHARPNESS * pixels).logsumexp(dim=2) - math.log(pixels.shape[2])) / _SHARPNESS


def _generalised_mean(pixels: Tensor) -> Tensor:
    # Above zero, where the root's gradient is finite.
    return pixels.clamp(min=1e-6).pow(_POWER).mean(dim=2).pow(1 / _POWER)


_POOL: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": _mean,
    "top": _top,
    "lse": _log_sum_exp,
    "gem": _generalised_mean,
}
