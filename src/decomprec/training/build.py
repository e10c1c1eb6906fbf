"""From a preset to the classifier, the segmenter and the loss."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from decomprec.data.tags import TagTable
from decomprec.evidence import evidence_decoder
from decomprec.guide import FrozenGuide
from decomprec.losses import ClsLoss, DecompositionLoss, MaskLoss
from decomprec.models.classifiers import PooledClassifier
from decomprec.models.decoders import UnetDecoder
from decomprec.models.encoders import SmallEncoder, TimmEncoder
from decomprec.models.segmenter import DecompositionSegmenter, maps_of_enlarged
from decomprec.models.serialization import NoImageDecoder
from decomprec.priors import HingeAreaLoss
from decomprec.protocols import View
from decomprec.trained_model import TrainedModel
from decomprec.training.augment import FILLS
from decomprec.training.presets import Preset
from decomprec.training.settings import SegmenterSettings
from decomprec.views import FilledView, component_view


def build_classifier(preset: Preset, num_classes: int) -> PooledClassifier:
    """The classifier that becomes the guide.

    Args:
        preset: its `guide` says which encoder.
        num_classes: K, background included.

    Raises:
        ValueError: for an unknown encoder, options that it does not take, or weights that do not fit.
        ConnectionError: if ImageNet weights can't be downloaded.
    """
    settings = preset.guide
    encoder: nn.Module
    options: dict[str, Any] = settings.encoder_options
    try:
        if settings.encoder == "small":
            encoder = SmallEncoder(**options)
        else:
            encoder = TimmEncoder(settings.encoder, settings.encoder_weights, **options)
    except TypeError as error:  # an unknown option, or one by the name of another argument
        raise ValueError(
            f"Expected guide.encoder_options that the encoder {settings.encoder!r} takes, but got {options}: {error}."
        ) from error
    return PooledClassifier(
        encoder,
        num_classes,
        standardise=preset.standardise_guide,
        pooling=settings.pooling,
        levels=settings.levels,
    )


def start_at_odds(classifier: PooledClassifier, tags: TagTable) -> None:
    """Start the biases of a classifier's head at the log odds of its classes, log ((n_j + 1) / (N - n_j + 1)).

    A head that starts at a probability of 0.5 first uses its weights to say that most classes are rare. The weights
    then mark what is common to all images, see docs/results/experiments.md.

    Args:
        classifier: changed in place.
        tags: of the N training images, n_j of which have class j.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=2)
        >>> start_at_odds(classifier, TagTable([(), (), (0,), ()], num_tags=1))
        >>> classifier.head.bias  # log (2 / 4)
        Parameter containing:
        tensor([-0.6931], requires_grad=True)
    """
    counts = tags.counts().to(classifier.head.bias)
    with torch.no_grad():
        classifier.head.bias.copy_(((counts + 1) / (len(tags) - counts + 1)).log())


def build_segmenter(preset: Preset, num_classes: int, classifier: PooledClassifier) -> DecompositionSegmenter:
    """The network f. `start_from_guide` then gives it what a trained guide has learnt.

    A frozen encoder of the guide is shared with it.

    Args:
        preset: its `segmenter` says which encoder and decoders.
        num_classes: K, background included.
        classifier: the guide, trained or not, whose encoder is copied or shared where the segmenter's is "guide".

    Raises:
        ValueError: for an unknown encoder, options that it does not take, or weights that do not fit.
        ConnectionError: if ImageNet weights can't be downloaded.
    """
    settings = preset.segmenter
    return DecompositionSegmenter(
        num_classes,
        _encoder_of_guide(settings, classifier) if settings.encoder == "guide" else settings.encoder,
        settings.encoder_weights,
        encoder_options=settings.encoder_options or None,
        decoder_widths=settings.decoder_widths,
        mask_decoder=_mask_decoder(preset, num_classes, classifier),
        enlarge=settings.enlarge,
    )


def _mask_decoder(preset: Preset, num_classes: int, classifier: PooledClassifier) -> UnetDecoder | None:
    """One that can start from the guide's opinion which class a pixel is.

    None if there is one class, or the segmenter is not to see what a standardised guide sees.
    """
    settings = preset.segmenter
    channels, _ = maps_of_enlarged(classifier.encoder, settings.enlarge)
    sees = settings.encoder == "guide" and preset.standardise_guide and len(channels) >= -min(classifier.levels)
    if not sees or num_classes == 2:
        return None
    return UnetDecoder(channels, num_classes, settings.decoder_widths, levels=classifier.levels)


def start_from_guide(preset: Preset, segmenter: DecompositionSegmenter, classifier: PooledClassifier) -> None:
    """Give a segmenter of `build_segmenter` the encoder of the trained guide, if the preset says so.

    Its mask decoder then starts from the guide's opinion which class a pixel is.
    """
    if preset.segmenter.encoder != "guide":
        return
    segmenter.encoder = _encoder_of_guide(preset.segmenter, classifier)
    decoder = segmenter.mask_decoder
    if isinstance(decoder, UnetDecoder) and decoder.which is not None:
        weights, bias = classifier.rectified_weights()
        decoder.start_from_scores(weights, bias + classifier.head.bias)


def start_from_model(
    model: TrainedModel, class_names: Sequence[str], classifier: PooledClassifier, segmenter: DecompositionSegmenter
) -> None:
    """Give both networks what a trained model has learnt.

    Raises:
        ValueError: if its classes or its architecture are others, or it was saved without a part.
    """
    if model.class_names != tuple(class_names):
        raise ValueError(
            f"Expected `start` to have the classes {', '.join(class_names)}, but got {', '.join(model.class_names)}."
        )
    if model.masks_only:
        raise ValueError("Expected `start` to have its image decoder, but it has masks only; give the run folder.")
    try:
        classifier.load_state_dict(model.guide.state_dict())
        segmenter.load_state_dict(model.segmenter.state_dict())
    except RuntimeError as error:  # torch names every tensor
        raise ValueError(
            "Expected `start` to have the architecture of the preset, but it has another; take the preset of its run."
        ) from error


def shift_background(segmenter: DecompositionSegmenter, shift: float) -> None:
    """Add a number to the background's mask logit, at every pixel.

    Examples:
        >>> import torch
        >>> segmenter = DecompositionSegmenter(num_classes=3).eval()
        >>> images = torch.rand(1, 3, 16, 16)
        >>> before = segmenter.mask_logits(images)
        >>> shift_background(segmenter, -1.0)
        >>> (segmenter.mask_logits(images) - before).detach().mean(dim=(0, 2, 3)).round(decimals=3)
        tensor([-1.,  0.,  0.])
    """
    *_, last = (layer for layer in segmenter.mask_decoder.modules() if isinstance(layer, nn.Conv2d))
    assert last.bias is not None
    with torch.no_grad():
        last.bias[0] += shift


def build_evidence(preset: Preset, classifier: PooledClassifier) -> DecompositionSegmenter:
    """A network whose masks are the trained guide's evidence. It has no image decoder.

    Args:
        preset: its segmenter is shown images in the same way.
        classifier: the guide, whose encoder is shared.

    Raises:
        ValueError: if the guide doesn't standardise its features.
    """
    enlarge = preset.segmenter.enlarge
    _, strides = maps_of_enlarged(classifier.encoder, enlarge)
    return DecompositionSegmenter(
        classifier.head.out_features + 1,
        classifier.encoder,
        mask_decoder=evidence_decoder(classifier, stride=strides[0]),
        image_decoder=NoImageDecoder(),
        enlarge=enlarge,
    )


def build_loss(preset: Preset, classifier: PooledClassifier) -> DecompositionLoss:
    """The objective: Eq. 7 with the classifier, which is frozen, as its guide, and the terms that the preset adds."""
    settings = preset.segmenter
    fills = [FILLS[name] for name in settings.fills]
    view: View = FilledView(settings.content, fills) if fills else component_view
    return DecompositionLoss(
        lambda_mask=settings.lambda_mask,
        lambda_cls=settings.lambda_cls,
        mask_loss=HingeAreaLoss(*settings.area_range) if settings.area_range else MaskLoss(),
        cls_loss=ClsLoss(
            FrozenGuide(classifier),
            settings.absent,
            view,
            absent_slots=settings.absent_slots,
            share=settings.cls_share,
        ),
        lambda_seeds=settings.seeds,
    )


def _encoder_of_guide(settings: SegmenterSettings, classifier: PooledClassifier) -> nn.Module:
    """The guide's own encoder where it stays as it is: what sees an image for both then needs to see it once."""
    if settings.freeze_encoder:
        return classifier.encoder
    return copy.deepcopy(classifier.encoder).requires_grad_(True).train()
