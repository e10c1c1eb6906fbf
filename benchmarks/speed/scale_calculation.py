"""What a step costs at ImageNet's size, counted without running it: docs/results/scale.md.

    python -m benchmarks.speed.scale_calculation && python -m benchmarks.tables

A whole training step of stage two runs on PyTorch's meta device, whose tensors have shapes but no values: FLOPs and the
bytes that live at once are counted, nothing is timed.
"""

from __future__ import annotations

import argparse
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.files import RESULTS, save
from benchmarks.speed.timing import flops
from decomprec import Decomposition, DecompositionLoss
from decomprec import functional as DF
from decomprec.losses import ClsLoss
from decomprec.training import PRESETS, Preset
from decomprec.training.build import build_classifier, build_loss, build_segmenter

FILE = RESULTS / "speed" / "scale_calculation.json"
IMAGES, CLASSES, TAGS = 1_281_167, (2, 21, 1001), 2
RATE, MEMORY = 1e14, 80e9  # FLOP/s that a GPU is assumed to sustain, and its bytes
STATE = 16  # bytes of a float32 parameter, its gradient and Adam's two moments


@dataclass(frozen=True, eq=False)  # by identity, for settings have no hash
class Way:
    """One way to train: a preset, some of its settings changed."""

    name: str
    preset: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def chosen(self) -> Preset:
        return PRESETS[self.preset].override(self.settings)


WAYS = (
    Way("`paper`, all slots", "paper"),
    Way("`paper`, `absent_slots=1`", "paper", {"segmenter.absent_slots": 1}),
    Way("`robust`", "robust"),
    Way("`robust`, 96 px", "robust", {"segmenter.image_size": 96}),
    Way("`paper`, `shown_slots_only`", "paper", {"segmenter.absent_slots": 1, "segmenter.shown_slots_only": True}),
    Way("`robust`, `shown_slots_only`", "robust", {"segmenter.shown_slots_only": True}),
)


@dataclass(frozen=True)
class Cost:
    """Of a training step: per image, and what does not depend on the batch."""

    shown: int
    flops: float
    image_bytes: int
    parameters: int
    trained: int

    @property
    def fixed_bytes(self) -> int:
        return STATE * self.trained + 4 * (self.parameters - self.trained)

    @property
    def batch(self) -> int:
        """Images at once on one GPU."""
        return max(0, int((MEMORY - self.fixed_bytes) // self.image_bytes))

    @property
    def hours(self) -> float:
        """Of one GPU for an epoch, by the FLOPs alone."""
        return self.flops * IMAGES / RATE / 3600


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors that live at once beyond those of `known`."""

    def __init__(self, known: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.seen = {tensor.untyped_storage()._cdata for tensor in known}
        self.bytes = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.seen:
            self.seen.add(key)
            self.bytes += size
            self.peak = max(self.peak, self.bytes)
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.bytes -= size


def peak_bytes(step: Callable[[], object], known: Sequence[Tensor]) -> int:
    """The most that a step's tensors take at once, beyond what is held before it."""
    with Live(known) as live:
        step()
    return live.peak


class SomeSlots(nn.Module):
    """L_cls of as many slots as `ClsLoss` draws: which they are depends on values, which the meta device lacks."""

    def __init__(self, drawn: Any, shown: int) -> None:
        super().__init__()
        assert isinstance(drawn, ClsLoss)
        self.drawn = drawn
        self.shown = shown

    def forward(self, out: Decomposition, images: Tensor, tags: Tensor) -> Tensor:
        """The loss, as `ClsLoss.forward`."""
        slots = torch.zeros(len(images), self.shown, dtype=torch.int64)
        logits = self.drawn.guide(self.drawn.view(out.select(slots), images).flatten(0, 1))
        return DF.cls_loss(logits.unflatten(0, slots.shape), tags, self.drawn.absent, slots, torch.ones(slots.shape))


@cache
def cost(way: Way, num_classes: int) -> Cost:
    """The cost of a training step of the segmenter with two tags in each image (one if K = 2)."""
    preset = way.chosen().override({"guide.encoder_weights": None})
    settings, size = preset.segmenter, preset.segmenter_size
    with torch.device("meta"):
        classifier = build_classifier(preset, num_classes).requires_grad_(False).eval()
        segmenter = build_segmenter(preset, num_classes, classifier)
        loss = build_loss(preset, classifier)
        if settings.freeze_encoder:
            segmenter.encoder.requires_grad_(False).eval()
        shown = num_classes
        if settings.absent_slots is not None:
            tags = min(TAGS, num_classes - 1)
            shown = 1 + tags + min(settings.absent_slots, num_classes - 1 - tags)
            if not settings.shown_slots_only:
                loss.cls_loss = SomeSlots(loss.cls_loss, shown)
        parameters = list(dict.fromkeys([*segmenter.parameters(), *classifier.parameters()]))  # one encoder for both
        buffers = [*segmenter.buffers(), *classifier.buffers()]

        def step(batch: int) -> Callable[[], None]:
            images, tags = torch.rand(batch, 3, size, size), torch.zeros(batch, num_classes - 1)
            slots = torch.zeros(batch, shown, dtype=torch.int64) if settings.shown_slots_only else None
            return lambda: train_step(segmenter, loss, images, tags, slots)

        step(1)()  # the gradients are there from now on
        gradients = [p.grad for p in parameters if p.grad is not None]
        one, two = (peak_bytes(step(batch), [*parameters, *buffers, *gradients]) for batch in (1, 2))
        operations = flops(step(1))
    trained = sum(p.numel() for p in segmenter.parameters() if p.requires_grad)
    return Cost(shown, operations, two - one, sum(p.numel() for p in parameters), trained)


def train_step(
    segmenter: Any, loss: DecompositionLoss, images: Tensor, tags: Tensor, slots: Tensor | None = None
) -> None:
    """Eq. 7 forward and backward, of all slots or some."""
    seeds = torch.zeros(len(images), *images.shape[2:], dtype=torch.int64)
    loss(segmenter(images, slots), images, tags, seeds=seeds).total.backward()


def row(way: Way, num_classes: int) -> dict[str, Any]:
    """One row of the table."""
    c = cost(way, num_classes)
    return {
        "way": way.name,
        "K": num_classes,
        "shown": c.shown,
        "GFLOP an image": c.flops / 1e9,
        "MB an image": c.image_bytes / 1e6,
        "weights and Adam, MB": c.fixed_bytes / 1e6,
        "batch": c.batch,
        "hours": c.hours,
    }


def main() -> None:
    """Write the rows of all ways and numbers of classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=FILE)
    path = parser.parse_args().json
    about = {"images of an epoch": IMAGES, "FLOP/s of a GPU": RATE, "bytes of a GPU": MEMORY}
    save({"scale": [row(way, k) for way in WAYS for k in CLASSES], "run": about}, path)


if __name__ == "__main__":
    main()
