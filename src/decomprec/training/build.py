"""From a preset's plain values to classifiers, segmenters and losses."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn

from decomprec.guide import FilledView, View, component_view
from decomprec.losses import ClsLoss, DecompositionLoss, MaskLoss
from decomprec.models.classifiers import PooledClassifier
from decomprec.models.encoders import PretrainedEncoder
from decomprec.models.resnet18 import ResNet18Encoder
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.models.small import SmallEncoder
from decomprec.priors import EdgeAwareSmoothness, HingeAreaLoss, MaskEntropy
from decomprec.training.occlusion import FILLS
from decomprec.training.presets import GuideSettings, SegmenterSettings


def build_classifier(settings: GuideSettings, num_classes: int) -> PooledClassifier:
    """The classifier that becomes the guide."""
    encoder: nn.Module
    if settings.model == "small":
        encoder = SmallEncoder(**settings.options)
    elif settings.model == "resnet18":
        encoder = ResNet18Encoder(settings.weights)
    else:
        encoder = PretrainedEncoder(settings.model, settings.weights, **settings.options)
    return PooledClassifier(encoder, num_classes)


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
