"""Rows of other libraries' loaders: every form of image, tag and mask, and training on them."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny import QUIET
from torchvision.transforms.v2.functional import to_pil_image

from decomprec.data import CocoInstances, SyntheticScenes, TaggedRows, eval_transform
from decomprec.labelling.coco import CocoWriter
from decomprec.training import PRESETS, train

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
MASK = np.array([[0, 1, 2, 255, 0, 0]] * 4, dtype=np.uint8)


def row(**columns: Any) -> dict[str, Any]:
    return {"image": PIXELS, "tags": ["dog"], **columns}


def test_every_form_of_an_image_is_the_same(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS)
    path = tmp_path / "park.png"
    image.save(path)
    forms = [PIXELS, image, image.convert("RGBA"), path, str(path), torch.from_numpy(PIXELS).permute(2, 0, 1)]
    data = TaggedRows([row(image=form) for form in forms])
    expected = torch.from_numpy(PIXELS).permute(2, 0, 1) / 255
    for item in data:
        assert torch.equal(item["image"], expected)
    assert [data[i]["name"] for i in (0, 3, 4)] == ["000000", "park", "park"]
    assert TaggedRows([row(name="mine")])[0]["name"] == "mine"
    grey = TaggedRows([row(image=Image.fromarray(PIXELS[..., 0]))])[0]["image"]
    assert torch.equal(grey, expected[:1].expand(3, -1, -1))


def test_an_image_is_turned_as_its_exif_data_say() -> None:
    image = Image.fromarray(PIXELS)
    image.getexif()[0x0112] = 6
    turned = TaggedRows([row(image=image)])[0]["image"]
    expected = torch.from_numpy(np.rot90(PIXELS, k=-1).copy()).permute(2, 0, 1) / 255
    assert torch.equal(turned, expected)


@pytest.mark.parametrize(
    ("tags", "options", "names", "expected"),
    [
        ([["dog", "cat"], [], "dog", None], {}, ("cat", "dog"), [[1, 1], [0, 0], [0, 1], [0, 0]]),
        ([1, [0, 1], torch.tensor([0])], {"names": ["cat", "dog"]}, ("cat", "dog"), [[0, 1], [1, 1], [1, 0]]),
        ([np.array([2]), ["cow"]], {"names": ["cat", "dog", "cow"], "classes": ["cow"]}, ("cow",), [[1], [1]]),
        ([["dog"], ["cat"]], {"classes": ["dog"]}, ("dog",), [[1], [0]]),
    ],
)
def test_every_form_of_tags(tags: Any, options: Any, names: Any, expected: Any) -> None:
    data = TaggedRows([row(tags=value) for value in tags], **options)
    assert data.class_names == names
    assert data.tags.tolist() == expected
    assert [item["tags"].tolist() for item in data] == expected


def test_masks_only_on_request(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    Image.fromarray(MASK).save(file)
    forms = [MASK, MASK.astype(np.int64), Image.fromarray(MASK), file]
    rows = [row(tags=["dog", "cat"], mask=form) for form in forms]
    assert "mask" not in TaggedRows(rows)[0]
    for item in TaggedRows(rows, masks=True):
        assert torch.equal(item["mask"], torch.from_numpy(MASK).long())
    for item in TaggedRows(rows, classes=["dog"], masks=True):
        assert item["mask"][0].tolist() == [0, 0, 1, 255, 0, 0]
    for item in TaggedRows(rows, mask_classes=["background", "dog", "table"], masks=True):
        assert item["mask"][0].tolist() == [0, 2, 0, 255, 0, 0]
    unknown = TaggedRows([row(mask=MASK), row(mask=None), row(tags=[], mask=None)], names=["cat", "dog"], masks=True)
    assert [item["mask"].unique().tolist() for item in list(unknown)[1:]] == [[255], [0]]


class Columns:
    """Answers as a `datasets.Dataset` does, and counts the images that it decodes."""

    def __init__(self) -> None:
        self.column_names = ["image", "label"]
        self.features = {"label": SimpleNamespace(names=["cat", "dog"])}
        self.decoded = 0

    def __len__(self) -> int:
        return 3

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return [1, 0, 1]
        if key >= len(self):
            raise IndexError(key)
        self.decoded += 1
        return {"image": Image.fromarray(PIXELS), "label": self["label"][key]}


def test_a_data_set_with_columns_decodes_no_image_for_its_tags() -> None:
    rows = Columns()
    data = TaggedRows(rows, tags_column="label")
    assert data.class_names == ("cat", "dog")
    assert data.tags.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert rows.decoded == 0
    assert data[2]["image"].shape == (3, 4, 6)
    rows.features = {"label": SimpleNamespace(feature=SimpleNamespace(names=["a", "b"]))}
    assert TaggedRows(rows, tags_column="label").class_names == ("a", "b")


def test_some_rows_are_selected_with_their_tags() -> None:
    data = TaggedRows([row(tags=[], name="a"), row(name="b"), row(tags=["cat"], name="c")]).select([2, 1])
    assert [(item["name"], item["tags"].tolist()) for item in data] == [("c", [1, 0]), ("b", [0, 1])]
    assert data.tags.tolist() == [[1, 0], [0, 1]]


def test_a_stream_is_read_once() -> None:
    def stream() -> Iterator[dict[str, Any]]:
        yield row()
        yield row(tags=[])

    data = TaggedRows(stream())
    assert len(data) == 2
    assert [item["tags"].tolist() for _ in range(2) for item in (data[0], data[1])] == [[1], [0]] * 2


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], {}, "at least one image"),
        ([row()], {"tags_column": "labels"}, r"to have 'labels', but row 0 has \['image', 'tags'\]"),
        ([row()], {"masks": True}, "to have 'mask'"),
        ([row(tags=[1])], {}, "numbers into `names` = None, but got 1"),
        ([row(tags=[2])], {"names": ["cat", "dog"]}, "but got 2"),
        ([row(tags=[-1])], {"names": ["cat", "dog"]}, "but got -1"),
        ([row(tags=["cow"])], {"names": ["cat", "dog"]}, "but got 'cow'"),
        ([row(tags=[])], {}, "Expected `classes` to be among"),
    ],
)
def test_rows_that_are_wrong(rows: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TaggedRows(rows, **options)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": PIXELS / 255}, "ndarray of torch.float64"),
        ({"image": PIXELS[..., :2]}, r"shape \(2, 4, 6\)"),
        ({"image": Image.new("F", (6, 4), -1)}, "image 000000 to be readable, but: its values, -1.0 to -1.0, are not"),
        ({"mask": MASK[:, :3]}, r"integers of shape \(4, 6\)"),
        ({"mask": MASK / 1}, "integers of shape"),
        ({"mask": MASK + 7}, "known values"),
        ({"mask": MASK.astype(np.int64) + 300}, r"known values, but got \[300, 301, 302, 555\]"),
        ({"mask": MASK.astype(np.int64) - 1}, r"known values, but got \[-1, 254\]"),
    ],
)
def test_images_and_masks_that_are_wrong(columns: Any, message: str) -> None:
    data = TaggedRows([row(**{"mask": MASK, **columns})], names=["cat", "dog"], masks=True)
    with pytest.raises(ValueError, match=message):
        data[0]


def test_training_on_rows_with_validation_on_coco(tmp_path: Path) -> None:
    scenes, unseen = SyntheticScenes(8, 2, 32, seed=1), SyntheticScenes(4, 2, 32, seed=2, masks=True)
    names = scenes.class_names
    rows = [{"image": to_pil_image(item["image"]), "tags": item["tags"].nonzero()[:, 0]} for item in scenes]
    coco = CocoWriter(names)
    for item in unseen:
        to_pil_image(item["image"]).save(tmp_path / f"{item['name']}.png")
        coco.add(f"{item['name']}.png", item["mask"])
    coco.save(tmp_path / "val.json")
    train_set = TaggedRows(rows, names=names, transform=eval_transform(32))
    val_set = CocoInstances(tmp_path / "val.json", masks=True)
    assert torch.equal(train_set.tags, scenes.tags)
    assert torch.equal(val_set.tags, unseen.tags)
    assert all(torch.equal(a["mask"], b["mask"]) for a, b in zip(val_set, unseen, strict=True))
    settings = {"guide.encoder_options": {"widths": [4, 8]}, "guide.epochs": 1, "guide.batch_size": 4}
    settings |= {"segmenter.decoder_widths": [8, 4], "segmenter.epochs": 1, "segmenter.batch_size": 4}
    preset = PRESETS["demo"].override({"image_size": 32, **settings})
    trained = train(preset, train_set, val_set, tmp_path / "run", trainer_options=QUIET)
    assert trained.class_names == names
    (log,) = (tmp_path / "run" / "segmenter").glob("log/*/metrics.csv")
    assert "val/mean_iou" in log.read_text()
    assert json.loads((tmp_path / "val.json").read_text())["categories"][0]["name"] == names[0]
