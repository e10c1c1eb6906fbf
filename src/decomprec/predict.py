"""Masks of a saved model for pictures of any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from decomprec.models.pretrained import Pretrained
from decomprec.refine import RefinedPredictor, multi_scale_tags, pamr


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


def picture_masks(picture: Tensor, model: Pretrained, tags: Tensor | None = None, size: int | None = None) -> Tensor:
    """Masks of a picture at its own resolution, refined by `pamr`.

    Args:
        picture: (3, H, W), uint8.
        model: is shown the picture reduced (or enlarged) to `size`.
        tags: (1, K-1), the classes that are in the picture; None lets the model's classifier decide, by the mean of
            `multi_scale_tags`, or, if it has none, every class compete.
        size: short side, in pixels; None is the size that the model was trained on.

    Returns:
        (K, H, W), float32, summing to one over K, on the model's device; `argmax(dim=0)` is the label map.

    Raises:
        ValueError: if a shape or type is not this, or the size is less than 1.

    Examples:
        >>> from decomprec.models import DecompositionSegmenter, SmallEncoder
        >>> segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
        >>> model = Pretrained(segmenter, None, ("dog",), image_size=32)
        >>> picture_masks(torch.zeros(3, 60, 90, dtype=torch.uint8), model).shape
        torch.Size([2, 60, 90])
    """
    if picture.ndim != 3 or len(picture) != 3 or picture.dtype != torch.uint8:
        raise ValueError(
            f"Expected `picture` to be uint8 of shape (3, H, W), but got {picture.dtype} of {tuple(picture.shape)}."
        )
    size = model.image_size if size is None else size
    if size < 1:
        raise ValueError(f"Expected `size` to be at least 1, but got {size}.")
    device = next(model.segmenter.parameters()).device
    height, width = picture.shape[-2:]
    short, long = sorted((height, width))
    scale = min(size / short, 4 * size / long)  # a thin strip would become too long
    seen_size = [max(1, round(scale * height)), max(1, round(scale * width))]
    seen = resize(picture[None], seen_size, antialias=True).to(device).float() / 255
    tags = None if tags is None else tags.to(device)
    decide = None if model.classifier is None else multi_scale_tags(model.classifier)
    masks = RefinedPredictor(model.segmenter.mask_logits, pamr, decide).masks(seen, tags)
    return F.interpolate(masks, size=(height, width), mode="bilinear", align_corners=False)[0]
