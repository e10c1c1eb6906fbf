"""Data sets that Hugging Face's `datasets` wrote, and Parquet files of other tools."""

import io
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from decomprec.data import TaggedRows, load_images
from decomprec.data.detect import detect_format

OPTIONS: dict[str, Any] = {"transform": None, "masks": False}
NAMES = ["cat", "dog", "cow"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def photo(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8))


def saved(folder: Path, features: dict[str, Any], splits: tuple[str, ...] = ("train",), **columns: list[Any]) -> Path:
    """A data set of each split, of images 0, 1, ... and these columns."""
    count = len(next(iter(columns.values())))
    every = {"image": [photo(i) for i in range(count)], **columns}
    data = datasets.Dataset.from_dict(every, features=datasets.Features({"image": datasets.Image(), **features}))
    path = folder / "saved"
    if splits == ("train",):
        data.save_to_disk(str(path))
    else:
        datasets.DatasetDict(dict.fromkeys(splits, data)).save_to_disk(str(path))
    return path


def tags_of(data: Any) -> list[list[str]]:
    return [[name for name, tag in zip(data.class_names, row, strict=True) if tag] for row in data.tags.tolist()]


LABEL = datasets.ClassLabel(names=NAMES)
TEXT = datasets.Value("string")


@pytest.mark.parametrize(
    ("features", "columns", "expected"),
    [
        ({"label": LABEL}, {"label": [1, 0, 2]}, [["dog"], ["cat"], ["cow"]]),
        ({"labels": datasets.List(LABEL)}, {"labels": [[1, 0], [], [2]]}, [["cat", "dog"], [], ["cow"]]),
        ({"tags": datasets.List(TEXT)}, {"tags": [["dog"], [], ["cat", "cow"]]}, [["dog"], [], ["cat", "cow"]]),
        ({"category": TEXT, "id": TEXT}, {"category": ["dog", "cat", "cow"], "id": ["a", "b", "c"]}, None),
        (
            {"tags": LABEL, "weather": datasets.ClassLabel(names=["sun", "rain"])},
            {"tags": [1, 0, 2], "weather": [0, 0, 1]},
            None,
        ),
        (
            {"objects": {"id": datasets.List(datasets.Value("int64")), "category": datasets.List(LABEL)}},
            {"objects": [{"id": [0, 1], "category": [1, 0]}, {"id": [], "category": []}, {"id": [2], "category": [2]}]},
            [["cat", "dog"], [], ["cow"]],
        ),
        (
            {"objects": datasets.List({"id": datasets.Value("int64"), "category": LABEL})},
            {"objects": [[{"id": 0, "category": 1}, {"id": 1, "category": 0}], [], [{"id": 2, "category": 2}]]},
            [["cat", "dog"], [], ["cow"]],
        ),
    ],
)
def test_every_form_of_tags(features: Any, columns: Any, expected: Any, tmp_path: Path) -> None:
    path = saved(tmp_path, features, ("train", "validation"), **columns)
    assert detect_format(path) == "hf"
    data = load_images(path)("val", **OPTIONS)
    assert tags_of(data) == (expected or [["dog"], ["cat"], ["cow"]])
    for i in range(3):
        assert torch.equal((255 * data[i]["image"]).byte(), torch.from_numpy(np.array(photo(i))).permute(2, 0, 1))


def test_parquet_files_are_read_by_split_and_without_one_a_fifth_is_held_out(tmp_path: Path) -> None:
    data = datasets.load_from_disk(str(saved(tmp_path, {"label": LABEL}, label=[i % 3 for i in range(10)])))
    folder = tmp_path / "data"
    folder.mkdir()
    for i, part in enumerate((data.select(range(6)), data.select(range(6, 10)))):
        part.to_parquet(str(folder / f"train-{i:05d}-of-00002.parquet"))
    assert detect_format(folder) == detect_format(folder / "train-00000-of-00002.parquet") == "hf"
    load = load_images(folder)
    train, val = load("train", **OPTIONS), load("val", **OPTIONS)
    assert (len(train), len(val)) == (8, 2)
    seen = {item["image"].sum().item() for part in (train, val) for item in part}
    assert len(seen) == 10
    data.select([4]).to_parquet(str(folder / "validation-00000-of-00001.parquet"))
    load = load_images(folder, classes=("dog", "cat"))
    assert len(load("train", **OPTIONS)) == 10
    assert tags_of(load("val", **OPTIONS)) == [["dog"]]


def test_parquet_files_of_other_tools(tmp_path: Path) -> None:
    files = []
    for i in range(2):
        buffer = io.BytesIO()
        photo(i).save(buffer, "PNG")
        files.append(buffer.getvalue())
    table = pa.table({"picture": pa.array(files, pa.binary()), "label": [1, 0]})
    pq.write_table(table, tmp_path / "train.parquet")
    load = load_images(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"'label' of .* class labels or names, but got numbers; write a file classes"):
        load("train", **OPTIONS)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert [tags_of(load(split, **OPTIONS)) for split in ("train", "val")] in (
        [[["dog"]], [["cat"]]],
        [[["cat"]], [["dog"]]],
    )


def test_masks_on_request(tmp_path: Path) -> None:
    mask = np.zeros((6, 8), dtype=np.uint8)
    mask[0, :3] = 2, 1, 255
    features = {"label": datasets.ClassLabel(names=["background", "cat", "dog"]), "annotation": datasets.Image()}
    path = saved(tmp_path, features, ("train", "val"), label=[2, 0], annotation=[Image.fromarray(mask)] * 2)
    data = load_images(path)("val", transform=None, masks=True)
    assert (data.class_names, tags_of(data)) == (("cat", "dog"), [["dog"], []])
    assert torch.equal(data[0]["mask"], torch.from_numpy(mask).long())
    assert "mask" not in load_images(path)("val", **OPTIONS)[0]


@pytest.mark.parametrize(
    ("features", "columns", "message"),
    [
        (
            {"fine": LABEL, "coarse": LABEL},
            {"fine": [0], "coarse": [1]},
            "'fine' and 'coarse' could be it; call the .* 'tags'",
        ),
        (
            {"label": LABEL, "tag": LABEL},
            {"label": [0], "tag": [1]},
            "one column of tags, but 'label' and 'tag' could be it",
        ),
        ({"text": TEXT}, {"text": ["a dog"]}, r"one column of tags, but it has \['image', 'text'\]"),
        (
            {"label": LABEL, "mask": datasets.Image(), "seg": datasets.Image()},
            {"label": [0], "mask": [photo(1)], "seg": [photo(2)]},
            None,
        ),
    ],
)
def test_columns_that_could_be_two_things(features: Any, columns: Any, message: str | None, tmp_path: Path) -> None:
    load = load_images(saved(tmp_path, features, **columns))
    if message is None:  # one is called as it should be
        assert len(load("train", **OPTIONS)) == 1
        return
    with pytest.raises(ValueError, match=message):
        load("train", **OPTIONS)


def test_two_images_are_refused(tmp_path: Path) -> None:
    features = {"left": datasets.Image(), "right": datasets.Image(), "label": LABEL}
    data = datasets.Dataset.from_dict(
        {"left": [photo(0)], "right": [photo(1)], "label": [0]}, features=datasets.Features(features)
    )
    data.save_to_disk(str(tmp_path / "pairs"))
    with pytest.raises(ValueError, match=r"one column of images, but 'left' and 'right' could be it; call .* 'image'"):
        load_images(tmp_path / "pairs")("train", **OPTIONS)


def test_a_damaged_image_is_skipped(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    photo(0).save(buffer, "PNG")
    rows = {"image": [{"bytes": buffer.getvalue(), "path": None}, {"bytes": b"none", "path": None}], "label": [0, 1]}
    features = datasets.Features({"image": datasets.Image(), "label": LABEL})
    data = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": data, "val": data}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match="Expected 000001 to be an image"):
        load_images(tmp_path / "saved")("train", **OPTIONS)[1]
    with pytest.warns(UserWarning, match="1 of 2 images are skipped"):
        assert len(load_images(tmp_path / "saved", on_error="skip")("train", **OPTIONS)) == 1


def test_a_stream_is_refused(tmp_path: Path) -> None:
    data = datasets.load_from_disk(str(saved(tmp_path, {"label": LABEL}, label=[0, 1])))
    assert len(TaggedRows(data, tags_column="label")) == 2
    with pytest.raises(ValueError, match="to have a length, but got a stream of images"):
        TaggedRows(data.to_iterable_dataset(), tags_column="label")


def test_without_the_package_the_cure_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, {"label": LABEL}, label=[0])
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match="pip install datasets"):
        load_images(path)("train", **OPTIONS)
