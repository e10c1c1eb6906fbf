"""Transforms of an image, or of an image and its mask together."""

import math
from statistics import geometric_mean
from typing import Any

from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from decomprec.data.samples import Transform
from decomprec.protocols import TaggedDataset

_LONGEST = 8
_LOOKED_AT = 32  # images whose shapes decide that of the crops


def mean_aspect(images: TaggedDataset) -> float:
    """Width by height of the images of a data set: the geometric mean of up to 32 of them, within [1/2, 2].

    A batch has one shape. Square crops of upright images would cut off what their tags speak of, such as shoes.

    Args:
        images: samples with an "image" (3, H, W), before any crop.

    Examples:
        >>> import torch
        >>> mean_aspect([{"image": torch.zeros(3, 30, 20)}, {"image": torch.zeros(3, 60, 40)}])  # doctest: +ELLIPSIS
        0.666...
    """
    chosen = range(0, len(images), math.ceil(len(images) / _LOOKED_AT)) if len(images) else ()
    aspects = [width / height for height, width in (images[i]["image"].shape[-2:] for i in chosen)]
    return min(max(geometric_mean(aspects), 1 / 2), 2.0) if aspects else 1.0


def train_transform(size: int | None, aspect: float = 1.0) -> Transform:
    """Augment mildly, which keeps the tags true: crop, flip, and vary the colours a little.

    Args:
        size: side of a square with as many pixels as the result; None leaves out the crop.
        aspect: width by height of the result.

    Returns:
        A torchvision v2 transform of an image, or of an image and its mask.

    Examples:
        >>> import torch
        >>> from torchvision import tv_tensors
        >>> image = tv_tensors.Image(torch.zeros(3, 20, 30, dtype=torch.uint8))
        >>> train_transform(8)(image).shape, train_transform(8, aspect=4.0)(image).shape
        (torch.Size([3, 8, 8]), torch.Size([3, 4, 16]))
    """
    crop = []
    if size is not None:
        ratio = (3 / 4 * aspect, 4 / 3 * aspect)
        crop = [v2.RandomResizedCrop(_shape(size, aspect), scale=(0.6, 1.0), ratio=ratio, antialias=True)]
    return v2.Compose([*crop, v2.RandomHorizontalFlip(), v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)])


def eval_transform(size: int | None, crop: bool = True, aspect: float = 1.0) -> Transform:
    """Resize, and crop the centre. Masks are resized by nearest neighbour.

    Args:
        size: side of a square with as many pixels as the result; None leaves the image as it is.
        crop: whether to crop. Otherwise the whole image is kept and `size` is its short side, so only images of one
            shape fit into a batch.
        aspect: width by height of the crop.

    Returns:
        A torchvision v2 transform of an image, or of an image and its mask.

    Examples:
        >>> import torch
        >>> from torchvision import tv_tensors
        >>> image = tv_tensors.Image(torch.zeros(3, 20, 30, dtype=torch.uint8))
        >>> eval_transform(8)(image).shape, eval_transform(8, crop=False)(image).shape
        (torch.Size([3, 8, 8]), torch.Size([3, 8, 12]))
    """
    if size is None:
        return v2.Identity()
    if not crop:
        return v2.Compose([_ShortenStrip(), v2.Resize(size, antialias=True)])
    shape = _shape(size, aspect)
    return v2.Compose([_ShortenStrip(), _Cover(shape), v2.CenterCrop(shape)])


def crop_transforms(images: TaggedDataset, size: int, augment: bool) -> tuple[Transform, Transform]:
    """Make the transforms of a training and of its validation, with crops of the mean aspect of the training images.

    Args:
        images: those to train on, before any crop, see `mean_aspect`.
        size: side of a square with as many pixels as a crop.
        augment: whether the training images are augmented by `train_transform`.

    Returns:
        Transforms of the training and of the validation images.

    Examples:
        >>> import torch
        >>> upright = torch.zeros(3, 40, 20)
        >>> [transform(upright).shape for transform in crop_transforms([{"image": upright}], 8, augment=True)]
        [torch.Size([3, 11, 6]), torch.Size([3, 11, 6])]
    """
    aspect = mean_aspect(images)
    evaluated = eval_transform(size, aspect=aspect)
    return train_transform(size, aspect) if augment else evaluated, evaluated


def _shape(size: int, aspect: float) -> tuple[int, int]:
    """Height and width with about size² pixels."""
    return round(size / math.sqrt(aspect)), round(size * math.sqrt(aspect))


class _Cover(nn.Module):
    """Resizes to the smallest image of the same aspect that covers a shape (height, width)."""

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, *images: Any) -> Any:
        height, width = F.get_size(images[0])
        scale = max(self.shape[0] / height, self.shape[1] / width)
        size = [max(self.shape[0], int(scale * height)), max(self.shape[1], int(scale * width))]
        return v2.Resize(size, antialias=True)(*images)


class _ShortenStrip(nn.Module):
    """Crops a strip to its middle, as enlarging the short side of a 1 x 20,000 image would need hundreds of MB."""

    def forward(self, *images: Any) -> Any:
        height, width = F.get_size(images[0])
        size = [min(height, _LONGEST * width), min(width, _LONGEST * height)]
        if size != [height, width]:
            images = tuple(F.center_crop(image, size) for image in images)
        return images if len(images) > 1 else images[0]
