"""Many images through `batch_masks`: the networks, the classifier's decision and PAMR, without the files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.speed.grid import Case
from benchmarks.speed.timing import Machine, measure
from decomprec.batching import plan_batches
from decomprec.inference import batch_masks
from decomprec.tiling import enlarged
from decomprec.trained_model import TrainedModel
from decomprec.training.build import build_classifier, build_segmenter


def folder(case: Case) -> list[Tensor]:
    """Images (3, H, W), uint8, 4/3 of what the networks see: all 3:4, or every other of a different shape."""
    rng = np.random.default_rng(0)
    short = 4 * case.size // 3
    long = [4 * short // 3] * case.batch
    if case.subject == "ragged shapes":
        long[::2] = rng.integers(short, 2 * short, len(long[::2])).tolist()
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(256, (3, short, side), dtype=torch.uint8, generator=generator) for side in long]


def model(case: Case, machine: Machine) -> TrainedModel:
    """The networks of "robust" with random weights."""
    preset = machine.preset("robust")
    classifier = build_classifier(preset, case.num_classes)
    torch.nn.init.constant_(classifier.head.bias, 1e9)  # sees every class
    segmenter = build_segmenter(preset, case.num_classes, classifier)
    names = tuple(f"class {k}" for k in range(1, case.num_classes))
    return TrainedModel(segmenter, names, case.size, classifier).to(machine.device)


def plan(case: Case, images: Sequence[Tensor], machine: Machine) -> list[list[int]]:
    if case.way == "one at a time":
        return [[index] for index in range(len(images))]
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    return plan_batches(sizes, case.size, device=machine.device)


def test_images(benchmark: BenchmarkFixture, machine: Machine, case: Case) -> None:
    networks, images = model(case, machine), folder(case)
    together = plan(case, images, machine)

    def step() -> Tensor:
        found: dict[int, Tensor] = {}
        for indices in together:
            masks = batch_masks([images[i] for i in indices], networks.segmenter, networks.classifier, None, case.size)
            for i, seen in zip(indices, masks, strict=True):
                whole = torch.cat(list(enlarged(seen, (images[i].shape[1], images[i].shape[2]))), dim=1)
                found[i] = whole.square().mean()
        return torch.stack(list(found.values())).mean()

    measure(benchmark, machine, case, step)
