"""The loss modules: Eq. 7 put together, its parts replaced, and its steps."""

from typing import Any

import pytest
import torch
from support import reference
from torch import Tensor, nn

from decomprec import ClsLoss, Decomposition, DecompositionLoss, FilledView, FrozenGuide, HingeAreaLoss, MaskLoss
from decomprec.views import mean_fill, noise_fill


@pytest.fixture
def out() -> Decomposition:
    return Decomposition(torch.randn(2, 3, 16, 16, requires_grad=True), torch.rand(2, 3, 3, 16, 16, requires_grad=True))


@pytest.mark.parametrize("absent", ["ignore", "reject"])
def test_overall_loss_is_eq_7(
    out: Decomposition, images: Tensor, tags: Tensor, guide: FrozenGuide, absent: Any
) -> None:
    terms = DecompositionLoss(lambda_mask=0.3, lambda_cls=0.7, cls_loss=ClsLoss(guide, absent=absent))(
        out, images, tags
    )
    masks, imagelets = reference.to_paper(out.masks.detach()), reference.to_paper(out.imagelets.detach())
    y = reference.tags_to_paper(tags)
    components = reference.components(masks, imagelets).float()
    logits = torch.stack([guide(components[b]) for b in range(len(images))])
    recon = reference.recon_loss(reference.recompose(masks, imagelets), images)
    mask = reference.mask_loss(reference.mask_areas(masks), y)
    cls = reference.cls_loss(logits, y, absent)
    got = {name: value.item() for name, value in terms.as_dict().items()}
    expected = {"total": recon + 0.3 * mask + 0.7 * cls, "recon": recon, "mask": mask, "cls": cls}
    assert got == pytest.approx(expected, rel=1e-4)


def test_default_weights_are_the_papers(guide: FrozenGuide) -> None:
    loss = DecompositionLoss(guide)
    assert (loss.lambda_mask, loss.lambda_cls) == (1e-3, 1e-3)


def test_a_guide_without_weight_is_not_asked(out: Decomposition, images: Tensor, tags: Tensor) -> None:
    def never(*args: Any) -> Tensor:
        raise AssertionError("asked")

    terms = DecompositionLoss(lambda_cls=0, cls_loss=never)(out, images, tags)
    assert terms.cls == 0
    torch.testing.assert_close(terms.total, terms.recon + 1e-3 * terms.mask)


def test_every_part_can_be_replaced(out: Decomposition, images: Tensor, tags: Tensor) -> None:
    seen: dict[str, tuple[Any, ...]] = {}

    def term(name: str, value: float) -> Any:
        def call(*args: Any) -> Tensor:
            seen[name] = args
            return torch.tensor(value)

        return call

    loss = DecompositionLoss(
        lambda_mask=10,
        lambda_cls=100,
        recon_loss=term("recon", 1.0),
        mask_loss=term("mask", 2.0),
        cls_loss=term("cls", 3.0),
        extra={"tv": (1000.0, term("tv", 4.0))},
    )
    terms = loss(out, images, tags)
    assert terms.as_dict() == {"total": 4321.0, "recon": 1.0, "mask": 2.0, "cls": 3.0, "tv": 4.0}
    assert seen["recon"] == (out.reconstruction, images)
    assert seen["mask"] == (out.areas, tags)
    assert seen["cls"] == seen["tv"] == (out, images, tags)


def test_known_areas_stand_in_for_the_tags(
    out: Decomposition, images: Tensor, tags: Tensor, guide: FrozenGuide
) -> None:
    known = torch.tensor([[0.6, 0.4, 0.0], [1.0, 0.0, 0.0]])
    loss = DecompositionLoss(guide)
    torch.testing.assert_close(loss(out, images, tags, areas=known).mask, MaskLoss()(out.areas, known))
    hinge = DecompositionLoss(guide, mask_loss=HingeAreaLoss())
    with pytest.raises(ValueError, match="`targets` to have shape"):
        hinge(out, images, tags, areas=known)


def test_modules_among_the_extra_terms_follow_to(guide: FrozenGuide) -> None:
    class Term(nn.Linear):
        def forward(self, *args: Any) -> Tensor:
            return self.weight.sum()

    term = Term(1, 1)
    DecompositionLoss(guide, extra={"term": (1.0, term)}).double()
    assert term.weight.dtype == torch.float64


def test_gradients_reach_both_branches(out: Decomposition, images: Tensor, tags: Tensor, guide: FrozenGuide) -> None:
    DecompositionLoss(guide)(out, images, tags).total.backward()
    for leaf in (out.mask_logits, out.imagelets):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert leaf.grad.abs().sum() > 0


@pytest.mark.parametrize("content", ["imagelets", "stopped", "images"])
@pytest.mark.parametrize("masks_dtype", [torch.float32, torch.bfloat16])
def test_under_autocast(
    images: Tensor, tags: Tensor, guide: FrozenGuide, content: Any, masks_dtype: torch.dtype
) -> None:
    """A model under autocast gives half-precision parts; the loss stays float32 and close."""
    logits, imagelets = torch.randn(2, 3, 16, 16), torch.rand(2, 3, 3, 16, 16)
    cls_loss = ClsLoss(guide, view=FilledView(content, [mean_fill]))
    loss = DecompositionLoss(cls_loss=cls_loss, lambda_mask=1, lambda_cls=1)
    exact = loss(Decomposition(logits, imagelets), images, tags)
    with torch.autocast("cpu", torch.bfloat16):
        cast = loss(Decomposition(logits.to(masks_dtype), imagelets.bfloat16()), images, tags)
    for name, value in cast.as_dict().items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact.as_dict()[name].item(), rel=2e-2)


def test_minimising_the_overall_loss_minimises_it(images: Tensor, tags: Tensor, guide: FrozenGuide) -> None:
    logits, imagelets = nn.Parameter(torch.zeros(2, 3, 16, 16)), nn.Parameter(torch.zeros(2, 3, 3, 16, 16))
    loss = DecompositionLoss(cls_loss=ClsLoss(guide, view=FilledView("imagelets", [mean_fill, noise_fill])))
    optimiser = torch.optim.Adam([logits, imagelets], lr=0.5)
    history = []
    for _ in range(20):
        terms = loss(Decomposition(logits, imagelets.sigmoid()), images, tags)
        optimiser.zero_grad()
        terms.total.backward()
        optimiser.step()
        history.append(terms.recon.item())
    assert history[-1] < 0.1 * history[0]
