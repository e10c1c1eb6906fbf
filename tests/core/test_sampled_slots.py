"""L_cls on a few slots, or on a few at a time, is Eq. 6: exactly where it says so, else on average."""

import itertools
import math
from collections import Counter
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from decomprec import ClsLoss, Decomposition, FilledView, FrozenGuide, component_view
from decomprec import functional as DF
from decomprec.slots import choose_slots
from decomprec.views import blur_fill, mean_fill, noise_fill

SIZE = 4
ABSENT = st.sampled_from(["ignore", "reject"])
seeds = st.integers(0, 2**32)


class CountingGuide(nn.Module):
    """A smooth classifier that keeps the number of images of each call."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(3 * SIZE * SIZE, slots - 1)).double()
        self.shown: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.shown.append(len(images))
        return 5 * self.network(images)


class Case:
    def __init__(self, tags: Any, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.tags = torch.as_tensor(tags, dtype=torch.float64)
        batch, slots = len(self.tags), self.tags.shape[1] + 1
        self.guide = CountingGuide(slots)
        self.images = torch.rand(batch, 3, SIZE, SIZE, dtype=torch.float64)
        self.mask_logits = torch.randn(batch, slots, SIZE, SIZE, dtype=torch.float64, requires_grad=True)
        self.imagelets = torch.rand(batch, slots, 3, SIZE, SIZE, dtype=torch.float64, requires_grad=True)

    @property
    def out(self) -> Decomposition:
        return Decomposition(self.mask_logits, self.imagelets)

    def loss_and_gradients(self, loss: Any) -> tuple[Tensor, ...]:
        value = loss(self.out, self.images, self.tags)
        return value.detach(), *torch.autograd.grad(value, (self.mask_logits, self.imagelets))


@st.composite
def drawn_tags(draw: Any, largest: int = 5) -> list[list[int]]:
    classes = draw(st.integers(1, largest))
    row = st.lists(st.integers(0, 1), min_size=classes, max_size=classes)
    return draw(st.lists(row, min_size=1, max_size=3))


@given(drawn_tags(), ABSENT, seeds)
def test_all_absent_slots_are_the_full_loss(tags: Any, absent: Any, seed: int) -> None:
    case = Case(tags, seed)
    full = case.loss_and_gradients(ClsLoss(case.guide, absent))
    drawn = case.loss_and_gradients(ClsLoss(case.guide, absent, absent_slots=len(tags[0])))
    torch.testing.assert_close(drawn, full)


@given(drawn_tags(largest=4), st.integers(1, 3), ABSENT, seeds)
def test_mean_over_all_choices_is_the_full_loss(tags: Any, absent_slots: int, absent: Any, seed: int) -> None:
    """Every order of the random keys is as likely as any other: over all of them the mean is exact."""
    case = Case(tags, seed)
    full = case.loss_and_gradients(ClsLoss(case.guide, absent))
    orders = torch.tensor(list(itertools.permutations(range(len(tags[0])))), dtype=torch.float64) / len(tags[0])
    draws = []
    for order in orders:
        with mock.patch.object(torch, "rand", return_value=order.expand(len(tags), -1)):
            draws.append(case.loss_and_gradients(ClsLoss(case.guide, absent, absent_slots=absent_slots)))
    torch.testing.assert_close(tuple(torch.stack(parts).mean(dim=0) for parts in zip(*draws, strict=True)), full)


def test_mean_over_many_draws_is_the_full_loss() -> None:
    case = Case([[1, 0, 0, 0, 0], [0, 0, 1, 0, 1]])
    with torch.no_grad():
        full = ClsLoss(case.guide)(case.out, case.images, case.tags)
        loss = ClsLoss(case.guide, absent_slots=1)
        draws = torch.stack([loss(case.out, case.images, case.tags) for _ in range(300)])
    error = draws.std() / math.sqrt(len(draws))
    assert error > 0
    assert (draws.mean() - full).abs() < 4 * error


def test_all_choices_are_equally_likely() -> None:
    tags = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0]]).repeat(6000, 1)
    slots, weights = choose_slots(tags, torch.rand(tags.shape), absent_slots=2)
    assert slots[:, :2].unique(dim=0).tolist() == [[0, 2]]
    assert weights.unique(dim=0).tolist() == [[1, 1, 2, 2]]
    found = Counter(tuple(sorted(row)) for row in slots[:, 2:].tolist())
    assert set(found) == set(itertools.combinations([1, 3, 4, 5], 2))
    spread = math.sqrt(6000 * 1 / 6 * 5 / 6)
    assert all(abs(count - 1000) < 5 * spread for count in found.values())


@given(drawn_tags(largest=8), st.integers(1, 4), seeds)
def test_choice_has_what_it_says(tags: Any, absent_slots: int, seed: int) -> None:
    y = torch.tensor(tags)
    slots, weights = choose_slots(y, torch.rand(y.shape, generator=torch.Generator().manual_seed(seed)), absent_slots)
    lengths = []
    for row, chosen, weight in zip(tags, slots.tolist(), weights.tolist(), strict=True):
        number_absent = row.count(0)
        assert len(set(chosen)) == len(chosen)
        by_slot = {k: w for k, w in zip(chosen, weight, strict=True) if w}
        certain = {0, *(j + 1 for j, tag in enumerate(row) if tag)}
        assert {k for k in by_slot if k in certain} == certain
        assert all(by_slot[k] == 1 for k in certain)
        rest = [w for k, w in by_slot.items() if k not in certain]
        assert len(rest) == min(absent_slots, number_absent)
        assert rest == pytest.approx([number_absent / max(len(rest), 1)] * len(rest))
        lengths.append(len(by_slot))
    assert slots.shape == weights.shape == (len(tags), max(lengths))


def test_draws_follow_the_seed() -> None:
    case = Case([[0] * 9])
    loss = ClsLoss(case.guide, absent_slots=1)
    values = []
    for seed in (1, 1, 2, 3, 4, 5):
        torch.manual_seed(seed)
        values.append(loss(case.out, case.images, case.tags).item())
    assert values[0] == values[1]
    assert len(set(values)) > 2


def two_of_80() -> Tensor:
    tags = torch.zeros(2, 80)
    tags[0, [3, 50]] = tags[1, [7, 79]] = 1
    return tags


@pytest.mark.parametrize(
    ("tags", "absent_slots", "images"),
    [
        (two_of_80(), 1, 2 * 4),  # background, two classes, one absent
        (two_of_80(), None, 2 * 81),
        ([[0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [1, 0, 1, 0, 1]], 2, 3 + 4 + 6),  # no pass for what pads
        ([[1, 1], [0, 1]], 2, 3 + 3),  # fewer absent than asked for
    ],
)
def test_how_many_images_the_guide_is_shown(tags: Any, absent_slots: int | None, images: int) -> None:
    case = Case(tags)
    ClsLoss(case.guide, absent_slots=absent_slots)(case.out, case.images, case.tags)
    assert case.guide.shown == [images]


def test_gradients_reach_the_shown_slots_and_never_the_guide() -> None:
    case = Case([[1, 0, 0, 0, 0, 0]])
    guide = FrozenGuide(case.guide)
    ClsLoss(guide, absent_slots=2)(case.out, case.images, case.tags).backward()
    assert all(p.grad is None for p in case.guide.parameters())
    assert case.imagelets.grad is not None
    reached = case.imagelets.grad.abs().sum(dim=(2, 3, 4))[0] > 0
    assert reached[:2].all()
    assert reached.sum() == 4


@pytest.mark.parametrize("absent", ["ignore", "reject"])
@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("absent_slots", [None, 2])
def test_chunks_are_the_same_loss_with_the_guide_run_twice(absent: Any, chunk: int, absent_slots: int | None) -> None:
    case = Case([[1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]])
    view = FilledView("imagelets", [noise_fill])
    results, shown = [], []
    for size in (None, chunk):
        case.guide.shown.clear()
        torch.manual_seed(3)
        loss = ClsLoss(case.guide, absent, view, absent_slots=absent_slots, chunk=size)
        results.append(case.loss_and_gradients(loss))
        shown.append(list(case.guide.shown))
    torch.testing.assert_close(results[1], results[0])
    ((at_once,), chunked) = shown
    assert sum(chunked) == 2 * at_once
    assert max(chunked) == min(chunk, at_once)


@pytest.mark.parametrize("content", ["components", "imagelets", "stopped", "images"])
def test_views_of_some_slots_are_those_of_all(content: Any) -> None:
    case = Case(torch.zeros(2, 5))
    view: Any = component_view if content == "components" else FilledView(content, [blur_fill, noise_fill, mean_fill])
    slots = torch.tensor([[0, 4], [5, 2]])
    torch.manual_seed(0)
    some = view(case.out.select(slots), case.images)
    torch.manual_seed(0)
    every = view(case.out, case.images)
    torch.testing.assert_close(some, torch.stack([every[b, slots[b]] for b in range(2)]))


@pytest.mark.parametrize("content", ["imagelets", "images"])
def test_under_autocast(content: Any) -> None:
    guide = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 5))
    tags, images = torch.eye(3, 5), torch.rand(3, 3, SIZE, SIZE)
    out = Decomposition(torch.randn(3, 6, SIZE, SIZE).bfloat16(), torch.rand(3, 6, 3, SIZE, SIZE).bfloat16())
    view = FilledView(content, [mean_fill])
    with torch.autocast("cpu", torch.bfloat16):
        full, drawn = (ClsLoss(guide, view=view, absent_slots=n)(out, images, tags) for n in (None, 4))
    assert drawn.dtype == torch.float32
    torch.testing.assert_close(drawn, full)


@pytest.mark.parametrize("option", [{"chunk": 4}, {"absent_slots": 2}], ids=str)
def test_compiled(option: dict[str, int]) -> None:
    torch.compiler.reset()
    loss = ClsLoss(FrozenGuide(CountingGuide(6).network.float()), view=FilledView("imagelets", [mean_fill]), **option)
    # How many slots are drawn depends on the tags: that is the one graph break.
    compiled = torch.compile(loss, backend="aot_eager", fullgraph="chunk" in option)
    for tags in (torch.eye(3, 5), torch.ones(2, 5).triu()):
        case = Case(tags)
        parts = [t.detach().float().requires_grad_() for t in (case.mask_logits, case.imagelets)]
        results = []
        for call in (loss, compiled):
            torch.manual_seed(0)
            value = call(Decomposition(*parts), case.images.float(), tags)
            results.append((value, *torch.autograd.grad(value, parts)))
        torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize(("share", "shown"), [(0.5, 2), (0.25, 1), (0.01, 1), (0.9, 4)])
def test_mean_over_all_draws_of_images_is_the_full_loss(share: float, shown: int) -> None:
    case = Case([[1, 0], [0, 0], [1, 1], [0, 1]], seed=1)
    full = case.loss_and_gradients(ClsLoss(case.guide))
    case.guide.shown.clear()
    draws = []
    for order in itertools.permutations(range(4)):
        with mock.patch("torch.randperm", return_value=torch.tensor(order)):
            draws.append(case.loss_and_gradients(ClsLoss(case.guide, share=share)))
    assert set(case.guide.shown) == {3 * shown}
    for parts, expected in zip(zip(*draws, strict=True), full, strict=True):
        torch.testing.assert_close(torch.stack(parts).mean(dim=0), expected)


def test_images_are_drawn_anew_in_each_call() -> None:
    case = Case([[1, 0]] * 8)
    loss = ClsLoss(case.guide, share=0.25)
    values = {round(loss(case.out, case.images, case.tags).item(), 9) for _ in range(20)}
    assert len(values) > 5


OUT = Decomposition(torch.zeros(2, 3, SIZE, SIZE), torch.rand(2, 3, 3, SIZE, SIZE))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ClsLoss(nn.Identity(), absent_slots=0), "`absent_slots` to be at least 1, or None .* but got 0"),
        (lambda: ClsLoss(nn.Identity(), share=0), "`share` to be above 0 and at most 1, but got 0"),
        (lambda: ClsLoss(nn.Identity(), share=math.nan), "`share` to be above 0 and at most 1, but got nan"),
        (lambda: ClsLoss(nn.Identity(), chunk=-1), "`chunk` to be at least 1, or None .* but got -1"),
        (lambda: choose_slots(torch.ones(1, 2), torch.rand(1, 2), 0), "`absent_slots` to be at least 1, but got 0"),
        (lambda: choose_slots(torch.ones(1, 2), torch.rand(2), 1), r"`keys` to have shape \(1, 2\), but got \(2,\)"),
        (
            lambda: DF.cls_loss(torch.zeros(2, 3, 2), torch.ones(2, 2), weights=torch.ones(2)),
            r"`weights` to have shape \(2, 3\), but got \(2,\)",
        ),
        (
            lambda: DF.cls_loss(torch.zeros(2, 3, 2), torch.ones(2, 2), slots=torch.zeros(2, 1, dtype=torch.long)),
            r"`guide_logits` to have shape \(2, 1, 2\), but got \(2, 3, 2\)",
        ),
        (
            lambda: ClsLoss(nn.Identity(), view=lambda out, images: OUT.components, absent_slots=1)(
                OUT, torch.rand(2, 3, SIZE, SIZE), torch.zeros(2, 2)
            ),
            r"view to give images .* of the 2 slots .* but got \(2, 3, 3, 4, 4\); leave `absent_slots` None",
        ),
    ],
    ids=[
        "no absent slot",
        "no image",
        "no number",
        "negative chunk",
        "choose none",
        "keys",
        "weights",
        "slots",
        "view of all slots",
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
