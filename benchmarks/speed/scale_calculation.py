"""What a step costs at ImageNet's size, counted without running it: the table of docs/scale.md.

    python -m benchmarks.speed.scale_calculation           # rewrite the page
    python -m benchmarks.speed.scale_calculation --check   # exit 1 if it is stale

A whole training step of stage two runs on PyTorch's meta device, whose tensors have shapes but no values: FLOPs and the
bytes that live at once are counted, nothing is timed.
"""

from __future__ import annotations

import argparse
import sys
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

from benchmarks.speed.timing import flops
from decomprec import Decomposition, DecompositionLoss
from decomprec import functional as DF
from decomprec.losses import ClsLoss
from decomprec.training import PRESETS, Preset, build_classifier, build_loss, build_segmenter

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
MARKS = ("<!-- calculation -->\n", "<!-- end calculation -->")
IMAGES, CLASSES, TAGS = 1_281_167, (2, 21, 1001), 2
RATE, MEMORY = 1e14, 80e9  # FLOP/s that a GPU is assumed to sustain, and its bytes
STATE = 16  # bytes of a float32 parameter, its gradient and Adam's two moments


@dataclass(frozen=True)
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
    Way("`robust`, `seeds=0`", "robust", {"segmenter.seeds": 0}),
    Way("`robust`, `seeds=0`, 96 px", "robust", {"segmenter.seeds": 0, "segmenter.image_size": 96}),
)


@dataclass(frozen=True)
class Cost:
    """Of a training step: per image, and what is there whatever the batch."""

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
            loss.cls_loss = SomeSlots(loss.cls_loss, shown)
        parameters = [*segmenter.parameters(), *classifier.parameters()]
        buffers = [*segmenter.buffers(), *classifier.buffers()]

        def step(batch: int) -> Callable[[], None]:
            images, tags = torch.rand(batch, 3, size, size), torch.zeros(batch, num_classes - 1)
            return lambda: train_step(segmenter, loss, images, tags)

        step(1)()  # the gradients are there from now on
        gradients = [p.grad for p in parameters if p.grad is not None]
        one, two = (peak_bytes(step(batch), [*parameters, *buffers, *gradients]) for batch in (1, 2))
        operations = flops(step(1))
    trained = sum(p.numel() for p in segmenter.parameters() if p.requires_grad)
    return Cost(shown, operations, two - one, sum(p.numel() for p in parameters), trained)


def train_step(segmenter: Any, loss: DecompositionLoss, images: Tensor, tags: Tensor) -> None:
    """Eq. 7 forward and backward."""
    loss(segmenter(images), images, tags).total.backward()


def row(way: Way, num_classes: int) -> str:
    """One line of the table."""
    c = cost(way, num_classes)
    figures = [c.shown, c.flops / 1e9, c.image_bytes / 1e6, c.fixed_bytes / 1e6, c.batch, c.flops * IMAGES / 1e15]
    cells = [way.name, str(num_classes), *(f"{figure:,.0f}" for figure in figures), f"{c.hours:,.2f}"]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """Markdown of all ways and numbers of classes."""
    head = ["way", "K", "shown to the guide", "GFLOP an image", "MB an image", "weights and Adam, MB"]
    head += [f"images in {MEMORY / 1e9:.0f} GB", "PFLOP an epoch", f"GPU-hours an epoch at {RATE / 1e12:.0f} TFLOP/s"]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    lines += [row(way, num_classes) for way in WAYS for num_classes in CLASSES]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Rewrite or check the page."""
    parser = argparse.ArgumentParser(description="Fill the table of docs/scale.md.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the page is stale")
    check = parser.parse_args().check
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(MARKS[0])
    fresh = f"{before}{MARKS[0]}{table()}{MARKS[1]}{rest.partition(MARKS[1])[2]}"
    if check and fresh != text:
        sys.exit(f"{PAGE.name} is stale: run python -m benchmarks.speed.scale_calculation")
    PAGE.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
