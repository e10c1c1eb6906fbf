"""Every equation against the loops of reference.py, in every dtype, and at the edges of its domain."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import reference
from torch import Tensor

from decomprec import ClsLoss, Decomposition, MaskLoss, ReconLoss
from decomprec import functional as DF
from decomprec.slots import mask_absent, mask_entropy

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
# How far a result may be from float64 loops over the same (already rounded) input.
TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 1e-5, torch.float64: 1e-12}
ABSENT = ["ignore", "reject"]

sizes = st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32))


class Case:
    """One drawn batch with K slots: everything that any of the equations takes."""

    def __init__(self, batch: int, slots: int, height: int, width: int, seed: int, dtype: torch.dtype) -> None:
        g = torch.Generator().manual_seed(seed)
        self.masks = (3 * torch.randn(batch, slots, height, width, generator=g)).softmax(dim=1).to(dtype)
        self.imagelets = torch.rand(batch, slots, 3, height, width, generator=g).to(dtype)
        self.images = torch.rand(batch, 3, height, width, generator=g).to(dtype)
        self.areas = (2 * torch.randn(batch, slots, generator=g)).softmax(dim=1).clamp(0.01, 0.99).to(dtype)
        self.guide_logits = (4 * torch.randn(batch, slots, slots - 1, generator=g)).to(dtype)
        self.tags = torch.randint(0, 2, (batch, slots - 1), generator=g).float()


def results(case: Case) -> list[tuple[Tensor, Tensor | float]]:
    """Ours beside the paper's, for each equation."""
    m, x = reference.to_paper(case.masks), reference.to_paper(case.imagelets)
    y, logits = reference.tags_to_paper(case.tags), reference.to_paper(case.guide_logits)
    pairs: list[tuple[Tensor, Tensor | float]] = [
        (reference.to_paper(DF.components(case.masks, case.imagelets)), reference.components(m, x)),
        (DF.recompose(case.masks, case.imagelets), reference.recompose(m, x)),
        (DF.recon_loss(case.imagelets[:, 0], case.images), reference.recon_loss(case.imagelets[:, 0], case.images)),
        (reference.to_paper(DF.mask_areas(case.masks)), reference.mask_areas(m)),
        (
            DF.mask_loss(case.areas, DF.with_background(case.tags)),
            reference.mask_loss(reference.to_paper(case.areas), y),
        ),
        (DF.guide_loss(case.guide_logits[:, 0], case.tags), reference.guide_loss(logits[:, -1], case.tags)),
    ]
    for absent in ABSENT:
        pairs.append((DF.cls_loss(case.guide_logits, case.tags, absent), reference.cls_loss(logits, y, absent)))
    return pairs


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(size=sizes)
def test_equations_are_the_papers(size: tuple[int, int, int, int, int], dtype: torch.dtype) -> None:
    tolerance = TOLERANCE[dtype]
    for ours, papers in results(Case(*size, dtype)):
        papers = torch.as_tensor(papers, dtype=torch.float64)
        torch.testing.assert_close(ours.double(), papers, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("slots", [2, 3, 4, 5])
def test_every_combination_of_tags(slots: int) -> None:
    tags = torch.tensor(list(itertools.product([0.0, 1.0], repeat=slots - 1)))
    case = Case(len(tags), slots, 2, 2, seed=slots, dtype=torch.float64)
    case.tags = tags
    for ours, papers in results(case):
        torch.testing.assert_close(ours, torch.as_tensor(papers, dtype=torch.float64))


@pytest.mark.parametrize("absent", ABSENT)
def test_weighted_slots_of_the_class_loss_are_loops(absent: str) -> None:
    case = Case(3, 5, 2, 2, seed=2, dtype=torch.float64)
    slots = torch.stack([torch.randperm(5)[:3] for _ in range(3)])
    weights = torch.rand(3, 3, dtype=torch.float64)
    logits = torch.stack([case.guide_logits[b, slots[b]] for b in range(3)])
    total = 0.0
    for b, s in itertools.product(range(3), range(3)):
        k = int(slots[b, s])
        for j in range(1, 5):
            guess = 1 / (1 + math.exp(-logits[b, s, j - 1].item()))
            tagged = case.tags[b, j - 1] == 1
            if j != k or (not tagged and absent == "reject"):
                total -= weights[b, s].item() * math.log(1 - guess)
            elif tagged:
                total -= weights[b, s].item() * math.log(guess)
    got = DF.cls_loss(logits, case.tags, absent, slots, weights)
    assert got.item() == pytest.approx(total / (3 * 5))


def test_background_first_here_is_background_last_in_the_paper() -> None:
    assert reference.to_paper(torch.tensor([[0, 1, 2]])).tolist() == [[1, 2, 0]]
    tags = torch.tensor([[1.0, 0.0]])
    assert DF.with_background(tags).tolist() == [[1, 1, 0]]
    torch.testing.assert_close(reference.to_paper(DF.with_background(tags)), reference.tags_to_paper(tags))


def test_soft_targets_are_eq_4_too() -> None:
    case = Case(3, 4, 2, 2, seed=0, dtype=torch.float64)
    known = torch.rand(3, 4, dtype=torch.float64).softmax(dim=1)
    expected = reference.mask_loss(reference.to_paper(case.areas), reference.to_paper(known))
    torch.testing.assert_close(DF.mask_loss(case.areas, known).item(), expected)


def test_gradients_are_those_of_finite_differences() -> None:
    case = Case(2, 3, 2, 2, seed=1, dtype=torch.float64)
    leaves = {name: t.requires_grad_() for name, t in vars(case).items() if name != "tags"}
    masks, imagelets = leaves["masks"], leaves["imagelets"]
    y = DF.with_background(case.tags.double())
    assert torch.autograd.gradcheck(DF.components, (masks, imagelets))
    assert torch.autograd.gradcheck(DF.recompose, (masks, imagelets))
    assert torch.autograd.gradcheck(DF.mask_areas, (masks,))
    assert torch.autograd.gradcheck(DF.recon_loss, (leaves["images"], leaves["imagelets"][:, 0]))
    assert torch.autograd.gradcheck(DF.mask_loss, (leaves["areas"], y.requires_grad_()))
    assert torch.autograd.gradcheck(DF.guide_loss, (leaves["guide_logits"][:, 0], case.tags))
    for absent in ABSENT:
        assert torch.autograd.gradcheck(
            lambda logits, absent=absent: DF.cls_loss(logits, case.tags, absent), (leaves["guide_logits"],)
        )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_losses_are_in_full_precision(dtype: torch.dtype) -> None:
    case = Case(2, 3, 2, 2, seed=0, dtype=dtype)
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    losses = [
        DF.recon_loss(case.images, case.imagelets[:, 0]),
        DF.mask_loss(case.areas, DF.with_background(case.tags)),
        DF.cls_loss(case.guide_logits, case.tags),
        DF.guide_loss(case.guide_logits[:, 0], case.tags),
        DF.mask_areas(case.masks),
    ]
    assert [loss.dtype for loss in losses] == [expected] * 5
    assert DF.components(case.masks, case.imagelets).dtype == DF.recompose(case.masks, case.imagelets).dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tag", [0.0, 1.0])
def test_finite_at_the_edges(dtype: torch.dtype, tag: float) -> None:
    extreme = 6e4 if dtype == torch.float16 else 1e4
    tags = torch.full((1, 2), tag)
    for areas in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]):
        leaf = torch.tensor([areas], dtype=dtype, requires_grad=True)
        assert_finite(DF.mask_loss(leaf, DF.with_background(tags)), leaf)
        # one-hot masks out of saturated logits
        leaf = (
            (extreme * (2 * torch.tensor([areas]) - 1)).to(dtype).view(1, 3, 1, 1).repeat(1, 1, 2, 2).requires_grad_()
        )
        assert_finite(DF.mask_loss(DF.mask_areas(leaf.softmax(dim=1)), DF.with_background(tags)), leaf)
    for sign in (-1, 1):
        leaf = torch.full((1, 3, 2), sign * extreme, dtype=dtype, requires_grad=True)
        for absent in ABSENT:
            assert_finite(DF.cls_loss(leaf, tags, absent), leaf)
        assert_finite(DF.guide_loss(leaf[:, 0], tags), leaf)


def assert_finite(loss: Tensor, leaf: Tensor) -> None:
    (grad,) = torch.autograd.grad(loss, leaf)
    assert loss.isfinite()
    assert grad.isfinite().all()


def test_extreme_logits_have_the_true_loss() -> None:
    # log(sigmoid(-1e4)) is -1e4; through a sigmoid in float32 it would be -inf.
    logits = torch.tensor([[[1e4], [-1e4]]])  # the background shows the class, its own slot does not
    assert DF.cls_loss(logits, torch.ones(1, 1)).item() == pytest.approx(1e4)


@pytest.mark.parametrize("autocast", [False, True])
@given(size=sizes)
def test_modules_are_the_functions(size: tuple[int, int, int, int, int], autocast: bool) -> None:
    case = Case(*size, torch.float32)
    y = DF.with_background(case.tags)
    out = Decomposition(case.masks.log(), case.imagelets)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert ReconLoss()(case.imagelets[:, 0], case.images) == DF.recon_loss(case.imagelets[:, 0], case.images)
        assert MaskLoss()(case.areas, case.tags) == MaskLoss()(case.areas, y) == DF.mask_loss(case.areas, y)
        for absent in ABSENT:
            module = ClsLoss(lambda shown: case.guide_logits.flatten(0, 1), absent=absent)
            assert module(out, case.images, case.tags) == DF.cls_loss(case.guide_logits, case.tags, absent)
        assert torch.equal(out.components, DF.components(out.masks, out.imagelets))
        assert torch.equal(out.reconstruction, DF.recompose(out.masks, out.imagelets))
        assert torch.equal(out.areas, DF.mask_areas(out.masks))


@given(size=sizes)
def test_losses_do_not_heed_autocast(size: tuple[int, int, int, int, int]) -> None:
    case = Case(*size, torch.float32)
    plain = results(case)
    with torch.autocast("cpu", torch.bfloat16):
        cast = results(case)
    for i in (2, 3, 4, 5, 6, 7):  # recon, areas, mask, guide, cls
        assert torch.equal(torch.as_tensor(plain[i][0]), torch.as_tensor(cast[i][0]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(size=sizes)
def test_entropy_is_that_of_plain_loops(size: tuple[int, int, int, int, int], dtype: torch.dtype) -> None:
    masks = Case(*size, dtype).masks
    for found, slots in zip(mask_entropy(masks).tolist(), masks.double(), strict=True):
        pixels = slots.flatten(1).T.tolist()
        expected = -math.fsum(m * math.log(m) for pixel in pixels for m in pixel if m) / len(pixels)
        assert found == pytest.approx(expected, abs=TOLERANCE[torch.float32])


@pytest.mark.parametrize("value", [-math.inf, 0.0])
@given(size=sizes)
def test_absent_slots_alone_are_filled(size: tuple[int, int, int, int, int], value: float) -> None:
    case = Case(*size, torch.float32)
    found = mask_absent(case.masks, case.tags, value)
    for b, k in itertools.product(*map(range, case.masks.shape[:2])):
        present = k == 0 or case.tags[b, k - 1] == 1
        expected = case.masks[b, k] if present else torch.full_like(case.masks[b, k], value)
        assert torch.equal(found[b, k], expected)


def test_absent_slots_of_other_tags_raise() -> None:
    with pytest.raises(ValueError, match=r"Expected `tags` to have shape \(1, 2\), but got \(1, 3\)"):
        mask_absent(torch.zeros(1, 3, 2, 2), torch.ones(1, 3))
