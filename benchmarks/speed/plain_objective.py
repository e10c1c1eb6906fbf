# ruff: noqa: N803, N806
"""The objective as plainly as the paper reads: Python loops over the K slots, one pass of the guide for each.

What the library is measured against, and what its values and gradients are tested against. M, X, I, y, g and the
λ's are the paper's; slot 0 is the background, and class k of the guide is in its column k - 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def recompose(M: Tensor, X: Tensor) -> Tensor:
    """Eq. 1, Î (B, C, H, W) of M (B, K, H, W) and X (B, K, C, H, W)."""
    I_hat = torch.zeros_like(X[:, 0])
    for k in range(M.shape[1]):
        I_hat = I_hat + M[:, k, None] * X[:, k]
    return I_hat


def recon_loss(I_hat: Tensor, I: Tensor) -> Tensor:  # noqa: E741
    """Eq. 2."""
    return ((I_hat - I) ** 2).mean()


def mask_loss(M: Tensor, y: Tensor) -> Tensor:
    """Eqs. 3 and 4 for tags y (B, K-1); the background is always present."""
    K = M.shape[1]
    loss = torch.zeros_like(M[:, 0, 0, 0])
    for k in range(K):
        y_hat = M[:, k].mean(dim=(1, 2))
        present = y[:, k - 1] if k > 0 else torch.ones_like(y_hat)
        loss = loss - present * y_hat.log() - (1 - present) * (1 - y_hat).log()
    return (loss / K).mean()


def cls_loss(M: Tensor, X: Tensor, y: Tensor, g: Callable[[Tensor], Tensor]) -> Tensor:
    """Eq. 6, with the guide g from images (B, 3, H, W) to logits (B, K-1)."""
    K = M.shape[1]
    loss = torch.zeros_like(M[:, 0, 0, 0])
    for k in range(K):
        scores = g(M[:, k, None] * X[:, k]).sigmoid()
        others = [j - 1 for j in range(1, K) if j != k]
        loss = loss - (1 - scores[:, others]).log().sum(dim=1)
        if k > 0:
            loss = loss - y[:, k - 1] * scores[:, k - 1].log()
    return (loss / K).mean()


def objective(
    logits: Tensor,
    X: Tensor,
    I: Tensor,  # noqa: E741
    y: Tensor,
    g: Callable[[Tensor], Tensor],
    lambda_m: float = 1e-3,
    lambda_c: float = 1e-3,
) -> Tensor:
    """Eq. 7; M is the softmax of the mask decoder's logits (B, K, H, W)."""
    M = logits.softmax(dim=1)
    return recon_loss(recompose(M, X), I) + lambda_m * mask_loss(M, y) + lambda_c * cls_loss(M, X, y, g)
