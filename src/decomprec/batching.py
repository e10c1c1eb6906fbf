"""How large the networks see images, and which images they see together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from decomprec.refine import resize as resize_float

Shape = tuple[int, int]
"""Height and width in pixels."""

# Pixels that the networks see at once. A small network is busy from some 2^20 on a GPU, from a few images on a CPU.
_SEEN_PIXELS = {"cuda": 2**20, "cpu": 2**18}

_RESIZED_AT_ONCE = 2**23

IMAGE_PIXELS = 2**26
"""Most pixels of a batch's images in memory; a single image may be larger."""


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
    for (height, width), indices in by_seen_size(sizes, size).items():
        for index in indices:
            seen_pixels += height * width
            image_pixels += sizes[index][0] * sizes[index][1]
            too_many = seen_pixels > _SEEN_PIXELS.get(device, _SEEN_PIXELS["cuda"]) or image_pixels > IMAGE_PIXELS
            if not planned or (too_many if batch is None else len(planned[-1]) == batch):
                planned.append([])
                seen_pixels, image_pixels = height * width, sizes[index][0] * sizes[index][1]
            planned[-1].append(index)
    return planned


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
    for shape, indices in by_seen_size([tuple(image.shape[-2:]) for image in images], size).items():
        for start in range(0, len(indices), most):
            part = indices[start : start + most]
            yield part, seen_images([images[i] for i in part], shape, torch.device("cpu"))


def by_seen_size(sizes: Sequence[tuple[int, ...]], size: int, multiple: int = 1) -> dict[Shape, list[int]]:
    """Group sizes by the height and width that the networks see: indices of `sizes` by these.

    Args:
        sizes: height and width of each image.
        size: short side of what the networks see, in pixels.
        multiple: to a multiple of which each side is rounded. A network whose features have this stride then sees no
            padding, at the price of an aspect ratio that differs by up to half a multiple.

    Examples:
        >>> by_seen_size([(60, 90), (50, 50), (120, 181)], size=30), by_seen_size([(60, 90)], size=30, multiple=8)
        ({(30, 45): [0, 2], (30, 30): [1]}, {(32, 48): [0]})
    """

    def rounded(side: float) -> int:
        return max(1, round(side / multiple)) * multiple

    groups: dict[Shape, list[int]] = {}
    for index, (height, width) in enumerate(sizes):
        short, long = sorted((height, width))
        scale = min(size / short, 4 * size / long)  # a thin strip would become too long
        groups.setdefault((rounded(scale * height), rounded(scale * width)), []).append(index)
    return groups


def seen_images(images: Sequence[Tensor], shape: Shape, device: torch.device) -> Tensor:
    """Images, each (3, H, W), uint8, as the networks see them: (B, 3, h, w), float32 in [0, 1]."""
    return torch.stack([resized(image, shape) for image in images]).to(device).float() / 255


def resized(image: Tensor, shape: Shape) -> Tensor:
    """Resize an image (3, H, W), uint8, bilinearly and with antialiasing, also a large one in little memory.

    torchvision converts the whole image to float32 on many CPUs. Of more than 2^23 pixels, the width is resized a few
    rows at a time, and then the height a few columns at a time, which differs by rounding alone.

    Examples:
        >>> resized(torch.full((3, 3000, 4000), 7, dtype=torch.uint8), (3, 4)).unique()
        tensor([7], dtype=torch.uint8)
    """
    if image[0].numel() <= _RESIZED_AT_ONCE:
        return resize(image[None], list(shape), antialias=True)[0]
    if tuple(image.shape[-2:]) == shape:
        return image
    # Into tensors made before: results that were kept would lie in the gaps that large strips leave.
    narrow = torch.empty(1, 3, image.shape[1], shape[1], dtype=torch.float16)
    result = torch.empty(3, *shape, dtype=torch.uint8)
    rows = max(1, _RESIZED_AT_ONCE // 8 // image.shape[2])
    for top in range(0, image.shape[1], rows):
        part = image[None, :, top : top + rows].float()
        narrow[:, :, top : top + rows] = resize_float(part, (part.shape[2], shape[1]))
    columns = max(1, _RESIZED_AT_ONCE // 8 // image.shape[1])
    for left in range(0, shape[1], columns):
        part = narrow[..., left : left + columns].float()
        found = resize_float(part, (shape[0], part.shape[3]))
        result[:, :, left : left + columns] = found[0].round_().clamp_(0, 255)
    return result


def scaled(shape: Shape, scale: float) -> Shape:
    """A height and width times `scale`, each at least 1."""
    return max(1, round(scale * shape[0])), max(1, round(scale * shape[1]))
