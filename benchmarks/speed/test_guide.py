"""L_cls with two tags an image: the guide on what is shown of each slot, forward and backward to the decomposition."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.speed import plain_objective
from benchmarks.speed.grid import Case
from benchmarks.speed.random_inputs import decomposition, random_images, two_tags
from benchmarks.speed.timing import Machine, Work, flops, measure
from decomprec import ClsLoss, Decomposition, FrozenGuide
from decomprec.models import PooledClassifier

Loss = Callable[[Decomposition, Tensor, Tensor], Tensor]
PART = 2  # operations are counted on two images, which fit into any memory


def loop(guide: FrozenGuide) -> Loss:
    def loss(out: Decomposition, images: Tensor, tags: Tensor) -> Tensor:
        return plain_objective.cls_loss(out.mask_logits.softmax(dim=1), out.imagelets, tags, guide)

    return loss


def channels_last(guide: FrozenGuide) -> Loss:
    return ClsLoss(guide.to(memory_format=torch.channels_last))


# From the guide to the loss, and whether it is compiled; the names are those of grid.WAYS["guide"].
WAYS: dict[str, tuple[Callable[[FrozenGuide], Loss], bool]] = {
    "loop": (loop, False),
    "vectorised": (ClsLoss, False),
    "channels_last": (channels_last, False),
    "compiled": (ClsLoss, True),
    "sampled": (partial(ClsLoss, absent_slots=1), False),
}


def test_guide(benchmark: BenchmarkFixture, machine: Machine, case: Case) -> None:
    guide = FrozenGuide(PooledClassifier(machine.encoder("resnet18"), num_classes=case.num_classes)).to(machine.device)
    make, compiled = WAYS[case.way]
    eager = make(guide)
    loss = machine.compile(eager) if compiled else eager
    images, tags = random_images(case, machine), two_tags(case, machine)
    leaves = decomposition(case, machine)
    part = [leaf[:PART].detach().requires_grad_() for leaf in leaves]

    def step() -> Tensor:
        value = loss(Decomposition(*leaves), images, tags)
        value.backward()
        for leaf in leaves:
            leaf.grad = None
        return value.detach()

    counted = flops(lambda: eager(Decomposition(*part), images[:PART], tags[:PART]).backward()) / PART
    measure(benchmark, machine, case, step, Work("convolution", counted * case.batch))
