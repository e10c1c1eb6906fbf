"""Masks and image-lets of some slots only: the dense network's, without its memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.text import Text
from support.tiny import QUIET, tiny
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from decomprec import ClsLoss, Decomposition, DecompositionLoss, DecompositionSegmenter, FrozenGuide, MaskLoss
from decomprec import functional as DF
from decomprec.data import SyntheticScenes
from decomprec.evidence import EvidenceMasks
from decomprec.figures import draw_panel
from decomprec.models import PooledClassifier, SmallEncoder
from decomprec.models.paper_unet import PaperDecoder, PaperEncoder
from decomprec.seeds import seed_labels, seed_loss
from decomprec.slots import choose_slots, slot_weights
from decomprec.training import SegmenterModule, train
from decomprec.training.build import build_classifier, build_loss, build_segmenter
from decomprec.training.collapse import Diagnostics

K, SIZE = 7, 8
TAGS = torch.tensor([[0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]], dtype=torch.float64)
SOME = torch.tensor([[0, 2, 6, 4], [0, 5, 1, 3]])
ALL = torch.tensor([[0, 6, 2, 1, 5, 4, 3], [0, 3, 1, 2, 6, 5, 4]])


class Case:
    def __init__(self) -> None:
        torch.manual_seed(0)
        self.segmenter = DecompositionSegmenter(K, SmallEncoder((4, 8)), decoder_widths=(8, 4)).double().eval()
        guide = nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(3 * SIZE * SIZE, K - 1)).double()
        self.guide = FrozenGuide(guide)
        self.loss = DecompositionLoss(self.guide, 0.5, 2.0, lambda_seeds=1.0)
        self.images = torch.rand(2, 3, SIZE, SIZE, dtype=torch.float64)
        shown = torch.tensor([[0, 2, 6, 255], [0, 0, 0, 255]])
        self.seeds = shown[:, torch.randint(4, (SIZE, SIZE))].to(torch.uint8)

    def losses_and_gradients(self, out: Decomposition, areas: Tensor | None = None) -> tuple[dict[str, Tensor], Any]:
        terms = self.loss(out, self.images, TAGS, areas, seeds=self.seeds)
        return terms.as_dict(), torch.autograd.grad(terms.total, list(self.segmenter.parameters()))


@pytest.mark.parametrize("areas", [None, torch.full((2, K), 1 / K, dtype=torch.float64)], ids=["tags", "areas"])
def test_all_slots_in_any_order_are_the_dense_losses_and_gradients(areas: Tensor | None) -> None:
    case = Case()
    dense = case.losses_and_gradients(case.segmenter(case.images), areas)
    torch.testing.assert_close(case.losses_and_gradients(case.segmenter(case.images, ALL), areas), dense)


def test_some_slots_are_those_of_the_dense_network() -> None:
    case = Case()
    out = case.segmenter(case.images)
    image = torch.arange(2)[:, None]
    picked = Decomposition(out.mask_logits[image, SOME], out.imagelets[image, SOME], SOME)
    some = case.segmenter(case.images, SOME)
    torch.testing.assert_close((some.mask_logits, some.imagelets), (picked.mask_logits, picked.imagelets))
    torch.testing.assert_close(case.losses_and_gradients(some), case.losses_and_gradients(picked))


@pytest.mark.parametrize("absent", ["ignore", "reject"])
def test_losses_of_some_slots_are_those_of_masks_without_the_others(absent: Any) -> None:
    """The equations on all K slots, where the others' logits are minus infinity."""
    case = Case()
    case.loss.cls_loss = ClsLoss(case.guide, absent)
    dense = case.segmenter(case.images)
    others = torch.ones(2, K, dtype=torch.bool).scatter(1, SOME, False)
    whole = Decomposition(dense.mask_logits.masked_fill(others[:, :, None, None], -torch.inf), dense.imagelets)
    terms = case.loss(case.segmenter(case.images, SOME), case.images, TAGS, seeds=case.seeds).as_dict()

    guide: Any = case.loss.cls_loss.guide
    shown = torch.stack([guide(whole.components[b, SOME[b]]) for b in range(2)])
    # Of image 0, 2 of 4 absent classes are drawn; of image 1, 3 of 6.
    weights = torch.tensor([[1, 1, 1, 4], [1, 2, 2, 2]], dtype=torch.float64)
    torch.testing.assert_close(terms["recon"], DF.recon_loss(whole.reconstruction, case.images))
    torch.testing.assert_close(terms["mask"], MaskLoss()(whole.areas, TAGS) * K / SOME.shape[1])
    torch.testing.assert_close(terms["cls"], DF.cls_loss(shown, TAGS, absent, SOME, weights))
    torch.testing.assert_close(terms["seeds"], seed_loss(whole.mask_logits, case.seeds))
    assert torch.equal(case.segmenter(case.images, SOME).labels(), whole.labels())
    assert torch.equal(case.segmenter(case.images, SOME).labels(TAGS), whole.labels(TAGS))


def test_weights_are_those_of_the_drawn_slots() -> None:
    tags = torch.eye(5)
    slots, weights = choose_slots(tags, torch.rand(5, 5), absent_slots=2)
    torch.testing.assert_close(slot_weights(tags, slots), weights)


def test_seeds_of_the_present_classes_are_those_of_all() -> None:
    torch.manual_seed(0)
    classifier = PooledClassifier(SmallEncoder((4, 8)), K, standardise=True).eval()
    evidence = EvidenceMasks(classifier)
    images, tags = torch.rand(2, 3, 32, 48), TAGS.float()
    assert torch.equal(evidence.seeds(images, tags, 0.4), seed_labels(evidence(images, tags), 0.4))


def test_paper_decoder_computes_some_channels() -> None:
    torch.manual_seed(0)
    decoder, features = PaperDecoder(9), PaperEncoder()(torch.rand(2, 3, 16, 16))
    channels = torch.tensor([[8, 0], [3, 4]])
    with torch.no_grad():
        dense = decoder(features)
        expected = torch.stack([dense[b, channels[b]] for b in range(2)])
        torch.testing.assert_close(decoder(features, channels), expected, atol=1e-5, rtol=1e-5)


def test_a_decoder_of_ones_own_computes_all() -> None:
    class Own(nn.Module):
        def forward(self, features: list[Tensor]) -> Tensor:
            return torch.arange(3.0 * K).view(1, -1, 1, 1).expand(2, -1, SIZE, SIZE)

    segmenter = DecompositionSegmenter(K, SmallEncoder((4, 8)), decoder_widths=(8, 4), image_decoder=Own())
    out = segmenter(torch.rand(2, 3, SIZE, SIZE), SOME)
    assert out.imagelets[0, 1, :, 0, 0].logit().tolist() == pytest.approx([6, 7, 8], abs=1e-2)


def test_diagnostics_count_each_class_in_its_place() -> None:
    case = Case()
    dense = case.segmenter(case.images)
    others = torch.ones(2, K, dtype=torch.bool).scatter(1, SOME, False)
    whole = Decomposition(dense.mask_logits.masked_fill(others[:, :, None, None], -torch.inf), dense.imagelets)
    found = []
    for out in (whole, case.segmenter(case.images, SOME)):
        diagnostics = Diagnostics(K).double()
        diagnostics.update(out, case.images, TAGS, case.guide)
        found.append(diagnostics.compute())
    for name in ("areas", "counts", "area_present", "confidence", "adversarial_gap"):
        torch.testing.assert_close(found[1][name], found[0][name], msg=name)


class Largest(TorchDispatchMode):
    """The most elements of a tensor that any operation gives."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.elements = max([self.elements, *(t.numel() for t in tree_leaves(out) if isinstance(t, Tensor))])
        return out


def largest(step: Callable[[], object]) -> int:
    with Largest() as mode:
        step()
    return mode.elements


def largest_of_steps(classes: int, only: bool) -> tuple[int, int]:
    """In a training and a validation step."""
    size = 32
    settings = {"absent_slots": 2, "shown_slots_only": only, "seeds": 1.0}
    preset = tiny({"image_size": size, **{f"segmenter.{name}": value for name, value in settings.items()}})
    classifier = build_classifier(preset, classes)
    segmenter, loss = build_segmenter(preset, classes, classifier), build_loss(preset, classifier)
    module: Any = SegmenterModule(segmenter, loss, classes, preset.segmenter, evidence=EvidenceMasks(classifier))
    module.log = lambda *args, **options: None  # there is no Trainer to log to
    tags = torch.zeros(2, classes - 1)
    tags[0, 7] = tags[1, [9, 11]] = 1
    batch = {"image": torch.rand(2, 3, size, size), "tags": tags}
    trained = largest(lambda: module.training_step(batch, 0).backward())
    with torch.no_grad():
        return trained, largest(lambda: module.validation_step(batch, 0))


def test_no_tensor_of_a_step_has_an_element_for_each_class_and_pixel() -> None:
    few, many = largest_of_steps(21, only=True), largest_of_steps(1001, only=True)
    assert all(elements < 1001 * 32**2 for elements in many)
    assert few[1] < many[1] <= 3 * 1000 * 8**2  # the guide's scores, at its stride
    assert min(largest_of_steps(1001, only=False)) >= 3 * 1001 * 32**2


def test_a_panel_of_many_classes_shows_those_of_its_images() -> None:
    names = [f"class {j}" for j in range(1000)]
    segmenter = DecompositionSegmenter(1001, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
    tags = torch.zeros(2, 1000)
    tags[0, 7] = tags[1, [7, 900]] = 1
    mask = torch.zeros(2, SIZE, SIZE, dtype=torch.int64)
    mask[1, 0, :3] = torch.tensor([8, 901, 5])
    batch = {"image": torch.rand(2, 3, SIZE, SIZE), "tags": tags, "mask": mask}
    guide = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 1000))
    figure = draw_panel(segmenter, batch, names, guide)
    titles = {text.get_text() for text in figure.findobj(Text)}
    assert {"mask\nclass 7", "mask\nclass 900", "component\nclass 900"} <= titles
    assert len(figure.axes[0].images) == 2 * (4 + 2 * 3)


def test_training_with_few_slots(tmp_path: Path) -> None:
    scenes = [SyntheticScenes(8, 3, 32, seed=seed, masks=seed == 2) for seed in (1, 2)]
    preset = tiny({"segmenter.absent_slots": 1, "segmenter.shown_slots_only": True, "segmenter.min_steps": 2})
    model = train(preset, *scenes, tmp_path, trainer_options=QUIET)
    (log,) = (tmp_path / "segmenter").glob("log/*/metrics.csv")
    assert "val/mean_iou" in log.read_text()
    assert model.segmenter.mask_logits(scenes[0][0]["image"][None]).shape[1] == 4


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        (SOME[:1], r"int64 of shape \(B, S\) = \(2, S\), but got torch.int64 of shape \(1, 4\)"),
        (SOME.int(), "but got torch.int32"),
        (SOME.flip(1), "to hold 0, the background, and then different classes from 1 to 6"),
        (SOME.where(SOME != 6, 7), r"but got \[\[0, 2, 7, 4\]"),
        (SOME.where(SOME != 6, 2), r"but got \[\[0, 2, 2, 4\]"),
    ],
    ids=["batch", "dtype", "background", "range", "twice"],
)
def test_slots_that_are_refused(slots: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Case().segmenter(torch.rand(2, 3, SIZE, SIZE).double(), slots)


def test_the_setting_needs_drawn_slots() -> None:
    with pytest.raises(ValueError, match=r"segmenter\.absent_slots to be a number, such as 4, .* but got null"):
        tiny({"segmenter.shown_slots_only": True})
