"""Masks and components of a saved model for images of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from decomprec.decomposition import Decomposition
from decomprec.models.pretrained import Pretrained
from decomprec.refine import RefinedPredictor, multi_scale, multi_scale_tags, pamr

# Of a batch that `plan_batches` chooses: what the networks see at once, and the images as they are in memory. A
# small network is busy from some 2^20 pixels on a GPU, from a few images on a CPU.
_SEEN_PIXELS = {"cuda": 2**20, "cpu": 2**18}
_IMAGE_PIXELS = 2**26

AUGMENTED_SIZE = 1.4
"""Times the usual size is how large test-time augmentation looks at an image too."""


def named_tags(names: str, class_names: tuple[str, ...]) -> Tensor:
    """Tags (1, K-1) of names with commas between.

    Raises:
        ValueError: if a name is no class.

    Examples:
        >>> named_tags("dog, cow", ("cat", "cow", "dog"))
        tensor([[0., 1., 1.]])
    """
    chosen = [name.strip() for name in names.split(",")]
    if not set(chosen) <= set(class_names):
        raise ValueError(f"Expected --tags to be among {', '.join(class_names)}, but got {names!r}.")
    return torch.tensor([[float(name in chosen) for name in class_names]])


def image_masks(
    image: Tensor,
    model: Pretrained,
    tags: Tensor | None = None,
    size: int | None = None,
    *,
    augment: bool = False,
) -> Tensor:
    """Masks of an image at its own resolution, refined by `pamr`.

    Args:
        image: (3, H, W), uint8.
        model: is shown the image reduced (or enlarged) to `size`.
        tags: (1, K-1), the classes that are in the image; None lets the model's classifier decide, by the mean of
            `multi_scale_tags`, or, if it has none, every class compete.
        size: short side, in pixels; None is the size that the model was trained on.
        augment: look at 1.4 times that size, and average the segmenter's masks over the image and its mirror image
            at both sizes (test-time augmentation).

    Returns:
        (K, H, W), float32, summing to one over K, on the model's device; `argmax(dim=0)` is the label map.

    Raises:
        ValueError: if a shape or type is not this, or the size is less than 1.

    Examples:
        >>> from decomprec.models import DecompositionSegmenter, SmallEncoder
        >>> segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
        >>> model = Pretrained(segmenter, None, ("dog",), image_size=32)
        >>> image_masks(torch.zeros(3, 60, 90, dtype=torch.uint8), model).shape
        torch.Size([2, 60, 90])
    """
    return next(batch_masks([image], model, tags, size, augment=augment))


def batch_masks(
    images: Sequence[Tensor],
    model: Pretrained,
    tags: Tensor | None = None,
    size: int | None = None,
    *,
    augment: bool = False,
) -> Iterator[Tensor]:
    """Masks of several images, each as `image_masks` gives it, up to rounding.

    The networks see images that are of one size after the reduction together. Sizes are not mixed: what is padded
    onto an image changes what a classifier finds in it, and the masks along the seam. Only one image's masks at a
    time are brought to its own resolution.

    Args:
        images: each (3, H, W), uint8; as many as fit into memory after the reduction, such as one batch of
            `plan_batches`.
        model: as of `image_masks`.
        tags: (B, K-1) or None, as of `image_masks`.
        size: as of `image_masks`.
        augment: as of `image_masks`.

    Returns:
        The masks (K, H, W) of each image, in the order of the images.

    Raises:
        ValueError: if a shape or type is not this, or the size is less than 1, before any image is looked at.

    Examples:
        >>> from decomprec.models import DecompositionSegmenter, SmallEncoder
        >>> segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
        >>> model = Pretrained(segmenter, None, ("dog",), image_size=32)
        >>> images = [torch.zeros(3, 60, 90, dtype=torch.uint8), torch.zeros(3, 50, 50, dtype=torch.uint8)]
        >>> [tuple(masks.shape) for masks in batch_masks(images, model)]
        [(2, 60, 90), (2, 50, 50)]
    """
    size = _checked_size(images, model, size)
    if augment:
        size = round(AUGMENTED_SIZE * size)
    if tags is not None and len(tags) != len(images):
        raise ValueError(f"Expected `tags` of {len(images)} images, but got {tuple(tags.shape)}; expand them.")
    return _enlarged(images, _reduced_masks(images, model, tags, size, augment))


def _checked_size(images: Sequence[Tensor], model: Pretrained, size: int | None) -> int:
    for image in images:
        if image.ndim != 3 or len(image) != 3 or image.dtype != torch.uint8:
            raise ValueError(
                f"Expected `image` to be uint8 of shape (3, H, W), but got {image.dtype} of {tuple(image.shape)}."
            )
    size = model.image_size if size is None else size
    if size < 1:
        raise ValueError(f"Expected `size` to be at least 1, but got {size}.")
    return size


def _device(model: Pretrained) -> torch.device:
    return next(model.segmenter.parameters()).device


def _reduced_masks(
    images: Sequence[Tensor], model: Pretrained, tags: Tensor | None, size: int, augment: bool
) -> dict[int, Tensor]:
    """Masks (1, K, h, w) of each image by its index, as large as the networks see it."""
    device = _device(model)
    decide = None if model.classifier is None else multi_scale_tags(_channels_last(model.classifier))
    mask_logits = _channels_last(model.segmenter.mask_logits)
    if augment:
        mask_logits = multi_scale(mask_logits, (1 / AUGMENTED_SIZE, 1.0))
    predict = RefinedPredictor(mask_logits, pamr, decide)
    masks: dict[int, Tensor] = {}
    for seen_size, indices in _by_seen_size([tuple(p.shape[-2:]) for p in images], size).items():
        seen = torch.cat([resize(images[i][None], list(seen_size), antialias=True) for i in indices])
        with torch.inference_mode():
            found = predict.masks(seen.to(device).float() / 255, None if tags is None else tags[indices].to(device))
        masks.update(zip(indices, found.split(1), strict=True))
    return masks


def _channels_last(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The layout in which convolutions are fastest, which features keep through the network; `pamr` is slower in it."""
    return lambda images: network(images.contiguous(memory_format=torch.channels_last)).contiguous()


def _enlarged(images: Sequence[Tensor], masks: dict[int, Tensor]) -> Iterator[Tensor]:
    for index, image in enumerate(images):
        yield F.interpolate(masks.pop(index), size=image.shape[-2:], mode="bilinear", align_corners=False)[0]


def image_components(image: Tensor, model: Pretrained, size: int | None = None) -> Tensor:
    """Components of an image: Î_k = M_k X_k, which sum to its reconstruction (Eq. 1).

    The masks are the segmenter's own, neither refined nor held to tags: only those rebuild the image.

    Args:
        image: (3, H, W), uint8.
        model: as of `image_masks`, with an image decoder.
        size: as of `image_masks`.

    Returns:
        (K, 3, h, w), float32 in [0, 1], as large as the model sees the image, on the model's device.

    Raises:
        ValueError: as for `image_masks`, or if the model was saved with `masks_only=True`.

    Examples:
        >>> from decomprec.models import DecompositionSegmenter, SmallEncoder
        >>> segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
        >>> model = Pretrained(segmenter, None, ("dog",), image_size=32)
        >>> image_components(torch.zeros(3, 60, 90, dtype=torch.uint8), model).shape
        torch.Size([2, 3, 32, 48])
    """
    size = _checked_size([image], model, size)
    ((height, width),) = _by_seen_size([tuple(image.shape[-2:])], size)
    seen = resize(image[None], [height, width], antialias=True)
    with torch.inference_mode():
        decomposition: Decomposition = model.segmenter(seen.to(_device(model)).float() / 255)
        return decomposition.components[0]


def plan_batches(
    sizes: Sequence[tuple[int, int]], size: int, batch: int | None = None, device: str = "cpu"
) -> list[list[int]]:
    """Which images to give to `batch_masks` together: those that it can show the networks at once.

    Args:
        sizes: height and width of each image.
        size: short side of what the networks see, in pixels.
        batch: how many images at a time; None is as many as are worth it on the device, by their pixels.
        device: "cuda" or "cpu", where the networks run.

    Returns:
        Indices of all images in batches; images of one reduced size follow each other, in their order.

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
            too_many = seen_pixels > _SEEN_PIXELS[device] or image_pixels > _IMAGE_PIXELS
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
