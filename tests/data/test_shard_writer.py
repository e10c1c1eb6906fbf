"""Shards written from rows: what they hold, by the library of WebDataset and by this one, and what is refused."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from decomprec.data import load_images, write_shards

NAMES = ["cat", "dog", "cow"]


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def jpeg(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(number)).save(file, "JPEG")
    return file.getvalue()


def streamed(folder: Path, numbers: range) -> Any:
    """A stream of JPEG files from Parquet, as of the hub; image `i` has the class `i % 3`."""
    rows = {"image": [{"bytes": jpeg(i), "path": None} for i in numbers], "label": [i % 3 for i in numbers]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    file = folder / f"{numbers.start}.parquet"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(file))
    return datasets.load_dataset("parquet", data_files=str(file), split="train", streaming=True)


def tags_of(data: Any) -> list[list[str]]:
    return [[name for name, tag in zip(data.class_names, row, strict=True) if tag] for row in data.tags.tolist()]


def test_a_stream_is_written_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    splits = {"train": streamed(tmp_path, range(5)), "validation": streamed(tmp_path, range(5, 7))}
    write_shards(splits, tmp_path / "pets", tags_column="label", per_shard=2)
    train = sorted((tmp_path / "pets").glob("train-*.tar"))
    samples = list(webdataset.WebDataset([str(file) for file in train], shardshuffle=False))
    assert len(train) == 3
    assert [sample["jpeg"] for sample in samples] == [jpeg(i) for i in range(5)]
    assert [json.loads(sample["json"]) for sample in samples] == [[NAMES[i % 3]] for i in range(5)]
    val = load_images(tmp_path / "pets")("val", transform=None, masks=False)
    assert (val.class_names, tags_of(val)) == (tuple(NAMES), [["cow"], ["cat"]])
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".partial")]


def test_rows_of_every_form_are_read_back_as_they_were(tmp_path: Path) -> None:
    mask = np.zeros((6, 8), dtype=np.int64)
    mask[0, :3] = 1, 2, 255
    turned = Image.fromarray(pixels(4))
    turned.getexif()[0x0112] = 6
    (tmp_path / "3.jpg").write_bytes(jpeg(3))
    rows: list[dict[str, Any]] = [
        {"image": Image.fromarray(pixels(0)), "tags": ["dog", "cat"], "mask": mask},
        {"image": pixels(1), "tags": None, "mask": Image.fromarray(mask.astype(np.uint8))},
        {"image": torch.from_numpy(pixels(2)).permute(2, 0, 1), "tags": "dog"},
        {"image": str(tmp_path / "3.jpg"), "tags": []},
        {"image": turned, "tags": ["cat"], "mask": mask},
        {"image": Image.fromarray(pixels(5)).convert("CMYK"), "tags": ["cat"], "mask": mask},
    ]
    write_shards({"train": iter(rows), "val": rows[:1]}, tmp_path / "pets")
    data = load_images(tmp_path / "pets")("train", transform=None, masks=True)
    shown = [(255 * data[i]["image"]).round().byte() for i in range(len(rows))]
    as_read = [torch.from_numpy(pixels(i)).permute(2, 0, 1) for i in range(3)]
    assert tags_of(data) == [["cat", "dog"], [], ["dog"], [], ["cat"], ["cat"]]
    assert all(torch.equal(shown[i], as_read[i]) for i in range(3))
    assert torch.equal(shown[3], torch.from_numpy(np.array(Image.open(tmp_path / "3.jpg"))).permute(2, 0, 1))
    assert torch.equal(shown[4], torch.from_numpy(np.rot90(pixels(4), -1).copy()).permute(2, 0, 1))
    assert torch.equal(shown[5], torch.from_numpy(pixels(5)).permute(2, 0, 1))
    label_maps = [mask, mask, np.full((6, 8), 255), np.zeros((6, 8)), np.rot90(mask, -1), mask]
    assert all(np.array_equal(data[i]["mask"], label_maps[i]) for i in range(len(rows)))


def test_a_damaged_image_is_written_and_skipped_when_it_is_read(tmp_path: Path) -> None:
    whole = {"image": jpeg(0), "tags": "dog"}
    write_shards({"train": [{"image": b"none", "tags": "dog"}, whole], "val": [whole]}, tmp_path / "pets")
    with pytest.warns(UserWarning, match="1 of 2 images are skipped"):
        load_images(tmp_path / "pets", on_error="skip")("train", transform=None, masks=False)


def broken() -> Iterator[dict[str, Any]]:
    yield {"image": pixels(0), "tags": "dog"}
    raise ConnectionError("the hub is away")


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": []}, "to hold rows, but train has none"),
        ({"dogs": [{"image": pixels(0), "tags": "dog"}]}, "called train, val or test, but got 'dogs'"),
        ({"train": [{"image": pixels(0), "label": "dog"}]}, r"row 0 of train .* has \['image', 'label'\], not 'tags'"),
        ({"train": [{"image": pixels(0), "tags": 3}]}, "row 0 of train .* tags to be names, or numbers into"),
        ({"val": [{"image": pixels(0) / 2, "tags": "dog"}]}, r"row 0 of val .* float64 of shape \(6, 8, 3\)"),
        ({"val": [{"image": "nowhere.jpg", "tags": "dog"}]}, "row 0 of val .*nowhere.jpg"),
        ({"train": broken()}, "the hub is away"),
    ],
)
def test_what_can_not_be_written_leaves_nothing(splits: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, ConnectionError), match=message):
        write_shards(splits, tmp_path / "pets")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`folder` to be new"):
        write_shards({"train": [{"image": pixels(0), "tags": "dog"}]}, tmp_path)


def test_splits_must_number_their_classes_alike(tmp_path: Path) -> None:
    class Rows(list[Any]):
        def __init__(self, names: list[str]) -> None:
            super().__init__([{"image": pixels(0), "tags": 0}])
            self.features = {"tags": datasets.ClassLabel(names=names)}

    with pytest.raises(ValueError, match="the same class names in every split"):
        write_shards({"train": Rows(["cat", "dog"]), "val": Rows(["dog", "cat"])}, tmp_path / "pets")
