"""The experiments on the paper's open questions: their data is what it says, and a small run goes through."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))  # `benchmarks` is no part of the package

from benchmarks.questions import experiments as questions
from benchmarks.questions.data import (
    Context,
    context_scenes,
    exact_areas,
    mean_areas,
    noisy_areas,
    plain,
    with_areas,
)
from benchmarks.tables.pages import fill
from support.tiny import TINY, tiny_words

from decomprec.data import SyntheticScenes
from decomprec.data.datamodule import TaggedDataModule

SIZES = ["--scenes=16", "--test-scenes=12", "--pixels=32"]


@pytest.fixture(scope="module")
def scenes() -> SyntheticScenes:
    return SyntheticScenes(600, num_classes=4, size=32, seed=7, masks=True)


@pytest.fixture(scope="module")
def areas(scenes: SyntheticScenes) -> Tensor:
    return exact_areas(scenes)


def test_areas_are_those_that_counting_finds(scenes: SyntheticScenes, areas: Tensor) -> None:
    training = with_areas(scenes, areas)
    for i in range(40):
        counted = [0] * 5
        for label in scenes[i]["mask"].flatten().tolist():
            counted[label] += 1
        torch.testing.assert_close(training[i]["areas"], torch.tensor(counted) / 32**2)
        assert torch.equal(training[i]["areas"][1:] > 0, training[i]["tags"] == 1)


def test_training_sees_no_mask(scenes: SyntheticScenes, areas: Tensor) -> None:
    assert set(with_areas(scenes, areas)[0]) == {"image", "tags", "name", "areas"}
    assert set(plain(context_scenes(scenes, Context(), seed=0))[0]) == {"image", "tags", "name"}
    (batch, *_) = TaggedDataModule(with_areas(scenes, areas), scenes, batch_size=8).train_dataloader()
    assert batch["areas"].shape == (8, 5)


@pytest.mark.parametrize("relative", [0.1, 0.3, 0.5])
def test_noise_fills_its_bounds_and_keeps_a_distribution(areas: Tensor, relative: float) -> None:
    noisy = noisy_areas(areas, relative, seed=3)
    assert torch.equal(noisy, noisy_areas(areas, relative, seed=3))
    assert (noisy.sum(dim=1) <= 1 + 1e-6).all()
    assert torch.equal(noisy > 0, areas > 0)
    untouched = (areas * (1 + relative)).sum(dim=1) < 1  # these can't have been divided by their sum
    ratio = (noisy / areas)[untouched][areas[untouched] > 0]
    assert len(ratio) > 500
    assert ratio.min() >= 1 - relative - 1e-5
    assert ratio.max() <= 1 + relative + 1e-5
    assert ratio.std().item() == pytest.approx(relative / 3**0.5, rel=0.1)  # of an even distribution
    assert ratio.mean().item() == pytest.approx(1, abs=0.05)


def test_noise_that_overfills_a_image_is_divided_by_its_sum() -> None:
    full = torch.tensor([[0.6, 0.4]]).expand(50, 2)
    noisy = noisy_areas(full, 0.5, seed=0)
    assert noisy.sum(dim=1).max().item() == pytest.approx(1)
    assert noisy.sum(dim=1).min() < 1


def test_mean_areas_are_means_over_the_images_that_have_the_class(areas: Tensor) -> None:
    means = mean_areas(areas)
    room = means.sum(dim=1) < 0.999
    for j in range(4):
        values = [a for a in areas[:, j].tolist() if a > 0]
        known = means[room & (areas[:, j] > 0), j]
        torch.testing.assert_close(known, torch.full_like(known, sum(values) / len(values)))
        assert (means[areas[:, j] == 0, j] == 0).all()


def test_context_comes_with_the_first_class(scenes: SyntheticScenes) -> None:
    drawn = context_scenes(scenes, Context(with_class=0.9, without=0.05), seed=1)
    shown = np.array([item["context"].any().item() for item in drawn.items])
    first = scenes.tags[:, 0].numpy() == 1
    for share, group in ((0.9, shown[first]), (0.05, shown[~first])):
        # Three standard deviations of a binomial proportion.
        assert abs(group.mean() - share) < 3 * (share * (1 - share) / len(group)) ** 0.5
    assert shown[first].sum() > 5 * shown[~first].sum()


def test_context_stands_behind_the_objects_and_nowhere_else(scenes: SyntheticScenes) -> None:
    drawn = context_scenes(scenes, Context(1, 1), seed=1)
    for i in range(60):
        before, after = scenes[i], drawn[i]
        changed = (before["image"] != after["image"]).any(dim=0)
        assert not (changed & ~after["context"]).any()
        assert not (after["context"] & (before["mask"] > 0)).any()
        assert torch.equal(before["mask"], after["mask"])
        assert torch.equal(before["tags"], after["tags"])
        red, green, blue = after["image"][:, after["context"]]
        assert (green > red - 0.2).all()  # green or yellow
        assert (green > blue + 0.2).all()


def test_context_as_a_class(scenes: SyntheticScenes) -> None:
    usual, tagged = (context_scenes(scenes, Context(tagged=tagged), seed=1) for tagged in (False, True))
    assert tagged.class_names == (*usual.class_names, "green band")
    for one, other in zip(usual.items, tagged.items, strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(other["mask"] == 5, one["context"])
        assert other["tags"].tolist() == [*one["tags"].tolist(), float(one["context"].any())]


def test_negatives_show_the_context_and_nothing_else() -> None:
    size = questions.Size(train=60, test=12, pixels=32)
    variants = {variant.name: variant for variant in questions.context(size)}
    usual, more = variants["as it is"].train_set(), variants["10 % images of the context alone"].train_set()
    assert len(more) == len(usual) + 6
    for extra, item in ((i >= 60, more[i]) for i in range(len(more))):
        assert not extra or not item["tags"].any()
        red, green, blue = item["image"]
        band = ((green > red + 0.3) & (green > blue + 0.2)).float().mean()
        assert not extra or band > 0.02


def test_a_small_run(tmp_path: Path) -> None:
    results = tmp_path / "questions"
    arguments = ["classes", "--out", str(tmp_path / "runs"), "--results", str(results)]
    arguments += [*SIZES, "--set", *tiny_words()]
    questions.QUESTIONS["classes"], all_variants = lambda size: [next(all_variants(size))], questions.classes
    try:
        questions.main(arguments)
        again = (results / "classes.json").read_text()
        questions.main(arguments)  # reads what was measured
    finally:
        questions.QUESTIONS["classes"] = all_variants
    assert (results / "classes.json").read_text() == again
    (variant,) = json.loads(again)["variants"]
    (run,) = variant["runs"]
    assert run["figures"]["IoU, tags"] == pytest.approx(run["rows"][0]["mean_foreground_iou"])
    page = "<!-- table: questions/classes.json -->\n<!-- end table -->"
    filled = fill(page, tmp_path)
    assert f"| 3 classes | {run['figures']['guide accuracy']:.3f}" in filled
    assert "scenes: 16 to train on, 12 to measure on" in filled


def test_areas_share_a_guide_and_change_the_masks(tmp_path: Path) -> None:
    size = questions.Size(16, 12, 32, {**TINY})
    variants = {variant.name: variant for variant in questions.areas(size)}
    found = [
        questions.run_variant(variants[name], size, 0, tmp_path) for name in ("hinge (the preset's)", "exact areas")
    ]
    guides = [path.read_bytes() for path in sorted(tmp_path.glob("*/guide/finished.safetensors"))]
    segmenters = [path.read_bytes() for path in sorted(tmp_path.glob("*/segmenter/finished.safetensors"))]
    assert guides[0] == guides[1]
    assert segmenters[0] != segmenters[1]
    assert found[0]["guide_accuracy"] == found[1]["guide_accuracy"]


def test_context_figures_count_pixels(tmp_path: Path) -> None:
    size = questions.Size(40, 30, 32)
    with_both = context_scenes(size.scenes(questions.TEST), Context(), seed=1)
    without = context_scenes(size.scenes(questions.TEST), Context(0, 0), seed=1)

    class Band(torch.nn.Module):
        """Takes all that is green for the first class."""

        num_classes = len(with_both.class_names) + 1

        def predict(self, images: Tensor, tags: Tensor | None = None) -> Tensor:
            red, green, blue = images.unbind(dim=1)
            return ((green > red - 0.2) & (green > blue + 0.2)).long()

        def forward(self, images: Tensor) -> Tensor:
            return images.new_ones(len(images), 4)

    trained = questions.TrainedModel(Band(), with_both.class_names, 32, Band())
    found = questions.context_figures(trained, size.scenes(questions.ALONE), with_both, without)
    assert found["class on the band alone"] == 1
    assert found["class on the band beside it"] == 1
    assert found["guide sees the class in the band alone"] == 1
    assert found["class on the same pixels without the band"] < 0.5
    assert found["IoU of the class"] < 0.5
