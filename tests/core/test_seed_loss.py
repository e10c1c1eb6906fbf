"""The loss against seeds: cross-entropy and Dice over the pixels that are known."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from segmentation_models_pytorch.losses import DiceLoss
from torch import Tensor

from decomprec.seeds import class_weights, seed_loss

NOTHING = 255
LOW, HIGH = -30.0, 30.0


def drawn(batch: int = 3, slots: int = 4, size: tuple[int, int] = (5, 6), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits in float64, and labels of which about a third are no slot, some below 0 and some above K-1."""
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, slots, *size, generator=g, dtype=torch.float64)
    return logits, torch.randint(-1, slots + 1, (batch, *size), generator=g)


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def by_hand(logits: Tensor, seeds: Tensor) -> tuple[float, float]:
    """Cross-entropy and Dice loss in plain loops."""
    batch, slots, height, width = logits.shape
    surprises, dice = [], []
    for b in range(batch):
        overlap, of_mask, of_seeds = ([0.0] * slots for _ in range(3))
        shown = [k for k in range(slots) if k == 0 or (seeds[b] == k).any()]
        for y in range(height):
            for x in range(width):
                label = int(seeds[b, y, x])
                if not 0 <= label < slots:
                    continue
                masks = softmax([float(logits[b, k, y, x]) for k in range(slots)])
                surprises.append(-math.log(masks[label]))
                among = dict(zip(shown, softmax([float(logits[b, k, y, x]) for k in shown]), strict=True))
                overlap[label] += among[label]
                of_seeds[label] += 1
                for k in shown:
                    of_mask[k] += among[k]
        dice += [1 - 2 * overlap[k] / (of_mask[k] + of_seeds[k]) for k in range(1, slots) if of_seeds[k]]
    mean = [sum(values) / len(values) if values else 0.0 for values in (surprises, dice)]
    return mean[0], mean[1]


def dice_of(logits: Tensor, seeds: Tensor) -> Tensor:
    """What the loss has beyond the cross-entropy."""
    return seed_loss(logits, seeds) - F.cross_entropy(logits, only_known(logits, seeds), ignore_index=-100)


def only_known(logits: Tensor, seeds: Tensor) -> Tensor:
    return seeds.where((seeds >= 0) & (seeds < logits.shape[1]), -100).long()


def decided(labels: Tensor, slots: int) -> Tensor:
    """Logits of masks that are all but 0 and 1."""
    return torch.where(F.one_hot(labels, slots).movedim(-1, 1) == 1, HIGH, LOW).double()


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_equation_in_plain_loops(seed: int) -> None:
    logits, seeds = drawn(seed=seed)
    seeds[1][seeds[1] == 2] = NOTHING  # a class that one image does not show
    seeds[2] = 0  # background only
    assert seed_loss(logits, seeds).item() == pytest.approx(sum(by_hand(logits, seeds)), rel=1e-9)


def test_an_image_without_seeds_adds_nothing() -> None:
    logits, seeds = drawn(batch=2)
    seeds[1] = NOTHING
    torch.testing.assert_close(seed_loss(logits, seeds), seed_loss(logits[:1], seeds[:1]))


def test_logits_of_unknown_pixels_count_nothing_and_get_no_gradient() -> None:
    logits, seeds = drawn()
    unknown = ((seeds < 0) | (seeds >= 4)).unsqueeze(1).expand_as(logits)
    assert unknown.any()
    leaf = torch.where(unknown, 7 * torch.randn_like(logits), logits).requires_grad_()
    loss = seed_loss(leaf, seeds)
    torch.testing.assert_close(loss, seed_loss(logits, seeds))
    loss.backward()
    assert leaf.grad is not None
    assert not leaf.grad[unknown].any()
    assert leaf.grad[~unknown].all()


@pytest.mark.parametrize("seeds", [torch.full((2, 4, 4), NOTHING, dtype=torch.uint8), -torch.ones(2, 4, 4).short()])
def test_without_a_known_pixel_it_is_zero(seeds: Tensor) -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    value = seed_loss(logits, seeds)
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_small_class_weighs_as_much_as_one_twice_as_large() -> None:
    """Of two classes with no mask at all, either one drawn well takes half of the Dice loss away."""
    seeds = torch.zeros(1, 6, 6, dtype=torch.long)
    seeds[0, 0, :2] = 1
    seeds[0, 2, :4] = 2
    background = torch.zeros_like(seeds)
    assert dice_of(decided(background, 3), seeds).item() == pytest.approx(1)
    for label in (1, 2):
        half = decided(torch.where(seeds == label, label, background), 3)
        assert dice_of(half, seeds).item() == pytest.approx(0.5)


def test_perfect_masks_cost_nothing_and_those_that_miss_everything_one() -> None:
    _, seeds = drawn()
    labels = seeds.where((seeds >= 0) & (seeds < 4), 0)
    assert seed_loss(decided(labels, 4), labels).item() == pytest.approx(0, abs=1e-9)
    # Unknown pixels may be anything.
    assert seed_loss(decided(labels, 4), seeds).item() == pytest.approx(0, abs=1e-9)
    assert dice_of(decided(torch.where(labels > 0, labels % 3 + 1, 0), 4), labels).item() == pytest.approx(1)


def test_classes_that_no_seed_shows_are_left_to_the_cross_entropy() -> None:
    logits, _ = drawn()
    value = seed_loss(logits, torch.zeros(3, 5, 6, dtype=torch.uint8))
    torch.testing.assert_close(value, -logits.log_softmax(dim=1)[:, 0].mean())


def test_the_order_of_images_pixels_and_classes_does_not_count() -> None:
    logits, seeds = drawn()
    value = seed_loss(logits, seeds)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(seed_loss(logits[order], seeds[order]), value)
    torch.testing.assert_close(seed_loss(logits.flip(2, 3), seeds.flip(1, 2)), value)
    renamed = torch.tensor([0, 3, 1, 2])  # of the old class j
    labels = torch.where((seeds >= 0) & (seeds < 4), renamed[seeds.clamp(0, 3)], seeds)
    torch.testing.assert_close(seed_loss(logits[:, renamed.argsort()], labels), value)


def test_a_rare_class_learns_its_place_although_another_one_always_wins() -> None:
    """Of an image with class 1 alone, in whose place class 2 wins, the Dice loss sees class 1 and the background."""
    seeds = torch.zeros(1, 4, 4, dtype=torch.long)
    seeds[0, 1, :3] = 1
    logits = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    without, wins = logits.clone(), logits.clone()
    without[:, 2], wins[:, 2] = -1e6, 20.0
    torch.testing.assert_close(dice_of(wins, seeds), dice_of(without, seeds))
    wins.requires_grad_()
    (gradient,) = torch.autograd.grad(dice_of(wins, seeds), wins)
    assert (gradient[0, 1, 1, :3] < -1e-3).all()  # it grows where the seeds say so
    assert not gradient[0, 2].any()


def test_its_gradient_is_that_of_differences() -> None:
    logits, seeds = drawn(batch=2, slots=3, size=(2, 3))
    seeds[1] = NOTHING
    assert torch.autograd.gradcheck(lambda x: seed_loss(x, seeds), logits.requires_grad_())


def test_for_one_image_and_one_class_it_is_the_dice_loss_of_smp() -> None:
    logits, seeds = drawn(batch=1, slots=2)
    assert set(seeds.unique().tolist()) == {-1, 0, 1, 2}
    seeds = seeds.where(seeds >= 0, 2)
    # A softmax over two slots is a sigmoid of their difference.
    peer = DiceLoss("binary", smooth=0, ignore_index=2)(logits[:, 1:] - logits[:, :1], seeds.unsqueeze(1))
    torch.testing.assert_close(dice_of(logits, seeds), peer)


def test_for_one_image_it_is_the_multiclass_dice_loss_of_smp() -> None:
    logits, seeds = drawn(batch=1)
    seeds = seeds.clamp(0, 3)
    assert set(seeds.unique().tolist()) == {0, 1, 2, 3}
    peer = DiceLoss("multiclass", classes=[1, 2, 3], smooth=0)(logits, seeds)
    torch.testing.assert_close(dice_of(logits, seeds), peer)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_full(dtype: torch.dtype) -> None:
    """90,000 pixels are more than float16 can count."""
    logits = torch.zeros(1, 2, 300, 300, dtype=dtype)
    value = seed_loss(logits, torch.ones(1, 300, 300, dtype=torch.uint8))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(math.log(2) + 1 / 3, rel=1e-5)


def test_seeds_of_another_size_raise() -> None:
    with pytest.raises(ValueError, match="`seeds` to have shape"):
        seed_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 5).long())


def test_weights_are_those_of_a_weighted_cross_entropy() -> None:
    logits, seeds = drawn()
    weights = torch.tensor([1.0, 0.3, 4.0, 2.0], dtype=torch.float64)
    by_library = F.cross_entropy(logits, only_known(logits, seeds), weight=weights, ignore_index=-100)
    torch.testing.assert_close(seed_loss(logits, seeds, weights), by_library + dice_of(logits, seeds))


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=8), st.floats(1, 100))
def test_balanced_classes_weigh_alike(counts: list[int], most: float) -> None:
    weights = class_weights(torch.tensor(counts, dtype=torch.float64), most).tolist()
    assert weights[0] == 1
    seen = [(count, weight) for count, weight in zip(counts[1:], weights[1:], strict=True) if count]
    assert all(weight == 1 for count, weight in zip(counts[1:], weights[1:], strict=True) if not count)
    mean = sum(count for count, _ in seen) / max(1, len(seen))
    for count, weight in seen:
        assert weight == pytest.approx(min(max(mean / count, 1 / most), most))
    free = [count * weight for count, weight in seen if 1 / most < weight < most]
    assert free == pytest.approx([mean] * len(free))


@pytest.mark.parametrize(("counts", "most"), [([[1, 2]], 5.0), ([1, 2], 0.5), ([1, 2], math.nan)])
def test_weights_of_nonsense_are_refused(counts: list[int], most: float) -> None:
    with pytest.raises(ValueError, match=r"Expected counts \(K,\)"):
        class_weights(torch.tensor(counts), most)
