"""Checks of guides, views and fills."""

from __future__ import annotations

import torch

from decomprec.protocols import Fill, Guide, View
from decomprec.testing._probe import SIZES, Probe, Sizes, cases, sample_decomposition, sample_images

_SMALL: Sizes = ((16, 16), (16, 24))
_CLASSES = 4
_STANDARDISE = "leave mean and standard deviation to the guide"
_WRAP = "wrap what it uses in Frozen"


def check_guide(guide: Guide, num_classes: int, sizes: Sizes = SIZES) -> None:
    """Raise a ValueError unless a classifier can judge components: K-1 finite logits, frozen, with a gradient.

    Args:
        guide: a `Guide`, on the CPU; its parameters and running means stay as they are.
        num_classes: K, background included.
        sizes: heights and widths of the images that it takes.

    Examples:
        >>> from torch import nn
        >>> from decomprec import FrozenGuide
        >>> classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
        >>> check_guide(FrozenGuide(classifier), num_classes=3)
        >>> check_guide(FrozenGuide(classifier), num_classes=2)
        Traceback (most recent call last):
            ...
        ValueError: Expected the guide to give logits of shape (N, K-1) = (3, 1), but got (3, 2); leave ...
    """
    probe = Probe("the guide", guide, "name the `sizes` that it takes")
    unfrozen = "freeze it with FrozenGuide"
    form = "(N, K-1)"
    for batch, size in cases(sizes):
        images = sample_images(batch, size)
        logits = probe(images=images)
        advice = "give one logit per class without the background, also for a single class or image"
        if getattr(logits, "shape", ()) == (batch, num_classes):
            advice = "leave the background out"
        probe.check_tensor(logits, "logits", form, (batch, num_classes - 1), advice)
        probe.check_frozen(logits, unfrozen)
        advice = "don't run it under torch.no_grad, and detach nothing"
        logits = probe.with_gradient("images", advice, images=images)
        probe.check_linear_end(logits, "logits", "the loss takes the sigmoid itself")
    images = sample_images(3, sizes[0])
    probe.check_modes(unfrozen, images=images)
    probe.check_independence(images=images)
    probe.check_tensor(probe(images=images, autocast=True), "logits", form, (3, num_classes - 1))
    # The paper's component of an empty mask is black.
    black = torch.zeros_like(images)
    probe.check_tensor(probe(images=black), "logits of a black image", form, (3, num_classes - 1))
    probe.with_gradient("images", "", images=black, nonzero=False)


def check_view(view: View, *, some_slots: bool = False) -> None:
    """Raise a ValueError unless a view gives an image per slot, in [0, 1] and with a gradient.

    Args:
        view: a `View`.
        some_slots: also try it on `Slots`, as `ClsLoss(absent_slots=...)` does.

    Examples:
        >>> from decomprec import component_view
        >>> check_view(component_view, some_slots=True)
        >>> check_view(lambda out, images: out.imagelets - 0.5)
        Traceback (most recent call last):
            ...
        ValueError: Expected the view to give images in [0, 1], but got values from -0.4999 to 0.4998; ...
    """
    probe = Probe("the view", view)
    form = "(B, K, 3, H, W)"
    in_order = "give one image per slot, in their order"
    for batch, size in cases(_SMALL):
        images = sample_images(batch, size)
        for empty in (False, True):
            out = sample_decomposition(batch, _CLASSES, size, empty)
            shown = probe(out=out, images=images)
            probe.check_tensor(shown, "images", form, (batch, _CLASSES, 3, *size), in_order)
            probe.check_range(shown, "images", _STANDARDISE)
            probe.check_frozen(shown, _WRAP)
            advice = "don't show an argmax or detached parts only"
            # A fill with another image of the batch is the image itself in a batch of 1: no mask changes it.
            probe.with_gradient("out", advice, out=out, images=images, nonzero=batch > 1)
        if some_slots:
            part = out.select(torch.tensor([[0, 2]] * batch))
            shown = Probe("the view", view, "use `masks`, `imagelets` and `components` only")(out=part, images=images)
            probe.check_tensor(shown, "images", "(B, S, 3, H, W)", (batch, 2, 3, *size), in_order)
    out = sample_decomposition(batch, _CLASSES, size)
    shown = probe(out=out, images=images, autocast=True)
    probe.check_tensor(shown, "images", form, (batch, _CLASSES, 3, *size))


def check_fill(fill: Fill) -> None:
    """Raise a ValueError unless a fill gives images of the images' shape and dtype in [0, 1].

    Args:
        fill: a `Fill`.

    Examples:
        >>> from decomprec.views import blur_fill
        >>> check_fill(blur_fill)
        >>> check_fill(lambda images: images.mean(dim=1, keepdim=True))
        Traceback (most recent call last):
            ...
        ValueError: Expected the fill to give images of shape (B, 3, H, W) = (3, 3, 16, 16), but got (3, 1, 16, 16)...
    """
    probe = Probe("the fill", fill)
    for batch, size in cases(_SMALL):
        for autocast in (False, True):
            images = sample_images(batch, size)
            shown = probe(images=images, autocast=autocast)
            probe.check_tensor(shown, "images", "(B, 3, H, W)", images.shape, "use `expand_as(images)`")
            if shown.dtype != images.dtype:
                where = " under bfloat16 autocast" if autocast else ""
                probe.refuse(f"keep the images' dtype{where}", f"got {shown.dtype}", "do `.to(images.dtype)`")
            probe.check_range(shown, "images", _STANDARDISE)
            probe.check_frozen(shown, _WRAP)
