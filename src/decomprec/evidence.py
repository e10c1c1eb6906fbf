"""Masks from a guide alone: a start for the mask decoder, and seeds to learn from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from decomprec import functional as DF
from decomprec.checks import check_tags
from decomprec.models.classifiers import PooledClassifier
from decomprec.protocols import Refinement
from decomprec.refine import pamr, rescale, resize


def evidence_layer(classifier: PooledClassifier, threshold: float = 1.0, sharpness: float = 2.0) -> nn.Conv2d:
    """The 1x1 convolution that turns a classifier's coarsest features into mask logits, without any training.

    The evidence for class j at a pixel with features f is their sum over the channels of positive weight. Divided by
    its mean over the training images, it has one scale for all classes and images:

        e_j = Σ_c max(w_jc, 0) f_c / Σ_c max(w_jc, 0) μ_c

    w are the weights of the classifier's head, brought back to features that are not standardised, and μ the mean
    features that its BatchNorm has recorded. The logits are s (e_j - t), and 0 for the background. The numerator is
    LayerCAM (Jiang et al., 2021) of the last features, which divides by each image's own maximum instead, and so
    finds every class in every image.

    Args:
        classifier: trained, with `standardise=True`, on features that are not negative.
        threshold: t, positive.
        sharpness: s, positive.

    Returns:
        A layer from features (B, C, h, w) to logits (B, K, h, w).

    Raises:
        ValueError: if the classifier doesn't standardise its features, or a number is not positive.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3, standardise=True).eval()
        >>> features = classifier.encoder(torch.rand(2, 3, 16, 16))[-1]
        >>> evidence_layer(classifier)(features).shape
        torch.Size([2, 3, 4, 4])
    """
    # Not BatchNorm1d: Lightning's sync_batchnorm leaves one of another class.
    if not isinstance(classifier.norm, nn.modules.batchnorm._BatchNorm):
        raise ValueError(
            "Expected a classifier with standardise=True, whose BatchNorm has recorded the mean features, but got one "
            "without."
        )
    for name, value in (("threshold", threshold), ("sharpness", sharpness)):
        if not value > 0:
            raise ValueError(f"Expected `{name}` to be positive, but got {value}.")
    mean, variance = classifier.norm.running_mean, classifier.norm.running_var
    assert isinstance(mean, Tensor)
    assert isinstance(variance, Tensor)
    classes, channels = classifier.head.weight.shape
    layer = nn.Conv2d(channels, classes + 1, kernel_size=1, device=mean.device)
    assert layer.bias is not None
    with torch.no_grad():
        positive = classifier.head.weight.relu() / (variance + classifier.norm.eps).sqrt()
        expected = (positive @ mean).clamp(min=torch.finfo(mean.dtype).eps)
        layer.weight[0] = layer.bias[0] = 0
        layer.weight[1:, :, 0, 0] = sharpness * positive / expected[:, None]
        layer.bias[1:] = -sharpness * threshold
    return layer


class EvidenceMasks(nn.Module):
    """Masks (B, K, H, W) by a guide's evidence alone, which follow the image: the teacher of a `PseudoLabelLoss`.

    The logits of `evidence_layer` are averaged over the scales, softmaxed over the classes that are present, and
    refined at half the images' resolution, at a quarter of the cost.

    Args:
        classifier: trained, with `standardise=True`, on features that are not negative. Its weights are copied.
        scales: of the images that the classifier sees; larger ones show finer parts.
        threshold: t of `evidence_layer`, positive.
        sharpness: s of `evidence_layer`, positive.
        refine: maps images and masks to masks.

    Examples:
        >>> from decomprec.losses import PseudoLabelLoss
        >>> from decomprec.models import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3, standardise=True).eval()
        >>> teacher = EvidenceMasks(classifier)
        >>> teacher(torch.rand(1, 3, 32, 32), torch.tensor([[1.0, 0.0]])).shape
        torch.Size([1, 3, 32, 32])
        >>> loss = PseudoLabelLoss(teacher)
    """

    def __init__(
        self,
        classifier: PooledClassifier,
        scales: Sequence[float] = (1.5,),
        threshold: float = 1.0,
        sharpness: float = 4.0,
        refine: Refinement = pamr,
    ) -> None:
        super().__init__()
        if not scales or min(scales) <= 0:
            raise ValueError(f"Expected `scales` to be numbers above 0, but got {tuple(scales)}.")
        self.encoder = classifier.encoder
        self.layer = evidence_layer(classifier, threshold, sharpness)
        self.scales = tuple(scales)
        self.refine = refine

    @torch.no_grad()
    def forward(self, images: Tensor, tags: Tensor) -> Tensor:
        """The masks of images (B, 3, H, W) in [0, 1] with tags (B, K-1), zero for absent classes.

        Raises:
            ValueError: if the tags don't fit the images and classes.
        """
        check_tags(tags, batch=len(images), num_classes=self.layer.out_channels)
        height, width = images.shape[-2:]
        half = (max(1, height // 2), max(1, width // 2))
        logits = [resize(self.layer(self.encoder(rescale(images, scale))[-1]).float(), half) for scale in self.scales]
        masks = DF.mask_absent(torch.stack(logits).mean(dim=0), tags).softmax(dim=1)
        return resize(self.refine(resize(images, half).clamp(0, 1), masks), (height, width))

    def seeds(self, images: Tensor, tags: Tensor, confidence: float = 0.65) -> Tensor:
        """Label maps (B, H, W) where the masks are sure, see `functional.seed_labels`."""
        return DF.seed_labels(self(images, tags), confidence)
