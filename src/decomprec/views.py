"""Views: what the guide is shown of a decomposition, and what fills the outside of the masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from decomprec.decomposition import Decomposition, Slots
from decomprec.protocols import Fill


def component_view(out: Decomposition | Slots, images: Tensor) -> Tensor:
    """The paper's view: the components Î_k themselves, black outside their masks (Eq. 6).

    Examples:
        >>> out = Decomposition(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 3, 4, 4))
        >>> component_view(out, torch.rand(1, 3, 4, 4)).unique()
        tensor([0.5000])
    """
    return out.components


class FilledView:
    """Show each slot's content inside its mask and something else outside: M_k · content + (1 - M_k) · fill.

    A component on black is out of distribution for most classifiers, and its outline alone can tell the
    class; varied fills take both away. With content other than the image-lets, gradients reach only the
    masks, and no texture in X can fool the guide.

    Args:
        content: "imagelets" (X_k), "stopped" (X_k without a gradient) or "images" (I itself for every slot).
        fills: functions of the images (B, 3, H, W) that give images of the same shape; each call draws one.

    Raises:
        ValueError: for an unknown content or no fill.

    Examples:
        >>> view = FilledView(content="images", fills=[mean_fill, noise_fill])
        >>> out = Decomposition(torch.zeros(2, 3, 8, 8), torch.rand(2, 3, 3, 8, 8))
        >>> view(out, torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 3, 3, 8, 8])
    """

    def __init__(
        self,
        content: Literal["imagelets", "stopped", "images"],
        fills: Sequence[Fill],
    ) -> None:
        if content not in ("imagelets", "stopped", "images"):
            raise ValueError(f"Expected `content` to be 'imagelets', 'stopped' or 'images', but got {content!r}.")
        if not fills:
            raise ValueError("Expected `fills` to hold at least one function, but got none.")
        self.content = content
        self.fills = tuple(fills)

    def __call__(self, out: Decomposition | Slots, images: Tensor) -> Tensor:
        """Return images (B, K, 3, H, W), or S for K: see the class docstring."""
        if self.content == "images":
            content = rearrange(images, "b c h w -> b 1 c h w")
        else:
            content = out.imagelets.detach() if self.content == "stopped" else out.imagelets
        # The draw stays a tensor: torch.compile can't follow one that picks a Python function.
        fills = torch.stack([fill(images) for fill in self.fills])
        fill = fills[torch.randint(len(self.fills), (1,), device=images.device)]
        masks = rearrange(out.masks, "b k h w -> b k 1 h w")
        # Under autocast the parts are in half precision and the images in full; lerp wants one dtype.
        return torch.lerp(rearrange(fill, "1 b c h w -> b 1 c h w"), content.to(images.dtype), masks.to(images.dtype))


def black_fill(images: Tensor) -> Tensor:
    """Black, as in the paper.

    Examples:
        >>> black_fill(torch.ones(1, 3, 2, 2)).sum()
        tensor(0.)
    """
    return torch.zeros_like(images)


def mean_fill(images: Tensor) -> Tensor:
    """Each image's mean colour.

    Examples:
        >>> mean_fill(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2))
        tensor([[[[0.5000, 0.5000]]]])
    """
    return images.mean(dim=(-2, -1), keepdim=True).expand_as(images)


def noise_fill(images: Tensor) -> Tensor:
    """A random colour per image with uniform noise of up to ±0.25 on it, within [0, 1].

    Examples:
        >>> noise_fill(torch.rand(2, 3, 4, 4)).shape
        torch.Size([2, 3, 4, 4])
    """
    colour = torch.rand_like(images[..., :1, :1])
    return (colour + 0.5 * torch.rand_like(images) - 0.25).clamp(0, 1)


def blur_fill(images: Tensor) -> Tensor:
    """Each image reduced to a few coarse cells and smoothly enlarged again: its colours without its objects.

    Examples:
        >>> blur_fill(torch.full((1, 3, 32, 32), 0.5)).unique()
        tensor([0.5000])
    """
    coarse = F.adaptive_avg_pool2d(images, 4)
    return F.interpolate(coarse, size=images.shape[-2:], mode="bilinear", align_corners=False)
