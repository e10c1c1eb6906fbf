"""Checks for custom components: every component of the library passes, and a check leaves no trace."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2.functional import to_pil_image

import decomprec.views
from decomprec import (
    ClsLoss,
    Decomposition,
    FilledView,
    FrozenGuide,
    HingeAreaLoss,
    MaskLoss,
    ReconLoss,
    component_view,
)
from decomprec import testing as check
from decomprec.data import SyntheticScenes, TaggedCSV, TaggedFolder, TaggedRows
from decomprec.evidence import EvidenceMasks
from decomprec.models import (
    PaperDecoder,
    PaperEncoder,
    PooledClassifier,
    SmallEncoder,
    TimmEncoder,
    UnetDecoder,
)
from decomprec.priors import EdgeAwareSmoothness
from decomprec.refine import guided_filter, pamr
from decomprec.seeds import seed_loss
from decomprec.views import mean_fill, noise_fill


def small_classifier(num_classes: int = 3, standardise: bool = False) -> PooledClassifier:
    return PooledClassifier(SmallEncoder((4, 8)), num_classes, standardise=standardise)


def small_guide(num_classes: int = 3) -> FrozenGuide:
    return FrozenGuide(small_classifier(num_classes))


def seeds_of_evidence(evidence: EvidenceMasks, out: Decomposition, images: Tensor, tags: Tensor) -> Tensor:
    return seed_loss(out.mask_logits, evidence.seeds(images, tags))


FILLS = [fill for name, fill in inspect.getmembers(decomprec.views, inspect.isfunction) if name.endswith("_fill")]
GUIDES: dict[str, Callable[[], Any]] = {
    "small": small_guide,
    "standardised": lambda: FrozenGuide(small_classifier(standardise=True)),
    "paper": lambda: FrozenGuide(PooledClassifier("resnet18", num_classes=3)),
    "frozen by hand": lambda: nn.Sequential(nn.Conv2d(3, 2, 1), nn.AvgPool2d(64), nn.Flatten()).requires_grad_(False),
    "committee": lambda: partial(lambda guides, x: torch.stack([g(x) for g in guides]).mean(0), [small_guide()] * 2),
}
ENCODERS: dict[str, Callable[[], Any]] = {
    "paper": PaperEncoder,
    "small": SmallEncoder,
    "resnet": lambda: TimmEncoder("resnet18"),
    "vit": lambda: TimmEncoder("vit_tiny_patch16_224"),
}
EXTRAS: dict[str, Callable[[], Any]] = {
    "smoothness": EdgeAwareSmoothness,
    "cls": lambda: ClsLoss(small_guide(4)),
    "cls, reject": lambda: ClsLoss(small_guide(4), "reject"),
    "cls, own pixels": lambda: ClsLoss(small_guide(4), view=FilledView("images", [noise_fill, mean_fill])),
    "cls, sampled": lambda: ClsLoss(small_guide(4), absent_slots=1),
    "cls, in parts": lambda: ClsLoss(small_guide(4), chunk=2),
    "seeds": lambda: partial(seeds_of_evidence, EvidenceMasks(small_classifier(4, standardise=True).eval())),
}


def named(parts: dict[str, Callable[[], Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("build", [pytest.param(build, id=name) for name, build in parts.items()])


@named(GUIDES)
def test_guides_of_the_library_fit(build: Callable[[], Any]) -> None:
    sizes = ((64, 64),) if isinstance(guide := build(), nn.Sequential) else ((64, 64), (64, 96))
    check.check_guide(guide, num_classes=3, sizes=sizes)


@pytest.mark.parametrize("content", ["imagelets", "stopped", "images"])
def test_filled_views_of_the_library_fit(content: Any) -> None:
    check.check_view(FilledView(content, FILLS), some_slots=True)
    check.check_view(FilledView(content, [lambda images: images.roll(1, dims=0)]), some_slots=True)


def test_view_of_the_paper_fits() -> None:
    check.check_view(component_view, some_slots=True)


@pytest.mark.parametrize("fill", FILLS)
def test_fills_of_the_library_fit(fill: Any) -> None:
    check.check_fill(fill)


@pytest.mark.parametrize("loss", [ReconLoss(), F.l1_loss, F.mse_loss, F.smooth_l1_loss])
def test_recon_losses_fit(loss: Any) -> None:
    check.check_recon_loss(loss)


@pytest.mark.parametrize("loss", [MaskLoss(), HingeAreaLoss()])
@pytest.mark.parametrize("num_classes", [3, 6])
def test_mask_losses_of_the_library_fit(loss: Any, num_classes: int) -> None:
    check.check_mask_loss(loss, num_classes)


@named(EXTRAS)
def test_extra_losses_of_the_library_fit(build: Callable[[], Any]) -> None:
    check.check_extra_loss(build())


@named(ENCODERS)
def test_encoders_of_the_library_fit(build: Callable[[], Any]) -> None:
    check.check_encoder(build())


@pytest.mark.parametrize("out_channels", [3, 9])
def test_decoders_of_the_library_fit(out_channels: int) -> None:
    check.check_decoder(PaperDecoder(out_channels), PaperEncoder(), out_channels)
    check.check_decoder(UnetDecoder((4, 8), out_channels), SmallEncoder((4, 8)), out_channels)


@pytest.mark.parametrize("refine", [guided_filter, pamr, partial(pamr, iterations=2, dilations=(1, 2))])
def test_refinements_of_the_library_fit(refine: Any) -> None:
    check.check_refinement(refine, num_classes=3)


def test_datasets_of_the_library_fit(tmp_path: Path) -> None:
    scenes = SyntheticScenes(6, num_classes=2, size=16, masks=True)
    for i, item in enumerate(scenes):
        mask = torch.full((1, 16, 16), i % 2, dtype=torch.uint8)
        for folder, values in (("train/dog" if i % 2 else "train/other", item["image"]), ("train_masks", mask)):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            to_pil_image(values).save(tmp_path / folder / f"{i}.png")
    (tmp_path / "tags.csv").write_text("image,split,tags\n" + "".join(f"dog/{i},train,dog cat\n" for i in (1, 3, 5)))
    rows = [{"image": to_pil_image(item["image"]), "tags": ["dog"]} for item in scenes]
    for dataset in (
        scenes,
        SyntheticScenes(1, size=16),
        TaggedFolder(tmp_path, "train", masks=True),
        TaggedFolder(tmp_path, "train"),
        TaggedCSV(tmp_path / "tags.csv", images=tmp_path / "train"),
        TaggedRows(rows),
    ):
        check.check_dataset(dataset)


def test_a_check_leaves_no_trace() -> None:
    classifier = small_classifier(4, standardise=True)
    loss = ClsLoss(FrozenGuide(classifier))
    encoder = SmallEncoder((4, 8)).train()
    before = [value.clone() for module in (classifier, encoder) for value in module.state_dict().values()]
    decoder = UnetDecoder((4, 8), 3)
    state = torch.get_rng_state()
    check.check_guide(loss.guide, num_classes=4)
    check.check_extra_loss(loss)
    check.check_encoder(encoder)
    check.check_decoder(decoder, encoder, 3)
    after = [value for module in (classifier, encoder) for value in module.state_dict().values()]
    assert all(map(torch.equal, before, after))
    assert all(parameter.grad is None for module in (classifier, encoder) for parameter in module.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert encoder.training
    assert loss.training
    assert encoder.stages[0][0].weight.requires_grad


def test_checks_work_without_gradients_and_under_autocast() -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        check.check_guide(small_guide(), num_classes=3)
        check.check_view(component_view)
        check.check_encoder(SmallEncoder((4, 8)))
        check.check_decoder(UnetDecoder((4, 8), 3), SmallEncoder((4, 8)), 3)
    with torch.no_grad(), pytest.raises(ValueError, match="pass a gradient to `images`, but none arrives"):
        check.check_guide(torch.no_grad()(small_guide()), num_classes=3)


def test_number_of_classes_that_leaves_no_class_absent() -> None:
    with pytest.raises(ValueError, match=r"Expected `num_classes` to be at least 3, .* but got 2"):
        check.check_mask_loss(MaskLoss(), num_classes=2)


def test_checks_load_no_heavy_library() -> None:
    heavy = ["lightning", "timm", "segmentation_models_pytorch", "torchvision", "kornia", "matplotlib"]
    code = f"import sys, decomprec.testing; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
