"""Masks and components of images of any size, as a trained model sees them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from decomprec._tensors import full_precision
from decomprec.batching import Shape, by_seen_size, resized, scaled, seen_images
from decomprec.checks import check_tags
from decomprec.evidence import shares_features
from decomprec.models.classifiers import PooledClassifier
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.protocols import Refinement
from decomprec.refine import RefinedPredictor, half_pamr, once, rescale
from decomprec.tiling import OVERLAP, TILE, blend

WHOLE_PIXELS = 2 * TILE**2
"""Most pixels of an image that the networks see at once; of larger ones they see tiles."""


def batch_masks(
    images: Sequence[Tensor],
    segmenter: DecompositionSegmenter,
    classifier: nn.Module | None,
    tags: Tensor | None,
    size: int,
    refine: Refinement | None = half_pamr,
) -> Iterator[Tensor]:
    """Masks of several images, each as large as the networks see it.

    Images that have one size after resizing go through the networks together. Sizes are not mixed: padding changes what
    a classifier finds in an image, and the masks along the seam. Images that are seen at more than `WHOLE_PIXELS` are
    cut into overlapping tiles, whose refined masks are blended; the classifier sees such an image whole, at up to half
    as many pixels.

    Args:
        images: each (3, H, W), uint8; as many as fit into memory, such as one batch of `plan_batches`.
        segmenter: in eval mode.
        classifier: images to logits (B, K-1), in eval mode; decides which classes occur where `tags` is None, by images
            as large as the segmenter's encoder sees them. None lets every class compete.
        tags: (B, K-1), {0, 1}, or None.
        size: short side of what the networks see, in pixels; both sides are rounded to multiples of the segmenter's
            stride.
        refine: makes masks follow the edges of their images; None leaves them as they are.

    Returns:
        The masks (K, h, w) of each image in order, summing to one over K, on the segmenter's device; float32, or
        float16 of tiles.

    Raises:
        ValueError: if a shape or dtype is not this, or the size is less than 1; before any image is looked at.

    Examples:
        >>> from decomprec.models import DecompositionSegmenter, SmallEncoder
        >>> segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
        >>> images = [torch.zeros(3, 60, 90, dtype=torch.uint8), torch.zeros(3, 50, 50, dtype=torch.uint8)]
        >>> [tuple(masks.shape) for masks in batch_masks(images, segmenter, None, None, size=32)]
        [(2, 32, 48), (2, 32, 32)]
    """
    check_uint8(images)
    if size < 1:
        raise ValueError(f"Expected `size` to be at least 1, but got {size}.")
    if tags is not None and len(tags) != len(images):
        raise ValueError(f"Expected `tags` of {len(images)} images, but got {tuple(tags.shape)}; expand them.")
    if tags is not None:
        check_tags(tags, batch=len(images), num_classes=segmenter.num_classes)
    masks = _seen_masks(images, tags, size, _Way(segmenter, classifier, refine))
    return (masks.pop(index) for index in range(len(images)))


def check_uint8(images: Sequence[Tensor]) -> None:
    """Raise a ValueError unless every image is (3, H, W), uint8."""
    for image in images:
        if image.ndim != 3 or len(image) != 3 or image.dtype != torch.uint8:
            raise ValueError(
                f"Expected `image` to be uint8 of shape (3, H, W), but got {image.dtype} of {tuple(image.shape)}."
            )


@dataclass(frozen=True)
class _Way:
    """How masks are found: the arguments of `batch_masks`."""

    segmenter: DecompositionSegmenter
    classifier: nn.Module | None
    refine: Refinement | None


def _seen_masks(images: Sequence[Tensor], tags: Tensor | None, size: int, way: _Way) -> dict[int, Tensor]:
    """Masks (K, h, w) of each image by its index."""
    masks: dict[int, Tensor] = {}
    device = device_of(way.segmenter)
    for shape, indices in by_seen_size(
        [tuple(image.shape[-2:]) for image in images], size, way.segmenter.stride
    ).items():
        given = None if tags is None else tags[indices]
        with torch.inference_mode():
            if math.prod(shape) * way.segmenter.enlarge**2 > WHOLE_PIXELS:
                for place, i in enumerate(indices):
                    masks[i] = _masks_of_tiles(images[i], None if given is None else given[[place]], shape, way)
            else:
                found = _masks_of_one_size(seen_images([images[i] for i in indices], shape, device), given, way)
                masks.update(zip(indices, found, strict=True))
    return masks


def _masks_of_tiles(image: Tensor, tags: Tensor | None, shape: Shape, way: _Way) -> Tensor:
    """Masks (K, h, w), float16, of an image that is seen tile by tile."""
    enlarge, device = way.segmenter.enlarge, device_of(way.segmenter)
    if tags is None and way.classifier is not None:
        smaller = scaled(shape, min(1.0, TILE / enlarge / math.sqrt(math.prod(shape))))
        tags = _found(way.classifier(rescale(seen_images([image], smaller, device), enlarge)))

    def masks_of(tile: Tensor) -> Tensor:
        seen = seen_images([tile], (tile.shape[1], tile.shape[2]), device)
        return _masks_of_one_size(seen, tags, replace(way, classifier=None))[0]

    return blend(masks_of, resized(image, shape), TILE // enlarge, OVERLAP // enlarge)


def _masks_of_one_size(seen: Tensor, tags: Tensor | None, way: _Way) -> Tensor:
    """Masks (B, K, h, w) of images (B, 3, h, w) as the segmenter sees them.

    An image in which no class occurs is all background; what finds the masks of the others does not see it.
    """
    segmenter, classifier = way.segmenter, way.classifier
    known = None
    if tags is not None:
        tags = tags.to(seen.device)
    elif isinstance(classifier, PooledClassifier) and shares_features(segmenter, classifier):
        known = segmenter.features(seen)
        tags = _found(classifier.judge(known))
    elif classifier is not None:
        tags = _found(classifier(rescale(seen, segmenter.enlarge)))
    masks = torch.zeros(len(seen), segmenter.num_classes, *seen.shape[-2:], device=seen.device)
    masks[:, 0] = 1
    shown = torch.ones(len(seen), dtype=torch.bool) if tags is None else tags.any(dim=1)
    if not shown.any():
        return masks
    if tags is not None and not shown.all():
        seen, tags = seen[shown], tags[shown]
        known = known and [feature[shown] for feature in known]
    features = once(lambda view: segmenter.features(view) if known is None else known)

    def mask_logits(view: Tensor) -> Tensor:
        return full_precision(segmenter.mask_logits(view, features(view))).contiguous()

    masks[shown] = RefinedPredictor(mask_logits, way.refine).masks(seen, tags)
    return masks


def _found(logits: Tensor) -> Tensor:
    """The classes that a classifier finds, 0 or 1."""
    return (logits > 0).float()


def image_components(image: Tensor, segmenter: DecompositionSegmenter, size: int) -> Tensor:
    """Components of an image: Î_k = M_k X_k, which sum to its reconstruction (Eq. 1).

    The masks are the segmenter's own, neither refined nor held to tags: only those rebuild the image. Components of an
    image that is seen at more than `WHOLE_PIXELS` are blended from those of tiles.

    Args:
        image: (3, H, W), uint8.
        segmenter: in eval mode, with an image decoder.
        size: short side of what the network sees, in pixels.

    Returns:
        (K, 3, h, w) in [0, 1], as large as the network sees the image, on its device; float32, or float16 of tiles.

    Raises:
        ValueError: if shape or dtype is not this, or the segmenter has no image decoder.

    Examples:
        >>> from decomprec.models import DecompositionSegmenter, SmallEncoder
        >>> segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
        >>> image_components(torch.zeros(3, 60, 90, dtype=torch.uint8), segmenter, size=32).shape
        torch.Size([2, 3, 32, 48])
    """
    check_uint8([image])
    (shape,) = by_seen_size([tuple(image.shape[-2:])], size, segmenter.stride)

    def components(seen: Tensor) -> Tensor:
        images = seen_images([seen], (seen.shape[1], seen.shape[2]), device_of(segmenter))
        found: Tensor = segmenter(images).components[0]
        return found

    enlarge = segmenter.enlarge
    with torch.inference_mode():
        seen = resized(image, shape)
        if math.prod(shape) * enlarge**2 <= WHOLE_PIXELS:
            return components(seen)
        of_tiles = blend(lambda tile: components(tile).flatten(0, 1), seen, TILE // enlarge, OVERLAP // enlarge)
        return of_tiles.unflatten(0, (-1, 3)).clamp_(0, 1)


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are."""
    return next(module.parameters()).device
