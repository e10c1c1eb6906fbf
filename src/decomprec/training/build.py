"""From a preset's plain values to classifiers, segmenters and losses."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn

from decomprec.guide import FilledView, View, component_view
from decomprec.losses import ClsLoss, DecompositionLoss, MaskLoss, PseudoLabelLoss
from decomprec.models.classifiers import PooledClassifier
from decomprec.models.encoders import PretrainedEncoder
from decomprec.models.resnet18 import ResNet18Encoder
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.models.small import SmallEncoder
from decomprec.priors import EdgeAwareSmoothness, HingeAreaLoss, MaskEntropy
from decomprec.refine import RefinedPredictor, guided_filter, pamr
from decomprec.training.occlusion import FILLS
from decomprec.training.presets import GuideSettings, SegmenterSettings, SelfTrainingSettings


def build_classifier(settings: GuideSettings, num_classes: int) -> PooledClassifier:
    """The classifier that becomes the guide."""
    encoder: nn.Module
    if settings.model == "small":
        encoder = SmallEncoder(**settings.options)
    elif settings.model == "resnet18":
        encoder = ResNet18Encoder(settings.weights)
    else:
        encoder = PretrainedEncoder(settings.model, settings.weights, **settings.options)
    return PooledClassifier(encoder, num_classes, settings.standardise)


def build_segmenter(
    settings: SegmenterSettings, num_classes: int, classifier: PooledClassifier
) -> DecompositionSegmenter:
    """The network f. With `encoder="guide"` it starts from a copy of the classifier's encoder."""
    encoder: str | nn.Module = settings.encoder
    if encoder == "guide":
        encoder = copy_encoder(classifier)
    return DecompositionSegmenter(
        num_classes,
        encoder,
        settings.encoder_weights,
        encoder_options=settings.encoder_options or None,
        decoder_widths=settings.decoder_widths,
    )


def copy_encoder(classifier: PooledClassifier) -> nn.Module:
    """A trainable copy of a classifier's encoder."""
    return copy.deepcopy(classifier.encoder).requires_grad_(True).train()


class Teacher(nn.Module):
    """A segmenter's refined masks (B, K, H, W), given images and tags, for `PseudoLabelLoss`.

    Args:
        segmenter: copied.
        refine: as of `RefinedPredictor`.
    """

    def __init__(self, segmenter: DecompositionSegmenter, refine: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.segmenter = copy.deepcopy(segmenter)
        self.refine = refine

    def forward(self, images: Tensor, tags: Tensor) -> Tensor:
        """The masks, zero for absent classes."""
        return RefinedPredictor(self.segmenter.mask_logits, self.refine).masks(images, tags)


def build_self_training_loss(settings: SelfTrainingSettings, segmenter: DecompositionSegmenter) -> DecompositionLoss:
    """The objective of stage three: L_recon, and cross-entropy with the refined masks of a copy of the segmenter."""
    refiners: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"pamr": pamr, "guided_filter": guided_filter}
    if settings.refine not in refiners:
        raise ValueError(f"Expected `self_training.refine` to be one of {list(refiners)}, but got {settings.refine!r}.")
    labels = PseudoLabelLoss(Teacher(segmenter, refiners[settings.refine]), settings.confidence)
    return DecompositionLoss(lambda_mask=0, lambda_cls=1, cls_loss=labels)


def build_loss(settings: SegmenterSettings, guide: Callable[[Tensor], Tensor]) -> DecompositionLoss:
    """The objective: Eq. 7 and what the preset adds to it."""
    view: View = component_view
    if settings.content != "components":
        view = FilledView(settings.content, [FILLS[name] for name in settings.fills])
    extra = {
        name: (weight, term)
        for name, weight, term in (
            ("smoothness", settings.smoothness, EdgeAwareSmoothness()),
            ("entropy", settings.entropy, MaskEntropy()),
        )
        if weight
    }
    return DecompositionLoss(
        lambda_mask=settings.lambda_mask,
        lambda_cls=settings.lambda_cls,
        mask_loss=HingeAreaLoss(*settings.area_range) if settings.prior == "hinge" else MaskLoss(),
        cls_loss=ClsLoss(guide, settings.absent, view),
        extra=extra,
    )
