"""Eval mode for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_eval_mode(module: object) -> Iterator[None]:
    """Put a module into eval mode, and each of its parts back into its previous mode afterwards.

    Parts may differ: a frozen encoder stays in eval mode while the rest trains. Callables that are not modules pass
    through.

    Examples:
        >>> dropout = nn.Dropout()
        >>> with in_eval_mode(dropout):
        ...     dropout.training
        False
        >>> dropout.training
        True
    """
    modes = [(part, part.training) for part in module.modules()] if isinstance(module, nn.Module) else []
    for part, _ in modes:
        part.training = False
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
