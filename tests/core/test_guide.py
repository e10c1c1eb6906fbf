"""The guide stays frozen in every use, and sees what the views say."""

import copy
import io
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import Normalize

from decomprec import ClsLoss, Decomposition, DecompositionLoss, DecompositionSegmenter, FilledView, FrozenGuide
from decomprec.views import black_fill, blur_fill, component_view, mean_fill, noise_fill

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


class Parent(nn.Module):
    def __init__(self, guide: FrozenGuide) -> None:
        super().__init__()
        self.own = nn.Conv2d(3, 9 + 3, 1)
        self.loss = DecompositionLoss(guide)

    def forward(self, images: Tensor, tags: Tensor) -> Tensor:
        parts = self.own(images)
        out = Decomposition(parts[:, :3], parts[:, 3:].sigmoid().unflatten(1, (3, 3)))
        return self.loss(out, images, tags).total


def state(classifier: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(classifier.state_dict())


def test_normalises_like_torchvision(classifier: nn.Module, guide: FrozenGuide, images: Tensor) -> None:
    expected = classifier.eval()(Normalize(MEAN, STD)(images))
    torch.testing.assert_close(guide(images), expected)


def test_training_step_leaves_the_guide_as_it_was(
    classifier: nn.Module, guide: FrozenGuide, images: Tensor, tags: Tensor
) -> None:
    parent = Parent(guide).train()
    before, judged = state(classifier), guide(images)
    assert [name for name, _ in parent.named_parameters()] == ["own.weight", "own.bias"]
    optimiser = torch.optim.SGD(parent.parameters(), lr=1.0, weight_decay=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        parent(images, tags).backward()
        optimiser.step()
    assert not any(module.training for module in classifier.modules())
    assert all(not p.requires_grad and p.grad is None for p in classifier.parameters())
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(guide(images), judged)  # no dropout either


def test_no_checkpoint_holds_the_guide(guide: FrozenGuide) -> None:
    parent = Parent(guide)
    assert list(parent.state_dict()) == ["own.weight", "own.bias"]
    other = Parent(FrozenGuide(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))))
    other.load_state_dict(parent.state_dict(), strict=True)


@pytest.mark.parametrize("mode", [True, False])
def test_train_and_eval_do_not_wake_it(classifier: nn.Module, guide: FrozenGuide, mode: bool) -> None:
    assert guide.train(mode) is guide
    assert not guide.training
    assert not classifier.training


def test_follows_to(classifier: nn.Module, guide: FrozenGuide, images: Tensor) -> None:
    judged = guide(images)
    Parent(guide).to(torch.float64)
    assert guide.mean.dtype == next(classifier.parameters()).dtype == torch.float64
    torch.testing.assert_close(guide(images.double()), judged.double())
    assert next(guide.to("meta").module.parameters()).is_meta


def test_a_copy_is_a_frozen_guide_of_its_own(classifier: nn.Module, guide: FrozenGuide, images: Tensor) -> None:
    copied = copy.deepcopy(guide)
    file = io.BytesIO()
    torch.save(guide, file)
    file.seek(0)
    judged = guide(images)
    for other in (copied, torch.load(file, weights_only=False)):
        assert other.module is not classifier
        assert not any(module.training for module in other.train().module.modules())
        assert torch.equal(other(images), judged)
    nn.init.zeros_(classifier[-1].weight)
    assert torch.equal(copied(images), judged)


def test_gradient_flows_to_the_images_and_not_to_the_weights(
    classifier: nn.Module, guide: FrozenGuide, images: Tensor
) -> None:
    images.requires_grad_()
    guide(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None for p in classifier.parameters())


def test_gradient_to_the_images_is_the_classifiers(classifier: nn.Module, guide: FrozenGuide) -> None:
    guide.double()
    images = torch.rand(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(guide, (images,))


@pytest.fixture
def out() -> Decomposition:
    return Decomposition(torch.randn(2, 3, 16, 16, requires_grad=True), torch.rand(2, 3, 3, 16, 16, requires_grad=True))


def white_fill(images: Tensor) -> Tensor:
    return torch.ones_like(images)


def test_component_view_shows_the_components(out: Decomposition, images: Tensor) -> None:
    assert component_view(out, images) is out.components
    black = FilledView("imagelets", [black_fill])(out, images)
    torch.testing.assert_close(black, out.components)


@pytest.mark.parametrize("fill", [black_fill, mean_fill, blur_fill, white_fill])
@pytest.mark.parametrize("content", ["imagelets", "stopped", "images"])
def test_filled_view_is_its_loops(out: Decomposition, images: Tensor, content: Any, fill: Any) -> None:
    shown, outside = FilledView(content, [fill])(out, images), fill(images)
    rng = random.Random(0)
    for _ in range(200):
        b, k, c, h, w = (rng.randrange(n) for n in shown.shape)
        inside = images[b, c, h, w] if content == "images" else out.imagelets[b, k, c, h, w]
        m = out.masks[b, k, h, w]
        torch.testing.assert_close(shown[b, k, c, h, w], m * inside + (1 - m) * outside[b, c, h, w])


@pytest.mark.parametrize(("content", "reaches"), [("imagelets", True), ("stopped", False), ("images", False)])
def test_which_contents_let_the_guide_push_the_imagelets(
    out: Decomposition, images: Tensor, tags: Tensor, guide: FrozenGuide, content: Any, reaches: bool
) -> None:
    ClsLoss(guide, view=FilledView(content, [mean_fill]))(out, images, tags).backward()
    assert out.mask_logits.grad is not None
    assert out.mask_logits.grad.abs().sum() > 0
    assert (out.imagelets.grad is not None) == reaches


def test_random_fills_vary_and_fixed_ones_do_not(images: Tensor) -> None:
    out = Decomposition(torch.zeros(2, 3, 16, 16), torch.rand(2, 3, 3, 16, 16))
    noise = FilledView("images", [noise_fill])
    assert not torch.equal(noise(out, images), noise(out, images))
    either = FilledView("images", [black_fill, white_fill])
    drawn = [either(out, images).mean().item() for _ in range(40)]
    on_black = images.mean().item() / 3  # of K = 3 equal masks, two thirds show the fill
    assert {round(v, 3) for v in drawn} == {round(on_black, 3), round(on_black + 2 / 3, 3)}  # never a blend
    torch.manual_seed(1)
    first = noise(out, images)
    torch.manual_seed(1)
    assert torch.equal(noise(out, images), first)


@pytest.mark.parametrize("fill", [black_fill, mean_fill, noise_fill, blur_fill])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (16, 16)])
def test_fills_are_images(fill: Any, size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size)
    filled = fill(images)
    assert filled.shape == images.shape
    assert filled.min() >= 0
    assert filled.max() <= 1


def test_mean_fill_is_each_images_own_colour(images: Tensor) -> None:
    torch.testing.assert_close(mean_fill(images)[1, 2, 3, 4], images[1, 2].mean())


def test_blur_keeps_colours_and_loses_objects() -> None:
    images = torch.full((1, 3, 32, 32), 0.25)
    images[..., 12:16, 12:16] = 1
    blurred = blur_fill(images)
    torch.testing.assert_close(blurred.mean(), images.mean(), atol=0.02, rtol=0)
    assert blurred.max() < 0.5


def test_noise_fill_is_a_colour_with_noise_of_a_quarter() -> None:
    filled = noise_fill(torch.zeros(50, 3, 8, 8))
    assert (filled.amax(dim=(-2, -1)) - filled.amin(dim=(-2, -1))).max() <= 0.5
    assert filled.mean(dim=(-2, -1)).std() > 0.1


def test_segmenter_with_a_guide_beside_it_saves_without_it(guide: FrozenGuide) -> None:
    both = nn.ModuleDict({"model": DecompositionSegmenter(3), "loss": DecompositionLoss(guide)})
    assert all(name.startswith("model.") for name in both.state_dict())
