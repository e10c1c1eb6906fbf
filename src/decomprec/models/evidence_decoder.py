"""A mask decoder that needs no training: a guide's evidence for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decomprec.affinity import feature_affinity, random_walk
from decomprec.models.features import check_levels, gathered, rectified, scores_of_rectified
from decomprec.refine import resize


class EvidenceDecoder(nn.Module):
    """Mask logits from a guide's encoder and head: 0 for the background, s (ê_j - t) for class j.

    The evidence for a class at a pixel is the positive part of a linear function of the features. It spreads, by a
    `random_walk`, to pixels whose finer features are similar, and is scaled to the range from 0 to 1 in each image: so
    each present class is found somewhere, but not everywhere. Above the threshold the class is more likely than the
    background.

    Args:
        encoder_channels: channels of the features, from fine to coarse.
        num_classes: K, background included.
        levels: which of the features the guide's head sees, from the end: -1 is the coarsest.
        threshold: t, in (0, 1).
        sharpness: s, positive.
        steps: of the random walk; 0 leaves the evidence where it is.
        stride: of the finest features, in pixels of the image.

    Attributes:
        weights: (K-1, 2C), evidence per rectified feature; zero until they are set, see `evidence_decoder`.
        bias: (K-1,), what is added before the evidence is cut off at zero.
        config: the arguments that a saved model cannot read off its other parts.

    Raises:
        ValueError: if a number is out of its range, or the encoder lacks a level.

    Examples:
        >>> decoder = EvidenceDecoder((4, 8), num_classes=3)
        >>> decoder([torch.rand(1, 4, 8, 8), torch.rand(1, 8, 4, 4)]).shape
        torch.Size([1, 3, 16, 16])
    """

    def __init__(
        self,
        encoder_channels: Sequence[int],
        num_classes: int,
        *,
        levels: Sequence[int] = (-1,),
        threshold: float = 0.5,
        sharpness: float = 6.0,
        steps: int = 4,
        stride: float = 2.0,
    ) -> None:
        super().__init__()
        if not 0 < threshold < 1:
            raise ValueError(f"Expected `threshold` to lie between 0 and 1, but got {threshold}.")
        for name, value in (("sharpness", sharpness), ("stride", stride)):
            if not value > 0:
                raise ValueError(f"Expected `{name}` to be positive, but got {value}.")
        check_levels(levels, len(encoder_channels))
        self.weights: Tensor
        channels = sum(encoder_channels[level] for level in levels)
        self.bias: Tensor
        self.register_buffer("weights", torch.zeros(num_classes - 1, 2 * channels))
        self.register_buffer("bias", torch.zeros(num_classes - 1))
        self.config: dict[str, Any] = {
            "levels": tuple(levels),
            "threshold": float(threshold),
            "sharpness": float(sharpness),
            "steps": steps,
            "stride": float(stride),
        }

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Mask logits (B, K, H, W), as large as the image."""
        size = [round(self.config["stride"] * side) for side in features[0].shape[-2:]]
        return resize(self.coarse(features), size)

    def coarse(self, features: Sequence[Tensor], classes: Tensor | None = None) -> Tensor:
        """Mask logits (B, K, h, w), as large as the coarser of the features that the evidence spreads along.

        With `classes` (B, S-1), int64, in [0, K-1), only those of each image, after the background: (B, S, h, w).
        """
        seen = gathered(features, self.config["levels"]).to(self.weights)
        if classes is None:
            evidence = scores_of_rectified(seen, self.weights, self.bias)
        else:
            evidence = torch.einsum("bchw,bsc->bshw", rectified(seen), self.weights[classes])
            evidence = evidence + self.bias[classes][..., None, None]
        finer = features[-3:-1] or features
        spread = resize(evidence.relu(), finer[-1].shape[-2:])
        if self.config["steps"]:
            spread = random_walk(feature_affinity(finer), spread, self.config["steps"])
        lowest, highest = spread.amin(dim=(-2, -1), keepdim=True), spread.amax(dim=(-2, -1), keepdim=True)
        # Evidence that is the same everywhere points nowhere: its rounding errors must not be stretched.
        share = (spread - lowest) / (highest - lowest).clamp(min=1e-3)
        return F.pad(self.config["sharpness"] * (share - self.config["threshold"]), (0, 0, 0, 0, 1, 0))
