"""Which pixels belong together by a backbone's features, and maps that spread along it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from decomprec.refine import resize


def feature_affinity(features: Sequence[Tensor], power: float = 4.0) -> Tensor:
    """Probabilities of the steps of a random walk between pixels, from the similarity of their features.

    The similarity of two pixels is the cosine of their features minus half the image's mean f̄, averaged over the
    feature maps l and cut off at zero:

        P_pq = A_pq / Σ_q A_pq,    A_pq = max(mean_l cos(f_lp - f̄_l / 2, f_lq - f̄_l / 2), 0)^power

    With nothing subtracted, features after a ReLU have nearly the same direction, so all pixels are similar. With the
    whole mean subtracted, the direction no longer depends on how far a feature is above the mean. The walk stays at a
    pixel without a direction, for example if all features are zero.

    Args:
        features: maps (B, C_l, h_l, w_l) of the same images; all are brought to the size of the last.
        power: of the similarity, positive; with a larger one, the walk goes to the most similar pixels only.

    Returns:
        P, shape (B, N, N), with N = h w pixels of the last map; rows sum to one. Takes 4 B N² bytes.

    Raises:
        ValueError: if there are no features, or `power` is not positive.

    Examples:
        >>> features = torch.tensor([[1.0, 1.0, -1.0, -1.0]]).view(1, 1, 1, 4)
        >>> feature_affinity([features])[0]
        tensor([[0.5000, 0.5000, 0.0000, 0.0000],
                [0.5000, 0.5000, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.5000, 0.5000],
                [0.0000, 0.0000, 0.5000, 0.5000]])
    """
    if not features or not power > 0:
        raise ValueError(f"Expected feature maps and a positive `power`, but got {len(features)} maps and {power}.")
    size = features[-1].shape[-2:]
    directions = []
    for maps in features:
        centred = resize(maps.float() - maps.float().mean(dim=(-2, -1), keepdim=True) / 2, size)
        directions.append(F.normalize(centred.flatten(2), dim=1))
    stacked = torch.cat(directions, dim=1) / len(features) ** 0.5
    likeness = (stacked.transpose(1, 2) @ stacked).clamp(min=0) ** power
    # Without a direction a pixel is not even like itself.
    alone = likeness.sum(dim=2, keepdim=True) == 0
    likeness = torch.where(alone, torch.eye(likeness.shape[1], device=likeness.device), likeness)
    return likeness / likeness.sum(dim=2, keepdim=True)


def random_walk(affinity: Tensor, maps: Tensor, steps: int = 4) -> Tensor:
    """Let maps spread from pixel to pixel: each step replaces a value by its expectation after a step of the walk.

    Args:
        affinity: P, shape (B, N, N), rows summing to one, as `feature_affinity` gives it.
        maps: shape (B, C, h, w), with N = h w.
        steps: at least 0.

    Returns:
        P^steps · maps, shape (B, C, h, w), never beyond the maps' range.

    Raises:
        ValueError: if the shapes don't fit each other.

    Examples:
        >>> affinity = torch.tensor([[[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]])
        >>> random_walk(affinity, torch.tensor([1.0, 0.0, 0.0]).view(1, 1, 1, 3)).flatten()
        tensor([0.5000, 0.5000, 0.0000])
    """
    pixels = maps.shape[-2:].numel()
    if affinity.shape != (len(maps), pixels, pixels):
        raise ValueError(
            f"Expected `affinity` of shape {(len(maps), pixels, pixels)} for maps {tuple(maps.shape)}, "
            f"but got {tuple(affinity.shape)}."
        )
    spread = maps.flatten(2).transpose(1, 2).to(affinity)
    for _ in range(steps):
        spread = affinity @ spread
    return spread.transpose(1, 2).unflatten(2, maps.shape[-2:]).to(maps)
