"""Channels: their place in memory, and a convolution for some of them only, others for each image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def channels_last(images: Tensor) -> Tensor:
    """Images whose channels lie next to each other in memory, pixel by pixel; their values and shape stay.

    Convolutions keep this order, and are faster with it on CPUs, above all in bfloat16.

    Args:
        images: shape (B, C, H, W).

    Examples:
        >>> images = torch.rand(2, 3, 4, 5)
        >>> channels_last(images).stride(), channels_last(images).equal(images)
        ((60, 1, 15, 3), True)
    """
    # An exported program would be bound to batches of several images: strides of a single one are not unique.
    return images if torch.compiler.is_exporting() else images.contiguous(memory_format=torch.channels_last)


def some_channels(convolution: nn.Conv2d, x: Tensor, channels: Tensor) -> Tensor:
    """Compute some output channels of a convolution; the others take no memory.

    Args:
        convolution: with stride 1 and without groups.
        x: its input, shape (B, C_in, H, W).
        channels: which output channels of each image, shape (B, C), int64.

    Returns:
        Shape (B, C, H, W).

    Examples:
        >>> convolution, x = nn.Conv2d(2, 9, kernel_size=3, padding=1), torch.rand(2, 2, 4, 4)
        >>> some = some_channels(convolution, x, torch.tensor([[0, 3], [0, 8]]))
        >>> torch.allclose(some[1], convolution(x)[1, [0, 8]], atol=1e-6)
        True
    """
    batch, count = channels.shape
    bias = None if convolution.bias is None else convolution.bias[channels].flatten()
    out = F.conv2d(
        rearrange(x, "b c h w -> 1 (b c) h w"),
        convolution.weight[channels].flatten(0, 1),
        bias,
        padding=convolution.padding,
        groups=batch,
    )
    return rearrange(out, "1 (b c) h w -> b c h w", c=count)


def channels_of_slots(slots: Tensor, each: int) -> Tensor:
    """The output channels of slots that have several each.

    Args:
        slots: shape (B, S), int64.
        each: channels of a slot.

    Returns:
        Shape (B, S · each), int64.

    Examples:
        >>> channels_of_slots(torch.tensor([[0, 2]]), each=3)
        tensor([[0, 1, 2, 6, 7, 8]])
    """
    return (each * slots[..., None] + torch.arange(each, device=slots.device)).flatten(1)
