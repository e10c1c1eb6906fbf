"""No graph breaks: torch.compile(fullgraph=True) and torch.export give what eager code gives."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from decomprec import ClsLoss, Decomposition, DecompositionLoss, DecompositionSegmenter, FilledView, FrozenGuide
from decomprec import functional as DF
from decomprec.priors import EdgeAwareSmoothness, HingeAreaLoss
from decomprec.views import blur_fill, mean_fill, noise_fill


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch.compiler.reset()


def decompose(batch: int, size: int) -> Decomposition:
    return Decomposition(
        torch.randn(batch, 3, size, size, requires_grad=True), torch.rand(batch, 3, 3, size, size, requires_grad=True)
    )


def parts(batch: int, size: int) -> dict[str, Tensor]:
    out = decompose(batch, size)
    return {
        "masks": out.masks.detach(),
        "imagelets": out.imagelets.detach(),
        "images": torch.rand(batch, 3, size, size),
        "areas": out.areas.detach(),
        "logits": torch.randn(batch, 3, 2),
        "tags": torch.randint(0, 2, (batch, 2)).float(),
    }


FUNCTIONS: dict[str, Any] = {
    "components": lambda p: DF.components(p["masks"], p["imagelets"]),
    "recompose": lambda p: DF.recompose(p["masks"], p["imagelets"]),
    "recon_loss": lambda p: DF.recon_loss(p["imagelets"][:, 0], p["images"]),
    "mask_areas": lambda p: DF.mask_areas(p["masks"]),
    "mask_loss": lambda p: DF.mask_loss(p["areas"], DF.with_background(p["tags"])),
    "cls_loss": lambda p: DF.cls_loss(p["logits"], p["tags"]),
    "cls_loss reject": lambda p: DF.cls_loss(p["logits"], p["tags"], absent="reject"),
    "guide_loss": lambda p: DF.guide_loss(p["logits"][:, 0], p["tags"]),
}


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, dynamic: bool) -> None:
    compiled = torch.compile(FUNCTIONS[name], backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for batch, size in ((2, 4), (3, 7)):
        case = parts(batch, size)
        torch.testing.assert_close(compiled(case), FUNCTIONS[name](case))


@pytest.mark.parametrize(("view", "dynamic"), [("paper", False), ("filled", True)])
def test_overall_loss_and_its_gradients(guide: FrozenGuide, view: str, dynamic: bool) -> None:
    if view == "paper":
        loss = DecompositionLoss(guide, 1.0, 1.0)
    else:
        loss = DecompositionLoss(
            cls_loss=ClsLoss(guide, "reject", FilledView("stopped", [mean_fill, blur_fill])),
            mask_loss=HingeAreaLoss(),
            extra={"smooth": (0.1, EdgeAwareSmoothness())},
        )
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for batch, size in ((2, 8), (3, 12)):
        out, images, tags = decompose(batch, size), torch.rand(batch, 3, size, size), parts(batch, size)["tags"]
        results = []
        for call in (loss, compiled):
            torch.manual_seed(0)  # the fills' draw
            fresh = Decomposition(out.mask_logits, out.imagelets)
            terms = call(fresh, images, tags)
            leaves = (out.mask_logits, out.imagelets)
            results.append((terms.as_dict(), torch.autograd.grad(terms.total, leaves, allow_unused=True)))
        torch.testing.assert_close(results[1], results[0])


def test_random_fills_compile(guide: FrozenGuide, images: Tensor, tags: Tensor) -> None:
    loss = torch.compile(
        ClsLoss(guide, view=FilledView("images", [noise_fill, mean_fill])), backend="aot_eager", fullgraph=True
    )
    out = decompose(2, 16)
    values = {round(loss(Decomposition(out.mask_logits, out.imagelets), images, tags).item(), 6) for _ in range(8)}
    assert len(values) > 1  # the draw is not baked in


@pytest.mark.parametrize(("dynamic", "sizes"), [(False, [(21, 32)]), (True, [(16, 16), (21, 32)])])
def test_segmenter(dynamic: bool, sizes: list[tuple[int, int]]) -> None:
    model = DecompositionSegmenter(3).eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=dynamic)
    with torch.no_grad():
        for size in sizes:
            images = torch.rand(2, 3, *size)
            assert_same(compiled(images), model(images))


@pytest.mark.parametrize("encoder", ["paper", "resnet18"])
def test_export(encoder: str) -> None:
    model = DecompositionSegmenter(2, encoder).eval()
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(model, (torch.rand(2, 3, 21, 32),), dynamic_shapes=shapes).module()
    with torch.no_grad():
        for batch in (2, 3):
            images = torch.rand(batch, 3, 21, 32)
            out = exported(images)
            assert isinstance(out, Decomposition)
            assert_same(out, model(images))


def test_compiled_code_does_not_check_values(images: Tensor) -> None:
    """Looking at values would break the graph: shapes are still checked, ranges are not."""

    class Identity(nn.Module):
        out_channels, strides = (3,), (1,)

        def forward(self, images: Tensor) -> list[Tensor]:
            return [images]

    class Repeat(nn.Module):
        def __init__(self, times: int) -> None:
            super().__init__()
            self.times = times

        def forward(self, features: list[Tensor]) -> Tensor:
            return features[0][:, :1].repeat(1, self.times, 1, 1)

    model = DecompositionSegmenter(2, Identity(), mask_decoder=Repeat(2), image_decoder=Repeat(6))
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert compiled(2 * images + 1).masks.isfinite().all()
    with pytest.raises(ValueError, match="lie in"):
        model(2 * images + 1)


def assert_same(got: Decomposition, expected: Decomposition) -> None:
    torch.testing.assert_close(got.mask_logits, expected.mask_logits)
    torch.testing.assert_close(got.imagelets, expected.imagelets)
    torch.testing.assert_close(got.reconstruction, expected.reconstruction)
