"""A whole step of Eq. 8 with Eq. 7 and the paper's guide: forward, backward, Adam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.speed import plain_objective
from benchmarks.speed.grid import Case
from benchmarks.speed.random_inputs import random_images, two_tags
from benchmarks.speed.timing import Machine, Work, flops, measure
from decomprec import ClsLoss, DecompositionLoss, DecompositionSegmenter, FrozenGuide
from decomprec.models import PooledClassifier

Loss = Callable[[Tensor, Tensor], Tensor]
PART = 2  # operations are counted on two images, which fit into any memory
PARTS = 4


def loop(model: DecompositionSegmenter, guide: FrozenGuide) -> Loss:
    def loss(images: Tensor, tags: Tensor) -> Tensor:
        out = model(images)
        return plain_objective.objective(out.mask_logits, out.imagelets, images, tags, guide)

    return loss


def vectorised(model: DecompositionSegmenter, guide: FrozenGuide, absent_slots: int | None = None) -> Loss:
    objective = DecompositionLoss(cls_loss=ClsLoss(guide, absent_slots=absent_slots))

    def loss(images: Tensor, tags: Tensor) -> Tensor:
        return objective(model(images), images, tags).total

    return loss


@dataclass(frozen=True)
class Way:
    """From model and guide to the loss, and how it is run."""

    make: Callable[[DecompositionSegmenter, FrozenGuide], Loss]
    compiled: bool = False
    fullgraph: bool = True  # drawing slots breaks the graph
    channels_last: bool = False
    bf16: bool = False
    parts: int = 1  # of the batch, one after the other, as `accumulate` does it: memory for one of them


# The names are those of grid.WAYS["train_step"].
WAYS = {
    "loop": Way(loop),
    "vectorised": Way(vectorised),
    "channels_last": Way(vectorised, channels_last=True),
    "compiled": Way(vectorised, compiled=True),
    "bf16": Way(vectorised, channels_last=True, bf16=True),
    "sampled, parts": Way(partial(vectorised, absent_slots=1), channels_last=True, parts=PARTS),
    "bf16, sampled": Way(partial(vectorised, absent_slots=1), channels_last=True, bf16=True),
    "bf16, sampled, compiled": Way(
        partial(vectorised, absent_slots=1), compiled=True, fullgraph=False, channels_last=True, bf16=True
    ),
    "bf16, sampled, parts": Way(partial(vectorised, absent_slots=1), channels_last=True, bf16=True, parts=PARTS),
}


def segmenter(case: Case, machine: Machine) -> DecompositionSegmenter:
    encoder = machine.encoder(case.subject)
    return DecompositionSegmenter(case.num_classes, encoder, decoder_widths=(16, 8) if machine.quick else None)


def test_train_step(benchmark: BenchmarkFixture, machine: Machine, case: Case) -> None:
    way = WAYS[case.way]
    layout = torch.channels_last if way.channels_last else torch.contiguous_format
    model = segmenter(case, machine).to(machine.device).to(memory_format=layout)
    classifier = PooledClassifier(machine.encoder("resnet18"), num_classes=case.num_classes)
    guide = FrozenGuide(classifier.to(memory_format=layout)).to(machine.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    images, tags = random_images(case, machine).contiguous(memory_format=layout), two_tags(case, machine)
    eager = way.make(model, guide)
    loss = machine.compile(eager, way.fullgraph) if way.compiled else eager

    def forward(images: Tensor, tags: Tensor) -> Tensor:
        with torch.autocast(machine.device, torch.bfloat16, enabled=way.bf16):
            return loss(images, tags)

    def step() -> Tensor:
        values = []
        for part in zip(images.chunk(way.parts), tags.chunk(way.parts), strict=True):
            value = forward(*part) / way.parts
            value.backward()
            values.append(value.detach())
        optimizer.step()
        optimizer.zero_grad()
        return torch.stack(values).sum()

    def forward_backward() -> None:
        eager(images[:PART], tags[:PART]).backward()
        optimizer.zero_grad()

    counted = flops(forward_backward) / PART
    work = Work("convolution", counted * case.batch, "matmul, bf16" if way.bf16 else "matmul")
    measure(benchmark, machine, case, step, work)
