"""The classifier that is trained by Eq. 9 and then frozen as the guide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decomprec.models.encoders import TimmEncoder, check_encoder
from decomprec.models.features import check_levels, gathered, rectified, scores_of_rectified
from decomprec.models.pooling import POOLINGS, Pooling, pool


class PooledClassifier(nn.Module):
    """An encoder, one linear layer that scores every pixel of its features, and a pooling of the scores.

        logit_j = pool over the pixels p of (w_j · f_p) + b_j

    With the mean, the default, this is global average pooling and a linear layer, as in the paper's guide. The other
    poolings let a small thing decide, and the classifier learns where it is, see `decomprec.evidence`.

    Args:
        encoder: a network of timm by its name, such as "resnet18" (the paper's guide, section 4.2), or a module that
            maps images (B, 3, H, W) in [0, 1] to a list of features from fine to coarse, as the segmenter's encoders
            do.
        num_classes: K, background included; the classifier has K-1 outputs.
        encoder_weights: "imagenet" (see `imagenet_state`), a local .safetensors file, or None; for networks of timm.
        standardise: score the positive and the negative part of every feature by themselves (`rectified`), and bring
            them to zero mean and unit variance over the pixels by a BatchNorm without weights, with which a linear
            layer on a frozen encoder converges in a few epochs. `decomprec.evidence` needs both.
        pooling: "mean", "top" or "lse", see `decomprec.models.pooling.pool`.
        levels: which feature maps are scored, counted from the end: -1 is the coarsest. All are brought to the size of
            the finest of them.

    Attributes:
        floor: (K-1,), the score below which a pixel is no evidence for a class, see `floor_of`; zero until it is set.

    Raises:
        ValueError: for fewer than 2 classes, an unknown name or pooling, levels that the encoder does not have, an
            encoder without `out_channels` and `strides`, or weights for an encoder that is a module.
        ConnectionError: if the ImageNet weights can't be downloaded.

    Examples:
        >>> from decomprec.models.encoders import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder(), num_classes=3)
        >>> images = torch.rand(2, 3, 32, 32)
        >>> classifier(images).shape, classifier.activation_maps(images).shape
        (torch.Size([2, 2]), torch.Size([2, 2, 4, 4]))
    """

    def __init__(
        self,
        encoder: str | nn.Module,
        num_classes: int,
        *,
        encoder_weights: str | Path | None = None,
        standardise: bool = False,
        pooling: Pooling = "mean",
        levels: Sequence[int] = (-1,),
    ) -> None:
        super().__init__()
        if not isinstance(num_classes, int) or num_classes < 2:
            raise ValueError(
                f"Expected `num_classes` (background included) to be an integer of at least 2, but got {num_classes!r}."
            )
        if isinstance(encoder, str):
            encoder = TimmEncoder(encoder, encoder_weights)
        elif encoder_weights is not None:
            raise ValueError(
                f"Expected no `encoder_weights` for an encoder that is a module, but got {encoder_weights!r}; name an "
                "encoder."
            )
        check_encoder(encoder)
        if pooling not in POOLINGS:
            raise ValueError(f"Expected `pooling` to be one of {', '.join(POOLINGS)}, but got {pooling!r}.")
        every: Any = encoder.out_channels
        check_levels(levels, len(every))
        channels = sum(every[level] for level in levels)
        self.encoder = encoder
        self.rectify = standardise
        self.pooling = pooling
        self.levels = tuple(levels)
        inputs = 2 * channels if standardise else channels
        self.norm = nn.BatchNorm2d(inputs, affine=False) if standardise else nn.Identity()
        self.head = nn.Linear(inputs, num_classes - 1)
        self.floor: Tensor
        self.register_buffer("floor", torch.zeros(num_classes - 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K-1) of images (N, 3, H, W) in [0, 1]."""
        return self.judge(self.encoder(images))

    def judge(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (N, K-1) of the encoder's feature maps."""
        return self.classify(self.gather(maps))

    def gather(self, maps: Sequence[Tensor]) -> Tensor:
        """What is scored: the features (N, C, h, w) of the chosen maps."""
        return gathered(maps, self.levels)

    def classify(self, features: Tensor) -> Tensor:
        """Logits (N, K-1) of features that `gather` gave."""
        return pool(self.scores(features), self.pooling) + self.head.bias

    def scores(self, features: Tensor) -> Tensor:
        """Scores (N, K-1, h, w) of features that `gather` gave: what speaks for each class at each pixel."""
        if not self.rectify:
            return F.conv2d(features, self.head.weight[:, :, None, None])
        if self.norm.training or features.requires_grad:  # the gradient by features that are zero would be another
            return F.conv2d(self.norm(rectified(features)), self.head.weight[:, :, None, None])
        weights, bias = self.rectified_weights()
        return scores_of_rectified(features, weights, bias)

    def rectified_weights(self) -> tuple[Tensor, Tensor]:
        """Weights (K-1, 2C) and bias (K-1,) that score rectified features, by the statistics of the BatchNorm."""
        # Not BatchNorm2d: Lightning's sync_batchnorm leaves one of another class.
        assert isinstance(self.norm, nn.modules.batchnorm._BatchNorm)
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None
        assert variance is not None
        weights = self.head.weight / (variance + self.norm.eps).sqrt()
        return weights, -(weights * mean).sum(dim=1)  # a product of matrices could be in bfloat16

    def activation_maps(self, images: Tensor) -> Tensor:
        """Class activation maps (N, K-1, h, w): the scores. Pooled, they are the logits without their bias."""
        return self.scores(self.gather(self.encoder(images)))
