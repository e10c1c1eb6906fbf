"""Seeds: label maps that are known in part, such as the pixels where other masks are sure, and their loss.

Shapes and names are those of `decomprec.functional`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from decomprec._tensors import check_shape, full_precision
from decomprec.slots import mask_absent


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
    """Weights of the slots that let every class with pixels count the same, however rare it is.

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
    seen = full_precision(counts)[1:]
    mean = seen.sum() / (seen > 0).sum().clamp(min=1)
    weights = torch.where(seen > 0, mean / seen.clamp(min=1), 1).clamp(1 / most, most)
    return F.pad(weights, (1, 0), value=1.0)


def seed_loss(mask_logits: Tensor, seeds: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy plus Dice loss of the masks against label maps that are known in part.

    The cross-entropy is averaged over all pixels that are known, each with the weight of its class; where things are
    small, most are background. The Dice loss gives every class of every image the same weight, however small or rare:

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
    check_shape("seeds", seeds, (len(mask_logits), *mask_logits.shape[2:]))
    known = ((seeds >= 0) & (seeds < mask_logits.shape[1])).unsqueeze(1)
    chosen = torch.where(known, seeds.unsqueeze(1), 0).long()
    logits = full_precision(mask_logits)
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
