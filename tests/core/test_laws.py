"""Laws that the recomposition and the losses obey for all numbers."""

from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from decomprec import functional as DF

sizes = st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(1, 4), st.integers(1, 4))
seeds = st.integers(0, 2**32)


def draw_parts(size: tuple[int, int, int, int], seed: int) -> tuple[Tensor, Tensor, torch.Generator]:
    batch, slots, height, width = size
    g = torch.Generator().manual_seed(seed)
    masks = (3 * torch.randn(batch, slots, height, width, generator=g, dtype=torch.float64)).softmax(dim=1)
    imagelets = torch.rand(batch, slots, 3, height, width, generator=g, dtype=torch.float64)
    return masks, imagelets, g


@given(sizes, seeds)
def test_order_of_the_slots_does_not_matter(size: Any, seed: int) -> None:
    masks, imagelets, g = draw_parts(size, seed)
    order = torch.randperm(size[1], generator=g)
    torch.testing.assert_close(DF.recompose(masks[:, order], imagelets[:, order]), DF.recompose(masks, imagelets))


@given(sizes, seeds)
def test_one_hot_masks_pick_a_slot(size: Any, seed: int) -> None:
    masks, imagelets, g = draw_parts(size, seed)
    labels = torch.randint(0, size[1], masks[:, 0].shape, generator=g)
    one_hot = torch.nn.functional.one_hot(labels, size[1]).movedim(-1, 1).double()
    picked = imagelets.take_along_dim(labels[:, None, None], dim=1)[:, 0]
    assert torch.equal(DF.recompose(one_hot, imagelets), picked)


@given(sizes, seeds)
def test_equal_imagelets_come_back(size: Any, seed: int) -> None:
    masks, imagelets, _ = draw_parts(size, seed)
    torch.testing.assert_close(DF.recompose(masks, imagelets[:, :1].expand_as(imagelets)), imagelets[:, 0])


@given(sizes, seeds, st.floats(-5, 5), st.floats(-5, 5))
def test_linear_in_the_imagelets(size: Any, seed: int, a: float, b: float) -> None:
    masks, x, g = draw_parts(size, seed)
    z = torch.rand(x.shape, generator=g, dtype=x.dtype)
    together = DF.recompose(masks, a * x + b * z)
    torch.testing.assert_close(together, a * DF.recompose(masks, x) + b * DF.recompose(masks, z))


@given(sizes, seeds)
def test_no_pixel_leaves_the_range_of_its_imagelets(size: Any, seed: int) -> None:
    masks, imagelets, _ = draw_parts(size, seed)
    reconstruction = DF.recompose(masks, imagelets)
    assert (reconstruction >= imagelets.amin(dim=1) - 1e-12).all()
    assert (reconstruction <= imagelets.amax(dim=1) + 1e-12).all()


@given(sizes, seeds)
def test_null_space(size: Any, seed: int) -> None:
    """Any D with Σ_k M_k D_k = 0 changes the image-lets and not the reconstruction."""
    masks, imagelets, g = draw_parts(size, seed)
    change = torch.randn(imagelets.shape, generator=g, dtype=imagelets.dtype)
    weights = masks[:, :, None]
    change = change - weights * (weights * change).sum(1, keepdim=True) / weights.square().sum(1, keepdim=True)
    assert change.abs().max() > 1e-3
    torch.testing.assert_close(DF.recompose(masks, imagelets + change), DF.recompose(masks, imagelets))


@given(sizes, seeds)
def test_the_components_sum_to_the_reconstruction(size: Any, seed: int) -> None:
    masks, imagelets, _ = draw_parts(size, seed)
    torch.testing.assert_close(DF.components(masks, imagelets).sum(dim=1), DF.recompose(masks, imagelets))


@given(sizes, seeds)
def test_areas_of_a_decomposition_sum_to_one(size: Any, seed: int) -> None:
    masks, _, _ = draw_parts(size, seed)
    torch.testing.assert_close(DF.mask_areas(masks).sum(dim=1), torch.ones(size[0], dtype=torch.float64))


def assert_smallest_on_the_simplex(areas: Tensor, targets: Tensor, g: torch.Generator) -> None:
    """No step from `areas`, (K,), to another point of the simplex has a smaller L_mask."""
    least = DF.mask_loss(areas[None], targets[None])
    elsewhere = torch.randn(30, len(areas), generator=g, dtype=areas.dtype).softmax(dim=1)
    for step in (1e-3, 1e-2, 0.1, 1.0):
        for other in torch.lerp(areas, elsewhere, step):
            assert DF.mask_loss(other[None], targets[None]) >= least


@given(st.integers(2, 5), st.data())
def test_mask_loss_is_smallest_at_equal_areas_of_the_present(slots: int, data: Any) -> None:
    tags = torch.tensor([data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=slots - 1, max_size=slots - 1))])
    y = DF.with_background(tags.double())[0]
    g = torch.Generator().manual_seed(data.draw(seeds))
    assert_smallest_on_the_simplex(y / y.sum(), y, g)


@given(st.integers(2, 5), seeds)
def test_mask_loss_is_smallest_at_known_areas(slots: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    known = torch.randn(slots, generator=g, dtype=torch.float64).softmax(dim=0)
    assert_smallest_on_the_simplex(known, known, g)
    areas = known.clone().requires_grad_()
    (grad,) = torch.autograd.grad(DF.mask_loss(areas[None], known[None]), areas)
    torch.testing.assert_close(grad, torch.zeros_like(grad), atol=1e-9, rtol=0)  # each term by itself


@given(st.integers(1, 3), st.integers(2, 5), seeds, st.sampled_from(["ignore", "reject"]))
def test_cls_loss_does_not_know_the_names_of_the_classes(batch: int, slots: int, seed: int, absent: Any) -> None:
    g = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(batch, slots, slots - 1, generator=g, dtype=torch.float64)
    tags = torch.randint(0, 2, (batch, slots - 1), generator=g)
    order = torch.randperm(slots - 1, generator=g)
    with_background = torch.cat([torch.zeros(1, dtype=torch.long), order + 1])
    renamed = DF.cls_loss(logits[:, with_background][:, :, order], tags[:, order], absent)
    torch.testing.assert_close(renamed, DF.cls_loss(logits, tags, absent))


@given(st.integers(2, 5), seeds)
def test_only_reject_asks_an_absent_class_for_anything(slots: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, slots, slots - 1, generator=g).requires_grad_()
    tags = torch.randint(0, 2, (1, slots - 1), generator=g)
    own = {}
    for absent in ("ignore", "reject"):
        (grad,) = torch.autograd.grad(DF.cls_loss(logits, tags, absent), logits)
        own[absent] = torch.stack([grad[0, j + 1, j] for j in range(slots - 1)])  # class j in its own component
    assert (own["ignore"][tags[0] == 0] == 0).all()
    assert (own["reject"][tags[0] == 0] > 0).all()
    assert torch.equal(own["ignore"][tags[0] == 1], own["reject"][tags[0] == 1])
    assert (own["ignore"][tags[0] == 1] < 0).all()


@given(sizes, seeds)
def test_recon_loss_is_zero_only_for_the_image_itself(size: Any, seed: int) -> None:
    _, imagelets, g = draw_parts(size, seed)
    images = imagelets[:, 0]
    assert DF.recon_loss(images, images) == 0
    changed = images.clone()
    changed.view(-1)[torch.randint(0, changed.numel(), (1,), generator=g)] += 0.01
    assume(not torch.equal(changed, images))
    assert DF.recon_loss(changed, images).item() == pytest.approx(1e-4 / images.numel())
    torch.testing.assert_close(DF.recon_loss(changed, images), DF.recon_loss(images, changed))
