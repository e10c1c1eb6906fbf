"""What is measured at which sizes, on which machine; docs/speed.md shows the same table.

A step is a file test_STEP.py. Its ways are compared with the first one that is run at the same sizes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product

WAYS = {
    "recompose": ("loop", "vectorised", "compiled"),
    "guide": ("loop", "vectorised", "channels_last", "compiled", "sampled"),
    "train_step": (
        "loop",
        "vectorised",
        "channels_last",
        "compiled",
        "bf16",
        "sampled, parts",
        "bf16, sampled",
        "bf16, sampled, compiled",
        "bf16, sampled, parts",
    ),
    "predict": ("smp.Unet", "whole network", "mask branch", "channels_last", "compiled"),
    "images": ("one at a time", "batched"),
    "data": ("as it is", "1 worker", "2 workers", "resident", "reduced decode", "on the device"),
    "input": ("as it is", "1 worker", "2 workers", "resident"),
}


@dataclass(frozen=True)
class Sizes:
    """K, batch sizes, subjects and the side of the images, of which every combination is measured.

    A subject is an encoder, a preset's stage ("fast guide"), or what a collection of images is like. `also` adds pairs
    of K and batch size.
    """

    num_classes: tuple[int, ...]
    batches: tuple[int, ...]
    subjects: tuple[str, ...] = ("",)
    size: int = 224
    also: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    way: str
    num_classes: int
    batch: int
    subject: str
    size: int

    @property
    def id(self) -> str:
        """The row in a word, of which `pytest -k` takes any part: -k "K21 and compiled"."""
        parts = (self.subject, f"K{self.num_classes}", f"batch{self.batch}", self.way)
        return "-".join(re.sub(r"[ ,.]+", "_", part) for part in parts if part)

    @property
    def group(self) -> str:
        """What the rows that are compared with each other have in common."""
        return ", ".join(filter(None, (self.subject, f"K = {self.num_classes}", f"batch {self.batch}")))


PHOTOGRAPHS = ("224 px", "896 px")
STAGES = tuple(f"{preset} {stage}" for preset in ("fast", "robust") for stage in ("guide", "segmenter"))
FOLDERS = ("one shape", "ragged shapes")

# The CPU's part is meant for 2 cores, 24 GB and about half an hour.
GRID = {
    "cuda": {
        "recompose": Sizes((2, 5, 21, 81), (8, 64)),
        "guide": Sizes((2, 5, 21, 81), (8, 64)),
        "train_step": Sizes((2, 5, 21, 81), (8, 64), ("paper", "resnet50")),
        "predict": Sizes((2, 21, 81), (8, 64), ("paper", "resnet50")),
        "images": Sizes((2, 21), (64,), FOLDERS, size=160),
        "data": Sizes((2,), (32,), PHOTOGRAPHS),
        "input": Sizes((2,), (32,), STAGES),
    },
    "cpu": {
        "recompose": Sizes((2, 5, 21), (8,)),
        # Sampled, the guide sees as many images with 2 classes and a batch of 8 as with 81 and a batch of 4.
        "guide": Sizes((2, 5, 21, 81), (4,), also=((2, 8),)),
        "train_step": Sizes((2, 21), (4,), ("paper",)),
        "predict": Sizes((21,), (8,), ("paper", "resnet50")),
        "images": Sizes((2,), (32,), FOLDERS, size=160),
        "data": Sizes((2,), (32,), PHOTOGRAPHS),
        "input": Sizes((2,), (32,), STAGES),
    },
    "quick": {  # a smoke test: its times mean nothing
        "recompose": Sizes((2, 4), (2,), size=32),
        "guide": Sizes((4,), (2,), size=32),
        "train_step": Sizes((4,), (2,), ("paper",), size=32),
        "predict": Sizes((4,), (2,), ("resnet18",), size=32),
        "images": Sizes((3,), (4,), FOLDERS, size=32),
        "data": Sizes((2,), (2,), ("48 px",), size=32),
        "input": Sizes((2,), (2,), ("fast guide", "fast segmenter"), size=32),
    },
}


def cases(step: str, machine: str) -> list[Case]:
    """The rows of a step on "cuda", "cpu" or in the "quick" smoke test."""
    sizes = GRID[machine][step]
    pairs = [(num_classes, batch) for batch, num_classes in product(sizes.batches, sizes.num_classes)]
    return [
        Case(way, num_classes, batch, subject, sizes.size)
        for subject, (num_classes, batch), way in product(sizes.subjects, [*pairs, *sizes.also], WAYS[step])
        if not (subject == "paper" and way == "smp.Unet")  # smp has no such encoder
    ]
