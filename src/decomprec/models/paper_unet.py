"""Appendix A: the paper's U-Net, whose encoder f_m and f_x share. Tables 1 and 2, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from decomprec.models.channels import channels_last, some_channels

WIDTHS = (64, 128, 256, 512)
BOTTLENECK = 1024


def _conv(c_in: int, c_out: int) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, kernel_size=3, padding=1), nn.LeakyReLU()]


class PaperEncoder(nn.Module):
    """Table 1: four ConvBlocks that halve the resolution, then a convolution to 1024 channels.

    Attributes:
        out_channels: channels of each feature map, from fine to coarse.
        strides: of each feature map; input sizes must be multiples of the largest.

    Examples:
        >>> encoder = PaperEncoder()
        >>> [tuple(f.shape[1:]) for f in encoder(torch.rand(1, 3, 32, 32))]
        [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2), (1024, 2, 2)]
        >>> sum(p.numel() for p in encoder.parameters())
        9404992
    """

    out_channels = (*WIDTHS, BOTTLENECK)
    strides = (2, 4, 8, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        channels = (3, *WIDTHS)
        self.blocks = nn.ModuleList(
            nn.Sequential(*_conv(c_in, c), *_conv(c, c), nn.MaxPool2d(2))
            for c_in, c in zip(channels, WIDTHS, strict=False)
        )
        self.bottleneck = nn.Sequential(*_conv(WIDTHS[-1], BOTTLENECK))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of images (B, 3, H, W), from fine to coarse: after each block, then the bottleneck."""
        features = []
        x = channels_last(images)
        for block in self.blocks:
            x = block(x)
            features.append(x)
        return [*features, self.bottleneck(x)]


class PaperDecoder(nn.Module):
    """Table 2: four ConvBlocks that double the resolution; each also gets the encoder's output of its size.

    The first takes the bottleneck and the last pooled output together (1024 + 512 channels): only this gives the
    table's parameter counts.

    Args:
        out_channels: C_out, K for the masks and 3K for the image-lets.

    Examples:
        >>> decoder = PaperDecoder(out_channels=6)
        >>> decoder(PaperEncoder()(torch.rand(1, 3, 32, 32))).shape
        torch.Size([1, 6, 32, 32])
        >>> sum(p.numel() for p in decoder.parameters())
        12576070
    """

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        widths = WIDTHS[::-1]
        below = (BOTTLENECK, *widths)
        self.blocks = nn.ModuleList(
            nn.Sequential(*_conv(c_below + c, c), nn.Upsample(scale_factor=2), *_conv(c, c))
            for c_below, c in zip(below, widths, strict=False)
        )
        self.head = nn.Sequential(*_conv(64, 64), nn.Conv2d(64, out_channels, kernel_size=3, padding=1))

    def forward(self, features: Sequence[Tensor], channels: Tensor | None = None) -> Tensor:
        """Output (B, C_out, H, W) from the encoder's features, or only some `channels` of each image, (B, C)."""
        *skips, x = features
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            x = block(torch.cat([x, skip], dim=1))
        last: Any = self.head[-1]
        out: Tensor = self.head(x) if channels is None else some_channels(last, self.head[:-1](x), channels)
        return out
