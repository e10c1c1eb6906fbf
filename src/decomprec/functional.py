"""The paper's equations, one pure function each, in the paper's order.

Slot 0 is the background; the paper counts it last. B is the batch, K the number of classes including the
background, y the tags without the background (which is always present). Losses are computed in float32 for
half-precision input and in float64 for float64 input, and are averaged over the batch (Eq. 8).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from decomprec._tensors import check_shape, full_precision

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
    check_shape("reconstruction", reconstruction, images.shape)
    return F.mse_loss(full_precision(reconstruction), full_precision(images))


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
    return full_precision(masks).mean(dim=(-2, -1))


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
    check_shape("targets", targets, areas.shape)
    areas = full_precision(areas)
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
        slots: k of each component, shape (B, S), int64, as `decomprec.slots.choose_slots` gives; all K by default.
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
    check_shape("guide_logits", guide_logits, (*slots.shape, num_classes - 1))
    check_shape("tags", tags, guide_logits.shape[::2])
    logits = full_precision(guide_logits)
    own = (slots[..., None] == torch.arange(1, num_classes, device=tags.device)).to(logits.dtype)
    present = own * rearrange(tags.to(logits.dtype), "b j -> b 1 j")
    refused = 1 - own if absent == "ignore" else 1 - present
    accept, refuse = F.logsigmoid(logits), F.logsigmoid(-logits)
    per_slot = -(present * accept + refused * refuse).sum(dim=-1)
    if weights is not None:
        check_shape("weights", weights, slots.shape)
        per_slot = weights * per_slot
    return per_slot.sum(dim=-1).mean() / num_classes


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
    check_shape("tags", tags, logits.shape)
    logits = full_precision(logits)
    per_class = F.binary_cross_entropy_with_logits(logits, tags.to(logits.dtype), reduction="none")
    return per_class.sum(dim=-1).mean()
