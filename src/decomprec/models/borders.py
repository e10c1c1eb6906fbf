"""Convolutions that repeat the image's border."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame, get_same_padding
from torch import Tensor, nn


class RepeatingConv2d(nn.Module):
    """A convolution whose padding repeats the border's own values.

    Args:
        convolution: of torch or timm, whose weights are shared. The size of its padding stays: constant, or that of
            TensorFlow, which depends on the size of the input.
    """

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def __init__(self, convolution: Any) -> None:
        super().__init__()
        for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
            setattr(self, name, getattr(convolution, name))
        self.weight, self.bias = convolution.weight, convolution.bias
        self.same = isinstance(convolution, Conv2dSame)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x (B, C, H, W)."""
        if self.same:
            height, width = (
                get_same_padding(side, self.kernel_size[i], self.stride[i], self.dilation[i])
                for i, side in enumerate(x.shape[2:])
            )
            padding = (width // 2, width - width // 2, height // 2, height - height // 2)
        else:
            height, width = self.padding
            padding = (width, width, height, height)
        # Autocast would pad in float32, which takes longer than the convolution.
        with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
            x = F.pad(x, padding, mode="replicate")
            # On CPUs, this gradient takes far longer in bfloat16 than in float32.
            if x.dtype == torch.bfloat16 and x.requires_grad and self.groups > 1 and max(self.stride) > 1:
                bias = None if self.bias is None else self.bias.float()
                return self._convolved(x.float(), self.weight.float(), bias).to(x.dtype)
        return self._convolved(x, self.weight, self.bias)

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, self.stride, dilation=self.dilation, groups=self.groups)


def repeat_in_convolutions(network: nn.Module) -> None:
    """Let all convolutions in a network repeat what they see at the border, where they add zeros.

    Zeros look like the end of a thing. A network that was trained with them scores the outermost cells of its feature
    maps otherwise than the same pixels further inside, and masks get strips along the border, see
    docs/results/experiments.md. With repeated borders a plain image has the same features everywhere.

    Args:
        network: of torch or timm; changed in place. The names of its tensors stay.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(1, 1, kernel_size=3, padding=1), nn.ReLU())
        >>> repeat_in_convolutions(network)
        >>> network
        Sequential(
          (0): RepeatingConv2d()
          (1): ReLU()
        )
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) in (nn.Conv2d, Conv2dSame) and child.kernel_size != (1, 1):
                setattr(parent, name, RepeatingConv2d(child))
