"""Label maps of images: their masks, without the classes that are absent, refined."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from decomprec.checks import check_tags
from decomprec.protocols import Refinement
from decomprec.slots import mask_absent


class RefinedPredictor:
    """Label maps of images: their masks, without the classes that are absent, refined.

    Args:
        mask_logits: maps images (B, 3, H, W) to logits (B, K, H, W), such as `segmenter.mask_logits` or
            `at_scale` of it; a module should be in eval mode.
        refine: maps images and masks (B, K, H, W) to masks, such as `guided_filter`, `pamr` or a
            `functools.partial` of them.
        classifier: maps images to logits (B, K-1) of the classes without the background. A class whose logit is
            not above 0 counts as absent wherever tags are not given.
        background_bias: added to the background's logit; above 0, less is drawn. At ln 1.5 = 0.41 a single class must
            reach 0.6 instead of 0.5.

    Examples:
        >>> from decomprec import DecompositionSegmenter
        >>> from decomprec.refine import guided_filter
        >>> predict = RefinedPredictor(DecompositionSegmenter(num_classes=3).eval().mask_logits, guided_filter)
        >>> predict(torch.rand(1, 3, 20, 30), tags=torch.tensor([[0.0, 1.0]])).shape
        torch.Size([1, 20, 30])
    """

    def __init__(
        self,
        mask_logits: Callable[[Tensor], Tensor],
        refine: Refinement | None = None,
        classifier: Callable[[Tensor], Tensor] | None = None,
        background_bias: float = 0.0,
    ) -> None:
        self.mask_logits = mask_logits
        self.refine = refine
        self.classifier = classifier
        self.background_bias = background_bias

    @torch.no_grad()
    def __call__(self, images: Tensor, tags: Tensor | None = None) -> Tensor:
        """Label maps (B, H, W) of images in [0, 1]; with `tags` (B, K-1), absent classes cannot win.

        Raises:
            ValueError: if the tags, or the classifier's decisions, do not fit the classes of the masks.
        """
        return self.masks(images, tags).argmax(dim=1)

    @torch.no_grad()
    def masks(self, images: Tensor, tags: Tensor | None = None) -> Tensor:
        """The refined masks (B, K, H, W) themselves, zero for absent classes.

        An image without any class is all background, and is not refined.
        """
        logits = self._logits(images)
        return self._masks(images, logits, self._present(images, logits, tags))

    @torch.no_grad()
    def with_and_without_tags(self, images: Tensor, tags: Tensor) -> tuple[Tensor, Tensor]:
        """Both `self(images, tags)` and `self(images)`: images with the same classes are refined once."""
        logits = self._logits(images)
        given = self._present(images, logits, tags)
        decided = self._present(images, logits, None)
        labels = self._masks(images, logits, given).argmax(dim=1)
        differ = (given != decided).any(dim=1)
        if not differ.any():
            return labels, labels
        others = self._masks(images[differ], logits[differ], decided[differ]).argmax(dim=1)
        return labels, labels.index_put((differ.nonzero()[:, 0],), others)

    def _logits(self, images: Tensor) -> Tensor:
        logits = self.mask_logits(images)
        if self.background_bias:
            logits = torch.cat([logits[:, :1] + self.background_bias, logits[:, 1:]], dim=1)
        return logits

    def _present(self, images: Tensor, logits: Tensor, tags: Tensor | None) -> Tensor:
        """Which classes compete, (B, K-1) bool: the tags, what the classifier finds, or all."""
        batch, slots = logits.shape[:2]
        if tags is not None:
            check_tags(tags, batch=batch, num_classes=slots)
            return tags == 1
        if self.classifier is None:
            return torch.ones(batch, slots - 1, dtype=torch.bool, device=logits.device)
        found = self.classifier(images) > 0
        check_tags(found.float(), batch=batch, num_classes=slots, name="classifier(images) > 0")
        return found

    def _masks(self, images: Tensor, logits: Tensor, present: Tensor) -> Tensor:
        shown = present.any(dim=1)
        if not shown.all():
            masks = torch.zeros_like(logits)
            masks[:, 0] = 1
            if shown.any():
                masks[shown] = self._masks(images[shown], logits[shown], present[shown])
            return masks
        tags = present.to(logits.dtype)
        masks = mask_absent(logits, tags).softmax(dim=1)
        if self.refine is not None:
            masks = self.refine(images, masks)
        # A refinement could revive an absent class.
        return mask_absent(masks, tags, 0)
