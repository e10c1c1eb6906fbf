"""Decoders beyond Appendix A."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from decomprec.models.channels import some_channels
from decomprec.models.encoders import MAX_CHANNELS, is_channels

WIDTHS = (256, 128, 64, 32, 16)


class UnetDecoder(nn.Module):
    """The U-Net decoder and head of segmentation-models-pytorch over an encoder's features.

    There is one block for each feature map. If there are more maps than widths, the coarsest blocks all get the first
    width; if there are fewer, the first widths are left out. One choice of widths then fits every encoder.

    Args:
        encoder_channels: channels of the features, from fine (stride 2) to coarse.
        out_channels: C_out, K for the masks and 3K for the image-lets.
        widths: channels of the blocks, from coarse to fine; None is (256, 128, 64, 32, 16).

    Attributes:
        config: the widths of the blocks, for `save_pretrained`.

    Raises:
        ValueError: if there is no width, or one is no number of channels.

    Examples:
        >>> import torch
        >>> decoder = UnetDecoder((64, 128), out_channels=2)
        >>> decoder([torch.rand(1, 64, 8, 8), torch.rand(1, 128, 4, 4)]).shape
        torch.Size([1, 2, 16, 16])
    """

    def __init__(self, encoder_channels: Sequence[int], out_channels: int, widths: Sequence[int] | None = None) -> None:
        import segmentation_models_pytorch as smp  # heavy, and the paper's own decoder does without
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder as SmpUnetDecoder

        super().__init__()
        if widths is None:
            widths = WIDTHS
        if not isinstance(widths, Sequence) or not widths or not all(map(is_channels, widths)):
            raise ValueError(
                f"Expected `widths` to be numbers of channels from 1 to {MAX_CHANNELS}, at least one, "
                f"but got {widths!r}."
            )
        depth = len(encoder_channels)
        widths = (*[widths[0]] * (depth - len(widths)), *widths[-depth:])
        self.config: dict[str, Any] = {"widths": list(widths)}
        self.decoder = SmpUnetDecoder((3, *encoder_channels), widths, n_blocks=depth)
        self.head = smp.base.SegmentationHead(widths[-1], out_channels, kernel_size=3)

    def forward(self, features: Sequence[Tensor], channels: Tensor | None = None) -> Tensor:
        """Output (B, C_out, H, W) from the encoder's features, or only some `channels` of each image, (B, C)."""
        batch, _, height, width = features[0].shape
        # smp counts the image itself as the first feature map, but looks at its size only.
        image = features[0].new_empty(batch, 0, 2 * height, 2 * width)
        x = self.decoder([image, *features])
        out: Tensor = self.head(x) if channels is None else some_channels(self.head[0], x, channels)
        return out
