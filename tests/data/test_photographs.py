import os
from pathlib import Path

import pytest

from decomprec.data import TaggedCSV, TaggedFolder, eval_transform

PHOTOS = os.environ.get("DECOMPREC_PHOTOS")
pytestmark = pytest.mark.skipif(PHOTOS is None, reason="DECOMPREC_PHOTOS names no folder of photographs")
ROOT = Path(PHOTOS or ".")

VOC_MINI = {"dog": (465, 419), "cat": (753, 190), "person": (355, 170), "horse": (327, 101), "cow": (170, 81),
            "sheep": (198, 65)}  # fmt: skip


def test_dogs():
    train, val = TaggedFolder(ROOT / "dogs", "train"), TaggedFolder(ROOT / "dogs", "val", masks=True)
    assert train.class_names == val.class_names == ("dog",)
    assert (len(train), int(train.tags.sum())) == (3420, 1710)
    assert (len(val), int(val.tags.sum())) == (805, 405)
    assert sum(record.mask is not None for record in val.records) == 405
    for i in range(0, 805, 20):
        item = val[i]
        assert item["image"].shape == (3, 224, 224)
        labels = item["mask"].unique().tolist()
        assert set(labels) <= {0, 1, 255}
        assert (1 in labels) == bool(item["tags"][0])


def test_dogs64():
    train, val = TaggedFolder(ROOT / "dogs64", "train"), TaggedFolder(ROOT / "dogs64", "val", masks=True)
    assert (len(train), int(train.tags.sum()), len(val), int(val.tags.sum())) == (6000, 3000, 600, 300)
    assert all(train[i]["image"].shape == (3, 64, 64) for i in range(0, 6000, 60))
    assert (val[0]["mask"] == 255).all()
    assert (val[-1]["mask"] == 0).all()


def test_voc_mini():
    root = ROOT / "voc_mini"
    options = {"tags_column": "classes", "mask_classes": root / "classes.txt", "classes": tuple(VOC_MINI)}
    train = TaggedCSV(root / "tags.csv", split="train", **options)
    val = TaggedCSV(root / "tags.csv", split="val", masks=True, transform=eval_transform(None), **options)
    assert (len(train), len(val)) == (1894, 839)
    assert train.tags.sum(0).tolist() == [count for count, _ in VOC_MINI.values()]
    assert val.tags.sum(0).tolist() == [count for _, count in VOC_MINI.values()]
    for i in range(0, 839, 15):
        item = val[i]
        assert item["mask"].shape == item["image"].shape[1:]
        # Tags are those of the full-size mask, so a tiny object can be gone from the small one.
        assert set(item["mask"].unique().tolist()) - {0, 255} <= set((item["tags"].nonzero() + 1).flatten().tolist())
