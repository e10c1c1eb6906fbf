"""What is measured at which sizes, on which machine; docs/speed.md shows the same table.

A step is a file test_STEP.py. Its ways are compared with the first one that is run at the same sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

WAYS = {
    "recompose": ("loop", "vectorised", "compiled"),
    "guide": ("loop", "vectorised", "compiled", "sampled"),
    "train_step": ("loop", "vectorised", "compiled", "bf16", "bf16, sampled"),
    "predict": ("smp.Unet", "whole network", "mask branch", "compiled"),
}


@dataclass(frozen=True)
class Sizes:
    """K, batch sizes, encoders and the side of the pictures, of which every combination is measured."""

    num_classes: tuple[int, ...]
    batches: tuple[int, ...]
    encoders: tuple[str, ...] = ("",)
    size: int = 224


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    way: str
    num_classes: int
    batch: int
    encoder: str
    size: int

    @property
    def group(self) -> str:
        """What the rows that are compared with each other have in common."""
        return ", ".join(filter(None, (self.encoder, f"K = {self.num_classes}", f"batch {self.batch}")))


# The CPU's part is meant for 2 cores, 24 GB and about a quarter of an hour.
GRID = {
    "cuda": {
        "recompose": Sizes((2, 5, 21, 81), (8, 64)),
        "guide": Sizes((2, 5, 21, 81), (8, 64)),
        "train_step": Sizes((2, 5, 21, 81), (8, 64), ("paper", "resnet50")),
        "predict": Sizes((2, 21, 81), (8, 64), ("paper", "resnet50")),
    },
    "cpu": {
        "recompose": Sizes((2, 5, 21), (8,)),
        "guide": Sizes((2, 5, 21), (4,)),
        "train_step": Sizes((2, 21), (4,), ("paper",)),
        "predict": Sizes((21,), (8,), ("paper", "resnet50")),
    },
    "quick": {  # a smoke test: its times mean nothing
        "recompose": Sizes((2, 4), (2,), size=32),
        "guide": Sizes((2, 4), (2,), size=32),
        "train_step": Sizes((2, 4), (2,), ("paper",), size=32),
        "predict": Sizes((4,), (2,), ("paper", "resnet18"), size=32),
    },
}


def cases(step: str, machine: str) -> list[Case]:
    """The rows of a step on "cuda", "cpu" or in the "quick" smoke test."""
    sizes = GRID[machine][step]
    return [
        Case(way, num_classes, batch, encoder, sizes.size)
        for encoder, batch, num_classes, way in product(sizes.encoders, sizes.batches, sizes.num_classes, WAYS[step])
        if not (encoder == "paper" and way == "smp.Unet")  # smp has no such encoder
    ]
