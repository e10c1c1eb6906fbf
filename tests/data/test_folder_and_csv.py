import csv
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from decomprec.data import TaggedCSV, TaggedFolder
from decomprec.data.formats.tag_cells import split_tags


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)
    return path


def image(value=0):
    return np.full((4, 6, 3), value)


@pytest.fixture
def folder(tmp_path):
    for split, count in (("train", 4), ("val", 2)):
        for name in ("cat", "dog", "other"):
            for i in range(count):
                save(tmp_path / split / name / f"{name}{i}.png", image(i))
    mask = np.zeros((4, 6))
    mask[:2], mask[3] = 2, 255
    save(tmp_path / "val_masks" / "dog0.png", mask)
    return tmp_path


@pytest.fixture
def table(tmp_path):
    rows = [("a.png", "train", "dog cat"), ("b", "train", ""), ("c.png", "val", "cat cow"), ("d.png", "val", "dog")]
    for name, *_ in rows:
        save(tmp_path / "images" / f"{name.removesuffix('.png')}.png", image(9))
    save(tmp_path / "masks" / "c.png", [[0, 1, 1, 3, 3, 255]] * 4)
    (tmp_path / "classes.txt").write_text("background\ncat\ndog\ncow\n")
    with (tmp_path / "tags.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "split", "classes"), *rows])
    return tmp_path


def load(table, **options):
    return TaggedCSV(table / "tags.csv", tags_column="classes", **options)


# Folder


def test_folder_reads_splits_and_tags(folder):
    train = TaggedFolder(folder, "train")
    assert train.class_names == ("cat", "dog")
    assert len(train) == 12
    assert train.tags.sum(0).tolist() == [4, 4]
    item = train[5]
    assert item["name"] == "dog1"
    assert item["tags"].tolist() == [0, 1]
    torch.testing.assert_close(item["image"], torch.full((3, 4, 6), 1 / 255))
    assert "mask" not in item
    assert len(TaggedFolder(folder)) == 18


def test_folder_masks(folder):
    masks = {item["name"]: item["mask"] for item in TaggedFolder(folder, "val", masks=True)}
    assert masks["dog0"].tolist() == [[2] * 6, [2] * 6, [0] * 6, [255] * 6]
    assert (masks["dog1"] == 255).all()
    assert (masks["other0"] == 0).all()


def test_folder_classes_turn_the_rest_into_background(folder):
    val = TaggedFolder(folder, "val", classes=("dog",), masks=True)
    masks = {item["name"]: item["mask"] for item in val}
    assert val.tags.tolist() == [[0], [0], [1], [1], [0], [0]]
    assert masks["dog0"].unique().tolist() == [0, 1, 255]
    assert (masks["cat0"] == 0).all()


def test_folder_never_opens_masks_in_training(folder):
    (folder / "val_masks" / "dog0.png").write_bytes(b"not an image")
    assert len(list(TaggedFolder(folder, "val"))) == 6
    shutil.rmtree(folder / "val_masks")
    assert len(list(TaggedFolder(folder, "val"))) == 6


def test_folder_without_splits_draws_a_stratified_one(tmp_path):
    for name, count in (("dog", 10), ("none", 20)):
        for i in range(count):
            save(tmp_path / name / f"{name}{i}.png", image())
    save(tmp_path / "masks" / "dog3.png", np.ones((4, 6)))

    def names(split, seed=0):
        return {record.name for record in TaggedFolder(tmp_path, split, val_fraction=0.3, seed=seed).records}

    assert names("train") | names("val") == names(None)
    assert not names("train") & names("val")
    assert TaggedFolder(tmp_path, "val", val_fraction=0.3).tags.sum() == 3
    assert len(names("val")) == 9
    assert names("val") == names("val") != names("val", seed=1)
    labels = {item["name"]: item["mask"].unique().tolist() for item in TaggedFolder(tmp_path, masks=True)}
    assert labels["dog3"] == [1]
    assert labels["dog4"] == [255]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"split": "test"}, ValueError, r"`split`.*train.*val.*test"),
        ({"classes": ("cat", "horse")}, ValueError, "horse"),
        ({"classes": ()}, ValueError, "classes"),
        ({"val_fraction": 1.0}, ValueError, "val_fraction"),
        ({"background": ("cat", "dog", "other")}, FileNotFoundError, "folder per class"),
    ],
)
def test_folder_bad_arguments(folder, options, error, words):
    with pytest.raises(error, match=words):
        TaggedFolder(folder, **options)


def test_folder_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="root"):
        TaggedFolder(tmp_path / "nowhere")


def test_folder_mask_that_fits_two_images(folder):
    save(folder / "val" / "cat" / "dog0.png", image())
    with pytest.raises(ValueError, match="belong to one image"):
        TaggedFolder(folder, "val", masks=True)


# CSV


def test_csv_reads_rows(table):
    train = load(table, split="train")
    assert train.class_names == ("cat", "cow", "dog")
    assert train.tags.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert [item["name"] for item in train] == ["a", "b"]
    assert len(load(table)) == 4


def test_csv_classes_select_and_order(table):
    val = load(table, split="val", classes=("dog", "cat"), mask_classes=table / "classes.txt", masks=True)
    assert val.tags.tolist() == [[0, 1], [1, 0]]
    assert val[0]["mask"][0].tolist() == [0, 2, 2, 0, 0, 255]
    assert (val[1]["mask"] == 255).all()


def test_csv_reads_the_names_of_mask_values_next_to_the_masks(table):
    shutil.move(table / "classes.txt", table / "masks" / "classes.txt")
    val = load(table, split="val", classes=("dog", "cat", "cow"), masks=True)
    assert val[0]["mask"][0].tolist() == [0, 2, 2, 3, 3, 255]


def test_csv_takes_the_class_list_next_to_it_for_the_masks(table):
    val = load(table, split="val", classes=("dog", "cat", "cow"), masks=True)
    assert val[0]["mask"][0].tolist() == [0, 2, 2, 3, 3, 255]  # cat, cat, cow, cow
    assert load(table, split="val", classes=("dog", "cow"), masks=True)[0]["mask"][0].tolist() == [0, 0, 0, 2, 2, 255]


def test_csv_without_mask_classes_takes_the_order_of_classes(table):
    (table / "classes.txt").unlink()
    val = load(table, split="val", classes=("dog", "cat", "cow"), masks=True)
    assert val[0]["mask"][0].tolist() == [0, 1, 1, 3, 3, 255]


def test_csv_mask_with_unknown_value(table):
    (table / "classes.txt").unlink()
    val = load(table, split="val", classes=("dog", "cat"), masks=True)
    with pytest.raises(ValueError, match=r"c\.png.*\[3\]"):
        val[0]


def test_csv_never_opens_masks_in_training(table):
    shutil.rmtree(table / "masks")
    items = list(load(table, mask_classes=table / "classes.txt"))
    assert len(items) == 4
    assert all("mask" not in item for item in items)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"split": "test"}, ValueError, r"`split`.*train.*val.*test"),
        ({"classes": ("dog", "horse")}, ValueError, "horse"),
        ({"split_column": "fold", "split": "train"}, ValueError, "fold"),
        ({"image_column": "file"}, ValueError, "file"),
        ({"images": "nowhere"}, FileNotFoundError, "nowhere"),
        ({"masks_dir": "nowhere", "masks": True}, FileNotFoundError, "nowhere"),
        ({"mask_classes": "nowhere.txt", "masks": True}, FileNotFoundError, r"nowhere\.txt"),
        ({"mask_classes": ("background", "dog"), "masks": True}, ValueError, "cat"),
    ],
)
def test_csv_bad_arguments(table, options, error, words):
    with pytest.raises(error, match=words):
        load(table, **options)


def test_csv_missing_files(table):
    (table / "images" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match="1 do not"):
        load(table)
    with pytest.raises(FileNotFoundError, match="csv"):
        TaggedCSV(table / "nowhere.csv")
    (table / "empty.csv").write_text("image,split,tags\n")
    with pytest.raises(ValueError, match="at least one image"):
        TaggedCSV(table / "empty.csv")


NAMES = st.text(st.characters(categories=("L", "N"), include_characters="-_'"), min_size=1, max_size=8)


@given(st.lists(st.lists(NAMES, unique=True, max_size=4), min_size=1, max_size=6), st.sampled_from("\t;,|"))
def test_tags_survive_writing_and_reading(rows, separator):
    assert split_tags([separator.join(row) for row in rows]) == [tuple(row) for row in rows]


@given(
    st.lists(
        st.lists(st.tuples(NAMES, NAMES).map(" ".join), unique=True, min_size=2, max_size=4),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from((", ", ";", " ; ")),
)
def test_names_with_spaces_survive_commas_and_semicolons(rows, separator):
    alone = rows[0][0]
    cells = [alone, *(separator.join(row) for row in rows)]
    assert split_tags(cells) == [(alone,), *(tuple(row) for row in rows)]
