"""What the loss functions ask of every tensor: its shape, and a precision that sums can be taken in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def check_shape(name: str, tensor: Tensor, expected: Sequence[int]) -> None:
    """Raise a ValueError unless a tensor has a shape.

    Broadcasting would hide a wrong one, such as tags where y with its background is meant.
    """
    if tuple(tensor.shape) != tuple(expected):
        raise ValueError(f"Expected `{name}` to have shape {tuple(expected)}, but got {tuple(tensor.shape)}.")


def full_precision(x: Tensor) -> Tensor:
    """A tensor in float32, or in float64 if it is."""
    return x if x.dtype == torch.float64 else x.float()
