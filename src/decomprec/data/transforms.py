"""Transforms of an image, or of an image and its mask together."""

from typing import Any

from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from decomprec.data.samples import Transform

_LONGEST = 8


def train_transform(size: int | None) -> Transform:
    """Augment mildly, which keeps the tags true: crop, flip, and vary the colours a little.

    Args:
        size: height and width of the result in pixels; None leaves out the crop.

    Returns:
        A torchvision v2 transform of an image, or of an image and its mask.

    Examples:
        >>> import torch
        >>> from torchvision import tv_tensors
        >>> train_transform(8)(tv_tensors.Image(torch.zeros(3, 20, 30, dtype=torch.uint8))).shape
        torch.Size([3, 8, 8])
    """
    crop = [] if size is None else [v2.RandomResizedCrop(size, scale=(0.6, 1.0), antialias=True)]
    return v2.Compose([*crop, v2.RandomHorizontalFlip(), v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)])


def eval_transform(size: int | None, crop: bool = True) -> Transform:
    """Resize the short side to `size` and crop the centre. Masks are resized by nearest neighbour.

    Args:
        size: height and width of the result in pixels; None leaves the image as it is.
        crop: whether to; otherwise the long side stays, and only images of one shape fit into a batch.

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
    centre = [v2.CenterCrop(size)] if crop else []
    return v2.Compose([_ShortenStrip(), v2.Resize(size, antialias=True), *centre])


class _ShortenStrip(nn.Module):
    """Crops a strip to its middle, as enlarging the short side of a 1 x 20,000 image would need hundreds of MB."""

    def forward(self, *images: Any) -> Any:
        height, width = F.get_size(images[0])
        size = [min(height, _LONGEST * width), min(width, _LONGEST * height)]
        if size != [height, width]:
            images = tuple(F.center_crop(image, size) for image in images)
        return images if len(images) > 1 else images[0]
