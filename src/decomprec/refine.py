"""Turning soft masks into label maps that follow the image's own edges."""

from __future__ import annotations

from collections.abc import Callable

import torch
from kornia.filters import guided_blur
from torch import Tensor

from decomprec import functional as DF
from decomprec.decomposition import check_images, check_tags


def guided_filter(images: Tensor, masks: Tensor, radius: int = 4, eps: float = 1e-3) -> Tensor:
    """Make masks follow the edges of their images (He et al., Guided Image Filtering, 2010).

    In every window a mask is fitted as a linear function of the image's colours, so that it can change only
    where the colours do.

    Args:
        images: (B, 3, H, W), in [0, 1].
        masks: (B, K, H, W), summing to one over K.
        radius: of the window, in pixels, at least 1.
        eps: how much colour variance counts as flat; larger is smoother.

    Returns:
        Masks (B, K, H, W) in [0, 1], summing to one over K.

    Raises:
        ValueError: if a shape or range is not this.

    Examples:
        >>> masks = torch.rand(1, 3, 16, 16).softmax(dim=1)
        >>> refined = guided_filter(torch.rand(1, 3, 16, 16), masks)
        >>> torch.allclose(refined.sum(dim=1), torch.ones(1, 16, 16), atol=1e-4)
        True
    """
    check_images(images)
    if masks.ndim != 4 or (masks.shape[0], *masks.shape[2:]) != (images.shape[0], *images.shape[2:]):
        raise ValueError(
            f"Expected `masks` to have shape (B, K, H, W) for images of shape {tuple(images.shape)}, "
            f"but got {tuple(masks.shape)}."
        )
    if radius < 1 or eps <= 0:
        raise ValueError(f"Expected `radius` of at least 1 and `eps` above 0, but got {radius} and {eps}.")
    size = 2 * radius + 1
    filtered = guided_blur(images, masks, kernel_size=(size, size), eps=eps).clamp(0, 1)
    return filtered / filtered.sum(dim=1, keepdim=True).clamp(min=torch.finfo(filtered.dtype).eps)


class GuidedPredictor:
    """Label maps from masks that a guided filter has fitted to the image.

    Args:
        mask_logits: maps images (B, 3, H, W) to logits (B, K, H, W), such as `segmenter.mask_logits`; a module
            should be in eval mode.
        radius: as for `guided_filter`.
        eps: as for `guided_filter`.

    Examples:
        >>> from decomprec import DecompositionSegmenter
        >>> predict = GuidedPredictor(DecompositionSegmenter(num_classes=3).eval().mask_logits)
        >>> predict(torch.rand(1, 3, 20, 30), tags=torch.tensor([[0.0, 1.0]])).shape
        torch.Size([1, 20, 30])
    """

    def __init__(self, mask_logits: Callable[[Tensor], Tensor], radius: int = 4, eps: float = 1e-3) -> None:
        self.mask_logits = mask_logits
        self.radius = radius
        self.eps = eps

    @torch.inference_mode()
    def __call__(self, images: Tensor, tags: Tensor | None = None) -> Tensor:
        """Label maps (B, H, W) of images in [0, 1]; with `tags` (B, K-1), absent classes cannot win."""
        logits = self.mask_logits(images)
        if tags is not None:
            check_tags(tags, batch=logits.shape[0], num_classes=logits.shape[1])
            logits = logits.masked_fill(DF.with_background(tags)[:, :, None, None] == 0, -torch.inf)
        return guided_filter(images, logits.softmax(dim=1), self.radius, self.eps).argmax(dim=1)
