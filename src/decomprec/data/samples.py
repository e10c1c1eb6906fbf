"""The form of a sample, the same for every data set: image, tags, name and, for evaluation, mask."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate
from torchvision import tv_tensors

IGNORE = 255
"""Label of pixels whose class is unknown: losses and metrics leave them out."""

Item = dict[str, Any]
"""``image``, ``tags``, ``name`` and, for evaluation, ``mask``."""

Transform = Callable[..., Any]
"""``transform(image)`` or ``transform(image, mask)`` on tv_tensors, as in ``torchvision.transforms.v2``."""


class ImageError(ValueError):
    """What is wrong with an image, in one sentence that names it, even if a worker process raised it.

    Examples:
        >>> str(ImageError("Caught ImageError in ... ImageError: Expected a.jpg to be an image."))
        'Expected a.jpg to be an image.'
    """

    def __init__(self, message: str) -> None:
        # A DataLoader raises a worker's error again, with the worker's stack trace as the message.
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].rstrip())


def make_item(
    image: Tensor, tags: Tensor, name: str, *, mask: Tensor | None = None, transform: Transform | None = None
) -> dict[str, Any]:
    """Transform an image, jointly with its mask if there is one, and convert it to a sample.

    Args:
        image: (3, H, W), uint8.
        tags: (K-1,), {0, 1}, without the background.
        name: of the image.
        mask: (H, W), integer label map, or None.
        transform: called on a `tv_tensors.Image` and, if there is a mask, a `tv_tensors.Mask`.

    Returns:
        ``image`` (3, H', W') float32 in [0, 1], ``tags`` (K-1,) float32, ``name``, and ``mask`` (H', W')
        int64 only if one was given.

    Raises:
        ValueError: if the transform gives no image of three channels, or floating point outside [0, 1].

    Examples:
        >>> item = make_item(torch.full((3, 2, 2), 255, dtype=torch.uint8), torch.tensor([1, 0]), "white")
        >>> item["image"].max(), item["tags"], "mask" in item
        (tensor(1.), tensor([1., 0.]), False)
    """
    image = tv_tensors.Image(image)
    label_map = None if mask is None else tv_tensors.Mask(mask)
    if transform is not None:
        if label_map is None:
            image = transform(image)
        else:
            image, label_map = transform(image, label_map)
    pixels = image.as_subclass(torch.Tensor)
    if pixels.ndim != 3 or len(pixels) != 3 or pixels.numel() == 0:
        raise ImageError(f"Expected the transform to give (3, H, W), but got {tuple(pixels.shape)} for {name}.")
    if not pixels.is_floating_point():
        pixels = pixels.float() / 255
    elif not ((pixels >= 0) & (pixels <= 1)).all():
        low, high = (value.item() for value in pixels.aminmax())
        raise ImageError(
            f"Expected the transform to give pixels in [0, 1], but got {low:.4g} to {high:.4g} for {name}; "
            "leave mean and standard deviation to the guide."
        )
    item: Item = {"image": pixels.float(), "tags": tags.float(), "name": name}
    if label_map is not None:
        item["mask"] = label_map.as_subclass(torch.Tensor).long()
    return item


def collate(items: Sequence[Item]) -> Item:
    """Stack samples into a batch: tensors (B, ...), and a list of names.

    Args:
        items: samples of a data set such as `TaggedImages`.

    Raises:
        ValueError: if the images differ in size.

    Examples:
        >>> item = {"image": torch.zeros(3, 2, 2), "tags": torch.ones(1), "name": "a"}
        >>> batch = collate([item, item])
        >>> batch["image"].shape, batch["name"]
        (torch.Size([2, 3, 2, 2]), ['a', 'a'])
    """
    first = items[0]
    for item in items[1:]:
        if item["image"].shape != first["image"].shape:
            raise ImageError(
                f"Expected images of a batch to have one size, but got {first['name']} with "
                f"{tuple(first['image'].shape)} and {item['name']} with {tuple(item['image'].shape)}; "
                "give the dataset a transform with a size, or use batches of 1."
            )
    batch: Item = default_collate(list(items))
    return batch
