"""WebDataset shards: written and read by the library of that name, and read here without it."""

import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from decomprec.data import load_images
from decomprec.data.detect import detect_format

OPTIONS: dict[str, Any] = {"transform": None, "masks": False}


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def png(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def write(folder: Path, samples: list[dict[str, Any]], split: str = "train", per_shard: int = 4) -> Path:
    """Shards of samples, by WebDataset's own writer; sample `i` has the image of that number."""
    folder.mkdir(exist_ok=True)
    pattern = str(folder / f"pets-{split}-%03d.tar")
    with webdataset.ShardWriter(pattern, maxcount=per_shard, verbose=0) as shards:
        for i, sample in enumerate(samples):
            shards.write({"__key__": f"{split}/{i:04d}", "png": png(pixels(i)), **sample})
    return folder


def tags_of(data: Any) -> list[list[str]]:
    return [[name for name, tag in zip(data.class_names, row, strict=True) if tag] for row in data.tags.tolist()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "classes.txt").write_text("cat\ndog\ncow\n")
    write(tmp_path, [{"cls": i % 3} for i in range(10)])
    return write(tmp_path, [{"cls": 2}, {"cls": 0}], split="val")


def test_samples_are_those_that_webdataset_reads(root: Path) -> None:
    data = load_images(root)("train", **OPTIONS)
    shards = [str(file) for file in sorted(root.glob("pets-train-*.tar"))]
    expected = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"))
    assert len(shards) == 3
    assert [data[i]["name"] for i in range(10)] == [sample["__key__"] for sample in expected]
    for i, sample in enumerate(expected):
        assert torch.equal((255 * data[i]["image"]).byte(), torch.from_numpy(sample["png"].copy()).permute(2, 0, 1))
        assert data[i]["tags"].tolist() == [float(sample["cls"] == j) for j in range(3)]
    assert data.class_names == ("cat", "dog", "cow")
    assert tags_of(load_images(root, "webdataset", classes=("cow", "cat"))("val", **OPTIONS)) == [["cow"], ["cat"]]


def test_images_are_read_in_any_order_and_process(root: Path) -> None:
    data = load_images(root)("train", **OPTIONS)
    again = pickle.loads(pickle.dumps(data))
    for i in (7, 0, 9):
        assert torch.equal(again[i]["image"], torch.from_numpy(pixels(i)).permute(2, 0, 1) / 255)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([{"cls": "dog"}, {"cls": "cat"}, {"cls": ""}], [["dog"], ["cat"], []]),
        ([{"json": {"label": 1, "width": 8}}, {"json": {"label": 0}}], [["dog"], ["cat"]]),
        ([{"json": {"tags": ["dog", "cat"], "label": 7}}, {"json": {"tags": []}}], [["cat", "dog"], []]),
        ([{"json": ["dog"]}, {"json": 0}], [["dog"], ["cat"]]),
        ([{"txt": "dog; cat"}, {"txt": "cow"}, {"txt": ""}], [["cat", "dog"], ["cow"], []]),
        (
            [{"cls": 1, "txt": "a photo of a dog", "json": {"width": 8}}, {"cls": 0, "txt": "two cats"}],
            [["dog"], ["cat"]],
        ),
        ([{"cls": 1, "json": {"label": 1}}, {"cls": 0, "json": {"label": 0}}], [["dog"], ["cat"]]),
    ],
)
def test_what_says_the_classes(samples: list[dict[str, Any]], expected: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text(json.dumps({"cat": 0, "dog": 1, "cow": 2}))
    write(tmp_path, samples)
    write(tmp_path, samples[:1], split="val")
    assert tags_of(load_images(tmp_path)("train", **OPTIONS)) == expected


def test_the_background_is_no_class_and_masks_are_read_on_request(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("background\ncat\ndog\n")
    mask = np.zeros((6, 8), dtype=np.uint8)
    mask[0, :3] = 1, 2, 255
    write(tmp_path, [{"json": [1, 2], "mask.png": png(mask)}, {"cls": 0, "json": 0}])
    write(tmp_path, [{"cls": 1}], split="val")
    load = load_images(tmp_path)
    data = load("train", transform=None, masks=True)
    assert (data.class_names, tags_of(data)) == (("cat", "dog"), [["cat", "dog"], []])
    assert torch.equal(data[0]["mask"], torch.from_numpy(mask).long())
    assert data[1]["mask"].unique().tolist() == [0]
    assert "mask" not in load("train", **OPTIONS)[0]
    assert load("val", transform=None, masks=True)[0]["mask"].unique().tolist() == [255]  # nobody has drawn any


def test_without_a_split_a_fifth_is_held_out(tmp_path: Path) -> None:
    write(tmp_path, [{"cls": "dog" if i % 2 else "cat"} for i in range(20)], split="part")
    load = load_images(tmp_path)
    train, val = ({load(split, **OPTIONS)[i]["name"] for i in range(n)} for split, n in (("train", 16), ("val", 4)))
    assert len(train | val) == 20


def add(shard: Path, name: str, content: bytes) -> None:
    with tarfile.open(shard, "a") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def test_files_of_systems_and_others_are_passed_over(root: Path) -> None:
    for name in ("._0003.png", "__MACOSX/a.png", "README.md", ".DS_Store"):
        add(root / "pets-train-000.tar", name, b"?")
    assert len(load_images(root)("train", **OPTIONS)) == 10


def test_a_damaged_image_is_named_or_skipped(root: Path) -> None:
    shard = root / "pets-val-000.tar"
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    contents = {"broken": b"no image", "truncated": png(noise)[:5000], "photo": heic}
    for key, content in contents.items():
        add(shard, f"val/{key}.png", content)
        add(shard, f"val/{key}.cls", b"1")
    data = load_images(root)("val", **OPTIONS)
    said = []
    for number, key in enumerate(contents, 2):
        with pytest.raises(
            ValueError, match=rf"Expected val/{key} in .*pets-val-000\.tar to be an image, but"
        ) as error:
            data[number]
        said.append(str(error.value))
    assert "object" not in "".join(said)
    assert "it is HEIC or HEIF; do pip install pillow-heif" in said[2]
    with pytest.warns(UserWarning, match="3 of 5 images are skipped"):
        assert len(load_images(root, on_error="skip")("val", **OPTIONS)) == 2


def test_an_archive_next_to_its_images_is_no_shard(root: Path, tmp_path: Path) -> None:
    assert detect_format(root) == "webdataset"
    assert detect_format(root / "pets-val-000.tar") == "webdataset"
    (tmp_path / "photos" / "dog").mkdir(parents=True)
    (tmp_path / "photos" / "all.tar").write_bytes((root / "pets-val-000.tar").read_bytes())
    Image.fromarray(pixels(0)).save(tmp_path / "photos" / "dog" / "a.png")
    assert detect_format(tmp_path / "photos") == "folder"


@pytest.mark.parametrize(
    ("samples", "classes", "message"),
    [
        ([{"cls": 1}], None, r"a file classes\.txt in .*, one name a line, .* number their classes, such as 1"),
        ([{"cls": 5}], "cat\ndog", "numbers into `names` = .*, but got 5"),
        ([{"txt": "a dog in a park"}], None, "classes.txt for the .txt files .* which may be captions"),
        ([{"txt": "dog"}, {"txt": "cow"}], "cat\ndog", r"tags of classes\.txt, but got 'cow'"),
        ([{}], "cat", r"a file \.cls, \.json or \.txt for each image, but train/0000 has none"),
        ([{"cls": 0}, {}], "cat", r"train/0001 in .* has none, as 1 of 2; an image of no class has an empty one"),
        (
            [{"cls": 0, "json": {"label": 1}}],
            "cat\ndog",
            r"to say the same, but those of train/0000 in .* say \[0\] and \[1\]; leave one",
        ),
        ([{"json": {"label": 0, "class": 1}}], "cat\ndog", "'label' and 'class' could be it; call the one .* 'tags'"),
        ([{"json": {"tags": [0.5]}}], "cat", r"names or numbers, but got \[0\.5\]"),
        (
            [{"cls": 0, "jpg": png(pixels(1))}],
            "cat",
            r"one image and at most one mask .* but got .*; end the name of a mask",
        ),
        ([{"cls": 0}], "cat\ncat", r"classes\.txt to give each class another name, .* but got \['cat', 'cat'\]"),
    ],
)
def test_what_is_refused(samples: list[dict[str, Any]], classes: str | None, message: str, tmp_path: Path) -> None:
    if classes is not None:
        (tmp_path / "classes.txt").write_text(classes)
    encoded = [{k: v.encode() if k == "txt" else v for k, v in sample.items()} for sample in samples]
    with pytest.raises(ValueError, match=message):
        load_images(write(tmp_path, encoded), "webdataset")("train", **OPTIONS)


def test_a_compressed_or_broken_shard_is_refused(root: Path, tmp_path: Path) -> None:
    for content in (b"no tar file" * 100, b"\x1f\x8b" + bytes(600)):
        shard = tmp_path / "one.tar"
        shard.write_bytes(content)
        with pytest.raises(ValueError, match=r"one\.tar to be a tar file that is whole and not compressed"):
            load_images(shard)("train", **OPTIONS)


def test_some_shards_without_a_split_are_refused(root: Path) -> None:
    (root / "extra.tar").write_bytes((root / "pets-val-000.tar").read_bytes())
    with pytest.raises(
        ValueError, match=r"to name their split, as .* does, but got extra\.tar; put train, val or test"
    ):
        load_images(root)("train", **OPTIONS)
