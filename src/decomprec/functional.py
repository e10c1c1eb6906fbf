"""The paper's equations, one pure function each, in the paper's order.

Slot 0 is the background; the paper counts it last. B is the batch, K the number of classes including the
background, y the tags without the background (which is always present). Losses are computed in float32 for
half-precision input and in float64 for float64 input, and are averaged over the batch (Eq. 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

Absent = Literal["ignore", "reject"]


def components(masks: Tensor, imagelets: Tensor) -> Tensor:
    """Components: what each slot contributes to the reconstruction, Î_k = M_k · X_k (above Eq. 6).

    Args:
        masks: M, shape (B, K, H, W), non-negative, summing to one over K.
        imagelets: X, shape (B, K, C, H, W).

    Returns:
        Î_k, shape (B, K, C, H, W).

    Examples:
        >>> masks = torch.tensor([0.25, 0.75]).view(1, 2, 1, 1)
        >>> components(masks, torch.ones(1, 2, 3, 1, 1))[0, :, 0, 0, 0]
        tensor([0.2500, 0.7500])
    """
    if masks.ndim != 4 or imagelets.ndim != 5 or masks.shape != (*imagelets.shape[:2], *imagelets.shape[3:]):
        raise ValueError(
            "Expected `masks` and `imagelets` to have shapes (B, K, H, W) and (B, K, C, H, W), "
            f"but got {tuple(masks.shape)} and {tuple(imagelets.shape)}."
        )
    return rearrange(masks, "b k h w -> b k 1 h w") * imagelets


def recompose(masks: Tensor, imagelets: Tensor) -> Tensor:
    """Put the image together from its parts, Î = Σ_k M_k · X_k (Eq. 1).

    Args:
        masks: M, shape (B, K, H, W), non-negative, summing to one over K.
        imagelets: X, shape (B, K, C, H, W).

    Returns:
        Î, shape (B, C, H, W).

    Examples:
        >>> masks = torch.tensor([0.25, 0.75]).view(1, 2, 1, 1)
        >>> imagelets = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1)
        >>> recompose(masks, imagelets).item()
        0.25
    """
    return components(masks, imagelets).sum(dim=1)


def recon_loss(reconstruction: Tensor, images: Tensor) -> Tensor:
    """Squared error of the reconstruction, averaged over batch, channels and pixels (Eq. 2).

    Args:
        reconstruction: Î, shape (B, C, H, W).
        images: I, same shape.

    Returns:
        A scalar, float32 or float64.

    Examples:
        >>> recon_loss(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5)).item()
        0.25
    """
    _check_shape("reconstruction", reconstruction, images.shape)
    return F.mse_loss(_full_precision(reconstruction), _full_precision(images))


def mask_areas(masks: Tensor) -> Tensor:
    """Mean of each mask-let over the pixels, ŷ_k, the expected share of the image (Eq. 3).

    Args:
        masks: M, shape (B, K, H, W).

    Returns:
        ŷ, shape (B, K), in [0, 1], float32 or float64 (half precision could not tell 1 - ŷ from 0).

    Examples:
        >>> mask_areas(torch.tensor([0.0, 1.0, 1.0, 1.0]).view(1, 1, 2, 2))
        tensor([[0.7500]])
    """
    return _full_precision(masks).mean(dim=(-2, -1))


def with_background(tags: Tensor) -> Tensor:
    """Put the background, which is always present, before the tags: y of Eq. 4.

    Args:
        tags: shape (B, K-1).

    Returns:
        y, shape (B, K), whose column 0 is one.

    Examples:
        >>> with_background(torch.tensor([[0.0, 1.0]]))
        tensor([[1., 0., 1.]])
    """
    return F.pad(tags, (1, 0), value=1)


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
    _check_shape("tags", tags, (maps.shape[0], maps.shape[1] - 1))
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
    return torch.special.entr(_full_precision(masks)).sum(dim=1).mean(dim=(-2, -1))


def mask_loss(areas: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy-like fit of the areas to the tags (Eq. 4), averaged over K and the batch.

    For present classes (y_k = 1) the area should be large, for absent ones (y_k = 0) small. With K' classes
    present, background included, the minimum is at an area of 1/K' each. A soft y_k states the known area
    of class k (the volumetric prior of section 3.1.2), and then the minimum is at ŷ = y.

    Args:
        areas: ŷ, shape (B, K), in [0, 1].
        targets: y, shape (B, K), in [0, 1], background first.

    Returns:
        A scalar, always finite: areas are kept one rounding unit below 1, and from 0 by the smallest normal number.
        However small the area of a present class that has collapsed, softmaxed masks then still get a gradient that
        brings it back; once a softmax has underflowed to 0 they get none.

    Examples:
        >>> areas = torch.tensor([[0.5, 0.5]])
        >>> mask_loss(areas, torch.tensor([[1.0, 1.0]]))  # ln 2
        tensor(0.6931)
    """
    _check_shape("targets", targets, areas.shape)
    areas = _full_precision(areas)
    number = torch.finfo(areas.dtype)
    areas = areas.clamp(number.tiny, 1 - number.eps)
    targets = targets.to(areas.dtype)
    return -(targets * areas.log() + (1 - targets) * torch.log1p(-areas)).mean()


def cls_loss(
    guide_logits: Tensor,
    tags: Tensor,
    absent: Absent = "ignore",
    slots: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the guide on the components: each shows its class and no other (Eq. 6).

    A present class k is asked for by -log g_k(Î_k); every other class j is refused in Î_k by
    -log(1 - g_j(Î_k)). The background (slot 0) has no class, so it refuses all of them.

    Args:
        guide_logits: g before its sigmoid, on every component, shape (B, K, K-1), or on those of `slots`, (B, S, K-1).
        tags: y without the background, shape (B, K-1), {0, 1}.
        absent: what an absent class's own component is asked: "ignore" asks nothing (Eq. 6), "reject" refuses
            the class there too (as the published code did).
        slots: k of each component, shape (B, S), int64, such as `choose_slots` gives; all K in order by default.
        weights: of the slots in the sum, shape (B, S); one each by default.

    Returns:
        A scalar: the (weighted) sum over the slots, divided by K and averaged over the batch.

    Examples:
        >>> undecided = torch.zeros(1, 2, 1)
        >>> cls_loss(undecided, torch.tensor([[1.0]]))  # ln 2 for each of 2 slots
        tensor(0.6931)
        >>> cls_loss(undecided, torch.tensor([[0.0]]))  # only the background is asked
        tensor(0.3466)
    """
    if absent not in ("ignore", "reject"):
        raise ValueError(f"Expected `absent` to be 'ignore' or 'reject', but got {absent!r}.")
    num_classes = tags.shape[-1] + 1
    if slots is None:
        slots = torch.arange(num_classes, device=tags.device).expand(len(tags), -1)
    _check_shape("guide_logits", guide_logits, (*slots.shape, num_classes - 1))
    _check_shape("tags", tags, guide_logits.shape[::2])
    logits = _full_precision(guide_logits)
    own = (slots[..., None] == torch.arange(1, num_classes, device=tags.device)).to(logits.dtype)
    present = own * rearrange(tags.to(logits.dtype), "b j -> b 1 j")
    refused = 1 - own if absent == "ignore" else 1 - present
    accept, refuse = F.logsigmoid(logits), F.logsigmoid(-logits)
    per_slot = -(present * accept + refused * refuse).sum(dim=-1)
    if weights is not None:
        _check_shape("weights", weights, slots.shape)
        per_slot = weights * per_slot
    return per_slot.sum(dim=-1).mean() / num_classes


def seed_labels(
    masks: Tensor, confidence: float, slots: Tensor | None = None, num_classes: int | None = None
) -> Tensor:
    """Label maps of soft masks where they are sure, to train others on (`seed_loss`).

    Args:
        masks: shape (B, K, H, W), in [0, 1].
        confidence: a pixel gets the slot of its largest mask if that is at least this; otherwise no slot.
        slots: which slot each mask is, shape (B, S), int64, if there are only S of the K; all K in order by default.
        num_classes: K, background included; by default as many as masks.

    Returns:
        Shape (B, H, W): uint8 with 255 for no slot, or, for more than 255 slots, int16 with -1.

    Raises:
        ValueError: for a confidence outside [0, 1].

    Examples:
        >>> seed_labels(torch.tensor([[0.2, 0.6], [0.8, 0.4]]).view(1, 2, 1, 2), confidence=0.65)
        tensor([[[  1, 255]]], dtype=torch.uint8)
    """
    if not 0 <= confidence <= 1:
        raise ValueError(f"Expected `confidence` to lie in [0, 1], but got {confidence}.")
    largest, labels = masks.max(dim=1)
    if slots is not None:
        labels = slots.gather(1, labels.flatten(1)).view_as(labels)
    few = (num_classes or masks.shape[1]) < 256
    return labels.masked_fill(largest < confidence, -1).to(torch.uint8 if few else torch.int16)


def class_weights(counts: Tensor, most: float = 5.0) -> Tensor:
    """Weights of the slots with which every class that has pixels weighs alike, however rare it is.

        w_k = min(max(n̄ / n_k, 1 / most), most)

    n̄ is the mean of the n_k that are not 0. The background keeps the weight 1, and so does a class that is alone: what
    balances classes must not move the border between them and the background.

    Args:
        counts: n, pixels of each slot in all label maps, shape (K,).
        most: the largest weight and one over the smallest, at least 1.

    Returns:
        w, shape (K,), float32 or float64 for such counts.

    Raises:
        ValueError: if `counts` has another shape, or `most` is below 1.

    Examples:
        >>> class_weights(torch.tensor([900, 30, 10, 0]))
        tensor([1.0000, 0.6667, 2.0000, 1.0000])
    """
    if counts.ndim != 1 or not most >= 1:
        raise ValueError(f"Expected counts (K,) and `most` of at least 1, but got {tuple(counts.shape)} and {most}.")
    seen = _full_precision(counts)[1:]
    mean = seen.sum() / (seen > 0).sum().clamp(min=1)
    weights = torch.where(seen > 0, mean / seen.clamp(min=1), 1).clamp(1 / most, most)
    return F.pad(weights, (1, 0), value=1.0)


def seed_loss(mask_logits: Tensor, seeds: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy plus Dice loss of the masks against label maps that are known in part.

    The cross-entropy is averaged over all pixels that are known, each with the weight of its class; where things are
    small, most are background. The Dice loss weighs every class of every image alike, however small or rare it is:

        1/|S| Σ_{(b,k) in S} (1 - 2 Σ_p M'_bkp s_bkp / Σ_p (M'_bkp + s_bkp))

    s is 1 where the seeds say class k and 0 elsewhere, sums run over the known pixels p, and S holds the classes that
    each image's seeds show, without the background. M' are the masks of these classes and the background alone, as if
    the others were known to be absent: a rare class that never wins against a frequent one still learns its place.

    Args:
        mask_logits: before the softmax, shape (B, K, H, W).
        seeds: label maps, shape (B, H, W), integers; pixels whose number is no slot don't count.
        weights: of the slots in the cross-entropy, shape (K,), or (B, K) for slots that differ from image to image,
            positive, such as `class_weights`; None for 1.

    Returns:
        A scalar, float32 or float64; 0 if no pixel counts.

    Examples:
        >>> seed_loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[1, 255]]]))  # ln 2 + 1/3
        tensor(1.0265)
    """
    _check_shape("seeds", seeds, (len(mask_logits), *mask_logits.shape[2:]))
    known = ((seeds >= 0) & (seeds < mask_logits.shape[1])).unsqueeze(1)
    chosen = torch.where(known, seeds.unsqueeze(1), 0).long()
    logits = _full_precision(mask_logits)
    # Not F.cross_entropy, which has no deterministic form for maps on CUDA.
    per_pixel = -logits.log_softmax(dim=1).gather(1, chosen)
    weight = known.to(logits)
    if weights is not None:
        of_image = weights.to(logits).expand(len(logits), -1)
        weight = weight * of_image.gather(1, chosen.flatten(1)).view_as(chosen)
    total_weight = weight.sum()
    cross_entropy = (weight * torch.where(known, per_pixel, 0)).sum() / torch.where(total_weight > 0, total_weight, 1)
    said = torch.zeros_like(logits).scatter_(1, chosen, known.to(logits))
    shown = said[:, 1:].sum(dim=(2, 3)) > 0
    masks = mask_absent(logits, shown.to(logits)).softmax(dim=1) * known
    overlap, total = (part[:, 1:].sum(dim=(2, 3)) for part in (masks * said, masks + said))
    dice = torch.where(shown, 1 - 2 * overlap / torch.where(shown, total, 1), 0)
    return cross_entropy + dice.sum() / shown.sum().clamp(min=1)


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
    _check_shape("keys", keys, tags.shape)
    present = tags == 1
    order = F.pad((keys + present).argsort(dim=1, descending=True) + 1, (1, 0))
    place = torch.arange(order.shape[1], device=tags.device)
    absent = (1 - _full_precision(tags)).sum(dim=1, keepdim=True)
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
    absent = 1 - _full_precision(with_background(tags))
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


def guide_loss(logits: Tensor, tags: Tensor) -> Tensor:
    """The classifier's own loss on whole images: binary cross-entropy, summed over classes (Eq. 9).

    Args:
        logits: g before its sigmoid, shape (B, K-1).
        tags: y without the background, shape (B, K-1), {0, 1}.

    Returns:
        A scalar, averaged over the batch.

    Examples:
        >>> guide_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))  # 2 ln 2
        tensor(1.3863)
    """
    _check_shape("tags", tags, logits.shape)
    logits = _full_precision(logits)
    per_class = F.binary_cross_entropy_with_logits(logits, tags.to(logits.dtype), reduction="none")
    return per_class.sum(dim=-1).mean()


def _check_shape(name: str, tensor: Tensor, expected: Sequence[int]) -> None:
    # Broadcasting would hide a wrong shape, such as tags where y with its background is meant.
    if tuple(tensor.shape) != tuple(expected):
        raise ValueError(f"Expected `{name}` to have shape {tuple(expected)}, but got {tuple(tensor.shape)}.")


def _full_precision(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
