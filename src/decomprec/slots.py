"""Slots beyond the paper: those of absent classes, and a few that stand for all of many classes.

Shapes and names are those of `decomprec.functional`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from decomprec._tensors import check_shape, full_precision
from decomprec.functional import with_background


def mask_absent(maps: Tensor, tags: Tensor, value: float = -torch.inf) -> Tensor:
    """Fill the slots of absent classes; the background is always present.

    Args:
        maps: mask logits, or masks, shape (B, K, H, W).
        tags: y without the background, shape (B, K-1), {0, 1}.
        value: what absent slots hold. The default is for logits: a softmax turns it into 0, and no argmax finds it.

    Returns:
        Maps (B, K, H, W).

    Examples:
        >>> mask_absent(torch.zeros(1, 3, 1, 1), torch.tensor([[0.0, 1.0]])).flatten()
        tensor([0., -inf, 0.])
    """
    check_shape("tags", tags, (maps.shape[0], maps.shape[1] - 1))
    return maps.masked_fill(with_background(tags)[:, :, None, None] == 0, value)


def mask_entropy(masks: Tensor) -> Tensor:
    """Entropy of the masks at each pixel, -Σ_k M_k ln M_k, averaged over the pixels.

    Args:
        masks: M, shape (B, K, H, W), non-negative, summing to one over K.

    Returns:
        Entropies (B,), from 0 (certain) to ln K (undecided), float32 or float64.

    Examples:
        >>> mask_entropy(torch.tensor([0.5, 0.5]).view(1, 2, 1, 1))  # ln 2
        tensor([0.6931])
    """
    return torch.special.entr(full_precision(masks)).sum(dim=1).mean(dim=(-2, -1))


def choose_slots(tags: Tensor, keys: Tensor, absent_slots: int) -> tuple[Tensor, Tensor]:
    """Some slots, with weights by which they represent all of Eq. 6: each class that is present, few of the others.

    With uniform random keys, all choices of an image's absent classes are equally likely, and each stands in for
    (number absent) / (number chosen) of them: the mean of `cls_loss` over the choices is that over all slots.

    Args:
        tags: y without the background, shape (B, K-1), {0, 1}.
        keys: shape (B, K-1), in [0, 1); of an image's absent classes, those with the largest keys are chosen.
        absent_slots: how many absent classes are chosen for each image, at least 1; all of them if it has fewer.

    Returns:
        `slots`, shape (B, S), int64: background, present classes, chosen absent ones, then others, which pad the rows
        to the longest; and `weights`, shape (B, S), float32 or float64 for such tags: 1 for the background and
        present classes, (number absent) / (number chosen) for the chosen ones, 0 for what pads.

    Raises:
        ValueError: for no absent slot, or keys of another shape.

    Examples:
        >>> tags = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
        >>> choose_slots(tags, torch.tensor([[0.2, 0.1, 0.9, 0.6]]), absent_slots=2)
        (tensor([[0, 1, 3, 4]]), tensor([[1.0000, 1.0000, 1.5000, 1.5000]]))
    """
    if absent_slots < 1:
        raise ValueError(f"Expected `absent_slots` to be at least 1, but got {absent_slots}.")
    check_shape("keys", keys, tags.shape)
    present = tags == 1
    order = F.pad((keys + present).argsort(dim=1, descending=True) + 1, (1, 0))
    place = torch.arange(order.shape[1], device=tags.device)
    absent = (1 - full_precision(tags)).sum(dim=1, keepdim=True)
    chosen = absent.clamp(max=absent_slots)
    certain = len(place) - absent
    weights = torch.where(place < certain, 1, absent / chosen.clamp(min=1)) * (place < certain + chosen)
    longest = int((certain + chosen).max())
    return order[:, :longest], weights[:, :longest]


def slot_weights(tags: Tensor, slots: Tensor) -> Tensor:
    """Weights with which the slots that are here stand for all of Eq. 6, as those of `choose_slots`.

    Args:
        tags: y without the background, shape (B, K-1), {0, 1}.
        slots: shape (B, S), int64: the background, all present classes, and absent ones drawn uniformly.

    Returns:
        Shape (B, S): 1 for the background and present classes, (number absent) / (number absent that are here) for the
        others.

    Examples:
        >>> slot_weights(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([[0, 1, 3, 4]]))
        tensor([[1.0000, 1.0000, 1.5000, 1.5000]])
    """
    absent = 1 - full_precision(with_background(tags))
    here = absent.gather(1, slots)
    return torch.where(here == 1, absent.sum(dim=1, keepdim=True) / here.sum(dim=1, keepdim=True), 1)


def places_of(labels: Tensor, slots: Tensor, num_classes: int) -> Tensor:
    """Label maps with the places of slots instead of their numbers.

    Args:
        labels: shape (B, H, W), integers: numbers of slots; any other number is none.
        slots: shape (B, S), int64, different ones in each row.
        num_classes: K, background included.

    Returns:
        Shape (B, H, W), int64: s where `slots` holds the label at place s, -1 where it doesn't hold it.

    Examples:
        >>> places_of(torch.tensor([[[0, 7, 3, 255]]]), torch.tensor([[0, 7]]), num_classes=9)
        tensor([[[ 0,  1, -1, -1]]])
    """
    order = torch.arange(slots.shape[1], device=slots.device).expand_as(slots)
    table = slots.new_full((len(slots), num_classes), -1).scatter(1, slots, order)
    known = (labels >= 0) & (labels < num_classes)
    places = table.gather(1, torch.where(known, labels, 0).long().flatten(1)).view_as(known)
    return torch.where(known, places, -1)
