"""From score maps to one score per class and image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor

Pooling = Literal["mean", "top", "lse"]
POOLINGS: tuple[str, ...] = get_args(Pooling)

_TOP_SHARE = 0.2


def pool(scores: Tensor, pooling: Pooling) -> Tensor:
    """Pool every map over the pixels. In a mean a small thing vanishes; the others favour the highest scores.

    - "mean": 1/N Σ_p s_p.
    - "top": the mean of the highest fifth of the scores, at least one.
    - "lse": log-sum-exp, between mean and maximum: log(1/N Σ_p exp(s_p)) (Pinheiro & Collobert, From Image-level to
      Pixel-level Labeling, 2015).

    Args:
        scores: (N, C, h, w).
        pooling: which.

    Returns:
        (N, C).

    Examples:
        >>> import torch
        >>> scores = torch.tensor([5.0, 0.0, 0.0, 0.0, 0.0]).view(1, 1, 1, 5)
        >>> [round(pool(scores, pooling).item(), 2) for pooling in ("mean", "top", "lse")]
        [1.0, 5.0, 3.42]
    """
    return _POOL[pooling](scores.flatten(2))


def _mean(pixels: Tensor) -> Tensor:
    return pixels.mean(dim=2)


def _top(pixels: Tensor) -> Tensor:
    return pixels.topk(max(1, round(_TOP_SHARE * pixels.shape[2])), dim=2).values.mean(dim=2)


def _log_mean_exp(pixels: Tensor) -> Tensor:
    return pixels.logsumexp(dim=2) - math.log(pixels.shape[2])


_POOL: dict[str, Callable[[Tensor], Tensor]] = {"mean": _mean, "top": _top, "lse": _log_mean_exp}
