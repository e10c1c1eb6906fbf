"""From a preset's plain values to classifiers, segmenters and losses."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from decomprec.evidence import EvidenceMasks, evidence_layer
from decomprec.guide import FrozenGuide
from decomprec.losses import ClsLoss, DecompositionLoss, MaskLoss, PseudoLabelLoss
from decomprec.models.classifiers import PooledClassifier
from decomprec.models.decoders import ShortcutDecoder, UnetDecoder
from decomprec.models.encoders import NamedEncoder, SmallEncoder
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.priors import EdgeAwareSmoothness, HingeAreaLoss
from decomprec.protocols import ExtraLoss, View
from decomprec.training.augment import FILLS
from decomprec.training.presets import GuideSettings, SegmenterSettings
from decomprec.views import FilledView, component_view


def build_classifier(settings: GuideSettings, num_classes: int) -> PooledClassifier:
    """The classifier that becomes the guide.

    Raises:
        ValueError: for a wrong setting.
    """
    encoder: nn.Module
    try:
        if settings.model == "small":
            encoder = SmallEncoder(**settings.options)
        else:
            encoder = NamedEncoder(settings.model, settings.weights, **settings.options)
    except TypeError as error:  # an option that there is not, or by the name of another argument
        raise ValueError(
            f"Expected `guide.options` that the encoder {settings.model!r} takes, but got {settings.options}: {error}."
        ) from error
    return PooledClassifier(encoder, num_classes, standardise=settings.standardise)


def build_segmenter(
    settings: SegmenterSettings, num_classes: int, classifier: PooledClassifier
) -> DecompositionSegmenter:
    """The network f, which `start_from_guide` then gives what the guide has learnt.

    Raises:
        ValueError: if the masks are to start from the evidence of another encoder, or of a guide that has none, or the
            mask decoder has no head to add a background bias to.
    """
    encoder: str | nn.Module = settings.encoder
    if encoder == "guide":
        encoder = copy_encoder(classifier)
    elif settings.evidence:
        raise ValueError(
            f"Expected `segmenter.encoder` to be 'guide' with `segmenter.evidence`, but got {settings.encoder!r}; the "
            "guide's evidence is about its own features."
        )
    segmenter = DecompositionSegmenter(
        num_classes,
        encoder,
        settings.encoder_weights,
        encoder_options=settings.encoder_options or None,
        decoder_widths=settings.decoder_widths,
    )
    if settings.background_bias and not isinstance(segmenter.mask_decoder, UnetDecoder):
        raise ValueError(
            f"Expected `segmenter.background_bias` to be 0 with the encoder {settings.encoder!r}, whose decoder is no "
            f"UnetDecoder, but got {settings.background_bias}."
        )
    if settings.evidence:
        channels: Any = segmenter.encoder.out_channels
        segmenter.mask_decoder = ShortcutDecoder(channels, num_classes, settings.decoder_widths)
    start_from_guide(segmenter, settings, classifier)
    return segmenter


def copy_encoder(classifier: PooledClassifier) -> nn.Module:
    """A trainable copy of a classifier's encoder."""
    return copy.deepcopy(classifier.encoder).requires_grad_(True).train()


def start_from_guide(
    segmenter: DecompositionSegmenter, settings: SegmenterSettings, classifier: PooledClassifier
) -> None:
    """Bring the parts of a segmenter that start from the guide to where the classifier is now."""
    if settings.encoder == "guide":
        segmenter.encoder = copy_encoder(classifier)
    if isinstance(segmenter.mask_decoder, ShortcutDecoder):
        segmenter.mask_decoder.shortcut.load_state_dict(evidence_layer(classifier).state_dict())


def build_loss(settings: SegmenterSettings, classifier: PooledClassifier) -> DecompositionLoss:
    """The objective: Eq. 7, with the classifier frozen as its guide, and what the preset adds to it.

    Raises:
        ValueError: for a wrong setting.
    """
    view: View = component_view
    if settings.content != "components":
        view = FilledView(settings.content, [FILLS[name] for name in settings.fills])
    extra: dict[str, tuple[float, ExtraLoss]] = {}
    if settings.smoothness:
        extra["smoothness"] = (settings.smoothness, EdgeAwareSmoothness())
    if settings.seeds:
        extra["seeds"] = (settings.seeds, PseudoLabelLoss(EvidenceMasks(classifier)))
    return DecompositionLoss(
        lambda_mask=settings.lambda_mask,
        lambda_cls=settings.lambda_cls,
        mask_loss=HingeAreaLoss(*settings.area_range) if settings.prior == "hinge" else MaskLoss(),
        cls_loss=ClsLoss(FrozenGuide(classifier), settings.absent, view, absent_slots=settings.absent_slots),
        extra=extra,
    )
