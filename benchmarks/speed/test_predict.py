"""From images to label maps: the mask branch alone beside the whole network and smp's U-Net with the same weights."""

from __future__ import annotations

from collections.abc import Callable

import segmentation_models_pytorch as smp
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from benchmarks.speed.grid import Case
from benchmarks.speed.random_inputs import random_images
from benchmarks.speed.timing import Machine, Work, flops, measure
from decomprec import DecompositionSegmenter

PART = 2  # operations are counted on two images, which fit into any memory


def smp_unet(model: DecompositionSegmenter, encoder: str) -> Callable[[Tensor], Tensor]:
    """smp.Unet with the segmenter's weights; the images are normalised as for the segmenter."""
    unet = smp.Unet(encoder, encoder_weights=None, classes=model.num_classes)
    ours: dict[str, nn.Module] = dict(model.named_modules())
    unet.encoder.load_state_dict(ours["encoder.network"].state_dict())
    unet.decoder.load_state_dict(ours["mask_decoder.decoder"].state_dict())
    unet.segmentation_head.load_state_dict(ours["mask_decoder.head"].state_dict())
    unet.eval().to(next(model.parameters()).device)
    mean, std = model.get_buffer("encoder.mean"), model.get_buffer("encoder.std")
    return lambda images: unet((images - mean) / std).argmax(dim=1)


def way(name: str, model: DecompositionSegmenter, case: Case) -> Callable[[Tensor], Tensor]:
    if name == "smp.Unet":
        return smp_unet(model, case.subject)
    if name == "whole network":
        return lambda images: model(images).labels()
    if name == "channels_last":
        return lambda images: model.predict(images.contiguous(memory_format=torch.channels_last))
    return model.predict


def test_predict(benchmark: BenchmarkFixture, machine: Machine, case: Case) -> None:
    model = DecompositionSegmenter(case.num_classes, case.subject).to(machine.device).eval()
    images = random_images(case, machine)
    eager = way(case.way, model, case)
    compiled = machine.compile(lambda images: model.mask_logits(images).argmax(dim=1))
    predict = compiled if case.way == "compiled" else eager

    def step() -> Tensor:
        with torch.inference_mode():
            return predict(images).float().mean()

    with torch.inference_mode():
        counted = flops(lambda: eager(images[:PART])) / PART
    measure(benchmark, machine, case, step, Work("convolution", counted * case.batch))
