"""Masks from a guide alone: seeds for a segmenter to learn from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decomprec._tensors import full_precision
from decomprec.checks import check_tags
from decomprec.models.classifiers import PooledClassifier
from decomprec.models.evidence_decoder import EvidenceDecoder
from decomprec.models.segmenter import DecompositionSegmenter, maps_of_enlarged
from decomprec.protocols import Refinement
from decomprec.refine import pamr, rescale, resize
from decomprec.seeds import seed_labels
from decomprec.slots import mask_absent

_BELOW_FLOOR = 0.9  # share of the pixels


def evidence_weights(classifier: PooledClassifier) -> tuple[Tensor, Tensor]:
    """The weights that turn features of a classifier's encoder into evidence for its classes, pixel by pixel.

    The evidence for class j at a pixel is what its score has above a floor, see `floor_of`:

        e_j = max(Σ_c w_jc (r_c - μ_c) / σ_c - floor_j, 0)

    r are the `rectified` parts of the features, w the weights of the classifier's head, and μ and σ the mean and the
    standard deviation of the parts over the pixels that its BatchNorm has seen. No feature needs to be positive: one
    that speaks for the class by being small has its weight on the negative part.

    Args:
        classifier: trained, with `standardise=True`.

    Returns:
        Weights (K-1, 2C) and bias (K-1,): e = max(weights · r + bias, 0).

    Raises:
        ValueError: if the classifier doesn't standardise its features.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3, standardise=True).eval()
        >>> weights, bias = evidence_weights(classifier)
        >>> weights.shape, bias.shape
        (torch.Size([2, 16]), torch.Size([2]))
    """
    # Not BatchNorm2d: Lightning's sync_batchnorm leaves one of another class.
    if not isinstance(classifier.norm, nn.modules.batchnorm._BatchNorm):
        raise ValueError(
            "Expected a classifier with standardise=True, whose BatchNorm has recorded the features, but got one "
            "without."
        )
    with torch.no_grad():
        weights, bias = classifier.rectified_weights()
        return weights, bias - classifier.floor


def floor_of(classifier: PooledClassifier, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Scores below which there is no evidence: what a tenth of the pixels exceeds in images without the class.

    They are means over these images. Tags are enough: if a class is absent, no pixel shows it, though many may
    resemble it a little.

    Args:
        classifier: scores the pixels, in eval mode.
        batches: features (N, C, h, w), as `PooledClassifier.gather` gives them, and tags (N, K-1).

    Returns:
        (K-1,); zero for a class that all images have.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3, standardise=True).eval()
        >>> floor_of(classifier, [(torch.rand(2, 8, 8, 8), torch.tensor([[1, 0], [1, 1]]))])[0]
        tensor(0.)
    """
    total = torch.zeros_like(full_precision(classifier.floor))
    count = torch.zeros_like(total)
    with torch.no_grad():
        for features, tags in batches:
            absent = 1 - tags.to(total)
            scores = full_precision(classifier.scores(features.to(classifier.floor)))
            high = scores.flatten(2).quantile(_BELOW_FLOOR, dim=2)
            total += (high * absent).sum(dim=0)
            count += absent.sum(dim=0)
    return total / count.clamp(min=1)


def evidence_decoder(classifier: PooledClassifier, stride: float = 2.0, **settings: Any) -> EvidenceDecoder:
    """The decoder that turns features of the classifier's encoder into mask logits by its evidence.

    Args:
        classifier: trained, with `standardise=True`. Its head's weights are copied.
        stride: of the encoder's finest features, in pixels of the image.
        settings: `threshold`, `sharpness` and `steps` of `EvidenceDecoder`.

    Raises:
        ValueError: if the classifier doesn't standardise its features, or a number is out of its range.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3, standardise=True).eval()
        >>> evidence_decoder(classifier)(classifier.encoder(torch.rand(1, 3, 32, 32))).shape
        torch.Size([1, 3, 32, 32])
    """
    weights, bias = evidence_weights(classifier)
    channels: Any = classifier.encoder.out_channels
    decoder = EvidenceDecoder(channels, len(weights) + 1, levels=classifier.levels, stride=stride, **settings)
    decoder.weights, decoder.bias = weights, bias
    return decoder


def shares_features(segmenter: DecompositionSegmenter, classifier: PooledClassifier) -> bool:
    """Whether a classifier can judge the features that `segmenter.features` gives.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3)
        >>> shares_features(DecompositionSegmenter(3, classifier.encoder, decoder_widths=(8, 4)), classifier)
        True
    """
    # Of enlarged images, the finest maps are left out of the segmenter's features.
    maps, _ = maps_of_enlarged(segmenter.encoder, segmenter.enlarge)
    return classifier.encoder is segmenter.encoder and len(maps) >= -min(classifier.levels)


class EvidenceMasks(nn.Module):
    """Masks (B, K, H, W) from a guide's evidence alone, fitted to the image: training takes its seeds from them.

    The evidence for each class (`evidence_weights`) spreads, by a `random_walk`, to pixels whose finer features
    are similar, and is scaled to the range from 0 to 1 in each image: so each present class is found somewhere, but not
    everywhere. Above the threshold the class is more likely than the background, see the equation. The masks are then
    refined at half the images' resolution, at a quarter of the cost.

        M = softmax over the background and the present classes of (0, s (ê_j - (t + t') / 2))

    t is the same for all images and t' splits the values of max_j ê_j of each image best in two (Otsu, A threshold
    selection method from gray-level histograms, 1979): large things get larger masks, and small ones smaller.

    Args:
        classifier: trained, with `standardise=True`. Its head's weights are copied.
        scale: of the images that the classifier sees; larger ones show finer parts.
        threshold: t, in (0, 1).
        sharpness: s, positive.
        steps: of the random walk; 0 leaves the evidence where it is.
        refine: maps images and masks to masks.

    Raises:
        ValueError: if the classifier doesn't standardise its features, or a number is out of its range.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3, standardise=True).eval()
        >>> masks = EvidenceMasks(classifier)
        >>> masks(torch.rand(1, 3, 32, 32), torch.tensor([[1.0, 0.0]])).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self,
        classifier: PooledClassifier,
        scale: float = 1.5,
        threshold: float = 0.5,
        sharpness: float = 6.0,
        steps: int = 4,
        refine: Refinement = pamr,
    ) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"Expected `scale` to be positive, but got {scale}.")
        self.encoder = classifier.encoder
        self.decoder = evidence_decoder(classifier, threshold=threshold, sharpness=sharpness, steps=steps)
        self.scale = scale
        self.refine = refine

    @torch.no_grad()
    def logits(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Mask logits (B, K, h, w) of images (B, 3, H, W) in [0, 1]: 0 for the background, s (ê_j - t) for class j.

        With `classes` (B, S-1), int64, in [0, K-1), only those of each image, after the background: (B, S, h, w).
        """
        return self.decoder.coarse(self.encoder(rescale(images, self.scale)), classes)

    @torch.no_grad()
    def forward(self, images: Tensor, tags: Tensor) -> Tensor:
        """The masks of images (B, 3, H, W) in [0, 1] with tags (B, K-1), zero for absent classes.

        Raises:
            ValueError: if the tags don't fit the images and classes.
        """
        check_tags(tags, batch=len(images), num_classes=len(self.decoder.weights) + 1)
        return self._masks(images, self.logits(images), tags)

    @torch.no_grad()
    def seeds(self, images: Tensor, tags: Tensor, confidence: float = 0.65) -> Tensor:
        """Label maps (B, H, W) where the masks are sure, see `decomprec.seeds.seed_labels`."""
        check_tags(tags, batch=len(images), num_classes=len(self.decoder.weights) + 1)
        # The present classes, padded by absent ones, at least one: no others take memory.
        most = max(1, int(tags.sum(dim=1).max()))
        classes = tags.argsort(dim=1, descending=True, stable=True)[:, :most]
        masks = self._masks(images, self.logits(images, classes), tags.gather(1, classes))
        return seed_labels(masks, confidence, F.pad(classes + 1, (1, 0)), len(self.decoder.weights) + 1)

    def _masks(self, images: Tensor, logits: Tensor, tags: Tensor) -> Tensor:
        half = [max(1, side // 2) for side in images.shape[-2:]]
        masks = mask_absent(resize(_cut(logits, tags), half), tags).softmax(dim=1)
        return resize(self.refine(resize(images, half).clamp(0, 1), masks), images.shape[-2:])


def _cut(logits: Tensor, tags: Tensor) -> Tensor:
    """Logits (B, S, h, w) with the zero of the classes halfway to where Otsu's method divides each image."""
    from kornia.filters import otsu_threshold  # takes a second and much memory, and `predict` does without

    classes = logits[:, 1:]
    shown = classes.masked_fill(~tags.bool()[..., None, None], -torch.inf).amax(dim=1, keepdim=True)
    found = otsu_threshold(torch.where(shown.isfinite(), shown, 0))[1]
    return torch.cat([logits[:, :1], classes - found.view(-1, 1, 1, 1) / 2], dim=1)
