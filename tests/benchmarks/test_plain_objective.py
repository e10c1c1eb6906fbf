"""The plain loops of the benchmarks compute what the library computes: an independent check of both."""

from itertools import product

import pytest
import torch
from benchmarks.speed import plain_objective
from torch import Tensor

from decomprec import Decomposition, DecompositionLoss, FrozenGuide
from decomprec import functional as DF


def case(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, image-lets and images in float64, K = 3 (the fixture's guide has two classes)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=generator).requires_grad_()
    imagelets = torch.rand(4, 3, 3, 8, 8, dtype=torch.float64, generator=generator).requires_grad_()
    return logits, imagelets, torch.rand(4, 3, 8, 8, dtype=torch.float64, generator=generator)


ALL_TAGS = torch.tensor(list(product((0.0, 1.0), repeat=2)), dtype=torch.float64)
EXACT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.mark.parametrize(("lambda_m", "lambda_c"), [(1e-3, 1e-3), (0.7, 0.0), (0.0, 2.0)])
def test_objective_and_its_gradients(guide: FrozenGuide, lambda_m: float, lambda_c: float) -> None:
    logits, imagelets, images = case()
    guide = guide.double()
    plain = plain_objective.objective(logits, imagelets, images, ALL_TAGS, guide, lambda_m, lambda_c)
    ours = DecompositionLoss(guide, lambda_m, lambda_c)(Decomposition(logits, imagelets), images, ALL_TAGS).total
    torch.testing.assert_close(plain, ours, **EXACT)
    leaves = (logits, imagelets)
    for one, other in zip(torch.autograd.grad(plain, leaves), torch.autograd.grad(ours, leaves), strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, **EXACT)


def test_terms(guide: FrozenGuide) -> None:
    logits, imagelets, images = case()
    guide = guide.double()
    terms = DecompositionLoss(guide)(Decomposition(logits, imagelets), images, ALL_TAGS)
    masks = logits.softmax(dim=1)
    torch.testing.assert_close(plain_objective.recompose(masks, imagelets), DF.recompose(masks, imagelets), **EXACT)
    recon = plain_objective.recon_loss(plain_objective.recompose(masks, imagelets), images)
    torch.testing.assert_close(recon, terms.recon, **EXACT)
    torch.testing.assert_close(plain_objective.mask_loss(masks, ALL_TAGS), terms.mask, **EXACT)
    torch.testing.assert_close(plain_objective.cls_loss(masks, imagelets, ALL_TAGS, guide), terms.cls, **EXACT)
