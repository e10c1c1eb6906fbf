"""Masks and decisions of rescaled and mirrored copies of images: test-time augmentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from decomprec.checks import check_images


def at_scale(mask_logits: Callable[[Tensor], Tensor], scale: float) -> Callable[[Tensor], Tensor]:
    """Show a network rescaled images, and bring its logits back to the images' size.

    Args:
        mask_logits: maps images (B, 3, H, W) of any size to logits (B, K, H, W).
        scale: of the images' height and width, above 0.

    Returns:
        A function of the same form as `mask_logits`.

    Examples:
        >>> seen = []
        >>> logits = at_scale(lambda images: seen.append(images.shape[2:]) or images[:, :2], 0.5)
        >>> logits(torch.rand(1, 3, 32, 48)).shape, seen
        (torch.Size([1, 2, 32, 48]), [torch.Size([16, 24])])
    """
    return lambda images: resize(mask_logits(rescale(images, scale)), images.shape[-2:])


def multi_scale(
    mask_logits: Callable[[Tensor], Tensor], scales: Sequence[float] = (0.75, 1.0, 1.25), flip: bool = True
) -> Callable[[Tensor], Tensor]:
    """Average the masks of rescaled and mirrored copies of the images (test-time augmentation).

    Args:
        mask_logits: maps images (B, 3, H, W) of any size to logits (B, K, H, W), such as `segmenter.mask_logits`.
        scales: of the copies' height and width, each above 0.
        flip: add the mirror image of every copy.

    Returns:
        A function of the same form as `mask_logits`. It gives the logarithm of the mean of the masks, each brought
        back to the images' size, so it can stand wherever `mask_logits` can.

    Raises:
        ValueError: if a scale is not this or, when called, if the images are not in [0, 1].

    Examples:
        >>> from decomprec import DecompositionSegmenter
        >>> averaged = multi_scale(DecompositionSegmenter(num_classes=3).eval().mask_logits, scales=(0.5, 1.0))
        >>> averaged(torch.rand(1, 3, 32, 48)).shape
        torch.Size([1, 3, 32, 48])
    """
    _check_scales(scales)

    def averaged(images: Tensor) -> Tensor:
        views = _views(images, scales)
        return mean_masks(mask_logits, views, flip, size=images.shape[-2:]).log()

    return averaged


def mean_masks(
    mask_logits: Callable[[Tensor], Tensor], views: Sequence[Tensor], flip: bool, size: Sequence[int] | None = None
) -> Tensor:
    """Mean of the masks of several views of the same images.

    Args:
        mask_logits: maps images (B, 3, H, W) of any size to logits (B, K, H, W).
        views: the images at several sizes, each (B, 3, h, w) in [0, 1].
        flip: add the mirror image of every view.
        size: height and width of the result; None is those of the last view.

    Returns:
        (B, K, H, W), float32 or float64, in (0, 1], kept from 0 by the smallest normal number.

    Examples:
        >>> views = [torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 16, 16)]
        >>> mean_masks(lambda images: images[:, :2], views, flip=True).shape
        torch.Size([1, 2, 16, 16])
    """
    height, width = views[-1].shape[-2:] if size is None else size
    masks: list[Tensor] = []
    for view in views:
        for mirrored in (False, True)[: 1 + flip]:
            logits = mask_logits(view.flip(-1) if mirrored else view)
            mask = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=1)
            masks.append(resize(mask.flip(-1) if mirrored else mask, (height, width)))
    mean = torch.stack(masks).mean(dim=0)
    return mean.clamp(min=torch.finfo(mean.dtype).tiny)


def multi_scale_tags(
    classifier: Callable[[Tensor], Tensor], scales: Sequence[float] = (1.0, 1.4)
) -> Callable[[Tensor], Tensor]:
    """Average a classifier's logits over copies of the images at several scales (test-time augmentation).

    Every second copy is mirrored. On the dogs, the default decides as well as with a mirror image of both copies, which
    takes twice as long.

    Args:
        classifier: maps images (B, 3, H, W) of any size to logits (B, K-1).
        scales: of the copies' height and width, each above 0.

    Returns:
        A function of the same form as `classifier`.

    Raises:
        ValueError: if a scale is not this or, when called, if the images are not in [0, 1].

    Examples:
        >>> from decomprec.models import PooledClassifier, SmallEncoder
        >>> decide = multi_scale_tags(PooledClassifier(SmallEncoder((4, 8)), num_classes=3).eval())
        >>> decide(torch.rand(1, 3, 32, 48)).shape
        torch.Size([1, 2])
    """
    _check_scales(scales)

    def averaged(images: Tensor) -> Tensor:
        views = [view.flip(-1) if i % 2 else view for i, view in enumerate(_views(images, scales))]
        return torch.stack([classifier(view) for view in views]).mean(dim=0)

    return averaged


def resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resize images or masks (B, C, H, W) to `size` (height, width), bilinearly and with antialiasing.

    Rounding can take the values slightly beyond their range; clamp them where that matters. Half precision is resized
    in float32: on a CPU torch has no antialiasing in bfloat16.

    Examples:
        >>> resize(torch.tensor([[[[0.0, 1.0, 1.0, 1.0]]]]), (1, 2))
        tensor([[[[0.5714, 1.0000]]]])
    """
    if images.shape[-2:] == tuple(size):
        return images
    wide = images.to(torch.promote_types(images.dtype, torch.float32))
    return F.interpolate(wide, size=tuple(size), mode="bilinear", antialias=True, align_corners=False).to(images.dtype)


def rescale(images: Tensor, scale: float) -> Tensor:
    """Images (B, C, H, W) in [0, 1] at `scale` times their height and width, see `resize`.

    Examples:
        >>> rescale(torch.rand(1, 3, 16, 24), 0.5).shape
        torch.Size([1, 3, 8, 12])
    """
    resized = resize(images, [max(1, round(scale * side)) for side in images.shape[-2:]])
    return images if resized is images else resized.clamp(0, 1)


def _check_scales(scales: Sequence[float]) -> None:
    if not scales or min(scales) <= 0:
        raise ValueError(f"Expected `scales` to be numbers above 0, but got {tuple(scales)}.")


def _views(images: Tensor, scales: Sequence[float]) -> list[Tensor]:
    """The images at several scales of their height and width."""
    check_images(images)
    return [rescale(images, scale) for scale in scales]
