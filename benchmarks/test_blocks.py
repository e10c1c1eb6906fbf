"""Time of the blocks: recomposition, losses, a train step. Run with `pytest benchmarks/ --benchmark`.

The plain loop over the K slots, as the published notebooks have it, runs beside the vectorised form.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from einops import einsum
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from decomprec import Decomposition, DecompositionLoss, DecompositionSegmenter, FrozenGuide
from decomprec import functional as DF
from decomprec.models import resnet18_classifier

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH, SIZE = (64, 224) if DEVICE == "cuda" else (4, 224)


def measure(benchmark: BenchmarkFixture, step: Callable[[], Tensor], **sizes: int) -> None:
    """Time `step` with the device's queue emptied before the clock stops; check that it computed something."""
    benchmark.extra_info.update(sizes, device=torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu")
    benchmark.extra_info.update(torch=torch.__version__, threads=torch.get_num_threads())

    def synchronised() -> Tensor:
        result = step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return result

    result = benchmark.pedantic(synchronised, rounds=5, warmup_rounds=2)
    assert torch.isfinite(result).all()


def slots(num_classes: int) -> tuple[Tensor, Tensor]:
    masks = torch.rand(BATCH, num_classes, SIZE, SIZE, device=DEVICE).softmax(dim=1).requires_grad_()
    imagelets = torch.rand(BATCH, num_classes, 3, SIZE, SIZE, device=DEVICE, requires_grad=True)
    return masks, imagelets


def loop_over_slots(masks: Tensor, imagelets: Tensor) -> Tensor:
    reconstruction = torch.zeros_like(imagelets[:, 0])
    for k in range(masks.shape[1]):
        reconstruction = reconstruction + masks[:, k, None] * imagelets[:, k]
    return reconstruction


def contraction(masks: Tensor, imagelets: Tensor) -> Tensor:
    return einsum(masks, imagelets, "b k h w, b k c h w -> b c h w")


@pytest.mark.parametrize("num_classes", [2, 5, 21])
@pytest.mark.parametrize("how", [DF.recompose, contraction, loop_over_slots])
def test_recompose(benchmark: BenchmarkFixture, how: Callable[[Tensor, Tensor], Tensor], num_classes: int) -> None:
    masks, imagelets = slots(num_classes)

    def forward_backward() -> Tensor:
        masks.grad = imagelets.grad = None
        result = how(masks, imagelets)
        result.sum().backward()
        return result

    measure(benchmark, forward_backward, batch=BATCH, size=SIZE, num_classes=num_classes)


@pytest.mark.parametrize("num_classes", [2, 21])
def test_losses_without_guide(benchmark: BenchmarkFixture, num_classes: int) -> None:
    masks, imagelets = slots(num_classes)
    images = torch.rand(BATCH, 3, SIZE, SIZE, device=DEVICE)
    targets = DF.with_background(torch.ones(BATCH, num_classes - 1, device=DEVICE))

    def forward_backward() -> Tensor:
        masks.grad = imagelets.grad = None
        loss = DF.recon_loss(DF.recompose(masks, imagelets), images)
        loss = loss + DF.mask_loss(DF.mask_areas(masks), targets)
        loss.backward()
        return loss.detach()

    measure(benchmark, forward_backward, batch=BATCH, size=SIZE, num_classes=num_classes)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_overall_loss(benchmark: BenchmarkFixture, num_classes: int) -> None:
    """Eq. 7 with the paper's guide, forward and backward to the decomposition."""
    guide = FrozenGuide(resnet18_classifier(num_classes, weights=None)).to(DEVICE)
    objective = DecompositionLoss(guide)
    images = torch.rand(BATCH, 3, SIZE, SIZE, device=DEVICE)
    tags = torch.ones(BATCH, num_classes - 1, device=DEVICE)
    logits, imagelets = slots(num_classes)

    def forward_backward() -> Tensor:
        logits.grad = imagelets.grad = None
        total = objective(Decomposition(logits, imagelets), images, tags).total
        total.backward()
        return total.detach()

    measure(benchmark, forward_backward, batch=BATCH, size=SIZE, num_classes=num_classes)


@pytest.mark.parametrize("encoder", ["paper", "resnet18"])
def test_train_step(benchmark: BenchmarkFixture, encoder: str) -> None:
    """A step of Eq. 8 at the paper's setting: K = 2, 224 px, batch 4."""
    model: nn.Module = DecompositionSegmenter(2, encoder).to(DEVICE)
    objective = DecompositionLoss(FrozenGuide(resnet18_classifier(2, weights=None)).to(DEVICE))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    images = torch.rand(4, 3, 224, 224, device=DEVICE)
    tags = torch.tensor([[1.0], [0.0], [1.0], [0.0]], device=DEVICE)

    def step() -> Tensor:
        optimizer.zero_grad()
        total = objective(model(images), images, tags).total
        total.backward()
        optimizer.step()
        return total.detach()

    measure(benchmark, step, batch=4, size=224, num_classes=2)
