"""Likeness of pixels by their features, and the walk along it: plain loops, and laws that hold for any features."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from decomprec.affinity import feature_affinity, random_walk


def plain_affinity(features: list[Tensor], power: float, means: list[Tensor] | None = None) -> Tensor:
    """P of the equation in loops over float64, for features of one size; their means (B, C) are those over it."""
    batch, _, height, width = features[0].shape
    means = means or [maps.double().mean(dim=(2, 3)) for maps in features]
    pixels = [(y, x) for y in range(height) for x in range(width)]
    found = torch.zeros(batch, len(pixels), len(pixels), dtype=torch.float64)
    for b in range(batch):
        directions = []
        for maps, mean in zip(features, means, strict=True):
            less = [[float(v - m / 2) for v, m in zip(maps[b, :, y, x], mean[b], strict=True)] for y, x in pixels]
            directions.append([[v / math.hypot(*vector) for v in vector] for vector in less])
        for p in range(len(pixels)):
            for q in range(len(pixels)):
                cosines = [sum(a * b for a, b in zip(d[p], d[q], strict=True)) for d in directions]
                found[b, p, q] = max(sum(cosines) / len(cosines), 0) ** power
            found[b, p] /= found[b, p].sum()
    return found


@st.composite
def several_features(draw: Any) -> list[Tensor]:
    """One to three maps (2, C, 3, 4), float32: signed, or not negative with many zeros, as after a ReLU."""
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([1e-3, 1.0, 1e3]))
    channels = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    maps = [scale * torch.randn(2, c, 3, 4, generator=g) for c in channels]
    return [m.relu() for m in maps] if draw(st.booleans()) else maps


def some_maps(seed: int = 0) -> Tensor:
    return torch.randn(2, 3, 3, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("power", [1.0, 3.5])
def test_the_affinity_is_the_equation_in_plain_loops(power: float) -> None:
    features = [torch.randn(2, 3, 2, 3), torch.rand(2, 5, 2, 3) + 0.5]
    torch.testing.assert_close(
        feature_affinity(features, power).double(), plain_affinity(features, power), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_features_of_low_precision_are_compared_in_float32(dtype: torch.dtype) -> None:
    features = [torch.rand(1, 4, 2, 3).to(dtype)]
    found = feature_affinity(features, power=2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), plain_affinity(features, power=2), rtol=1e-4, atol=1e-6)


def test_maps_of_several_sizes_meet_at_that_of_the_last() -> None:
    fine, coarse = torch.rand(1, 3, 6, 9), torch.rand(1, 5, 2, 3)
    shrunk = F.interpolate(fine, size=(2, 3), mode="bilinear", antialias=True)
    expected = plain_affinity([shrunk, coarse], 2, [maps.mean(dim=(2, 3)) for maps in (fine, coarse)])
    torch.testing.assert_close(feature_affinity([fine, coarse], 2).double(), expected, rtol=1e-4, atol=1e-6)


def test_the_walk_is_the_sum_over_all_paths() -> None:
    affinity = feature_affinity([torch.rand(2, 4, 2, 2)], power=2)
    maps = torch.randn(2, 3, 2, 2)
    found = random_walk(affinity, maps, steps=2)
    for b in range(2):
        for c in range(3):
            values, step = maps[b, c].flatten().tolist(), affinity[b].double().tolist()
            for p in range(4):
                expected = sum(step[p][q] * step[q][r] * values[r] for q in range(4) for r in range(4))
                assert found[b, c].flatten()[p].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@given(several_features(), st.floats(0.25, 8))
def test_rows_are_probabilities(features: list[Tensor], power: float) -> None:
    affinity = feature_affinity(features, power)
    assert (affinity >= 0).all()
    torch.testing.assert_close(affinity.sum(dim=2), torch.ones(2, 12), rtol=1e-5, atol=1e-5)


@given(several_features(), st.integers(0, 6), st.floats(-5, 5))
def test_constant_maps_stay_constant(features: list[Tensor], steps: int, value: float) -> None:
    maps = torch.full((2, 3, 3, 4), value)
    torch.testing.assert_close(random_walk(feature_affinity(features), maps, steps), maps, rtol=1e-5, atol=1e-5)


@given(several_features(), st.integers(0, 6))
def test_maps_stay_in_their_range(features: list[Tensor], steps: int) -> None:
    maps = some_maps()
    found = random_walk(feature_affinity(features), maps, steps)
    assert (found <= maps.amax(dim=(2, 3), keepdim=True) + 1e-5).all()
    assert (found >= maps.amin(dim=(2, 3), keepdim=True) - 1e-5).all()


@given(several_features())
def test_no_step_changes_nothing(features: list[Tensor]) -> None:
    assert torch.equal(random_walk(feature_affinity(features), some_maps(), steps=0), some_maps())


@given(several_features(), st.integers(1, 4))
def test_steps_add_up(features: list[Tensor], steps: int) -> None:
    affinity, found = feature_affinity(features), some_maps()
    for _ in range(steps):
        found = random_walk(affinity, found, steps=1)
    torch.testing.assert_close(found, random_walk(affinity, some_maps(), steps), rtol=1e-5, atol=1e-5)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**32))
def test_regions_of_opposite_features_never_mix(channels: int, steps: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    direction = F.normalize(torch.randn(1, channels, 1, 1, generator=g), dim=1)
    left = torch.arange(4) < 2  # as many pixels as on the right, so their mean is zero
    features = direction * torch.where(left, 1.0, -1.0).expand(1, 1, 3, 4)
    maps = left.float().expand(1, 1, 3, 4) * torch.rand(1, 1, 3, 4, generator=g)
    found = random_walk(feature_affinity([features]), maps, steps)
    assert not found[..., 2:].any()
    torch.testing.assert_close(found[..., :2], maps[..., :2].mean().expand(1, 1, 3, 2), rtol=1e-5, atol=1e-6)


@given(several_features(), st.permutations(range(12)))
def test_permuted_pixels_give_permuted_maps(features: list[Tensor], order: list[int]) -> None:
    def permuted(maps: Tensor) -> Tensor:
        return maps.flatten(2)[..., order].view_as(maps)

    expected = permuted(random_walk(feature_affinity(features), some_maps()))
    found = random_walk(feature_affinity([permuted(m) for m in features]), permuted(some_maps()))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@given(several_features())
def test_each_image_is_by_itself(features: list[Tensor]) -> None:
    both = random_walk(feature_affinity(features), some_maps())
    for b in range(2):
        alone = random_walk(feature_affinity([m[b : b + 1] for m in features]), some_maps()[b : b + 1])
        torch.testing.assert_close(both[b : b + 1], alone, rtol=1e-5, atol=1e-5)


@given(several_features(), st.sampled_from([0.25, 2.0, 64.0]))
def test_the_scale_of_the_features_does_not_matter(features: list[Tensor], scale: float) -> None:
    found = feature_affinity([scale * maps for maps in features])
    torch.testing.assert_close(found, feature_affinity(features), rtol=1e-5, atol=1e-6)


def test_in_an_image_of_one_colour_all_pixels_are_alike() -> None:
    affinity = feature_affinity([torch.tensor([1.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 2, 3)])
    torch.testing.assert_close(affinity, torch.full((1, 6, 6), 1 / 6))


def test_pixels_without_features_stay_where_they_are() -> None:
    assert torch.equal(feature_affinity([torch.zeros(2, 3, 2, 2)]), torch.eye(4).expand(2, 4, 4))


def test_features_after_a_relu_tell_weak_from_strong() -> None:
    """One channel, on the left a tenth of what it is on the right: the same direction, but not the same thing."""
    features = torch.tensor([0.1, 0.1, 1.0, 1.0]).view(1, 1, 1, 4)
    found = random_walk(feature_affinity([features]), torch.tensor([0.0, 0.0, 1.0, 1.0]).view(1, 1, 1, 4))
    torch.testing.assert_close(found.flatten(), torch.tensor([0.0, 0.0, 1.0, 1.0]))


def test_maps_keep_their_precision() -> None:
    maps = torch.rand(1, 2, 2, 2).bfloat16()
    assert random_walk(feature_affinity([torch.rand(1, 3, 2, 2)]), maps).dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(1, 3, 2, 3), (2, 3, 2, 2)])
def test_maps_that_do_not_fit_the_affinity_raise(shape: tuple[int, ...]) -> None:
    affinity = feature_affinity([torch.rand(2, 3, 2, 3)])
    with pytest.raises(ValueError, match="Expected `affinity` of shape"):
        random_walk(affinity, torch.rand(shape))


@pytest.mark.parametrize("power", [0, -1, math.nan])
def test_a_wrong_power_raises(power: float) -> None:
    with pytest.raises(ValueError, match="`power`"):
        feature_affinity([torch.rand(1, 1, 2, 2)], power)


def test_no_features_raise() -> None:
    with pytest.raises(ValueError, match="feature maps"):
        feature_affinity([])
