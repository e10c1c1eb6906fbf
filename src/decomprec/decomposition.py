"""The value that flows through the library, and the checks of what comes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from decomprec import functional as DF


@dataclass(frozen=True)
class Decomposition:
    """An image split into one mask-let and one image-let per class. Slot 0 is the background.

    Attributes:
        mask_logits: the mask decoder's output before the softmax, (B, K, H, W).
        imagelets: X, (B, K, 3, H, W), in [0, 1].

    Examples:
        >>> out = Decomposition(torch.zeros(1, 2, 4, 4), torch.rand(1, 2, 3, 4, 4))
        >>> out.masks.shape, out.components.shape, out.reconstruction.shape, out.areas
        (torch.Size([1, 2, 4, 4]), torch.Size([1, 2, 3, 4, 4]), torch.Size([1, 3, 4, 4]), tensor([[0.5000, 0.5000]]))
    """

    mask_logits: Tensor
    imagelets: Tensor

    @property
    def masks(self) -> Tensor:
        """M, the softmax of the logits over K: (B, K, H, W), summing to one over K."""
        return self._once("_masks", lambda: self.mask_logits.softmax(dim=1))

    @property
    def components(self) -> Tensor:
        """Î_k = M_k · X_k: (B, K, 3, H, W)."""
        return self._once("_components", lambda: DF.components(self.masks, self.imagelets))

    @property
    def reconstruction(self) -> Tensor:
        """Î = Σ_k M_k · X_k (Eq. 1): (B, 3, H, W)."""
        return self._once("_reconstruction", lambda: DF.recompose(self.masks, self.imagelets))

    @property
    def areas(self) -> Tensor:
        """ŷ, the mean of M over pixels (Eq. 3): (B, K)."""

        def compute() -> Tensor:
            # Of float16 masks a collapsed class keeps nothing, and its area no gradient.
            full = torch.promote_types(self.mask_logits.dtype, torch.float32)
            masks = self.masks if self.masks.dtype == full else self.mask_logits.softmax(dim=1, dtype=full)
            return DF.mask_areas(masks)

        return self._once("_areas", compute)

    def _once(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        # Not functools.cached_property: older versions of torch.compile can follow neither its lock nor its memory.
        if torch.compiler.is_compiling():
            return compute()
        if name not in self.__dict__:
            self.__dict__[name] = compute()
        value: Tensor = self.__dict__[name]
        return value

    def labels(self, tags: Tensor | None = None) -> Tensor:
        """The most likely class of every pixel.

        Args:
            tags: (B, K-1), {0, 1}. If given, only the background and tagged classes can win.

        Returns:
            Label maps (B, H, W), int64: 0 is the background, tag j is class j+1.
        """
        return labels_from_logits(self.mask_logits, tags)

    def select(self, slots: Tensor) -> Slots:
        """The parts in some slots only.

        Args:
            slots: (B, S), int64, in [0, K).

        Examples:
            >>> out = Decomposition(torch.zeros(2, 9, 4, 4), torch.rand(2, 9, 3, 4, 4))
            >>> out.select(torch.tensor([[0, 3], [0, 8]])).components.shape
            torch.Size([2, 2, 3, 4, 4])
        """
        picture = torch.arange(len(slots), device=slots.device)[:, None]
        return Slots(self.masks[picture, slots], self.imagelets[picture, slots])


@dataclass(frozen=True)
class Slots:
    """Some slots of a decomposition, S for each image: what a view needs to know of it.

    Attributes:
        masks: M of these slots, (B, S, H, W).
        imagelets: X of these slots, (B, S, 3, H, W), in [0, 1].
    """

    masks: Tensor
    imagelets: Tensor

    @property
    def components(self) -> Tensor:
        """Î_k = M_k · X_k: (B, S, 3, H, W)."""
        return DF.components(self.masks, self.imagelets)


# torch.export needs to know how to take the value apart; eager code and torch.compile don't.
torch.export.register_dataclass(Decomposition, serialized_type_name="decomprec.Decomposition")


@dataclass(frozen=True)
class LossTerms:
    """The overall loss (Eq. 7) and its unweighted terms, each a scalar.

    Attributes:
        total: L = L_recon + λ_m L_mask + λ_c L_cls, plus the weighted extra terms.
        recon: L_recon (Eq. 2).
        mask: L_mask (Eq. 4).
        cls: L_cls (Eq. 6).
        extra: further terms by name.
    """

    total: Tensor
    recon: Tensor
    mask: Tensor
    cls: Tensor
    extra: dict[str, Tensor]

    def items(self) -> dict[str, Tensor]:
        """All terms by name, for logging."""
        return {"total": self.total, "recon": self.recon, "mask": self.mask, "cls": self.cls, **self.extra}


def labels_from_logits(mask_logits: Tensor, tags: Tensor | None = None) -> Tensor:
    """Argmax over the slots; with `tags` (B, K-1), absent classes cannot win.

    Examples:
        >>> logits = torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1)
        >>> labels_from_logits(logits).item(), labels_from_logits(logits, torch.tensor([[1, 0]])).item()
        (2, 1)
    """
    if tags is not None:
        check_tags(tags, batch=mask_logits.shape[0], num_classes=mask_logits.shape[1])
        absent = DF.with_background(tags) == 0
        mask_logits = mask_logits.masked_fill(absent[:, :, None, None], -torch.inf)
    return mask_logits.argmax(dim=1)


def check_images(images: Tensor, name: str = "images") -> None:
    """Raise a ValueError unless `images` is (B, 3, H, W), floating point, finite and within [0, 1].

    Values are not looked at while torch compiles or exports: that would break the graph.
    """
    if not isinstance(images, Tensor):
        raise ValueError(f"Expected `{name}` to be a torch.Tensor, but got {type(images).__name__}.")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"Expected `{name}` to have shape (B, 3, H, W), but got {tuple(images.shape)}.")
    if min(images.shape) == 0:
        raise ValueError(f"Expected `{name}` to hold at least one pixel, but got shape {tuple(images.shape)}.")
    if not images.is_floating_point():
        raise ValueError(
            f"Expected `{name}` to be floating point in [0, 1], but got {images.dtype}; divide uint8 by 255."
        )
    if not torch.compiler.is_compiling() and not images.is_meta:
        low, high = (v.item() for v in torch.aminmax(images.detach()))
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"Expected `{name}` to lie in [0, 1], but got values from {low:.4g} to {high:.4g}; "
                "leave mean and standard deviation to the guide and scale pixels to [0, 1]."
            )


def check_tags(tags: Tensor, batch: int, num_classes: int, name: str = "tags") -> None:
    """Raise a ValueError unless `tags` is (B, K-1) with entries 0 or 1."""
    expected = (batch, num_classes - 1)
    if not isinstance(tags, Tensor) or tuple(tags.shape) != expected:
        got = tuple(tags.shape) if isinstance(tags, Tensor) else type(tags).__name__
        raise ValueError(
            f"Expected `{name}` to have shape (B, K-1) = {expected}, without the background, but got {got}."
        )
    if not torch.compiler.is_compiling() and not tags.is_meta and not ((tags == 0) | (tags == 1)).all():
        raise ValueError(f"Expected `{name}` to hold only 0 and 1, but got other values.")


def check_decomposition(out: Decomposition, images: Tensor) -> None:
    """Raise a ValueError unless `out` belongs to `images` and its parts fit each other."""
    batch, _, height, width = images.shape
    logits, imagelets = out.mask_logits, out.imagelets
    if logits.ndim != 4 or (logits.shape[0], *logits.shape[2:]) != (batch, height, width):
        raise ValueError(
            f"Expected `mask_logits` to have shape (B, K, H, W) = ({batch}, K, {height}, {width}), "
            f"but got {tuple(logits.shape)}."
        )
    expected = (batch, logits.shape[1], 3, height, width)
    if tuple(imagelets.shape) != expected:
        raise ValueError(
            f"Expected `imagelets` to have shape (B, K, 3, H, W) = {expected}, but got {tuple(imagelets.shape)}."
        )
