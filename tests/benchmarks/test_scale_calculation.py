"""docs/results/scale.md: what is counted on the meta device is what was measured, and what can be derived."""

import json
from pathlib import Path

import pytest
import torch
from benchmarks.speed.scale_calculation import CLASSES, FILE, WAYS, Way, cost, peak_bytes, row
from torch import Tensor

from decomprec import ClsLoss, Decomposition, FrozenGuide
from decomprec import functional as DF
from decomprec.models import PooledClassifier, UnetDecoder
from decomprec.training.build import build_classifier, build_segmenter

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "speed" / "cpu_blocks.json"
SIZE = 224


def measured(name: str) -> int:
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["benchmarks"]
    return next(row["extra_info"]["peak_bytes"] for row in rows if row["name"] == name)


def leaves(batch: int, num_classes: int) -> list[Tensor]:
    shapes = (batch, num_classes, SIZE, SIZE), (batch, num_classes, 3, SIZE, SIZE)
    return [torch.rand(shape, device="meta", requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("num_classes", [5, 21])
def test_counted_memory_of_the_recomposition_is_what_was_measured(num_classes: int) -> None:
    parts, images = leaves(8, num_classes), torch.rand(8, 3, SIZE, SIZE, device="meta")
    targets = torch.rand(8, num_classes, device="meta")

    def step() -> None:
        out = Decomposition(*parts)
        (DF.recon_loss(out.reconstruction, images) + DF.mask_loss(out.areas, targets)).backward()

    expected = measured(f"test_recompose[K = {num_classes}, batch 8, vectorised]")
    assert peak_bytes(step, [*parts, images, targets]) == pytest.approx(expected, rel=0.1)


def test_counted_memory_of_the_guide_is_what_was_measured() -> None:
    parts, images, tags = leaves(4, 5), torch.rand(4, 3, SIZE, SIZE, device="meta"), torch.zeros(4, 4, device="meta")
    guide = PooledClassifier("resnet18", num_classes=5).to("meta")
    loss = ClsLoss(FrozenGuide(guide).to("meta"))
    known = [*parts, images, tags, *guide.parameters(), *guide.buffers(), *loss.buffers()]
    counted = peak_bytes(lambda: loss(Decomposition(*parts), images, tags).backward(), known)
    assert counted == pytest.approx(measured("test_guide[K = 5, batch 4, vectorised]"), rel=0.1)


def test_operations_grow_with_the_classes_by_the_last_convolutions_and_the_guide() -> None:
    small, large = (cost(Way("", "paper", {"segmenter.absent_slots": 1}), k) for k in (2, 1001))
    heads = 3 * (2 * 9 * 64) * 4 * (1001 - 2) * SIZE**2  # forward, and backward to inputs and weights
    shown = 2 * 1.8135e9 * 2  # of a ResNet-18 at 224 px: its multiply-adds, forward and back to the image
    assert large.flops - small.flops == pytest.approx(heads + (large.shown - small.shown) * shown, rel=1e-3)
    assert (small.shown, large.shown) == (2, 4)


def test_memory_is_that_of_the_maps_at_least() -> None:
    for way in (WAYS[1], WAYS[2]):
        counted = cost(way, 1001)
        size = way.chosen().segmenter_size
        assert counted.image_bytes > 4 * (1001 * 4) * size**2 * 2  # logits and image-lets, and their gradients


def scoring(way: Way, classes: int) -> tuple[int, int]:
    """Bytes and FLOPs of the mask decoder's layer that says which class a pixel is, if it has one.

    It keeps a number for each class and pixel of the features: two products with all channels, whose weights learn.
    """
    preset = way.chosen().override({"guide.encoder_weights": None})
    with torch.device("meta"):
        decoder = build_segmenter(preset, 21, build_classifier(preset, 21)).mask_decoder
    if not isinstance(decoder, UnetDecoder) or decoder.which is None:
        return 0, 0
    pixels = (preset.segmenter.enlarge * preset.segmenter_size // 16) ** 2
    channels = decoder.which.in_features // 2
    return 4 * classes * pixels, 2 * 2 * (2 * channels * classes * pixels)


@pytest.mark.parametrize("way", [way for way in WAYS if "shown_slots_only" in way.name], ids=lambda way: way.name)
def test_memory_of_the_shown_slots_hardly_grows_with_the_classes(way: Way) -> None:
    few, many = (cost(way, k) for k in (21, 1001))
    bytes_, flops = scoring(way, 1001 - 21)
    assert many.image_bytes == pytest.approx(few.image_bytes + bytes_, rel=0.01)
    assert many.flops == pytest.approx(few.flops + flops, rel=0.1)  # the guide scores the pixels for every class, too


def test_measured_memory_of_the_shown_slots_hardly_grows_with_the_classes() -> None:
    rows = json.loads(FILE.with_name("class_memory.json").read_text(encoding="utf-8"))["class memory"]
    for key in ("peak_bytes", "step_bytes"):
        found = {(row["shown slots only"], row["K"]): row[key] for row in rows}
        assert found[True, 1001] < 1.2 * found[True, 21]
        assert found[False, 1001] > 1.5 * found[False, 21]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_the_file_has_the_rows(way: Way) -> None:
    rows = json.loads(FILE.read_text(encoding="utf-8"))["scale"]
    assert next(r for r in rows if (r["way"], r["K"]) == (way.name, CLASSES[-1])) == row(way, CLASSES[-1])
