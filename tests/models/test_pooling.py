"""Poolings and the levels that a classifier sees."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from decomprec import DecompositionSegmenter
from decomprec.models import PooledClassifier, SmallEncoder
from decomprec.models.pooling import POOLINGS, Pooling, pool
from decomprec.models.serialization import Networks, read_networks, write_networks

PIXELS = st.lists(st.floats(0, 10, width=32), min_size=1, max_size=30)


def of(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def by_hand(values: list[float], pooling: Pooling) -> float:
    if pooling == "top":
        values = sorted(values)[-max(1, round(len(values) / 5)) :]
    if pooling in ("mean", "top"):
        return sum(values) / len(values)
    return math.log(sum(math.exp(value) for value in values) / len(values))


@given(PIXELS, st.sampled_from(POOLINGS))
def test_it_is_the_equation_between_the_mean_and_the_largest(values: list[float], pooling: Pooling) -> None:
    found = pool(of(values), pooling).item()
    assert found == pytest.approx(by_hand(values, pooling), rel=1e-6, abs=1e-5)
    assert sum(values) / len(values) - 1e-5 <= found <= max(values) + 1e-5


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_order_of_pixels_does_not_count_and_gradients_are_finite(pooling: Pooling) -> None:
    features = torch.rand(2, 3, 4, 5, dtype=torch.float64).requires_grad_()
    turned = features.flip(2, 3)
    torch.testing.assert_close(pool(features, pooling), pool(turned, pooling))
    pool(features * (features > 0.5), pooling).sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("standardise", [False, True])
def test_a_classifier_scores_the_levels_that_it_is_given(pooling: Pooling, standardise: bool) -> None:
    torch.manual_seed(0)
    encoder = SmallEncoder((4, 8))
    classifier = PooledClassifier(encoder, 3, standardise=standardise, pooling=pooling, levels=(-2, -1)).eval()
    images = torch.rand(2, 3, 32, 32)
    fine, coarse = encoder(images)
    features = torch.cat([fine, F.interpolate(coarse, size=16, mode="bilinear")], dim=1)
    if standardise:
        features = torch.cat([features.clamp(min=0), (-features).clamp(min=0)], dim=1)
    pixels = classifier.norm(features).movedim(1, -1)
    scores = classifier.head(pixels) - classifier.head.bias
    torch.testing.assert_close(classifier.activation_maps(images), scores.movedim(-1, 1))
    for image, logits in zip(scores, classifier(images), strict=True):
        by_class = [by_hand(image[..., j].flatten().tolist(), pooling) for j in range(2)]
        torch.testing.assert_close(logits, torch.tensor(by_class) + classifier.head.bias, rtol=1e-4, atol=1e-4)


def test_pooling_and_levels_are_saved(tmp_path: Path) -> None:
    classifier = PooledClassifier(SmallEncoder((4, 8)), 3, standardise=True, pooling="top", levels=(-1, -2)).eval()
    segmenter = DecompositionSegmenter(3, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
    write_networks(tmp_path, Networks(segmenter, classifier, ("a", "b"), 32), half=False, masks_only=False)
    read = read_networks(tmp_path).classifier
    assert read is not None
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(read(images), classifier(images))


@pytest.mark.parametrize("levels", [(), (0,), (-3,), (-1, -1), (-1.0,)])
def test_wrong_levels_raise(levels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="`levels` to be different numbers from -2"):
        PooledClassifier(SmallEncoder((4, 8)), 3, levels=levels)


def test_an_unknown_pooling_raises() -> None:
    with pytest.raises(ValueError, match="`pooling` to be one of mean, top, lse,"):
        PooledClassifier(SmallEncoder((4, 8)), 3, pooling="max")
