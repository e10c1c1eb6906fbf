"""The frozen classifier g, and the views: what it is shown of a decomposition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, Self

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from decomprec.decomposition import Decomposition, Slots


class Frozen(nn.Module):
    """A trained module that is used and that nothing trains, wakes or saves any more.

    The module stays in eval mode whatever `train()` is called on, none of its parameters needs a gradient
    (gradients still flow through it to its input), and neither `parameters()` nor `state_dict()` of a module
    that holds this one lists them: it takes part in no optimiser and no checkpoint. It follows `to()`.

    Args:
        module: frozen in place.

    Examples:
        >>> frozen = Frozen(nn.Linear(3, 2))
        >>> frozen(torch.rand(4, 3)).shape, len(list(frozen.parameters())), frozen.train().training
        (torch.Size([4, 2]), 0, False)
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        # A tuple keeps the module out of nn.Module's registry: see the class docstring.
        self._frozen = (module.eval().requires_grad_(False),)
        self.train(False)

    def forward(self, *inputs: Tensor) -> Any:
        """What the module gives."""
        return self._frozen[0](*inputs)

    def train(self, mode: bool = True) -> Self:
        """Do nothing: what is frozen stays in eval mode."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # The one hook behind to(), cuda(), half(), ...: an unregistered module must be taken along by hand.
        self._frozen[0]._apply(fn, recurse)
        applied: Any = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return applied


class FrozenGuide(Frozen):
    """A trained classifier that judges components, frozen: see `Frozen`.

    Args:
        classifier: any module that maps images (N, 3, H, W) to logits (N, K-1), one per class without the
            background. It is frozen in place.
        mean: subtracted from each channel of the images in [0, 1], if the classifier doesn't normalise itself.
        std: divides each channel after that.

    Raises:
        ValueError: if `mean` or `std` is not of length 3, or `std` not positive.

    Examples:
        >>> classifier = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
        >>> guide = FrozenGuide(classifier, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> guide(torch.rand(4, 3, 8, 8)).shape, len(list(guide.parameters())), guide.train().training
        (torch.Size([4, 2]), 0, False)
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        classifier: nn.Module,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        for name, value in (("mean", mean), ("std", std)):
            if len(value) != 3:
                raise ValueError(f"Expected `{name}` to have one value per RGB channel, but got {value!r}.")
        if min(std) <= 0:
            raise ValueError(f"Expected `std` to be positive, but got {std!r}.")
        super().__init__(classifier)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @property
    def classifier(self) -> nn.Module:
        """The classifier that was given."""
        return self._frozen[0]

    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]  # one input
        """Logits (N, K-1) of images (N, 3, H, W) in [0, 1]."""
        logits: Tensor = self.classifier((images - self.mean) / self.std)
        return logits


class Guide(Protocol):
    """A classifier that judges pictures, such as a `FrozenGuide`."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Return logits (N, K-1), one per class without the background, of pictures (N, 3, H, W) in [0, 1]."""
        ...


class View(Protocol):
    """What the guide is shown: one picture per slot.

    A view that looks at `masks`, `imagelets` and `components` only can be asked for some slots of a decomposition.
    """

    def __call__(self, out: Decomposition | Slots, images: Tensor, /) -> Tensor:
        """Return pictures in [0, 1] for a decomposition of `images` (B, 3, H, W): (B, K, 3, H, W), or S for K."""
        ...


class Fill(Protocol):
    """What a `FilledView` shows outside the masks, such as `mean_fill`."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Return pictures in [0, 1] of the images' shape (B, 3, H, W) and dtype."""
        ...


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
    class; varied fills take both away. Content other than the image-lets leaves the guide only the masks to
    push, so that no texture in X can fool it.

    Args:
        content: "imagelets" (X_k), "stopped" (X_k without a gradient) or "images" (I itself for every slot).
        fills: functions of the images (B, 3, H, W) that give pictures of the same shape; each call draws one.

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
        """Return pictures (B, K, 3, H, W), or S for K: see the class docstring."""
        if self.content == "images":
            content = rearrange(images, "b c h w -> b 1 c h w")
        else:
            content = out.imagelets.detach() if self.content == "stopped" else out.imagelets
        # The draw stays a tensor: torch.compile can't follow one that picks a Python function.
        fills = torch.stack([fill(images) for fill in self.fills])
        fill = fills[torch.randint(len(self.fills), (1,), device=images.device)]
        masks = rearrange(out.masks, "b k h w -> b k 1 h w")
        # Under autocast the parts come in half precision beside full-precision images; lerp wants one dtype.
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
