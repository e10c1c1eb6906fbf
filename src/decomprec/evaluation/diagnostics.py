"""Diagnostics of decompositions: reconstruction, the guide's view of the components, masks and areas."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from decomprec import functional as DF
from decomprec._modes import in_eval_mode
from decomprec._processes import gathered
from decomprec.decomposition import Decomposition
from decomprec.evaluation.metrics import Loader, finite
from decomprec.protocols import View
from decomprec.slots import mask_entropy
from decomprec.views import component_view


@torch.inference_mode()
def decomposition_diagnostics(
    model: Callable[[Tensor], Decomposition],
    guide: Callable[[Tensor], Tensor],
    loader: Loader,
    device: torch.device | str = "cpu",
    view: View = component_view,
) -> dict[str, float | None]:
    """Summarise a model's decompositions of a data set, without true masks.

    Compare the guide of the training with a second one: the difference shows how much the components exploit the first.

    Args:
        model: maps images (B, 3, H, W) on `device` to a `Decomposition`. Modules run in eval mode.
        guide: maps images (N, 3, H, W) in [0, 1] to logits (N, K-1).
        loader: yields batches with "image" and "tags".
        device: to which batches are moved.
        view: selects what the guide sees of a decomposition.

    Returns:
        Means, None where there is nothing to average:
        "recon_error" (Eq. 2),
        "present_recognised" (share of present classes whose component shows the class to the guide),
        "background_empty" (share of background components in which the guide sees no class),
        "mask_entropy" (of the softmax, per pixel, 0 to ln K),
        "background_area", "present_area" and "absent_area" (ŷ of the background, of present and absent classes).

    Raises:
        ValueError: if `loader` is empty.

    Examples:
        >>> model = lambda images: Decomposition(torch.zeros(2, 2, 8, 8), images[:, None].repeat(1, 2, 1, 1, 1))
        >>> guide = lambda images: images.mean(dim=(1, 2, 3))[:, None] - 0.4
        >>> batch = {"image": torch.ones(2, 3, 8, 8), "tags": torch.tensor([[1.0], [0.0]])}
        >>> numbers = decomposition_diagnostics(model, guide, [batch])
        >>> numbers["present_recognised"], numbers["background_empty"], numbers["present_area"]
        (1.0, 0.0, 0.5)
    """
    diagnostics = Diagnostics(guide, view)
    with in_eval_mode(model), in_eval_mode(guide):
        for batch in loader:
            images = batch["image"].to(device)
            diagnostics.update(model(images), images, batch["tags"].to(device))
    return diagnostics.compute()


class Diagnostics:
    """Accumulates decompositions batch by batch; `compute` returns the result of `decomposition_diagnostics`.

    Args:
        guide: maps images (N, 3, H, W) in [0, 1] to logits (N, K-1); a module should be in eval mode.
        view: selects what the guide sees of a decomposition.
    """

    def __init__(self, guide: Callable[[Tensor], Tensor], view: View = component_view) -> None:
        self.guide = guide
        self.view = view
        self._parts: defaultdict[str, list[Tensor]] = defaultdict(list)

    def update(self, out: Decomposition, images: Tensor, tags: Tensor) -> None:
        """Add the decomposition of images (B, 3, H, W) with tags (B, K-1)."""
        for name, values in _describe(out, images, tags == 1, self.guide, self.view).items():
            self._parts[name].append(values.flatten().cpu().double())

    def gather(self) -> None:
        """Add the decompositions of all processes that compute together; all must call it."""
        parts = gathered(dict(self._parts))
        self._parts.clear()
        for part in parts:
            for name, values in part.items():
                self._parts[name] += values

    def compute(self) -> dict[str, float | None]:
        """The means over all decompositions so far.

        Raises:
            ValueError: if there are none.
        """
        if not self._parts:
            raise ValueError("Expected `loader` to yield at least one image, but got none.")
        return {name: finite(torch.cat(values).mean().item()) for name, values in self._parts.items()}


def _describe(
    out: Decomposition, images: Tensor, present: Tensor, guide: Callable[[Tensor], Tensor], view: View
) -> dict[str, Tensor]:
    shown = view(out, images)
    logits = guide(rearrange(shown, "b k c h w -> (b k) c h w"))
    seen = rearrange(logits > 0, "(b k) j -> b k j", k=shown.shape[1])
    own = seen[:, 1:].diagonal(dim1=1, dim2=2)
    areas = DF.mask_areas(out.masks)
    return {
        "recon_error": (out.reconstruction - images).square().mean(dim=(1, 2, 3)),
        "present_recognised": own[present],
        "background_empty": ~seen[:, 0].any(dim=1),
        "mask_entropy": mask_entropy(out.masks),
        "background_area": areas[:, 0],
        "present_area": areas[:, 1:][present],
        "absent_area": areas[:, 1:][~present],
    }
