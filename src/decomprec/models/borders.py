"""Convolutions that see the image go on at its border."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from timm.layers import Conv2dSame, get_same_padding
from torch import Tensor, nn


class RepeatingConv2dSame(nn.Module):
    """TensorFlow's padding, whose size depends on that of the input, filled with the border's own values.

    Args:
        convolution: of timm, whose weights are shared.
    """

    def __init__(self, convolution: Any) -> None:
        super().__init__()
        for name in ("in_channels", "out_channels", "kernel_size", "stride", "dilation", "groups", "weight", "bias"):
            setattr(self, name, getattr(convolution, name))

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x (B, C, H, W)."""
        options: Any = self
        height, width = (
            get_same_padding(side, options.kernel_size[i], options.stride[i], options.dilation[i])
            for i, side in enumerate(x.shape[2:])
        )
        x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2), mode="replicate")
        return F.conv2d(
            x, options.weight, options.bias, options.stride, dilation=options.dilation, groups=options.groups
        )


def repeat_in_convolutions(network: nn.Module) -> None:
    """Let all convolutions of a network repeat what they see at the border, where they add zeros.

    Zeros look like the end of a thing. A network that was trained with them scores the outermost cells of its feature
    maps otherwise than the same pixels further inside, and masks get strips along the border, see
    docs/results/experiments.md. With repeated borders a plain image has the same features everywhere.

    Args:
        network: changed in place; the names of its tensors stay.

    Examples:
        >>> convolution = nn.Conv2d(1, 1, kernel_size=3, padding=1)
        >>> repeat_in_convolutions(convolution)
        >>> convolution.padding_mode
        'replicate'
    """
    for parent in list(network.modules()):
        if type(parent) is nn.Conv2d:
            parent.padding_mode = "replicate"
        for name, child in list(parent.named_children()):
            if type(child) is Conv2dSame:
                setattr(parent, name, RepeatingConv2dSame(child))
