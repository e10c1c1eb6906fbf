"""Joint transforms of pictures and masks."""

from torchvision.transforms import v2

from .items import Transform


def train_transform(size: int | None) -> Transform:
    """Augment mildly, so that the tags stay true: crop, flip, and vary the colours a little.

    Args:
        size: Height and width of the result; None leaves out the crop.

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


def eval_transform(size: int | None) -> Transform:
    """Resize the short side to `size` and crop the centre; masks by nearest neighbour.

    Args:
        size: Height and width of the result; None leaves the picture as it is.

    Returns:
        A torchvision v2 transform of an image, or of an image and its mask.

    Examples:
        >>> import torch
        >>> from torchvision import tv_tensors
        >>> eval_transform(8)(tv_tensors.Image(torch.zeros(3, 20, 30, dtype=torch.uint8))).shape
        torch.Size([3, 8, 8])
    """
    if size is None:
        return v2.Identity()
    return v2.Compose([v2.Resize(size, antialias=True), v2.CenterCrop(size)])
