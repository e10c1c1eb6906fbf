"""Decoders beyond Appendix A."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decomprec.models.channels import some_channels
from decomprec.models.encoders import MAX_CHANNELS, is_channels
from decomprec.models.features import check_levels, gathered, scores_of_rectified

WIDTHS = (256, 128, 64, 32, 16)

_PACE = 10.0  # Adam changes every weight by its rate: too little for a layer on hundreds of features, in a few steps


class UnetDecoder(nn.Module):
    """The U-Net decoder and head of segmentation-models-pytorch over an encoder's features.

    There is one block for each feature map. If there are more maps than widths, the coarsest blocks all get the first
    width; if there are fewer, the first widths are left out. One choice of widths then fits every encoder.

    With `levels`, a linear layer on these features says which class a pixel is, as a guide does; if it starts with a
    guide's weights, from the first step on. The U-Net then learns where the classes end, and corrects the layer:

        logits = (u_0, u_1 + log p_1, ..., u_K-1 + log p_K-1),  p = softmax over the classes of 10 (W r(z) + b)

    u is what the U-Net gives, and r(z) are the `rectified` features. The layer has no say in where the background is:
    if u is the same for all classes, the classes together are as likely as a class that is alone. The factor lets it
    learn ten times as fast as the U-Net.

    Args:
        encoder_channels: channels of the features, from fine (stride 2) to coarse.
        out_channels: C_out, K for the masks and 3K for the image-lets.
        widths: channels of the blocks, from coarse to fine; None is (256, 128, 64, 32, 16).
        levels: which of the features the linear layer sees, counted from the end: -1 is the coarsest. Without any,
            there is no such layer; only masks can have one.

    Attributes:
        which: the linear layer, 2C features to C_out - 1 classes, zero at first; None without `levels`.
        config: widths and levels, for `save_pretrained`.

    Raises:
        ValueError: if there is no width, one is no number of channels, or the encoder lacks a level.

    Examples:
        >>> import torch
        >>> decoder = UnetDecoder((64, 128), out_channels=2)
        >>> decoder([torch.rand(1, 64, 8, 8), torch.rand(1, 128, 4, 4)]).shape
        torch.Size([1, 2, 16, 16])
    """

    def __init__(
        self,
        encoder_channels: Sequence[int],
        out_channels: int,
        widths: Sequence[int] | None = None,
        *,
        levels: Sequence[int] = (),
    ) -> None:
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
        if levels:
            check_levels(levels, len(encoder_channels))
        depth = len(encoder_channels)
        widths = (*[widths[0]] * (depth - len(widths)), *widths[-depth:])
        self.config: dict[str, Any] = {"widths": list(widths), "levels": list(levels)}
        self.decoder = SmpUnetDecoder((3, *encoder_channels), widths, n_blocks=depth)
        self.head = smp.base.SegmentationHead(widths[-1], out_channels, kernel_size=3)
        self.which: nn.Linear | None = None
        if levels:
            self.which = nn.Linear(2 * sum(encoder_channels[level] for level in levels), out_channels - 1)
            nn.init.zeros_(self.which.weight)
            nn.init.zeros_(self.which.bias)

    def start_from_scores(self, weights: Tensor, bias: Tensor) -> None:
        """Let the linear layer start as another one on the same features, such as a guide's.

        Args:
            weights: (C_out - 1, 2C); `rectified_weights` of a guide.
            bias: (C_out - 1,).

        Raises:
            ValueError: if there is no such layer, or they don't fit it.
        """
        shape = None if self.which is None else self.which.weight.shape
        if self.which is None or weights.shape != shape or bias.shape != shape[:1]:
            expected = "no weights, for want of `levels`," if shape is None else f"weights {tuple(shape)} and a bias"
            raise ValueError(f"Expected {expected} but got {tuple(weights.shape)} and {tuple(bias.shape)}.")
        with torch.no_grad():
            self.which.weight.copy_(weights / _PACE)
            self.which.bias.copy_(bias / _PACE)

    def forward(self, features: Sequence[Tensor], channels: Tensor | None = None) -> Tensor:
        """Output (B, C_out, H, W) from the encoder's features, or only some `channels` of each image, (B, C)."""
        batch, _, height, width = features[0].shape
        # smp counts the image itself as the first feature map, but looks at its size only.
        image = features[0].new_empty(batch, 0, 2 * height, 2 * width)
        x = self.decoder([image, *features])
        out: Tensor = self.head(x) if channels is None else some_channels(self.head[0], x, channels)
        return out if self.which is None else out + self._log_shares(features, self.which, channels, out)

    def _log_shares(
        self, features: Sequence[Tensor], which: nn.Linear, channels: Tensor | None, like: Tensor
    ) -> Tensor:
        """(0, log p), as large as another output."""
        scores = _PACE * scores_of_rectified(gathered(features, self.config["levels"]), which.weight, which.bias)
        if channels is None:
            shares = F.pad(scores.log_softmax(dim=1), (0, 0, 0, 0, 1, 0))
        else:  # log p of these alone: the scores of thousands of classes are kept for the gradient once, not thrice
            of_class = (channels - 1).clamp(min=0)[..., None, None].expand(-1, -1, *scores.shape[2:])
            log_p = scores.gather(1, of_class) - scores.logsumexp(dim=1, keepdim=True)
            shares = torch.where(channels[..., None, None] > 0, log_p, 0)
        return F.interpolate(shares, size=like.shape[-2:], mode="bilinear", align_corners=False).to(like)
