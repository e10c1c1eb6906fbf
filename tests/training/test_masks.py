"""True masks of some training images take the place of their seeds, and a training goes on from a trained model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.cli_run import call, red_square, save, sentence, weights
from support.tiny import QUIET, set_options, tiny, tiny_words
from torch import Tensor

from decomprec.data import TaggedFolder, eval_transform, load_images, train_transform, with_masks
from decomprec.training import train
from decomprec.training.seeds import SeedFile, shown_more_often

PRESET = tiny({"segmenter.seeds": 0.3})
SIZE = (36, 48)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images of red squares, and the masks of two of those in training."""
    for split, count, first in (("train", 16, 0), ("val", 8, 100)):
        for i in range(count):
            pixels, mask = red_square(first + i, present=i % 4 > 0)
            save(tmp_path / "images" / split / ("red" if i % 4 else "other") / f"{i}.png", pixels)
            if split == "train" and i in (4, 5):
                save(tmp_path / "masks" / f"{i}.png", mask)
    (tmp_path / "masks" / "classes.txt").write_text("background\nblue\nred\n")
    for i in (4, 5):  # red is the second class of this list
        file = tmp_path / "masks" / f"{i}.png"
        save(file, np.where(red_square(i, i % 4 > 0)[1] == 1, 2, red_square(i, i % 4 > 0)[1]).astype(np.uint8))
    return tmp_path


def train_set(root: Path) -> TaggedFolder:
    return TaggedFolder(root / "images", "train", transform=train_transform(32))


def names(images: TaggedFolder) -> list[str]:
    return [record.name for record in images.records]


def test_masks_are_found_by_name_and_read_by_the_names_of_their_classes(root: Path) -> None:
    images = with_masks(train_set(root), root / "masks")
    assert sorted(names(images)[i] for i in images.label_maps) == ["4", "5"]
    found = images.label_maps[names(images).index("5")]()
    assert torch.equal(found, torch.from_numpy(red_square(5, True)[1]).long())  # with its rim of 255


def test_masks_beside_the_images_are_not_learnt_from_by_themselves(root: Path) -> None:
    for folder in ("train_masks", "masks"):
        save(root / "images" / folder / "5.png", red_square(5, True)[1])
    assert not load_images(root / "images")("train", transform=None, masks=False).label_maps
    load = load_images(root / "images", train_masks=root / "masks")
    assert len(load("train", transform=None, masks=False).label_maps) == 2
    assert not load("val", transform=None, masks=True).label_maps


def test_an_image_gets_the_tag_that_its_mask_shows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("decomprec.data.corrections.say", said.append)
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[3:9] = 2
    save(root / "masks" / "4.png", mask)  # tagged with nothing
    save(root / "masks" / "6.png", np.zeros(SIZE, dtype=np.uint8))  # tagged red
    save(root / "masks" / "nobody.png", mask)
    images = train_set(root)
    corrected = with_masks(images, root / "masks")
    changed = (corrected.tags != images.tags).any(dim=1)
    assert [names(images)[i] for i in changed.nonzero().flatten()] == ["4"]
    assert corrected.records[names(images).index("4")].tags == ("red",)
    assert [any(word in text for text in said) for word in ("get a tag", "lack a class", "nobody.png")] == [True] * 3


def test_selected_images_keep_their_own_masks(root: Path) -> None:
    images = with_masks(train_set(root), root / "masks")
    at = names(images).index("5")
    part = images.select([0, at] if at else [at, 1])
    assert list(part.label_maps) == [part.records.index(images.records[at])]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("nothing fits", "mask of .*png is"),
        ("no folder", "hold masks of training images"),
        ("two images", "put it into a folder"),
        ("other size", "height and width"),
        ("other classes", "name classes of the training images"),
        ("only 255", "write the number"),
        ("unknown value", "known values"),
    ],
)
def test_masks_that_do_not_fit_are_refused(change: str, said: str, root: Path) -> None:
    masks = root / "masks"
    if change == "nothing fits":
        for file in masks.glob("*.png"):
            file.rename(masks / f"x{file.name}")
    elif change == "no folder":
        masks = root / "nowhere"
    elif change == "two images":
        save(root / "images" / "train" / "other" / "5.png", red_square(5, True)[0])
    elif change == "other size":
        save(masks / "5.png", np.zeros((4, 4), dtype=np.uint8))
    elif change == "other classes":
        (masks / "classes.txt").write_text("background\nblue\ngreen\n")
    elif change == "only 255":
        for name in ("4", "5"):
            save(masks / f"{name}.png", np.full(SIZE, 255, dtype=np.uint8))
    else:
        save(masks / "5.png", np.full(SIZE, 7, dtype=np.uint8))
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        with_masks(train_set(root), masks)


def test_few_masks_are_shown_more_often_and_many_as_they_are() -> None:
    for count, known in ((3420, range(5)), (3420, range(100)), (64, range(32)), (332, range(75)), (10, [])):
        order = shown_more_often(count, known)
        assert set(order) == set(range(count))
        times = [order.count(index) for index in known[:3]]
        assert len(set(times)) <= 1
        assert all(1 <= time <= 16 for time in times)
        shown = sum(order.count(index) for index in known)
        others = count - len(known)
        # Half of the epoch, as nearly as whole repeats allow, or less because each would be shown too often.
        assert abs(shown - others) <= len(known) / 2 or shown == 16 * len(known) < others


def test_the_seeds_of_an_image_with_a_mask_are_the_mask(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[list[Tensor]] = []
    write = SeedFile.write

    def kept(self: SeedFile, seeds: Iterable[Tensor], key: str) -> None:
        written.append(list(seeds))
        write(self, iter(written[-1]), key)

    monkeypatch.setattr(SeedFile, "write", kept)
    val_set = TaggedFolder(root / "images", "val", transform=eval_transform(32))
    images = with_masks(train_set(root), root / "masks")
    first = train(PRESET, images, val_set, root / "run", trainer_options=QUIET)
    (seeds,) = written
    truth = torch.from_numpy(red_square(5, True)[1])
    assert torch.equal(seeds[names(images).index("5")], truth)
    assert sum(seed.shape == truth.shape for seed in seeds) == 2  # the others are as large as the guide sees them

    options: Any = {"start": first, "trainer_options": QUIET}
    still = PRESET.override({"segmenter.learning_rate": 1e-12})
    model = train(still, images, val_set, root / "further", **options)
    before, after = first.guide.state_dict(), model.guide.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not (root / "further" / "guide" / "last.ckpt").exists()
    pairs = zip(first.segmenter.parameters(), model.segmenter.parameters(), strict=True)
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in pairs)  # where it started, since it hardly moves

    with pytest.raises(ValueError, match=r"segmenter\.seeds"):
        train(PRESET.override({"segmenter.seeds": 0}), images, val_set, root / "unused", trainer_options=QUIET)
    wider = PRESET.override({"segmenter.decoder_widths": [16, 4]})
    with pytest.raises(ValueError, match="architecture"):
        train(wider, images, val_set, root / "wider", **options)
    with pytest.raises(ValueError, match="among tensorboard, wandb, mlflow"):
        train(PRESET, images, val_set, root / "log", loggers=["comet"], trainer_options=QUIET)


def test_the_command_line_goes_on_with_masks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--workers", "0", "--device", "cpu", *set_options(tiny_words({"segmenter.seeds": 1.0}))]
    result = call("train", root / "images", "--out", root / "one", "--preset", "demo", *words)
    assert result.exit_code == 0, result.output
    further = ["train", root / "images", "--out", root / "two", "--start", root / "one", "--masks", root / "masks"]
    result = call(*further, "--workers", "0", "--device", "cpu")
    assert result.exit_code == 0, result.output
    one, two = weights(root / "one"), weights(root / "two")
    assert one.keys() == two.keys()
    assert any(not torch.equal(one[name], two[name]) for name in one)
    assert json.loads((root / "two" / "diagnostics.json").read_text())
    monkeypatch.setattr("decomprec.training.fit.RequirementCache", lambda name: False)
    said = sentence("train", root / "images", "--out", root / "three", "--logger", "mlflow", *words)
    assert "pip install mlflow" in said
