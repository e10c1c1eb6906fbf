"""The value that flows through the library, and the checks of its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from decomprec import functional as DF
from decomprec.checks import check_tags
from decomprec.slots import mask_absent


@dataclass(frozen=True)
class Decomposition:
    """An image split into one mask-let and one image-let per class. Slot 0 is the background.

    Attributes:
        mask_logits: the mask decoder's output before the softmax, (B, K, H, W).
        imagelets: X, (B, K, 3, H, W), in [0, 1].
        slots: which slot each mask-let is, (B, S), int64, if only S of the K slots were computed: K is S then in the
            shapes of the other attributes. None if all were.

    Examples:
        >>> out = Decomposition(torch.zeros(1, 2, 4, 4), torch.rand(1, 2, 3, 4, 4))
        >>> out.masks.shape, out.components.shape, out.reconstruction.shape, out.areas
        (torch.Size([1, 2, 4, 4]), torch.Size([1, 2, 3, 4, 4]), torch.Size([1, 3, 4, 4]), tensor([[0.5000, 0.5000]]))
    """

    mask_logits: Tensor
    imagelets: Tensor
    slots: Tensor | None = None

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
        labels = labels_from_logits(self.mask_logits, None if tags is None else self.tags_here(tags))
        if self.slots is None:
            return labels
        return self.slots.gather(1, labels.flatten(1)).view_as(labels)

    def tags_here(self, tags: Tensor) -> Tensor:
        """Of tags (B, K-1), or other values of the classes, those whose slots are here, without the background.

        Examples:
            >>> out = Decomposition(torch.zeros(1, 2, 4, 4), torch.rand(1, 2, 3, 4, 4), slots=torch.tensor([[0, 3]]))
            >>> out.tags_here(torch.tensor([[0, 0, 1, 0]]))
            tensor([[1]])
        """
        return tags if self.slots is None else tags.gather(1, self.slots[:, 1:] - 1)

    def of_images(self, images: Tensor) -> Decomposition:
        """The decompositions of some images of the batch only, by their numbers (N,), int64."""
        slots = None if self.slots is None else self.slots[images]
        return Decomposition(self.mask_logits[images], self.imagelets[images], slots)

    def select(self, slots: Tensor) -> Slots:
        """The parts in some slots only.

        Args:
            slots: (B, S), int64, in [0, K); places in `slots` if only some were computed.

        Examples:
            >>> out = Decomposition(torch.zeros(2, 9, 4, 4), torch.rand(2, 9, 3, 4, 4))
            >>> out.select(torch.tensor([[0, 3], [0, 8]])).components.shape
            torch.Size([2, 2, 3, 4, 4])
        """
        image = torch.arange(len(slots), device=slots.device)[:, None]
        return Slots(self.masks[image, slots], self.imagelets[image, slots])


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

    def as_dict(self) -> dict[str, Tensor]:
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
        mask_logits = mask_absent(mask_logits, tags)
    return mask_logits.argmax(dim=1)
