"""Checks of the terms of the loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from decomprec.decomposition import Decomposition
from decomprec.protocols import ExtraLoss, MaskTerm, ReconTerm
from decomprec.testing._probe import SIZES, Probe, Sizes, cases, sample_decomposition, sample_images, sample_tags

_FREEZE = "wrap its network in Frozen or FrozenGuide"
_KEEP = "don't detach, round or take the argmax on the way"


def check_recon_loss(loss: ReconTerm) -> None:
    """Raise a ValueError unless a reconstruction loss is a differentiable scalar, smallest for the image itself.

    Args:
        loss: a `ReconTerm`.

    Examples:
        >>> import torch.nn.functional as F
        >>> check_recon_loss(F.l1_loss)
        >>> check_recon_loss(lambda reconstruction, images: -F.l1_loss(reconstruction, images))
        Traceback (most recent call last):
            ...
        ValueError: Expected the recon loss to be smaller for the image itself than for another, but ...
    """
    probe = Probe("the recon loss", loss)
    for batch, size in cases(SIZES):
        images = sample_images(batch, size)
        values = []
        for exact, reconstruction in ((True, images.clone()), (False, images.flip(-1))):
            values.append(_value(probe, reconstruction=reconstruction, images=images))
            # At the image itself the gradient may be 0, and a root would make it nan.
            probe.with_gradient(
                "reconstruction", _KEEP, reconstruction=reconstruction, images=images, nonzero=not exact
            )
        _check_order(probe, values, "for the image itself than for another", "give a distance, not a similarity")
    probe.check_modes(_FREEZE, reconstruction=reconstruction, images=images)
    _check_scalar(probe, probe(reconstruction=reconstruction.bfloat16(), images=images, autocast=True))


def check_mask_loss(loss: MaskTerm, num_classes: int = 4) -> None:
    """Raise a ValueError unless an area prior is a differentiable scalar that asks for the tagged classes.

    Args:
        loss: a `MaskTerm`; it is given tags, not known areas.
        num_classes: K, background included, at least 3.

    Examples:
        >>> from decomprec import HingeAreaLoss
        >>> check_mask_loss(HingeAreaLoss())
        >>> check_mask_loss(lambda areas, tags: (areas[:, :-1] - tags).square().mean())  # slot 0 is the background
        Traceback (most recent call last):
            ...
        ValueError: Expected the mask loss to be smaller where tagged classes have the area than where absent ...
    """
    if num_classes < 3:
        raise ValueError(f"Expected `num_classes` to be at least 3, for a class to be absent, but got {num_classes}.")
    probe = Probe("the mask loss", loss, "`areas[:, 1:]` are those of the tags")
    tagged, absent, all_absent, everywhere = torch.zeros(4, num_classes).unbind()
    tagged[:2] = absent[[0, 2]] = torch.tensor([0.7, 0.3])
    all_absent[2] = everywhere[0] = 1
    for batch in (3, 1):
        tags = torch.zeros(batch, num_classes - 1)
        tags[:, 0] = 1
        values = []
        for row in (tagged, absent, all_absent, everywhere):
            areas = row.repeat(batch, 1)
            values.append(_value(probe, areas=areas, targets=tags))
            probe.with_gradient("areas", _KEEP, areas=areas, targets=tags, nonzero=row is absent)
        which = "where tagged classes have the area than where absent ones do"
        _check_order(probe, values[:2], which, "slot 0 is the background, and tag j is slot j+1")
        areas = tagged.repeat(batch, 1)
        for targets in (torch.zeros_like(tags), torch.ones_like(tags)):
            _check_scalar(probe, probe(areas=areas, targets=targets), _of(targets))
    probe.check_modes(_FREEZE, areas=areas, targets=tags)
    _check_scalar(probe, probe(areas=areas.bfloat16(), targets=tags, autocast=True))


def check_extra_loss(loss: ExtraLoss, num_classes: int = 4, sizes: Sizes = SIZES) -> None:
    """Raise a ValueError unless a further term, or a loss in place of `ClsLoss`, is a differentiable scalar.

    Args:
        loss: an `ExtraLoss`, on the CPU.
        num_classes: K, background included; that of the guide if the loss holds one.
        sizes: heights and widths of the images that it takes.

    Examples:
        >>> from decomprec.priors import EdgeAwareSmoothness
        >>> check_extra_loss(EdgeAwareSmoothness())
        >>> check_extra_loss(lambda out, images, tags: out.areas.mean(dim=1))
        Traceback (most recent call last):
            ...
        ValueError: Expected the loss to give a scalar, but got shape (3,); average it with `.mean()`.
    """
    probe = Probe("the loss", loss, "name the `num_classes` and `sizes` that it takes")
    for batch, size in cases(sizes):
        images, tags = sample_images(batch, size), sample_tags(batch, num_classes)
        outs = {empty: sample_decomposition(batch, num_classes, size, empty) for empty in (False, True)}
        for targets in (tags, torch.zeros_like(tags), torch.ones_like(tags)):
            for empty, out in outs.items():
                _value(probe, _of(targets, empty), out=out, images=images, tags=targets)
        for out in outs.values():
            # The gradient may be 0: a term may ask nothing of masks that already satisfy it.
            probe.with_gradient("out", _KEEP, out=out, images=images, tags=tags, nonzero=False)
    out = outs[False]
    probe.check_modes(_FREEZE, out=out, images=images, tags=tags)
    half = Decomposition(out.mask_logits.bfloat16(), out.imagelets.bfloat16())
    _check_scalar(probe, probe(out=half, images=images, tags=tags, autocast=True))


def _value(probe: Probe, where: str = "", **inputs: Any) -> float:
    """Return the value of a loss, a scalar that trains nothing but its inputs."""
    value = probe(**inputs)
    _check_scalar(probe, value, where)
    probe.check_frozen(value, _FREEZE)
    return value.item()


def _check_scalar(probe: Probe, value: Any, where: str = "") -> None:
    if not isinstance(value, Tensor):
        probe.refuse("give a scalar tensor", f"got {type(value).__name__}", "return it without `.item()`")
    if value.ndim:
        probe.refuse("give a scalar", f"got shape {tuple(value.shape)}", "average it with `.mean()`")
    probe.check_tensor(value, f"values{where}", "()", ())


def _check_order(probe: Probe, values: list[float], which: str, advice: str) -> None:
    better, worse = values
    if not better < worse:
        probe.refuse(f"be smaller {which}", f"got {better:.4g} and {worse:.4g}", advice)


def _of(tags: Tensor, empty: bool = False) -> str:
    tagged = " for images without a tag" if not tags.any() else " for images with all tags" if tags.all() else ""
    return tagged + (" and an empty mask" if empty and tagged else " for an empty mask" if empty else "")
