"""The paper's equations as plain loops over float64 numbers, in the paper's order: the background comes LAST.

`to_paper` and `tags_to_paper` map this library's order (background first) to the paper's.
"""

from math import exp, log, log1p

import torch
from torch import Tensor


def to_paper(per_slot: Tensor) -> Tensor:
    """Move slot 0, our background, behind the others: dimension 1 of masks, image-lets, areas, guide logits."""
    return torch.cat([per_slot[:, 1:], per_slot[:, :1]], dim=1).double()


def tags_to_paper(tags: Tensor) -> Tensor:
    """y of the paper, (B, K): the tags, then the background, which is always present."""
    return torch.cat([tags, torch.ones(len(tags), 1)], dim=1).double()


def components(masks: Tensor, imagelets: Tensor) -> Tensor:
    """The line above Eq. 6."""
    out = torch.zeros(imagelets.shape, dtype=torch.float64)
    batch, slots, channels, height, width = imagelets.shape
    for b in range(batch):
        for k in range(slots):
            for c in range(channels):
                for h in range(height):
                    for w in range(width):
                        out[b, k, c, h, w] = masks[b, k, h, w].item() * imagelets[b, k, c, h, w].item()
    return out


def recompose(masks: Tensor, imagelets: Tensor) -> Tensor:
    """Eq. 1."""
    batch, slots, channels, height, width = imagelets.shape
    out = torch.zeros(batch, channels, height, width, dtype=torch.float64)
    for b in range(batch):
        for c in range(channels):
            for h in range(height):
                for w in range(width):
                    out[b, c, h, w] = sum(
                        masks[b, k, h, w].item() * imagelets[b, k, c, h, w].item() for k in range(slots)
                    )
    return out


def recon_loss(reconstruction: Tensor, images: Tensor) -> float:
    """Eq. 2, averaged over the samples (Eq. 8)."""
    batch, channels, height, width = images.shape
    total = 0.0
    for b in range(batch):
        sample = 0.0
        for c in range(channels):
            for h in range(height):
                for w in range(width):
                    sample += (reconstruction[b, c, h, w].item() - images[b, c, h, w].item()) ** 2
        total += sample / (channels * height * width)
    return total / batch


def mask_areas(masks: Tensor) -> Tensor:
    """Eq. 3."""
    batch, slots, height, width = masks.shape
    out = torch.zeros(batch, slots, dtype=torch.float64)
    for b in range(batch):
        for k in range(slots):
            total = 0.0
            for h in range(height):
                for w in range(width):
                    total += masks[b, k, h, w].item()
            out[b, k] = total / (height * width)
    return out


def mask_loss(areas: Tensor, y: Tensor) -> float:
    """Eq. 4, averaged over the samples; areas inside (0, 1)."""
    batch, slots = areas.shape
    total = 0.0
    for b in range(batch):
        sample = 0.0
        for k in range(slots):
            area, target = areas[b, k].item(), y[b, k].item()
            sample -= target * log(area) + (1 - target) * log1p(-area)
        total += sample / slots
    return total / batch


def cls_loss(guide_logits: Tensor, y: Tensor, absent: str = "ignore") -> float:
    """Eq. 6, averaged over the samples; g has no output for the background, k = K.

    "reject" adds, for an absent class, the refusal of it in its own component.
    """
    batch, slots, _ = guide_logits.shape
    background = slots - 1
    total = 0.0
    for b in range(batch):
        sample = 0.0
        for k in range(slots):
            if y[b, k] == 1 and k != background:
                sample += _minus_log_sigmoid(guide_logits[b, k, k].item())
            if y[b, k] == 0 and absent == "reject":
                sample += _minus_log_sigmoid(-guide_logits[b, k, k].item())
            for j in range(slots - 1):
                if j != k:
                    sample += _minus_log_sigmoid(-guide_logits[b, k, j].item())
        total += sample / slots
    return total / batch


def guide_loss(logits: Tensor, tags: Tensor) -> float:
    """Eq. 9, averaged over the samples."""
    batch, classes = logits.shape
    total = 0.0
    for b in range(batch):
        for j in range(classes):
            y, logit = tags[b, j].item(), logits[b, j].item()
            total += y * _minus_log_sigmoid(logit) + (1 - y) * _minus_log_sigmoid(-logit)
    return total / batch


def _minus_log_sigmoid(x: float) -> float:
    return log1p(exp(-x)) if x > 0 else -x + log1p(exp(x))
