"""A whole step of Eq. 8 with Eq. 7 and the paper's guide: forward, backward, Adam."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks import peers
from benchmarks.grid import Case
from benchmarks.pictures import pictures, two_tags
from benchmarks.timing import Machine, Work, flops, measure
from decomprec import DecompositionLoss, DecompositionSegmenter, FrozenGuide
from decomprec.models import resnet18_classifier

Loss = Callable[[Tensor, Tensor], Tensor]
PART = 2  # operations are counted on two pictures, which fit into any memory


def loop(model: DecompositionSegmenter, guide: FrozenGuide) -> Loss:
    def loss(images: Tensor, tags: Tensor) -> Tensor:
        out = model(images)
        return peers.objective(out.mask_logits, out.imagelets, images, tags, guide)

    return loss


def vectorised(model: DecompositionSegmenter, guide: FrozenGuide) -> Loss:
    objective = DecompositionLoss(guide)

    def loss(images: Tensor, tags: Tensor) -> Tensor:
        return objective(model(images), images, tags).total

    return loss


# From model and guide to the loss, and whether it is compiled; the names are those of grid.WAYS["train_step"].
WAYS: dict[str, tuple[Callable[[DecompositionSegmenter, FrozenGuide], Loss], bool]] = {
    "loop": (loop, False),
    "vectorised": (vectorised, False),
    "compiled": (vectorised, True),
}


def test_train_step(benchmark: BenchmarkFixture, machine: Machine, case: Case) -> None:
    model = DecompositionSegmenter(case.num_classes, case.encoder).to(machine.device)
    guide = FrozenGuide(resnet18_classifier(case.num_classes, weights=None)).to(machine.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    images, tags = pictures(case, machine), two_tags(case, machine)
    make, compiled = WAYS[case.way]
    eager = make(model, guide)
    loss = machine.compile(eager) if compiled else eager

    def step() -> Tensor:
        value = loss(images, tags)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return value.detach()

    def forward_backward() -> None:
        eager(images[:PART], tags[:PART]).backward()
        optimizer.zero_grad()

    counted = flops(forward_backward) / PART
    measure(benchmark, machine, case, step, Work("convolution", counted * case.batch))
