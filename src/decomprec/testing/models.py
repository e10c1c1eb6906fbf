"""Checks of encoders and decoders."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from decomprec.models.encoders import check_encoder as check_attributes
from decomprec.models.encoders import coarsest_stride
from decomprec.protocols import Decoder, Encoder
from decomprec.testing._probe import Probe, Sizes, cases, sample_images


def check_encoder(encoder: Encoder) -> None:
    """Raise a ValueError unless the segmenter and the classifier can be built on an encoder.

    A copy of it is tried in evaluation mode, on images of two and three times its largest stride.

    Args:
        encoder: an `Encoder`, on the CPU.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> encoder = SmallEncoder((8, 16))
        >>> check_encoder(encoder)
        >>> encoder.out_channels = (8, 8)
        >>> check_encoder(encoder)
        Traceback (most recent call last):
            ...
        ValueError: Expected the encoder to give feature map 1 with `out_channels[1]` = 8 channels, but got 16; ...
    """
    probe = _evaluated("the encoder", encoder)
    check_attributes(probe.component)
    if not _are_counts(encoder.out_channels):
        got = f"got {encoder.out_channels!r}"
        probe.refuse("have `out_channels`, the channels of each feature map", got, "give a tuple of integers")
    _check_strides(probe, encoder)
    coarsest = Probe("the encoder", lambda images: probe.component(images)[-1])
    for batch, size in cases(_sizes(encoder)):
        images = sample_images(batch, size)
        _check_pyramid(probe, probe(images=images), images, encoder)
        advice = "freeze parameters with `requires_grad_(False)`, not torch.no_grad, to let a guide use it"
        coarsest.with_gradient("images", advice, images=images)
    images = sample_images(3, _sizes(encoder)[0])
    probe.check_independence(images=images)
    for features in (probe(images=images, autocast=True), probe(images=torch.zeros_like(images))):
        _check_pyramid(probe, features, images, encoder)


def check_decoder(decoder: Decoder, encoder: Encoder, out_channels: int) -> None:
    """Raise a ValueError unless a decoder turns an encoder's features into maps of the images' size.

    Copies of both are tried in evaluation mode.

    Args:
        decoder: a `Decoder`, on the CPU.
        encoder: an `Encoder` that fits, on the CPU.
        out_channels: K for a mask decoder, 3K for an image decoder.

    Examples:
        >>> from decomprec.models import SmallEncoder, UnetDecoder
        >>> encoder = SmallEncoder((8, 16))
        >>> check_decoder(UnetDecoder(encoder.out_channels, 3), encoder, out_channels=3)
        >>> check_decoder(UnetDecoder(encoder.out_channels, 3), encoder, out_channels=9)
        Traceback (most recent call last):
            ...
        ValueError: Expected the decoder to give maps of shape (B, C, H, W) = (3, 9, 8, 8), but got (3, 3, 8, 8); ...
    """
    encode = _evaluated("the encoder", encoder)
    check_attributes(encode.component)
    probe = _evaluated("the decoder", decoder)
    advice = "it gives K channels for masks, 3K for image-lets, at the images' height and width"
    form = "(B, C, H, W)"
    for batch, size in cases(_sizes(encoder)):
        features = [feature.detach() for feature in encode(images=sample_images(batch, size))]
        probe.check_tensor(probe(features=features), "maps", form, (batch, out_channels, *size), advice)
        detached = "don't run it under torch.no_grad, and detach nothing"
        maps = probe.with_gradient("features", detached, features=features)
        probe.check_linear_end(maps, "maps", "the segmenter takes softmax and sigmoid itself")
    probe.check_tensor(probe(features=features, autocast=True), "maps", form, maps.shape)


def _evaluated(what: str, module: Any) -> Probe:
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"Expected {what} to be an nn.Module, whose parameters are trained, but got {type(module).__name__}; "
            "make it one."
        )
    return Probe(what, copy.deepcopy(module).eval())


def _sizes(encoder: Encoder) -> Sizes:
    stride = coarsest_stride(encoder)
    return [(2 * stride, 2 * stride), (2 * stride, 3 * stride)]


def _are_counts(numbers: Any) -> bool:
    return isinstance(numbers, list | tuple) and bool(numbers) and all(isinstance(n, int) and n > 0 for n in numbers)


def _check_strides(probe: Probe, encoder: Encoder) -> None:
    strides, channels = encoder.strides, encoder.out_channels
    if not _are_counts(strides) or len(strides) != len(channels):
        got = f"got {strides!r}, and `out_channels` = {tuple(channels)}"
        probe.refuse("have `strides`, the stride of each feature map", got, "give a tuple of integers")
    if strides[0] != 2 or list(strides) != sorted(strides):
        expected = "have `strides` from fine to coarse, the first of them 2"
        probe.refuse(expected, f"got {tuple(strides)}", "add a finer feature map, or sort them")
    if any(strides[-1] % stride for stride in strides):
        expected = "have `strides` of which the last is a multiple of all others"
        probe.refuse(expected, f"got {tuple(strides)}", "no image size fits all of them")


def _check_pyramid(probe: Probe, features: Any, images: Tensor, encoder: Encoder) -> None:
    """Refuse anything but finite feature maps at the strides and with the channels that the encoder says."""
    if not isinstance(features, list | tuple):
        got = f"got {type(features).__name__}"
        probe.refuse("give a list of feature maps", got, "put even a single one into a list")
    channels = encoder.out_channels
    if len(features) != len(channels):
        got = f"got {len(features)}, and `out_channels` = {tuple(channels)}"
        probe.refuse("give as many feature maps as `out_channels` says", got, "leave the image itself out")
    height, width = images.shape[2:]
    for i, feature in enumerate(features):
        name = f"feature map {i}"
        if not isinstance(feature, Tensor) or feature.ndim != 4 or len(feature) != len(images):
            got = f"got {tuple(feature.shape) if isinstance(feature, Tensor) else type(feature).__name__}"
            probe.refuse(f"give {name} of shape (B, C, h, w)", got, "keep batch, height and width as dimensions")
        stride = encoder.strides[i]
        if tuple(feature.shape[2:]) != (height // stride, width // stride):
            expected = f"give {name} at `strides[{i}]` = {stride}: {(height // stride, width // stride)}"
            got = f"got {tuple(feature.shape[2:])} for images of {(height, width)}"
            probe.refuse(expected, got, "correct `strides`, and give the maps from fine to coarse")
        if feature.shape[1] != channels[i]:
            expected = f"give {name} with `out_channels[{i}]` = {channels[i]} channels"
            probe.refuse(expected, f"got {feature.shape[1]}", "correct `out_channels`, or put the channels second")
        probe.check_tensor(feature, name, "(B, C, h, w)", feature.shape)
