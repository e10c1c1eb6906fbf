"""Steps of the presets' two stages with their images coming from JPEG files: how much of the time they wait."""

from __future__ import annotations

import warnings
from statistics import median
from time import perf_counter

import lightning as L
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from benchmarks.speed.grid import Case
from benchmarks.speed.loaders import batches
from benchmarks.speed.timing import Machine, measure
from decomprec.training import GuideModule, Preset, SegmenterModule
from decomprec.training.build import build_classifier, build_loss, build_segmenter

SIDE = 224  # of the photographs, as of the dogs'
PASS = 2  # steps: the guide's images take turns in size


def stage_module(preset: Preset, stage: str, num_classes: int) -> L.LightningModule:
    """The module of a preset's stage, as `decomprec.training.train` builds it, with random weights."""
    classifier = build_classifier(preset, num_classes)
    if stage == "guide":
        return GuideModule(classifier, preset.guide)
    segmenter = build_segmenter(preset, num_classes, classifier)
    return SegmenterModule(segmenter, build_loss(preset, classifier), num_classes, preset.segmenter)


def test_input(benchmark: BenchmarkFixture, machine: Machine, case: Case) -> None:
    name, stage = case.subject.split()
    preset = machine.preset(name)
    if machine.quick:
        preset = preset.override({"image_size": case.size, "segmenter.image_size": case.size})
    module = stage_module(preset, stage, case.num_classes).to(machine.device).train()
    convert_conv2d_weight_memory_format(module, torch.channels_last)  # as `train` does
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad])
    source = batches(case.way, SIDE, preset.image_size, case.batch, machine.device)
    shares: list[float] = []

    def step() -> Tensor:
        start, waited = perf_counter(), 0.0
        for index in range(PASS):
            asked = perf_counter()
            batch = next(source)
            waited += perf_counter() - asked
            output = module.training_step(batch, index)
            assert isinstance(output, Tensor)
            loss = output
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        machine.synchronise()
        shares.append(waited / (perf_counter() - start))
        return loss.detach()

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are trying to `self.log")
        measure(benchmark, machine, case, step, batches=PASS)
    source.close()
    assert benchmark.stats is not None  # it has run
    benchmark.extra_info["waiting_share"] = median(shares[-benchmark.stats.stats.rounds :])
