from itertools import pairwise

import pytest
import torch
from torchvision import tv_tensors

from decomprec.data import SyntheticScenes, eval_transform, train_transform
from decomprec.data.datamodule import TaggedDataModule


def scenes(count, **options):
    return SyntheticScenes(count, **{"size": 16, **options})


def epoch(module):
    return [name for batch in module.train_dataloader() for name in batch["name"]]


def test_batches():
    module = TaggedDataModule(scenes(7), scenes(3, seed=1, masks=True), batch_size=2)
    batches = list(module.train_dataloader())
    assert [set(batch) for batch in batches] == [{"image", "tags", "name"}] * 3
    assert batches[0]["image"].shape == (2, 3, 16, 16)
    assert batches[0]["tags"].shape == (2, 4)
    val = list(module.val_dataloader())
    assert [name for batch in val for name in batch["name"]] == [f"scene_{i:06d}" for i in range(3)]
    assert val[1]["mask"].shape == (1, 16, 16)


def test_shuffling_is_seeded_and_changes_between_epochs():
    train, val = scenes(32), scenes(2, seed=1)
    first = epoch(TaggedDataModule(train, val, batch_size=4, seed=5))
    assert first == epoch(TaggedDataModule(train, val, batch_size=4, seed=5))
    assert first != epoch(TaggedDataModule(train, val, batch_size=4, seed=6))
    assert sorted(first) == [f"scene_{i:06d}" for i in range(32)]
    loader = TaggedDataModule(train, val, batch_size=4, seed=5).train_dataloader()
    assert [n for b in loader for n in b["name"]] == first != [n for b in loader for n in b["name"]]


def test_workers_give_the_same_batches():
    train, val = scenes(8), scenes(2, seed=1)
    here = list(TaggedDataModule(train, val, batch_size=4).train_dataloader())
    there = list(TaggedDataModule(train, val, batch_size=4, num_workers=1).train_dataloader())
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(here, there, strict=True))


def test_sizes_that_differ_name_both_images():
    val = torch.utils.data.ConcatDataset([scenes(2), scenes(1, size=20)])
    module = TaggedDataModule(scenes(3), val, batch_size=3)
    with pytest.raises(ValueError, match=r"scene_000000 .*16, 16.* scene_000000 .*20, 20"):
        list(module.val_dataloader())


@pytest.mark.parametrize(
    ("train", "val", "batch_size", "words"),
    [
        ({"masks": True}, {}, 2, "tags only"),
        ({}, {"num_classes": 3}, 2, "class_names"),
        ({}, {}, 5, "batch_size"),
        ({}, {}, 0, "batch_size"),
    ],
)
def test_bad_arguments(train, val, batch_size, words):
    with pytest.raises(ValueError, match=words):
        TaggedDataModule(scenes(4, **train), scenes(2, seed=1, **val), batch_size=batch_size)


@pytest.mark.parametrize("make", [train_transform, eval_transform])
def test_transforms_keep_image_and_mask_together(make):
    torch.manual_seed(0)
    mask = torch.zeros(40, 60, dtype=torch.int64)
    mask[5:30, 10:45] = 7
    mask[30:, :] = 255
    # The image shows its mask in black, grey and white, whose order colour jitter keeps.
    image = torch.where(mask == 7, 128, mask).clamp(max=255).to(torch.uint8).expand(3, -1, -1)
    for size, shape in ((24, (24, 24)), (None, (40, 60))):
        changed, labels = make(size)(tv_tensors.Image(image), tv_tensors.Mask(mask))
        assert changed.shape == (3, *shape)
        assert labels.shape == shape
        assert set(labels.unique().tolist()) <= {0, 7, 255}
        dark, middle, light = (changed[:, labels == value].float().mean() for value in (0, 7, 255))
        assert dark < middle - 40 < light - 80


def test_eval_transform_takes_the_centre():
    image = torch.zeros(3, 10, 30, dtype=torch.uint8)
    image[:, :, 10:20] = 200
    assert (eval_transform(10)(tv_tensors.Image(image)) == 200).all()


def test_train_transform_keeps_most_of_the_image():
    # At least 60 % of the area: every crop shows the middle of the image.
    torch.manual_seed(1)
    mask = torch.zeros(30, 30, dtype=torch.int64)
    mask[14:16, 14:16] = 1
    image = torch.zeros(3, 30, 30, dtype=torch.uint8)
    transform = train_transform(60)
    for _ in range(20):
        _, labels = transform(tv_tensors.Image(image), tv_tensors.Mask(mask))
        assert labels.any()


@pytest.mark.parametrize(("train", "val", "seen"), [(16, 70, 64), (16, 64, 64), (800, 130, 100)])
def test_a_validation_sees_an_evenly_spread_part(train: int, val: int, seen: int) -> None:
    data = TaggedDataModule(SyntheticScenes(train, size=16), SyntheticScenes(val, size=16, seed=1), batch_size=16)
    names = [name for batch in data.val_dataloader() for name in batch["name"]]
    every = [item["name"] for item in SyntheticScenes(val, size=16, seed=1)]
    places = [every.index(name) for name in names]
    assert len(set(places)) == seen
    gaps = [later - earlier for earlier, later in pairwise(places)]
    assert set(gaps) <= {val // seen, -(-val // seen)}
