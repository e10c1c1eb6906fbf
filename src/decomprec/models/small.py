"""A small convolutional trunk that learns from scratch in a minute: guide and encoder of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

MAX_CHANNELS = 2**16
"""Far more than any network has, and few enough for what a file may make a network of it ask of the memory."""


def is_channels(value: Any) -> bool:
    """Whether a value is a number of channels."""
    return type(value) is int and 0 < value <= MAX_CHANNELS


class SmallEncoder(nn.Module):
    """Stages of two 3x3 convolutions with batch normalisation, each halving the resolution.

    Args:
        widths: channels of each stage, from fine to coarse.

    Attributes:
        out_channels: channels of each feature map, from fine to coarse.
        stride: input sizes must be multiples of it.
        config: the widths, for `save_pretrained`.

    Raises:
        ValueError: if there is no width, or one is no number of channels.

    Examples:
        >>> import torch
        >>> encoder = SmallEncoder((16, 32))
        >>> [tuple(f.shape) for f in encoder(torch.rand(1, 3, 32, 32))]
        [(1, 16, 16, 16), (1, 32, 8, 8)]
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128)) -> None:
        super().__init__()
        if not isinstance(widths, Sequence) or not widths or not all(map(is_channels, widths)):
            raise ValueError(
                f"Expected `widths` to be numbers of channels from 1 to {MAX_CHANNELS}, at least one, "
                f"but got {widths!r}."
            )
        self.config: dict[str, Any] = {"widths": list(widths)}
        self.stages = nn.ModuleList(
            nn.Sequential(*_conv(c_in, c, stride=2), *_conv(c, c, stride=1))
            for c_in, c in zip((3, *widths), widths, strict=False)
        )
        self.out_channels = tuple(widths)
        self.stride = 2 ** len(widths)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of images (B, 3, H, W), from fine to coarse, at strides 2, 4, ..."""
        features = []
        x = images - 0.5
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _conv(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(c_in, c_out, kernel_size=3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
