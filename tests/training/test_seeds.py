"""Seeds that are computed once move with their images, and a run that uses them goes on where it stopped."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.tiny import QUIET, tiny
from torch import Tensor, nn
from torchvision.transforms import v2

from decomprec.data import SyntheticScenes, TaggedRows, eval_transform, train_transform
from decomprec.evidence import EvidenceMasks
from decomprec.models import PooledClassifier, SmallEncoder
from decomprec.seeds import seed_labels, seed_loss
from decomprec.training import train
from decomprec.training.seeds import ComputeSeeds, SeedFile, seeds_of_images

PRESET = tiny({"segmenter.seeds": 0.3, "segmenter.epochs": 2})


def rows(count: int, seed: int, **options: object) -> TaggedRows:
    scenes = SyntheticScenes(count, 2, size=48, seed=seed)
    images = [(255 * scenes[i]["image"]).round().byte() for i in range(count)]
    tags = [[name for name, here in zip("ab", scenes[i]["tags"], strict=True) if here] for i in range(count)]
    return TaggedRows([{"image": i, "tags": t} for i, t in zip(images, tags, strict=True)], names=["a", "b"], **options)


@pytest.fixture
def classifier() -> PooledClassifier:
    torch.manual_seed(0)
    classifier = PooledClassifier(SmallEncoder((8, 16)), num_classes=3, standardise=True)
    for _ in range(20):
        classifier(torch.rand(8, 3, 32, 32))
    return classifier.eval().requires_grad_(False)


@pytest.mark.parametrize(("slots", "dtype", "none"), [(3, torch.uint8, 255), (300, torch.int16, -1)])
def test_seed_labels_are_where_masks_are_sure(slots: int, dtype: torch.dtype, none: int) -> None:
    masks = torch.zeros(1, slots, 1, 3)
    masks[0, slots - 1, 0] = torch.tensor([0.9, 0.65, 0.6])
    masks[0, 0, 0] = torch.tensor([0.1, 0.35, 0.4])
    labels = seed_labels(masks, 0.65)
    assert labels.dtype == dtype
    assert labels.flatten().tolist() == [slots - 1, slots - 1, none]
    # ln K, and the Dice loss at two known pixels of masks of 1/2, since one class is shown besides the background.
    expected = math.log(slots) + 1 - 2 * 1 / (1 + 2)
    assert seed_loss(torch.zeros(1, slots, 1, 3), labels).item() == pytest.approx(expected)


@pytest.mark.parametrize("confidence", [-0.1, 1.1, math.nan])
def test_a_wrong_confidence_raises(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        seed_labels(torch.rand(1, 2, 4, 4), confidence)


def test_seeds_move_with_their_image_through_crop_flip_and_resize() -> None:
    # Each image is its own label map, so both must change alike.
    pixels = torch.randint(0, 2, (6, 1, 5, 7), dtype=torch.uint8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    data = TaggedRows([{"image": 255 * p.repeat(3, 1, 1), "tags": ["a"]} for p in pixels], names=["a"])
    crop = v2.RandomResizedCrop(48, scale=(0.3, 1.0), interpolation=v2.InterpolationMode.NEAREST)
    data.transform = v2.Compose([crop, v2.RandomHorizontalFlip()])
    seeded = data.with_seeds([p[0, ::8, ::8] for p in pixels])  # at an eighth of the size, of which nothing is lost
    torch.manual_seed(0)
    for i in range(6):
        item = seeded[i]
        assert item["seeds"].shape == (48, 48)
        assert torch.equal(item["seeds"], item["image"][0].long())


def test_the_images_are_the_same_with_seeds() -> None:
    data = rows(4, seed=3, transform=train_transform(32))
    seeded = data.with_seeds([torch.zeros(6, 6, dtype=torch.uint8)] * 4)
    for i in range(4):
        items = []
        for source in (data, seeded):
            torch.manual_seed(i)
            items.append(source[i]["image"])
        assert torch.equal(*items)


class Colours(nn.Module):
    """Features that move with the image: its mean colours."""

    out_channels = (3, 3)
    strides = (4,)

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = F.avg_pool2d(images - 0.5, 2)
        return [fine, F.avg_pool2d(fine, 2)]


def test_seeds_computed_once_are_like_those_of_the_crop() -> None:
    """The evidence of a crop is that of the image there, up to what the crop cuts off and the sizes of pixels."""
    classifier = PooledClassifier(Colours(), num_classes=3, standardise=True)
    data = rows(24, seed=1)
    for i in range(0, 24, 8):
        classifier(torch.stack([data.original(j) for j in range(i, i + 8)]).float() / 255)
    evidence = EvidenceMasks(classifier.eval())
    found = list(seeds_of_images(evidence, data, size=48))
    data.transform = v2.Compose([v2.RandomResizedCrop(48, scale=(0.6, 1.0)), v2.RandomHorizontalFlip()])
    seeded = data.with_seeds(found)
    known, moved, unmoved = 0, [0, 0], [0, 0]
    torch.manual_seed(0)
    for i in range(24):
        item = seeded[i]
        fresh = evidence.seeds(item["image"][None], item["tags"][None])[0].long()
        known += int((fresh < 3).sum())
        for seeds, count in ((item["seeds"], moved), (found[i].long(), unmoved)):
            both = (fresh < 3) & (seeds < 3)
            count[0] += int((fresh != seeds)[both].sum())
            count[1] += int(both.sum())
    assert moved[1] > 0.75 * known
    errors = [wrong / sure for wrong, sure in (moved, unmoved)]
    assert errors[0] < 0.1
    assert errors[0] < errors[1] / 2  # of seeds that would not move with their image


def test_seeds_are_those_of_the_evidence_whatever_the_sizes(classifier: PooledClassifier) -> None:
    evidence = EvidenceMasks(classifier)
    torch.manual_seed(0)
    sizes = [(40, 60), (32, 32), (40, 60), (80, 64)]
    pixels = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]
    data = TaggedRows([{"image": p, "tags": ["a"]} for p in pixels], names=["a", "b"])
    found = list(seeds_of_images(evidence, data, size=32))
    assert [tuple(labels.shape) for labels in found] == [(32, 48), (32, 32), (32, 48), (40, 32)]
    whole = evidence.seeds(pixels[1][None].float() / 255, torch.tensor([[1.0, 0.0]]))[0]
    assert (found[1] == whole).float().mean() > 0.999


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16])
def test_a_seed_file_gives_back_what_was_written(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    written = [torch.randint(0, 99, (h, w)).to(dtype) for h, w in [(3, 4), (1, 1), (7, 2)]]
    file = SeedFile(tmp_path, 3)
    assert file.key is None
    file.write(iter(written), "one")
    for again in (file, SeedFile(tmp_path, 3)):
        assert again.key == "one"
        assert all(torch.equal(again[i], written[i]) and again[i].dtype == dtype for i in range(3))
    file.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_broken_computation_leaves_no_file(tmp_path: Path) -> None:
    def broken():
        yield torch.zeros(2, 2, dtype=torch.uint8)
        raise ValueError("an image can't be read")

    file = SeedFile(tmp_path, 2)
    with pytest.raises(ValueError, match="read"):
        file.write(broken(), "one")
    assert list(tmp_path.iterdir()) == []
    assert file.key is None


def test_seeds_need_an_image_each_and_no_masks() -> None:
    data = rows(4, seed=1)
    with pytest.raises(ValueError, match="of 4 images"):
        data.with_seeds([torch.zeros(2, 2, dtype=torch.uint8)])


def test_a_run_computes_its_seeds_once_and_learns_from_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Tensor] = []
    ask = EvidenceMasks.seeds
    monkeypatch.setattr(
        EvidenceMasks, "seeds", lambda self, images, tags: (asked.append(images), ask(self, images, tags))[1]
    )
    data = rows(16, seed=1, transform=train_transform(32))
    train(PRESET, data, rows(8, seed=2, transform=eval_transform(32)), tmp_path / "run", trainer_options=QUIET)
    assert sum(map(len, asked)) == 16  # in two epochs
    assert not list((tmp_path / "run").rglob("seeds*"))
    # Scenes are made, not read: they can't carry seeds, so each step computes its own.
    asked.clear()
    scenes = SyntheticScenes(16, 2, size=32, seed=1)
    train(PRESET, scenes, SyntheticScenes(8, 2, size=32, seed=2), tmp_path / "other", trainer_options=QUIET)
    assert sum(map(len, asked)) == 32


def test_a_stopped_run_takes_the_seeds_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def options() -> tuple[TaggedRows, TaggedRows]:
        return rows(16, seed=1, transform=train_transform(32)), rows(8, seed=2, transform=eval_transform(32))

    whole = train(PRESET, *options(), tmp_path / "whole", trainer_options=QUIET)
    setup = ComputeSeeds.setup

    def killed(self, *arguments, **named):
        setup(self, *arguments, **named)
        raise KeyError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(ComputeSeeds, "setup", killed)
        with pytest.raises(KeyError, match="killed"):
            train(PRESET, *options(), tmp_path / "run", trainer_options=QUIET)
    assert list((tmp_path / "run").rglob("seeds*"))
    monkeypatch.setattr(EvidenceMasks, "seeds", None)  # nothing may ask again
    resumed = train(PRESET, *options(), tmp_path / "run", resume=True, trainer_options=QUIET)
    expected, found = whole.segmenter.state_dict(), resumed.segmenter.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
