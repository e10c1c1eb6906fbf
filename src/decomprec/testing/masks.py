"""Checks of refinements and teachers, which give masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from decomprec.protocols import Refinement, Teacher
from decomprec.testing._probe import SIZES, Probe, Sizes, cases, sample_decomposition, sample_images, sample_tags


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
                _check_masks(probe, probe(images=shown, masks=masks), masks.shape, least=1)
    masks = sample_decomposition(3, num_classes, SIZES[0]).masks
    probe.check_independence(images=sample_images(3, SIZES[0]), masks=masks)


def check_teacher(teacher: Teacher, num_classes: int, sizes: Sizes = SIZES) -> None:
    """Raise a ValueError unless a teacher gives masks (B, K, H, W), each image by itself.

    Args:
        teacher: a `Teacher`, on the CPU, in evaluation mode, like `PseudoLabelLoss` sets it.
        num_classes: K, background included.
        sizes: heights and widths of the images that it takes.

    Examples:
        >>> from decomprec import DecompositionSegmenter
        >>> from decomprec.models import SmallEncoder
        >>> from decomprec.refine import RefinedPredictor
        >>> segmenter = DecompositionSegmenter(3, SmallEncoder((4, 8))).eval()
        >>> teacher = RefinedPredictor(segmenter.mask_logits).masks
        >>> check_teacher(teacher, num_classes=3)
        >>> check_teacher(lambda images, tags: 10 * teacher(images, tags), num_classes=3)
        Traceback (most recent call last):
            ...
        ValueError: Expected the teacher to give masks in [0, 1], but got values from ...; give ...
    """
    probe = Probe("the teacher", teacher, "name the `sizes` that it takes")
    for batch, size in cases(sizes):
        images, tags = sample_images(batch, size), sample_tags(batch, num_classes)
        for targets in (tags, torch.zeros_like(tags)):
            # The share of absent classes may be missing.
            _check_masks(probe, probe(images=images, tags=targets), (batch, num_classes, *size), least=0)
    probe.check_independence(images=sample_images(3, sizes[0]), tags=sample_tags(3, num_classes))


def _check_masks(probe: Probe, masks: Any, shape: Sequence[int], *, least: float) -> None:
    """Refuse anything but shares of every pixel that sum to `least` at least and to 1 at most."""
    probe.check_tensor(masks, "masks", "(B, K, H, W)", shape, "keep all classes, the height and the width")
    probe.check_range(masks, "masks", "give probabilities, not logits")
    low, high = (value.item() for value in torch.aminmax(masks.detach().sum(dim=1)))
    if high > 1.01 or low < least - 0.01:
        expected = f"give masks that sum to {'1' if least else 'at most 1'} over the classes"
        probe.refuse(expected, f"got sums from {low:.4g} to {high:.4g}", "divide by the sum over `dim=1`")
