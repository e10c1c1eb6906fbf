"""The check of refinements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from decomprec.protocols import Refinement
from decomprec.testing._probe import SIZES, Probe, cases, sample_decomposition, sample_images


def check_refinement(refine: Refinement, num_classes: int = 4) -> None:
    """Raise a ValueError unless a refinement turns masks into masks, each image by itself.

    Args:
        refine: a `Refinement`.
        num_classes: K, background included.

    Examples:
        >>> from decomprec.refine import pamr
        >>> check_refinement(pamr)
        >>> check_refinement(lambda images, masks: masks.log())
        Traceback (most recent call last):
            ...
        ValueError: Expected the refinement to give masks in [0, 1], but got values from ...; give ...
    """
    probe = Probe("the refinement", refine)
    for batch, size in cases(SIZES):
        images = sample_images(batch, size)
        for masks in (sample_decomposition(batch, num_classes, size, empty).masks for empty in (False, True)):
            for shown in (images, torch.zeros_like(images)):
                _check_masks(probe, probe(images=shown, masks=masks), masks.shape)
    masks = sample_decomposition(3, num_classes, SIZES[0]).masks
    probe.check_independence(images=sample_images(3, SIZES[0]), masks=masks)


def _check_masks(probe: Probe, masks: Any, shape: Sequence[int]) -> None:
    """Refuse anything but shares of every pixel that sum to 1."""
    probe.check_tensor(masks, "masks", "(B, K, H, W)", shape, "keep all classes, the height and the width")
    probe.check_range(masks, "masks", "give probabilities, not logits")
    low, high = (value.item() for value in torch.aminmax(masks.detach().sum(dim=1)))
    if high > 1.01 or low < 0.99:
        probe.refuse(
            "give masks that sum to 1 over the classes",
            f"got sums from {low:.4g} to {high:.4g}",
            "divide by the sum over `dim=1`",
        )
