"""Tables as Kaggle, Hugging Face and Roboflow lay them out; what is read is compared with how it was made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.layouts import image, mask, masked, read, tags_by_name, text

from decomprec.data import TaggedCSV
from decomprec.data.detect import detect_format

SHOWN = {"a": {"cat"}, "b": {"dog"}, "c": {"cat", "dog"}, "d": set(), "e": {"dog"}}
SPLITS = ("train", "val", "test")


def of(split: str) -> dict[str, set[str]]:
    return {f"{split}_{name}": tags for name, tags in SHOWN.items()}


def csv_of(rows: dict[str, set[str]], ending: str = ".jpg", header: str = "image_id,labels") -> str:
    return "\n".join([header, *(f"{name}{ending},{';'.join(sorted(tags))}" for name, tags in rows.items())])


def flags_of(rows: dict[str, set[str]], yes: str = "1", no: str = "0") -> str:
    lines = [
        f"{name}.jpg, {', '.join(yes if k in tags else no for k in ('cat', 'dog'))}" for name, tags in rows.items()
    ]
    return "\n".join(["filename, cat, dog", *lines])


def boxes_of(rows: dict[str, set[str]]) -> str:
    lines = [f"{name}.jpg,8,6,{k},0,0,2,2" for name, tags in rows.items() for k in [*sorted(tags), *sorted(tags)]]
    lines += [f"{name}.jpg,8,6,,,,," for name, tags in rows.items() if not tags]
    return "\n".join(["filename,width,height,class,xmin,ymin,xmax,ymax", *lines])


def json_of(rows: dict[str, set[str]]) -> str:
    return "\n".join(json.dumps({"file_name": f"{name}.jpg", "tags": sorted(tags)}) for name, tags in rows.items())


# Where each split's table and images are, and what the table holds.
LAYOUTS: dict[str, tuple[Callable[[str], str], Callable[[str], str], Callable[[dict[str, set[str]]], str]]] = {
    "kaggle": (lambda s: f"{s}.csv", lambda s: s, csv_of),
    "kaggle, ids": (lambda s: f"{s}_labels.csv", lambda s: f"{s}_images", lambda rows: csv_of(rows, "")),
    "kaggle, one folder": (lambda s: f"{s}.csv", lambda s: "images", csv_of),
    "kaggle, folders in images": (lambda s: f"{s}.csv", lambda s: f"images/{s}", csv_of),
    "kaggle, folders twice": (lambda s: f"{s}.csv", lambda s: f"{s}/{s}", csv_of),
    "hugging face": (lambda s: f"{s}/metadata.csv", lambda s: s, lambda rows: csv_of(rows, header="file_name,label")),
    "hugging face, lines": (lambda s: f"{s}/metadata.jsonl", lambda s: s, json_of),
    "roboflow": (lambda s: f"{s}/_classes.csv", lambda s: s, flags_of),
    "roboflow, boxes": (lambda s: f"{s}/_annotations.csv", lambda s: s, boxes_of),
    "isic": (lambda s: f"{s}.csv", lambda s: s, lambda rows: flags_of(rows, "1.0", "0.0")),
}


def write(root: Path, layout: str, splits: tuple[str, ...] = SPLITS) -> None:
    table, folder, content = LAYOUTS[layout]
    for split in splits:
        text(root / table(split), content(of(split)))
        for name in of(split):
            image(root / folder(split) / f"{name}.jpg")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_table_for_each_split(layout: str, tmp_path: Path) -> None:
    write(tmp_path, layout)
    text(tmp_path / "sample_submission.csv", "image_id,labels\ntest_a.jpg,cat\n")
    assert detect_format(tmp_path) == "csv"
    for split in SPLITS:
        data = read(tmp_path, split)
        assert data.class_names == ("cat", "dog")
        assert tags_by_name(data) == of(split)


@pytest.mark.parametrize("layout", ["kaggle", "hugging face, lines"])
def test_a_part_is_held_out_without_a_table_for_validation(layout: str, tmp_path: Path) -> None:
    write(tmp_path, layout, ("train", "test"))
    train, val = tags_by_name(read(tmp_path, "train")), tags_by_name(read(tmp_path, "val"))
    assert train
    assert val
    assert not set(train) & set(val)
    assert train | val == of("train")


def test_a_test_without_tags_and_images_of_the_same_names(tmp_path: Path) -> None:
    """As on Kaggle: the id alone says nothing, and both splits count from 0."""
    text(tmp_path / "train.csv", "id,breed\n" + "\n".join(f"{i},{('husky', 'boxer')[i % 2]}" for i in range(6)))
    text(tmp_path / "test.csv", "id\n" + "\n".join(map(str, range(6))))
    for i in range(6):
        image(tmp_path / "train" / f"{i}.png")
        image(tmp_path / "test" / f"{i}.png")
    data = read(tmp_path, "train", classes=("boxer", "husky"))
    val = read(tmp_path, "val")
    records = [*data.records, *val.records]
    assert {record.image for record in records} == {tmp_path / "train" / f"{i}.png" for i in range(6)}
    assert all(record.tags == (("husky", "boxer")[int(record.name) % 2],) for record in records)


def test_one_table_of_all_images_and_folders_of_splits(tmp_path: Path) -> None:
    lines = [f"{i},{split},{'dog' if i % 2 else ''}" for split in ("train", "val") for i in range(4)]
    text(tmp_path / "metadata.csv", "\n".join(["image_id,split,tags", *lines]).replace("3,val,dog", "9,val,dog"))
    for split, numbers in (("train", range(4)), ("val", (0, 1, 2, 9))):
        for i in numbers:
            image(tmp_path / split / f"{i}.jpg")
    with pytest.raises(ValueError, match="list each image once"):  # ids that repeat over splits need paths
        read(tmp_path, "train")
    paths = [line.replace(",train", ".jpg,train").replace(",val", ".jpg,val") for line in lines]
    paths = [f"{line.split(',')[1]}/{line}" for line in paths if not line.startswith("3.jpg,val")]
    text(tmp_path / "metadata.csv", "\n".join(["image_id,split,tags", *paths]))
    for split, numbers in (("train", range(4)), ("val", range(3))):
        assert tags_by_name(read(tmp_path, split)) == {str(i): {"dog"} if i % 2 else set() for i in numbers}


def test_ids_of_images_anywhere_below(tmp_path: Path) -> None:
    for name in ("day1/one.png", "day2/deep/two.JPG", "day2/three.tif"):
        image(tmp_path / "photos" / name)
    image(tmp_path / "masks" / "one.png")
    path = text(tmp_path / "labels.csv", "id,label\none,dog\ntwo,cat\nthree.tif,dog\n")
    found = {record.name: record.image for record in TaggedCSV(path).records}
    assert found == {
        "one": tmp_path / "photos/day1/one.png",
        "two": tmp_path / "photos/day2/deep/two.JPG",
        "three": tmp_path / "photos/day2/three.tif",
    }
    image(tmp_path / "photos" / "day3" / "one.png")
    with pytest.raises(ValueError, match=r"'one' to be one image below .*, but got .*day1.*one\.png and .*day3"):
        TaggedCSV(path)


def test_another_image_of_the_name_does_not_stand_for_one_that_is_missing(tmp_path: Path) -> None:
    image(tmp_path / "dog" / "1.jpg")
    path = text(tmp_path / "labels.csv", "image,label\ndog/1.jpg,dog\ncat/1.jpg,cat\n")
    with pytest.raises(FileNotFoundError, match=r"1 do not: .*cat"):
        TaggedCSV(path)


def test_masks_of_a_table_for_each_split(tmp_path: Path) -> None:
    for split in ("train", "val"):
        text(tmp_path / f"{split}.csv", csv_of(of(split)))
        for name, tags in of(split).items():
            image(tmp_path / split / f"{name}.jpg")
            mask(tmp_path / "masks" / f"{name}.png", 2 if "dog" in tags else int("cat" in tags))
    val = read(tmp_path, "val")
    assert masked(val) == set(of("val"))
    assert [int(item["mask"][0, 0]) for item in val] == [1, 2, 2, 0, 2]


def test_json_lines_have_names_with_signs_and_numbers(tmp_path: Path) -> None:
    rows = [
        {"file_name": "a.png", "label": ["tench, Tinca tinca", "red"]},
        {"file_name": "b.png", "label": None, "text": "a photo"},
        {"file_name": "c.png", "label": ["red"]},
    ]
    for row in rows:
        image(tmp_path / str(row["file_name"]))
    data = TaggedCSV(text(tmp_path / "metadata.jsonl", "\n".join(map(json.dumps, rows)) + "\n"))
    assert data.class_names == ("red", "tench, Tinca tinca")
    assert tags_by_name(data) == {"a": {"red", "tench, Tinca tinca"}, "b": set(), "c": {"red"}}


def test_objects_without_pixels_are_none(tmp_path: Path) -> None:
    """As of Severstal's steel: a row for each image and class, with or without pixels."""
    rows = ["a.jpg,1,1 3", "a.jpg,2,", "b.jpg,1,", "b.jpg,2,", "c.jpg,1,", "c.jpg,2,4 2"]
    for name in "abc":
        image(tmp_path / "train_images" / f"{name}.jpg")
    data = TaggedCSV(text(tmp_path / "train.csv", "\n".join(["ImageId,ClassId,EncodedPixels", *rows])))
    assert tags_by_name(data) == {"a": {"1"}, "b": set(), "c": {"2"}}


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"train.csv": "id,label\n0,0\n1,1\n"}, "'label' of .* only 0 and 1; if these say"),
    ({"labels.csv": "image,label,Confidence\n0,dog,1\n1,dog,0\n"}, "tags that are sure, but got a column 'Confidence'"),
    ({"metadata.jsonl": '{"file_name": "0.jpg", "text": "a dog"}'}, "has the columns file_name, text"),
    ({"metadata.jsonl": '{"file_name": "0.jpg", "label": "dog"}\n[1]'}, r"line 2 of .* to be a JSON object"),
    ({"one.csv": "image,tags\n0,dog\n", "two.csv": "image,tags\n1,cat\n"}, r"one table .* one\.csv, two\.csv; rename"),
    ({"train.csv": "image,tags\n0,dog\n", "train_v2.csv": "image,tags\n1,cat\n"}, r"one table .* train_v2\.csv"),
]


@pytest.mark.parametrize(("tables", "words"), REFUSED)
def test_tables_that_cannot_be_told(tables: dict[str, str], words: str, tmp_path: Path) -> None:
    for i in range(2):
        image(tmp_path / "images" / f"{i}.jpg")
    for name, content in tables.items():
        text(tmp_path / name, content)
    paths: list[Any] = [tmp_path, *([tmp_path / "metadata.jsonl"] if words.startswith(r"line") else [])]
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        read(paths[-1], "train")


def test_numbers_may_be_classes_if_the_user_says_so(tmp_path: Path) -> None:
    for i in range(4):
        image(tmp_path / f"{i}.jpg")
    path = text(tmp_path / "train.csv", "id,label,fold\n0,0,3\n1,1,3\n2,0,4\n3,1,4\n")
    assert TaggedCSV(path, classes=["1"]).tags.tolist() == [[0], [1], [0], [1]]
    assert set(tags_by_name(TaggedCSV(path, split="4", classes=["1"]))) == {"2", "3"}
    parts = [set(tags_by_name(TaggedCSV(path, split=split, classes=["1"]))) for split in ("train", "val")]
    assert [len(part) for part in parts] == [3, 1]
    assert parts[0] | parts[1] == set("0123")
