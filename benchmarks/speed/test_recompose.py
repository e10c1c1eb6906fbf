"""Softmax over K, Σ M·X, squared error, areas and their loss, forward and backward to logits and image-lets."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.speed import plain_objective
from benchmarks.speed.ceilings import DTYPE
from benchmarks.speed.grid import Case
from benchmarks.speed.random_inputs import decomposition, random_images, two_tags
from benchmarks.speed.timing import Machine, Work, measure
from decomprec import Decomposition
from decomprec import functional as DF


def loop(out: Decomposition, images: Tensor, tags: Tensor) -> Tensor:
    masks = out.mask_logits.softmax(dim=1)
    recomposed = plain_objective.recompose(masks, out.imagelets)
    return plain_objective.recon_loss(recomposed, images) + plain_objective.mask_loss(masks, tags)


def vectorised(out: Decomposition, images: Tensor, tags: Tensor) -> Tensor:
    return DF.recon_loss(out.reconstruction, images) + DF.mask_loss(out.areas, DF.with_background(tags))


def traffic(case: Case) -> int:
    """Bytes that one pass forward and one backward can't avoid.

    Forward reads logits, image-lets and image and writes the error; backward reads logits, image-lets and error
    and writes both gradients.
    """
    per_pixel = (4 * case.num_classes + 3 + 3) + (4 * case.num_classes + 3 + 4 * case.num_classes)
    return per_pixel * case.batch * case.size**2 * DTYPE.itemsize


def test_recompose(benchmark: BenchmarkFixture, machine: Machine, case: Case) -> None:
    ways = {"loop": loop, "vectorised": vectorised, "compiled": machine.compile(vectorised)}
    loss = ways[case.way]
    logits, imagelets = decomposition(case, machine)
    images, tags = random_images(case, machine), two_tags(case, machine)

    def step() -> Tensor:
        value = loss(Decomposition(logits, imagelets), images, tags)
        value.backward()
        logits.grad = imagelets.grad = None
        return value.detach()

    measure(benchmark, machine, case, step, Work("copy", traffic(case)))
