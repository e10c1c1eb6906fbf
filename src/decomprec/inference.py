"""Masks and components of images of any size, as a trained model sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize

from decomprec.checks import check_tags
from decomprec.models.classifiers import PooledClassifier
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.refine import RefinedPredictor, half_pamr, mean_masks, multi_scale_tags, rescale

# Of a planned batch: what the networks see at once, and the images as they are in memory. A small network is busy from
# some 2^20 pixels on a GPU, from a few images on a CPU.
_SEEN_PIXELS = {"cuda": 2**20, "cpu": 2**18}
_IMAGE_PIXELS = 2**26

LARGER_VIEW = 1.4
"""Scale of the larger view in test-time augmentation."""


def batch_masks(
    images: Sequence[Tensor],
    segmenter: DecompositionSegmenter,
    classifier: nn.Module | None,
    tags: Tensor | None,
    size: int,
    *,
    augment: bool = False,
) -> Iterator[Tensor]:
    """Masks of several images, each at its own resolution, refined by `half_pamr`.

    Images that have one size after resizing go through the networks together. Sizes are not mixed: padding changes what
    a classifier finds in an image, and the masks along the seam. Only one image's masks at a time are enlarged.

    Args:
        images: each (3, H, W), uint8; as many as fit into memory, such as one batch of `plan_batches`.
        segmenter: in eval mode.
        classifier: images to logits (B, K-1), in eval mode; decides which classes occur where `tags` is None, by the
            mean over two sizes. None lets every class compete.
        tags: (B, K-1), {0, 1}, or None.
        size: short side of what the networks see, in pixels.
        augment: average the masks over two sizes (1 and 1.4 times `size`) and mirror images: test-time augmentation.

    Returns:
        The masks (K, H, W) of each image in order, float32, summing to one over K, on the segmenter's device.

    Raises:
        ValueError: if a shape or dtype is not this, or the size is less than 1; before any image is looked at.

    Examples:
        >>> from decomprec.models import DecompositionSegmenter, SmallEncoder
        >>> segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
        >>> images = [torch.zeros(3, 60, 90, dtype=torch.uint8), torch.zeros(3, 50, 50, dtype=torch.uint8)]
        >>> [tuple(masks.shape) for masks in batch_masks(images, segmenter, None, None, size=32)]
        [(2, 60, 90), (2, 50, 50)]
    """
    check_uint8(images)
    if size < 1:
        raise ValueError(f"Expected `size` to be at least 1, but got {size}.")
    if tags is not None and len(tags) != len(images):
        raise ValueError(f"Expected `tags` of {len(images)} images, but got {tuple(tags.shape)}; expand them.")
    if tags is not None:
        check_tags(tags, batch=len(images), num_classes=segmenter.num_classes)
    return _enlarged(images, _seen_masks(images, segmenter, classifier, tags, size, augment))


def check_uint8(images: Sequence[Tensor]) -> None:
    """Raise a ValueError unless every image is (3, H, W), uint8."""
    for image in images:
        if image.ndim != 3 or len(image) != 3 or image.dtype != torch.uint8:
            raise ValueError(
                f"Expected `image` to be uint8 of shape (3, H, W), but got {image.dtype} of {tuple(image.shape)}."
            )


def _seen_masks(
    images: Sequence[Tensor],
    segmenter: DecompositionSegmenter,
    classifier: nn.Module | None,
    tags: Tensor | None,
    size: int,
    augment: bool,
) -> dict[int, Tensor]:
    """Masks (1, K, h, w) of each image by its index, as large as the networks see it."""
    masks: dict[int, Tensor] = {}
    for shape, indices in _by_seen_size([tuple(image.shape[-2:]) for image in images], size).items():
        chosen, given = [images[i] for i in indices], None if tags is None else tags[indices]
        with torch.inference_mode():
            found = _masks_of_one_size(chosen, segmenter, classifier, given, shape, augment)
        masks.update(zip(indices, found.split(1), strict=True))
    return masks


def _masks_of_one_size(
    images: Sequence[Tensor],
    segmenter: DecompositionSegmenter,
    classifier: nn.Module | None,
    tags: Tensor | None,
    shape: tuple[int, int],
    augment: bool,
) -> Tensor:
    """Masks (B, K, h, w) of images that are all seen at one height and width.

    An image in which no class occurs is all background; what finds the masks of the others does not see it.
    """
    device = device_of(segmenter)
    # The layout in which convolutions are fastest, which features keep through the network, not through `pamr`.
    seen = _seen(images, shape, device).contiguous(memory_format=torch.channels_last)
    features = None
    if tags is not None:
        tags = tags.to(device)
    elif classifier is not None:
        # Networks that share a trunk show it the images once, unless the segmenter alone pads them.
        padded = any(side % segmenter.stride for side in shape)
        if getattr(classifier, "encoder", None) is segmenter.encoder and not padded:
            features = segmenter.features(seen)
        tags = _decided(classifier, seen, features, segmenter.enlarge)
    shown = list(range(len(images))) if tags is None else tags.any(dim=1).nonzero()[:, 0].tolist()
    if len(shown) < len(images) and tags is not None:
        seen, tags = seen[shown], tags[shown]
        features = features and [feature[shown] for feature in features]

    def mask_logits(view: Tensor) -> Tensor:
        if features is not None and view is seen:
            logits: Tensor = segmenter.mask_decoder(features)
        else:
            logits = segmenter.mask_logits(view.contiguous(memory_format=torch.channels_last))
        return logits.contiguous()

    height, width = _scaled(shape, LARGER_VIEW) if augment else shape
    masks = torch.zeros(len(images), segmenter.num_classes, height, width, device=device)
    masks[:, 0] = 1
    if not shown:
        return masks
    if augment:
        larger = _seen([images[i] for i in shown], (height, width), device)
        logits = mean_masks(mask_logits, [seen, larger], flip=True).log()
        masks[shown] = RefinedPredictor(lambda _: logits, half_pamr).masks(larger, tags)
    else:
        masks[shown] = RefinedPredictor(mask_logits, half_pamr).masks(seen, tags)
    return masks


def _decided(classifier: nn.Module, seen: Tensor, features: Sequence[Tensor] | None, enlarge: int) -> Tensor:
    """The classes (B, K-1) that a classifier finds in images enlarged as the segmenter's encoder sees them.

    It starts from the features of `seen` if it shares that encoder.
    """

    def logits(view: Tensor) -> Tensor:
        if features is not None and view is seen and isinstance(classifier, PooledClassifier):
            return classifier.judge(features)
        found: Tensor = classifier(rescale(view, enlarge).contiguous(memory_format=torch.channels_last))
        return found

    return (multi_scale_tags(logits)(seen) > 0).float()


def _seen(images: Sequence[Tensor], shape: tuple[int, int], device: torch.device) -> Tensor:
    resized = torch.cat([resize(image[None], list(shape), antialias=True) for image in images])
    return resized.to(device).float() / 255


def images_by_seen_size(images: Sequence[Tensor], size: int, most: int) -> Iterator[tuple[list[int], Tensor]]:
    """Images as the networks see them, in batches of one height and width.

    Args:
        images: each (3, H, W), uint8.
        size: short side of what the networks see, in pixels.
        most: images in a batch at most.

    Yields:
        Indices of up to `most` images, and these images (B, 3, h, w), float32 in [0, 1].

    Examples:
        >>> images = [torch.zeros(3, 60, 90, dtype=torch.uint8), torch.zeros(3, 50, 50, dtype=torch.uint8)]
        >>> [(indices, tuple(seen.shape)) for indices, seen in images_by_seen_size(images, size=32, most=8)]
        [([0], (1, 3, 32, 48)), ([1], (1, 3, 32, 32))]
    """
    for shape, indices in _by_seen_size([tuple(image.shape[-2:]) for image in images], size).items():
        for start in range(0, len(indices), most):
            part = indices[start : start + most]
            yield part, _seen([images[i] for i in part], shape, torch.device("cpu"))


def _scaled(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    return round(scale * shape[0]), round(scale * shape[1])


def _enlarged(images: Sequence[Tensor], masks: dict[int, Tensor]) -> Iterator[Tensor]:
    for index, image in enumerate(images):
        yield F.interpolate(masks.pop(index), size=image.shape[-2:], mode="bilinear", align_corners=False)[0]


def image_components(image: Tensor, segmenter: DecompositionSegmenter, size: int) -> Tensor:
    """Components of an image: Î_k = M_k X_k, which sum to its reconstruction (Eq. 1).

    The masks are the segmenter's own, neither refined nor held to tags: only those rebuild the image.

    Args:
        image: (3, H, W), uint8.
        segmenter: in eval mode, with an image decoder.
        size: short side of what the network sees, in pixels.

    Returns:
        (K, 3, h, w), float32 in [0, 1], as large as the network sees the image, on its device.

    Raises:
        ValueError: if shape or dtype is not this, or the segmenter has no image decoder.

    Examples:
        >>> from decomprec.models import DecompositionSegmenter, SmallEncoder
        >>> segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
        >>> image_components(torch.zeros(3, 60, 90, dtype=torch.uint8), segmenter, size=32).shape
        torch.Size([2, 3, 32, 48])
    """
    check_uint8([image])
    (shape,) = _by_seen_size([tuple(image.shape[-2:])], size)
    with torch.inference_mode():
        components: Tensor = segmenter(_seen([image], shape, device_of(segmenter))).components[0]
    return components


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are."""
    return next(module.parameters()).device


def plan_batches(
    sizes: Sequence[tuple[int, int]], size: int, batch: int | None = None, device: str = "cpu"
) -> list[list[int]]:
    """Which images to give to `batch_masks` together: those that it can show the networks at once.

    Args:
        sizes: height and width of each image.
        size: short side of what the networks see, in pixels.
        batch: images at a time; None is as many as are worth it on the device, by their pixels.
        device: type of the device where the networks run, such as "cpu".

    Returns:
        Indices of all images in batches; images of one seen size follow each other, in their order.

    Examples:
        >>> plan_batches([(60, 90), (50, 50), (120, 180), (30, 45)], size=32, batch=2)
        [[0, 2], [3, 1]]
    """
    planned: list[list[int]] = []
    seen_pixels = image_pixels = 0
    for (height, width), indices in _by_seen_size(sizes, size).items():
        for index in indices:
            seen_pixels += height * width
            image_pixels += sizes[index][0] * sizes[index][1]
            too_many = seen_pixels > _SEEN_PIXELS.get(device, _SEEN_PIXELS["cuda"]) or image_pixels > _IMAGE_PIXELS
            if not planned or (too_many if batch is None else len(planned[-1]) == batch):
                planned.append([])
                seen_pixels, image_pixels = height * width, sizes[index][0] * sizes[index][1]
            planned[-1].append(index)
    return planned


def _by_seen_size(sizes: Sequence[tuple[int, ...]], size: int) -> dict[tuple[int, int], list[int]]:
    """Indices of the sizes by the height and width that the networks see."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, (height, width) in enumerate(sizes):
        short, long = sorted((height, width))
        scale = min(size / short, 4 * size / long)  # a thin strip would become too long
        groups.setdefault((max(1, round(scale * height)), max(1, round(scale * width))), []).append(index)
    return groups
