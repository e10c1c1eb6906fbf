"""Which class the foreground is: a second opinion, where several classes occur."""

from __future__ import annotations

import torch
from torch import Tensor


def divide_foreground(masks: Tensor, evidence: Tensor) -> Tensor:
    """Divide the foreground among the classes anew: what is drawn stays, the evidence has a say in which class it is.

        M'_k = (1 - M_0) · M_k exp(e_k) / Σ_j M_j exp(e_j),  j, k ≥ 1

    A product of two opinions, each a distribution over the classes of a pixel. The background stays, and so does the
    mask of a class that is alone.

    Args:
        masks: M, shape (B, K, H, W), non-negative, summing to one over K.
        evidence: e, logits of the classes without the background, shape (B, K-1, H, W).

    Returns:
        M', shape (B, K, H, W), summing to one over K. Pixels where every class has a mask of 0 stay as they are.

    Raises:
        ValueError: if the shapes don't fit.

    Examples:
        >>> masks = torch.tensor([0.2, 0.4, 0.4]).view(1, 3, 1, 1)
        >>> divide_foreground(masks, torch.tensor([0.0, 1.0986]).view(1, 2, 1, 1)).flatten()  # ln 3
        tensor([0.2000, 0.2000, 0.6000])
    """
    if masks.ndim != 4 or masks[:, 1:].shape != evidence.shape:
        raise ValueError(
            f"Expected `evidence` (B, K-1, H, W) for masks (B, K, H, W), but got {tuple(evidence.shape)} for "
            f"{tuple(masks.shape)}."
        )
    background, classes = masks[:, :1], masks[:, 1:]
    opinions = classes.log() + evidence
    drawn = (classes > 0).any(dim=1, keepdim=True)
    shares = torch.where(drawn, opinions, 0).softmax(dim=1)
    return torch.cat([background, torch.where(drawn, (1 - background) * shares, classes)], dim=1)
