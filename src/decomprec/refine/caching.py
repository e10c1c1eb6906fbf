"""Networks and functions that remember their last result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor, nn

T = TypeVar("T")


def once(function: Callable[[Tensor], T]) -> Callable[[Tensor], T]:
    """Remember the last result of a function of images: predictors that share a network ask it once a batch.

    The result is given again for the same tensor, not for an equal one. So don't change a tensor in place between the
    calls, nor the function's weights. The last images and their result stay in memory with the function.

    Args:
        function: of images, such as `segmenter.mask_logits` or a guide.

    Examples:
        >>> import torch
        >>> asked = []
        >>> logits = once(lambda images: asked.append(1) or images[:, :2])
        >>> images = torch.rand(1, 3, 16, 16)
        >>> logits(images) is logits(images), len(asked)
        (True, 1)
    """
    last: list[tuple[Tensor, T]] = []

    def remembered(images: Tensor) -> T:
        if not last or last[0][0] is not images:
            last[:] = [(images, function(images))]
        return last[0][1]

    return remembered


@contextmanager
def remembering(network: nn.Module) -> Iterator[None]:
    """Let a network remember its last result for the length of a block, see `once`: for the encoder of several heads.

    Examples:
        >>> import torch
        >>> from decomprec.models import PooledClassifier, SmallEncoder
        >>> classifier, images = PooledClassifier(SmallEncoder((4, 8)), num_classes=3).eval(), torch.rand(1, 3, 16, 16)
        >>> with remembering(classifier.encoder):  # it sees the images once
        ...     logits, maps = classifier(images), classifier.activation_maps(images)
    """
    network.forward = once(network.forward)
    try:
        yield
    finally:
        del network.forward
