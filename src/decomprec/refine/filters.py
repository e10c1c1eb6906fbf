"""Masks that follow the edges of their images: the guided filter and PAMR."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from decomprec.checks import check_images


def guided_filter(images: Tensor, masks: Tensor, radius: int = 4, eps: float = 1e-3) -> Tensor:
    """Make masks follow the edges of their images (He et al., Guided Image Filtering, 2010).

    In every window a mask is fitted as a linear function of the image's colours: it can change only where
    the colours do.

    Args:
        images: (B, 3, H, W), in [0, 1].
        masks: (B, K, H, W), summing to one over K.
        radius: of the window, in pixels, at least 1; smaller where the image is too narrow for it.
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
    from kornia.filters import guided_blur  # takes a second and much memory, and `predict` does without

    _check_maps(images, masks, "masks", "K")
    if radius < 1 or eps <= 0:
        raise ValueError(f"Expected `radius` of at least 1 and `eps` above 0, but got {radius} and {eps}.")
    # Beyond the border the image is reflected, which a strip is too narrow for.
    height, width = (2 * min(radius, side - 1) + 1 for side in images.shape[-2:])
    filtered = guided_blur(images, masks, kernel_size=(height, width), eps=eps).clamp(0, 1)
    return filtered / filtered.sum(dim=1, keepdim=True).clamp(min=torch.finfo(filtered.dtype).eps)


def pamr(images: Tensor, maps: Tensor, iterations: int = 10, dilations: Sequence[int] = (1, 2, 4, 8, 12, 24)) -> Tensor:
    """Pixel-adaptive mask refinement (Araslanov & Roth, Single-Stage Semantic Segmentation from Image Labels, 2020).

    Every pixel i takes, again and again, the mean of its 8 neighbours j at each dilation, weighted by how much
    they look like it:

        maps_i <- Σ_j α_ij maps_j,    α_i = softmax_j( -mean_c |I_ic - I_jc| / (0.1 σ_ic) )

    σ_ic is the standard deviation of channel c over the pixel and these neighbours. The paper divides by σ²;
    dividing by 0.1 σ instead makes the weights independent of the image's contrast.

    Args:
        images: (B, 3, H, W), in [0, 1]; beyond the border, the border's pixels are repeated.
        maps: (B, C, H, W), floating point: masks, class activation maps or others, each refined by itself.
        iterations: at least 1; a map spreads by up to the largest dilation in each.
        dilations: distances to the neighbours in pixels, each at least 1.

    Returns:
        Maps (B, C, H, W) of the same dtype, linear in `maps` and never beyond their range; masks that sum to one
        still do.

    Raises:
        ValueError: if a shape, dtype or range is not this.

    Examples:
        >>> images = torch.zeros(1, 3, 16, 16)
        >>> images[..., 8:] = 1
        >>> maps = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)  # a soft edge where the image has a sharp one
        >>> pamr(images, maps, dilations=(1, 2, 4))[0, 0, 8, 6:10].round(decimals=2)
        tensor([0.1900, 0.1900, 0.8100, 0.8100])
    """
    _check_maps(images, maps, "maps", "C")
    if not maps.is_floating_point():
        raise ValueError(f"Expected `maps` to be floating point, but got {maps.dtype}; do `maps.float()`.")
    if iterations < 1:
        raise ValueError(f"Expected `iterations` of at least 1, but got {iterations}.")
    if not dilations or min(dilations) < 1:
        raise ValueError(f"Expected `dilations` to be distances of at least 1, but got {tuple(dilations)}.")
    dtype = torch.promote_types(torch.promote_types(images.dtype, maps.dtype), torch.float32)
    # One image's weights fit into a CPU's cache, a batch's do not.
    size = 1 if images.device.type == "cpu" else len(images)
    refined = []
    for image, part in zip(images.to(dtype).split(size), maps.to(dtype).split(size), strict=True):
        weights = _affinities(image, dilations)
        total = weights.sum(dim=0)
        for _ in range(iterations):
            mixed = torch.zeros_like(part)
            for weight, neighbour in zip(weights, _neighbours(part, dilations), strict=True):
                mixed.addcmul_(weight, neighbour)
            part = mixed / total
        refined.append(part)
    return torch.cat(refined).to(maps.dtype)


def half_pamr(images: Tensor, maps: Tensor) -> Tensor:
    """The mean of maps and what `pamr` makes of them: what `predict` draws.

    The edges of large things follow the image. Thin things, whose pixels PAMR mixes with all that surrounds them, keep
    half of their weight.

    Args:
        images: (B, 3, H, W), in [0, 1].
        maps: (B, C, H, W), floating point.

    Returns:
        Maps (B, C, H, W) of the same dtype; masks that sum to one still do.

    Raises:
        ValueError: if a shape, dtype or range is not this.

    Examples:
        >>> images = torch.zeros(1, 3, 16, 16)  # on which everything spreads
        >>> maps = (torch.arange(16) == 8).float().expand(1, 1, 16, 16)  # a thin line
        >>> half_pamr(images, maps)[0, 0, 8, 8] >= 0.5
        tensor(True)
    """
    return (maps + pamr(images, maps)) / 2


def _check_maps(images: Tensor, maps: Tensor, name: str, channels: str) -> None:
    check_images(images)
    if maps.ndim != 4 or (maps.shape[0], *maps.shape[2:]) != (images.shape[0], *images.shape[2:]):
        raise ValueError(
            f"Expected `{name}` to have shape (B, {channels}, H, W) for images of shape {tuple(images.shape)}, "
            f"but got {tuple(maps.shape)}."
        )


def _neighbours(maps: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """The 8 shifted copies of the maps at each dilation, as views of one padded copy."""
    height, width = maps.shape[-2:]
    pad = max(dilations)
    padded = F.pad(maps, (pad, pad, pad, pad), mode="replicate")
    for dilation, down, right in product(dilations, (-1, 0, 1), (-1, 0, 1)):
        if down or right:
            y, x = pad + dilation * down, pad + dilation * right
            yield padded[..., y : y + height, x : x + width]


def _affinities(images: Tensor, dilations: Sequence[int]) -> Tensor:
    """The weights α of `pamr`, (neighbours, B, 1, H, W), before the division by their sum over the neighbours."""
    total, squares = torch.zeros_like(images), torch.zeros_like(images)
    for neighbour in _neighbours(images, dilations):
        difference = neighbour - images
        total += difference
        squares.addcmul_(difference, difference)
    count = 8 * len(dilations) + 1  # with the pixel itself, whose difference is 0
    sigma = (squares / count - (total / count) ** 2).clamp(min=1e-8).sqrt()
    scale = 1 / (0.1 * sigma * images.shape[1])
    # In one tensor, step by step: 48 numbers a pixel are most of the memory.
    scores = images.new_empty(count - 1, len(images), 1, *images.shape[-2:])
    for i, neighbour in enumerate(_neighbours(images, dilations)):
        scores[i] = -((neighbour - images).abs_() * scale).sum(dim=1, keepdim=True)
    return scores.sub_(scores.detach().amax(dim=0)).exp_()
