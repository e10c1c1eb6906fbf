"""Terms of the loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from decomprec.protocols import ExtraLoss, MaskTerm, ReconTerm
from decomprec.testing._probe import SIZES, Probe, Sizes, cases, decomposed, sample_images, some_tags

_FREEZE = "wrap its network in Frozen or FrozenGuide"
_KEEP = "don't detach, round or take the argmax on the way"


def check_recon_loss(loss: ReconTerm) -> None:
    """Raise a ValueError unless a recon loss is a differentiable scalar, smallest for the image itself.

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
        other = images.flip(-1)
        values = []
        for reconstruction in (images.clone(), other):
            value = _scalar(probe, probe(reconstruction=reconstruction, images=images))
            probe.check_frozen(value, _FREEZE)
            values.append(value.item())
            reconstruction = reconstruction.clone().requires_grad_()
            value = probe(reconstruction=reconstruction, images=images)
            # At the image itself the gradient may be 0, and a root would make it nan.
            exact = len(values) == 1
            probe.check_gradient(value, {"reconstruction": reconstruction}, _KEEP, nonzero=not exact)
        _ordered(probe, values, "for the image itself than for another", "give a distance, not a similarity")
    probe.check_modes(_FREEZE, reconstruction=other, images=images)
    _scalar(probe, probe.under_autocast(reconstruction=other.bfloat16(), images=images))


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
            value = _scalar(probe, probe(areas=areas, targets=tags))
            probe.check_frozen(value, _FREEZE)
            values.append(value.item())
            areas.requires_grad_()
            probe.check_gradient(probe(areas=areas, targets=tags), {"areas": areas}, _KEEP, nonzero=row is absent)
        which = "where tagged classes have the area than where absent ones do"
        _ordered(probe, values[:2], which, "slot 0 is the background, and tag j is slot j+1")
        for targets in (torch.zeros_like(tags), torch.ones_like(tags)):
            _scalar(probe, probe(areas=tagged.repeat(batch, 1), targets=targets), _of(targets))
    areas = tagged.repeat(batch, 1)
    probe.check_modes(_FREEZE, areas=areas, targets=tags)
    _scalar(probe, probe.under_autocast(areas=areas.bfloat16(), targets=tags))


def check_extra_loss(loss: ExtraLoss, num_classes: int = 4, sizes: Sizes = SIZES) -> None:
    """Raise a ValueError unless a further term, or a loss in place of `ClsLoss`, is a differentiable scalar.

    Args:
        loss: an `ExtraLoss`, on the CPU.
        num_classes: K, background included; that of the guide if the loss holds one.
        sizes: heights and widths of the images.

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
        images, tags = sample_images(batch, size), some_tags(batch, num_classes)
        for targets in (tags, torch.zeros_like(tags), torch.ones_like(tags)):
            for empty in (False, True):
                out = decomposed(batch, num_classes, size, empty=empty)
                value = _scalar(probe, probe(out=out, images=images, tags=targets), _of(targets, empty))
                probe.check_frozen(value, _FREEZE)
        for empty in (False, True):
            out = decomposed(batch, num_classes, size, empty=empty, needs_grad=True)
            value = probe(out=out, images=images, tags=tags)
            wanted = {"mask_logits": out.mask_logits, "imagelets": out.imagelets}
            # It may be 0: a teacher that is sure of nothing asks for nothing.
            probe.check_gradient(value, wanted, _KEEP, nonzero=False)
    out = decomposed(batch, num_classes, size)
    probe.check_modes(_FREEZE, out=out, images=images, tags=tags)
    half = type(out)(out.mask_logits.bfloat16(), out.imagelets.bfloat16())
    _scalar(probe, probe.under_autocast(out=half, images=images, tags=tags))


def _scalar(probe: Probe, value: Any, where: str = "") -> Tensor:
    if not isinstance(value, Tensor):
        probe.refuse("give a scalar tensor", f"got {type(value).__name__}", "return it without `.item()`")
    if value.ndim:
        probe.refuse("give a scalar", f"got shape {tuple(value.shape)}", "average it with `.mean()`")
    probe.check_tensor(value, f"values{where}", "()", ())
    return value


def _of(tags: Tensor, empty: bool = False) -> str:
    tagged = " for images without a tag" if not tags.any() else " for images with all tags" if tags.all() else ""
    return tagged + (" and an empty mask" if empty and tagged else " for an empty mask" if empty else "")


def _ordered(probe: Probe, values: list[float], which: str, advice: str) -> None:
    better, worse = values
    if not better < worse:
        probe.refuse(f"be smaller {which}", f"got {better:.4g} and {worse:.4g}", advice)
