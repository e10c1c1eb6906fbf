"""From JPEG files to augmented batches on the device: how fast images can come, if nothing else is done."""

from __future__ import annotations

import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.speed.grid import Case
from benchmarks.speed.loaders import batches
from benchmarks.speed.timing import Machine, measure

PASS = 8  # batches: more than the workers have ready


def test_data(benchmark: BenchmarkFixture, machine: Machine, case: Case) -> None:
    side = int(case.subject.split()[0])
    source = batches(case.way, side, case.size, case.batch, machine.device)

    def step() -> Tensor:
        return torch.stack([next(source)["image"].mean() for _ in range(PASS)]).mean()

    measure(benchmark, machine, case, step, batches=PASS)
    source.close()
