"""Hide random parts of images: a guide that sees them learns to judge masked views."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from decomprec.views import black_fill, blur_fill, mean_fill, noise_fill

FILLS: dict[str, Callable[[Tensor], Tensor]] = {
    "black": black_fill,
    "mean": mean_fill,
    "noise": noise_fill,
    "blur": blur_fill,
}


def occlude(images: Tensor, share: float, fills: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
    """Replace a random smooth region, up to half of the image, in a random share of the images.

    Args:
        images: (B, 3, H, W), in [0, 1].
        share: probability that an image is occluded, in [0, 1].
        fills: what stands in the region; each call draws one.

    Returns:
        Images of the same shape.

    Examples:
        >>> images = torch.rand(4, 3, 32, 32)
        >>> torch.equal(occlude(images, share=0.0, fills=[mean_fill]), images)
        True
    """
    batch = images.shape[0]
    # quantile takes no half precision, which is the default dtype in a "bf16-true" training.
    coarse = torch.rand(batch, 1, 4, 4, dtype=torch.float32, device=images.device)
    field = F.interpolate(coarse, size=images.shape[-2:], mode="bicubic", align_corners=False)
    hidden_share = 0.5 * torch.rand(batch, 1, dtype=torch.float32, device=images.device)
    level = torch.stack([f.quantile(q) for f, q in zip(field.flatten(1), hidden_share.flatten(), strict=True)])
    chosen = torch.rand(batch, device=images.device) < share
    hidden = (field <= level.view(-1, 1, 1, 1)) & chosen.view(-1, 1, 1, 1)
    fill = fills[int(torch.randint(len(fills), ()))](images)
    return torch.where(hidden, fill, images)
