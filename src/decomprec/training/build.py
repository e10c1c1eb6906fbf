"""From a preset's plain values to classifiers, segmenters and losses."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from decomprec.guide import FilledView, View, component_view
from decomprec.losses import ClsLoss, DecompositionLoss, MaskLoss
from decomprec.models.classifiers import PooledClassifier, resnet18_classifier, timm_classifier
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.priors import EdgeAwareSmoothness, HingeAreaLoss, MaskEntropy
from decomprec.training.occlusion import FILLS
from decomprec.training.presets import GuideSettings, SegmenterSettings


def build_classifier(settings: GuideSettings, num_classes: int) -> PooledClassifier:
    """The classifier that becomes the guide."""
    if settings.model == "resnet18" and not settings.options:
        return resnet18_classifier(num_classes, settings.weights)
    return timm_classifier(settings.model, num_classes, settings.weights, **settings.options)


def build_segmenter(settings: SegmenterSettings, num_classes: int) -> DecompositionSegmenter:
    """The network f."""
    return DecompositionSegmenter(
        num_classes,
        settings.encoder,
        settings.encoder_weights,
        encoder_options=settings.encoder_options or None,
        decoder_widths=settings.decoder_widths,
    )


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
