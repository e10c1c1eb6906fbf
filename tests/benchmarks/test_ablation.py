"""The table of single changes, and that of the guides' opinions."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from decomprec import Decomposition
from decomprec.training import PRESETS

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_the_ablation_table_has_a_row_for_each_change() -> None:
    from benchmarks.tables.quality import ablation_table

    names = ("tags, no bias", "tags", "tags, PAMR", "guide's tags, PAMR", "no tags")
    figures = {name: {"iou": 0.1 * i, "area_where_absent": 0.01 * i} for i, name in enumerate(names, start=1)}
    rows = [{"name": n, "background_bias": b, **figures} for n, b in (("nothing", 0.4), ("a change", -0.2))]
    run = {
        "all rows": "as they are",
        "half": "tune",
        "images": 9,
        "guide_accuracy": 0.9,
        "seed": 0,
        "machine": "a machine",
        "torch": "2",
    }
    table = ablation_table([{"ablation": [*rows, {"name": "worse", "collapsed": "why"}], **run}])
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    assert cells[2] == ["nothing", "0.100", "+0.4", "0.200", "0.300", "0.400", "0.040"]
    assert cells[3][:3] == ["a change", "0.100", "-0.2"]
    assert cells[4][:3] == ["worse", "collapsed", "-"]
    assert "guide accuracy: 0.900; all rows: as they are; half: tune; images: 9" in table


def test_names_and_settings_of_the_changes() -> None:
    from benchmarks.quality.changes import CHANGES
    from benchmarks.questions.experiments import slug

    assert CHANGES[0].name == "nothing"
    assert CHANGES[0].settings == {}
    assert len({slug(change.name) for change in CHANGES}) == len(CHANGES)
    for change in CHANGES[1:]:
        assert (change.callback is None) != (not change.settings)
        if change.settings:
            assert PRESETS["robust"].override(change.settings) != PRESETS["robust"]


def test_per_slot_reconstruction_in_plain_loops() -> None:
    from benchmarks.quality.changes import per_slot_reconstruction

    torch.manual_seed(0)
    out = Decomposition(torch.randn(2, 3, 4, 5), torch.rand(2, 3, 3, 4, 5))
    images, masks = torch.rand(2, 3, 4, 5), out.mask_logits.softmax(dim=1)
    total = 0.0
    for b in range(2):
        for k in range(3):
            for y in range(4):
                for x in range(5):
                    for c in range(3):
                        error = out.imagelets[b, k, c, y, x] - images[b, c, y, x]
                        total += (masks[b, k, y, x] * error**2).item()
    found = per_slot_reconstruction(out, images, torch.ones(2, 2))
    assert found.item() == pytest.approx(total / (2 * 4 * 5 * 3), rel=1e-5)


def test_consistency_asks_for_nothing_of_masks_that_follow_the_mirror() -> None:
    from benchmarks.quality.changes import ScaleConsistency

    class Flat(torch.nn.Module):
        """Masks by a flat image's colour, with a slope from left to right."""

        def __init__(self, slope: float) -> None:
            super().__init__()
            self.slope = slope

        def mask_logits(self, images: torch.Tensor) -> torch.Tensor:
            ramp = torch.linspace(-1, 1, images.shape[-1]).expand(*images.shape[-2:])
            return images[:, :2] + self.slope * torch.stack([ramp, -ramp])

    images = torch.rand(1, 3, 1, 1).expand(1, 3, 20, 20)
    found = []
    for slope in (0.0, 2.0):
        network = Flat(slope)
        term = ScaleConsistency(SimpleNamespace(segmenter=network))
        out = Decomposition(network.mask_logits(images), images[:, None].expand(1, 2, 3, 20, 20))
        found.append(term(out, images, torch.ones(1, 1)).item())
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[1] > 0.1


def test_the_gap_is_between_the_guides() -> None:
    from benchmarks.tables.quality import opinions_table

    first, second = ({"present_recognised": seen, "background_empty": 0.75} for seen in (0.875, 0.5))
    run = {
        "diagnostics": {"ours": {"filled view": {"guide": first, "second guide": second}}},
        "second_guide_accuracy": {"mean": 0.8},
    }
    table = opinions_table([run])
    assert "| 0.875 " in table
    assert "| 0.375 " in table
    assert table.endswith("second guide's accuracy: 0.800")
    again = copy.deepcopy(run)
    again["diagnostics"]["ours"]["filled view"]["second guide"]["present_recognised"] = 0.75
    assert "| 0.250 ± 0.177 " in opinions_table([run, again])  # of gaps of 0.375 and 0.125: 0.25 / √2
    alone = copy.deepcopy(run)
    del alone["diagnostics"]["ours"]["filled view"]["second guide"]
    alone["diagnostics"]["ours"]["filled view"]["guide"]["present_recognised"] = 0.625
    assert "| - " in opinions_table([alone])
    cells = [cell.strip() for cell in opinions_table([run, alone]).splitlines()[2].split("|")[3:6]]
    assert cells == ["0.875", "0.500", "0.375"]  # of the one run with both


def test_other_backgrounds_are_those_of_the_next_image(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.quality.changes import OtherBackgrounds

    torch.manual_seed(0)
    images = torch.rand(3, 3, 4, 4)
    out = Decomposition(torch.randn(3, 2, 4, 4), torch.rand(3, 2, 3, 4, 4))
    view = OtherBackgrounds(lambda out, images: torch.zeros(()))
    monkeypatch.setattr(torch, "rand", lambda *size: torch.full(size[0], 0.2))
    found, masks = view(out, images), out.masks
    for b in range(3):
        other = (b - 1) % 3
        empty = masks[other, 0] * images[other] + (1 - masks[other, 0]) * images[other].mean(dim=(1, 2))[:, None, None]
        for k in range(2):
            wanted = masks[b, k] * images[b] + (1 - masks[b, k]) * empty
            torch.testing.assert_close(found[b, k], wanted)
    monkeypatch.setattr(torch, "rand", lambda *size: torch.full(size[0], 0.3))
    assert view(out, images) == 0


def test_what_is_left_outside_a_mask_is_asked_for_its_present_class_only() -> None:
    from benchmarks.quality.changes import MaskedOut

    class Sum(torch.nn.Module):
        """Logits of two classes: the sum of the red, and of the green."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, :2].sum(dim=(2, 3))

    term = object.__new__(MaskedOut)
    term.guide = Sum()
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    tags = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    nowhere = torch.tensor([9.0, -9.0, -9.0]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    out = Decomposition(nowhere, torch.rand(2, 3, 3, 4, 4))
    # The first image alone has a class, and all of its 16 red pixels stand outside.
    assert term(out, red, tags).item() == pytest.approx(16.0, abs=0.01)
    assert term(out, red, torch.zeros(2, 2)).item() == 0


def test_the_guide_alongside_learns_what_it_is_shown() -> None:
    from benchmarks.quality.changes import GuideAlongside, WithoutReconstruction

    from decomprec import ClsLoss, FrozenGuide
    from decomprec.models import PooledClassifier, SmallEncoder
    from decomprec.training import Preset, SegmenterModule, SegmenterSettings
    from decomprec.training.build import build_loss, build_segmenter

    torch.manual_seed(0)
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=2)
    preset = Preset(segmenter=SegmenterSettings(encoder="guide", decoder_widths=(8, 4)))
    segmenter = build_segmenter(preset, 2, classifier)
    module = SegmenterModule(segmenter, build_loss(preset, classifier), 2)
    assert isinstance(module.loss.cls_loss, ClsLoss)
    assert isinstance(module.loss.cls_loss.guide, FrozenGuide)
    images, tags = torch.rand(4, 3, 16, 16), torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    images[::2, 0] = 1
    body = [p.clone() for p in classifier.encoder.parameters()]
    before = torch.nn.functional.binary_cross_entropy_with_logits(classifier(images), tags)
    callback = GuideAlongside(0.05)
    callback.on_fit_start(None, module)
    for _ in range(30):
        callback.on_train_batch_end(None, module, None, {"image": images, "tags": tags}, 0)
    assert torch.nn.functional.binary_cross_entropy_with_logits(classifier(images), tags) < before
    assert all(torch.equal(a, b) for a, b in zip(body, classifier.encoder.parameters(), strict=True))
    assert not any(p.requires_grad for p in classifier.parameters())
    WithoutReconstruction().on_fit_start(None, module)
    terms = module.loss(segmenter(images), images, tags)
    assert terms.recon == 0
