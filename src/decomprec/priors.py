"""Beliefs about masks beyond the paper's Eq. 4: how large, how smooth, how decided.

The paper's own prior, and its volumetric form, is `decomprec.MaskLoss`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decomprec.checks import check_tags
from decomprec.decomposition import Decomposition


class HingeAreaLoss(nn.Module):
    """An area prior that leaves objects their own size: stands in for `MaskLoss`.

    A present class pays for the area it lacks below `low` or has above `high`, an absent one for all of its
    area; the background is free. Averaged over the K-1 classes and the batch.

    Args:
        low: the smallest share of the image that a present class is expected to cover, in [0, 1].
        high: the largest, in [low, 1].

    Raises:
        ValueError: unless 0 <= low <= high <= 1.

    Examples:
        >>> prior = HingeAreaLoss(low=0.1, high=0.5)
        >>> prior(torch.tensor([[0.3, 0.7]]), torch.tensor([[1.0]]))  # 0.2 too large
        tensor(0.2000)
        >>> prior(torch.tensor([[0.7, 0.3]]), torch.tensor([[1.0]]))
        tensor(0.)
    """

    def __init__(self, low: float = 0.02, high: float = 0.6) -> None:
        super().__init__()
        if not 0 <= low <= high <= 1:
            raise ValueError(f"Expected 0 <= `low` <= `high` <= 1, but got low={low}, high={high}.")
        self.low = low
        self.high = high

    def forward(self, areas: Tensor, targets: Tensor) -> Tensor:
        """The loss of areas (B, K) given tags (B, K-1), a scalar.

        Raises:
            ValueError: if `targets` are not tags; known areas are for `MaskLoss`.
        """
        check_tags(targets, areas.shape[0], areas.shape[1], name="targets")
        areas = areas[:, 1:]
        present = targets.to(areas.dtype)
        outside = (self.low - areas).relu() + (areas - self.high).relu()
        return (present * outside + (1 - present) * areas).mean()


class EdgeAwareSmoothness(nn.Module):
    """Total variation of the masks, forgiven where the image itself has an edge.

    mean |∂M| · exp(-sharpness · mean_c |∂I|) over both directions, summed over K: masks may change at the
    image's own borders and should be flat elsewhere.

    Args:
        sharpness: how fast an image edge forgives a mask edge; with images in [0, 1], 10 forgives a step of
            0.1 to 37 %.

    Examples:
        >>> flat = Decomposition(torch.zeros(1, 2, 4, 4), torch.rand(1, 2, 3, 4, 4))
        >>> EdgeAwareSmoothness()(flat, torch.rand(1, 3, 4, 4), torch.ones(1, 1))
        tensor(0.)
    """

    def __init__(self, sharpness: float = 10.0) -> None:
        super().__init__()
        self.sharpness = sharpness

    def forward(self, out: Decomposition, images: Tensor, tags: Tensor) -> Tensor:
        """The penalty of a decomposition, a scalar."""
        masks, images = out.masks.float(), images.float()
        penalty = masks.new_zeros(())
        for dim in (-2, -1):
            if masks.shape[dim] == 1:  # no neighbour
                continue
            edges = images.diff(dim=dim).abs().mean(dim=1, keepdim=True)
            penalty = penalty + (masks.diff(dim=dim).abs() * torch.exp(-self.sharpness * edges)).mean()
        return penalty * masks.shape[1]


def volumetric_targets(areas: Tensor) -> Tensor:
    """Known areas of the classes as targets of Eq. 4: the background takes what is left (section 3.1.2).

    Args:
        areas: share of the image of each class without the background, (B, K-1), in [0, 1], summing to at
            most one.

    Returns:
        y, (B, K), summing to one, for `MaskLoss` or the `areas` of `DecompositionLoss`.

    Raises:
        ValueError: if an area is negative or they sum to more than one.

    Examples:
        >>> volumetric_targets(torch.tensor([[0.25, 0.5]]))
        tensor([[0.2500, 0.2500, 0.5000]])
    """
    total = areas.sum(dim=1, keepdim=True)
    if not ((areas >= 0).all() and (total <= 1 + 1e-4).all()):
        raise ValueError(
            "Expected `areas` to be non-negative and to sum to at most 1 per image, "
            f"but got a smallest area of {areas.min():.4g} and a largest sum of {total.max():.4g}."
        )
    return torch.cat([(1 - total).clamp(min=0), areas], dim=1)
