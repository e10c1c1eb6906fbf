"""The frozen classifier g, and the views: what it is shown of a decomposition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn


class Frozen(nn.Module):
    """A trained module that is used, but no longer trained, put into training mode or saved.

    The module stays in eval mode when `train()` is called, none of its parameters needs a gradient
    (gradients still flow through it to its input), and neither `parameters()` nor `state_dict()` of a module
    that holds this one lists them: it takes part in no optimiser and no checkpoint. It follows `to()`.

    Args:
        module: frozen in place.

    Examples:
        >>> frozen = Frozen(nn.Linear(3, 2))
        >>> frozen(torch.rand(4, 3)).shape, len(list(frozen.parameters())), frozen.train().training
        (torch.Size([4, 2]), 0, False)
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        # A tuple keeps the module out of nn.Module's registry: see the class docstring.
        self._frozen = (module.eval().requires_grad_(False),)
        self.train(False)

    @property
    def module(self) -> Any:
        """The module that was given."""
        return self._frozen[0]

    def forward(self, *inputs: Tensor) -> Any:
        """The module's output."""
        return self._frozen[0](*inputs)

    def train(self, mode: bool = True) -> Self:
        """Do nothing: what is frozen stays in eval mode."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # The one hook behind to(), cuda(), half(), ...: an unregistered module must be taken along by hand.
        self._frozen[0]._apply(fn, recurse)
        applied: Any = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch's own
        return applied


class FrozenGuide(Frozen):
    """A trained classifier that judges components, frozen: see `Frozen`.

    Args:
        classifier: any module that maps images (N, 3, H, W) to logits (N, K-1), one per class without the
            background. It is frozen in place.
        mean: subtracted from each channel of the images in [0, 1], if the classifier doesn't normalise itself.
        std: divides each channel after that.

    Raises:
        ValueError: if `mean` or `std` is not of length 3, or `std` not positive.

    Examples:
        >>> classifier = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
        >>> guide = FrozenGuide(classifier, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> guide(torch.rand(4, 3, 8, 8)).shape, len(list(guide.parameters())), guide.train().training
        (torch.Size([4, 2]), 0, False)
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        classifier: nn.Module,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        for name, value in (("mean", mean), ("std", std)):
            if len(value) != 3:
                raise ValueError(f"Expected `{name}` to have one value per RGB channel, but got {value!r}.")
        if min(std) <= 0:
            raise ValueError(f"Expected `std` to be positive, but got {std!r}.")
        super().__init__(classifier)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]  # one input
        """Logits (N, K-1) of images (N, 3, H, W) in [0, 1]."""
        logits: Tensor = self.module((images - self.mean) / self.std)
        return logits
