"""Tables as Kaggle, pandas, fastai and spreadsheets leave them; what is read is compared with how they were made."""

from pathlib import Path

import pytest
from support.layouts import image, read, tags_by_name, text

from decomprec.data.formats.csv_table import class_columns, split_cells
from decomprec.data.formats.tag_cells import split_tags

COUNT = 8


def table(root: Path, header: str, *cells: object, name: str = "labels.csv") -> Path:
    """A row for each image, with the cells that each column has in turn."""
    rows = [header]
    for i in range(COUNT):
        image(root / "images" / f"{i}.jpg")
        rows.append(",".join([f"{i}.jpg", *(str(column[i % len(column)]) for column in map(list, cells))]))
    text(root / name, "\n".join(rows))
    return root


def both(root: Path) -> dict[str, set[str]]:
    return tags_by_name(read(root, "train")) | tags_by_name(read(root, "val"))


SIGNS = [
    *[
        ("0", "1"),
        ("0.0", "1.0"),
        ("False", "True"),
        ("no", "yes"),
        ("N", "Y"),
        ("f", "t"),
        ("-1", "1"),
        ("-1.0", "1.0"),
    ],
    *[("", "1"), ("", "x"), ("", "True")],
]


@pytest.mark.parametrize(("absent", "present"), SIGNS)
def test_columns_of_yes_and_no(absent: str, present: str, tmp_path: Path) -> None:
    table(tmp_path, "image,cat,dog", (absent, present), (absent, absent, present, present))
    expected = {str(i): {name for name, bit in (("cat", i % 2), ("dog", i // 2 % 2)) if bit} for i in range(COUNT)}
    assert both(tmp_path) == expected


@pytest.mark.parametrize("cells", [("", "0", "1"), ("-1", "0", "1"), ("", "-1", "1"), ("0.2", "0.9")])
def test_columns_that_say_more_than_yes_and_no_are_no_classes(cells: tuple[str, ...], tmp_path: Path) -> None:
    """In CheXpert, -1 is uncertain, and an empty cell not mentioned."""
    assert class_columns({"image": ["a"] * len(cells), "cat": list(cells)}, ["image"]) == {}
    with pytest.raises(ValueError, match=r"0 and 1 for each class, and no others: no -1 or empty cells next to 0"):
        read(table(tmp_path, "image,cat", cells, name="tags.csv"), "train")


@pytest.mark.parametrize("index", ["", "Unnamed: 0", "Unnamed: 0.1", "index"])
def test_a_column_of_row_numbers(index: str, tmp_path: Path) -> None:
    for i in range(COUNT):
        image(tmp_path / f"{i}.jpg")
    rows = (f"{i},{i}.jpg,{i % 2},{1 - i % 2}" for i in range(COUNT))
    text(tmp_path / "labels.csv", "\n".join([f"{index},image,cat,dog", *rows]))
    assert both(tmp_path) == {str(i): {"cat"} if i % 2 else {"dog"} for i in range(COUNT)}


@pytest.mark.parametrize(
    ("column", "cells", "train", "val"),
    [
        ("is_valid", ("False", "False", "False", "True"), {0, 1, 2, 4, 5, 6}, {3, 7}),
        ("is_test", (0, 0, 0, 1), None, None),
        ("is_train", (1, 1, 1, 0), None, None),
        ("phase", ("train", "train", "train", "val"), {0, 1, 2, 4, 5, 6}, {3, 7}),
        ("data set", ("Train", "Train", "Train", "Validation"), {0, 1, 2, 4, 5, 6}, {3, 7}),
        ("usage", ("Training", "Training", "Training", "test"), None, None),
    ],
)
@pytest.mark.parametrize("flags", [False, True])
def test_columns_of_splits(
    column: str, cells: tuple[str, ...], train: set[int] | None, val: set[int] | None, flags: bool, tmp_path: Path
) -> None:
    if flags:
        table(tmp_path, f"image,{column},cat,dog", cells, (0, 1), (1, 0))
    else:
        table(tmp_path, f"image,label,{column}", ("dog", "cat"), cells)
    found = {split: {int(name) for name in tags_by_name(read(tmp_path, split))} for split in ("train", "val")}
    assert read(tmp_path, "train").class_names == ("cat", "dog")
    if train is None:  # the last of four is to test
        assert found["train"] | found["val"] == {0, 1, 2, 4, 5, 6}
        assert not found["train"] & found["val"]
    else:
        assert found == {"train": train, "val": val}


def test_two_columns_of_splits_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one column of the split, but got \['is_valid', 'is_test'\]; rename"):
        split_cells({"image": ["a", "b"], "is_valid": ["0", "1"], "is_test": ["1", "0"]})


@pytest.mark.parametrize("joined", ["cat+dog", "cat/dog", "cat & dog", "cat and dog", "cat + dog"])
def test_signs_and_words_between_tags(joined: str) -> None:
    assert split_tags(["cat", joined, "dog", ""]) == [("cat",), ("cat", "dog"), ("dog",), ()]


@pytest.mark.parametrize("name", ["black/white", "C++", "salt and pepper", "R&B", "AC/DC"])
def test_signs_in_names_separate_nothing(name: str) -> None:
    assert split_tags(["cat", name, "dog", name]) == [("cat",), (name,), ("dog",), (name,)]


def test_a_row_for_each_tag(tmp_path: Path) -> None:
    """Bit j of an image's number says whether it has a row of class j; a row may come twice."""
    names = ("cat", "traffic light", "dog")
    expected = {str(i): {name for j, name in enumerate(names) if i >> j & 1} for i in range(1, COUNT)}
    for i in expected:
        image(tmp_path / "images" / f"{i}.jpg")
    rows = [f"{i}.jpg,{tag}" for i, tags in expected.items() for tag in sorted(tags)]
    text(tmp_path / "labels.csv", "\n".join(["image,label", *rows, rows[0]]))
    assert both(tmp_path) == expected


@pytest.mark.parametrize(
    "rows", ["0.jpg,cat\n0.jpg,none", "0.jpg,cat\n0.jpg,", "0.jpg,good\n0.jpg,cat", "0.jpg,cat;dog\n0.jpg,cat"]
)
def test_rows_of_an_image_that_contradict_each_other_are_refused(rows: str, tmp_path: Path) -> None:
    table(tmp_path, "image,label", ("cat", "dog"))
    text(tmp_path / "labels.csv", f"image,label\n{rows}\n1.jpg,dog\n2.jpg,cat")
    with pytest.raises(ValueError, match=r"labels\.csv to list each image once, but got 0\.jpg 2 times; give all of"):
        read(tmp_path, "train")


def test_rows_of_zero_and_one_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    table(tmp_path, "image,cat,dog", (0, 1), (1, 0))
    text(tmp_path / "labels.csv", "image,cat,dog\n0.jpg,1,0\n0.jpg,0,1\n1.jpg,1,1")
    with pytest.raises(ValueError, match=r"to list each image once, but got 0\.jpg 2 times"):
        read(tmp_path, "train")


def test_objects_of_an_image_in_two_splits_are_refused(tmp_path: Path) -> None:
    table(tmp_path, "image,label", ("cat", "dog"))
    text(tmp_path / "labels.csv", "image,split,label,xmin\n0.jpg,train,cat,1\n0.jpg,val,dog,2\n1.jpg,train,dog,1")
    with pytest.raises(ValueError, match=r"to list each image once, but got 0\.jpg 2 times"):
        read(tmp_path, "train")


@pytest.mark.parametrize(
    "header", ["image,tag1,tag2", "image,Label_1,Label_2", "image,class,class 2", "image,split,tag1,tag2"]
)
def test_numbered_columns_of_tags(header: str, tmp_path: Path) -> None:
    splits = [("train", "train", "train", "val")] if "split" in header else []
    table(tmp_path, header, *splits, ("cat", "traffic light"), ("", "dog", "none", "cat"))
    tags = [{"cat"}, {"traffic light", "dog"}, {"cat"}, {"traffic light", "cat"}]
    assert both(tmp_path) == {str(i): tags[i % 4] for i in range(COUNT)}


def test_numbered_columns_of_zero_and_one_are_classes(tmp_path: Path) -> None:
    table(tmp_path, "image,class1,class2", (0, 1), (1, 0))
    assert both(tmp_path) == {str(i): {"class1"} if i % 2 else {"class2"} for i in range(COUNT)}


def test_a_class_in_two_spellings(tmp_path: Path) -> None:
    table(tmp_path / "table", "image,label", ("cat", "Cat", "traffic light", "traffic_light"))
    for name in ("train/cat", "train/dog", "val/Cat", "val/Dog"):
        image(tmp_path / "folders" / name / "a.jpg")
    for place in ("table", "folders"):
        with pytest.raises(ValueError, match=r"one spelling of each class in .*, but got 'Cat' and 'cat'; use one or"):
            read(tmp_path / place, "train")
        assert read(tmp_path / place, "train", classes=("Cat", "cat")).class_names == ("Cat", "cat")
    table(tmp_path / "letters", "image,label", ("a", "A", "b", "B"))
    assert read(tmp_path / "letters", "train").class_names == ("A", "B", "a", "b")


def test_numbers_with_a_list_of_their_names(tmp_path: Path) -> None:
    table(tmp_path, "image,label", (0, 1, 2))
    text(tmp_path / "classes.txt", "cat\ndog\ncow\n")
    assert both(tmp_path) == {str(i): {("cat", "dog", "cow")[i % 3]} for i in range(COUNT)}
    text(tmp_path / "classes.txt", "cat\ndog\n")
    with pytest.raises(ValueError, match=r"has 2 names, and the table \['2'\]; complete the list"):
        read(tmp_path, "train")


@pytest.mark.parametrize("column", ["fname", "filepaths", "photo", "Bild"])
def test_columns_of_images_by_other_names(column: str, tmp_path: Path) -> None:
    table(tmp_path, f"{column},labels,price", ("cat", "dog"), (3, 2.5))
    assert both(tmp_path) == {str(i): {("cat", "dog")[i % 2]} for i in range(COUNT)}


def test_a_table_without_a_header_is_refused(tmp_path: Path) -> None:
    """Its first image would be lost as a header."""
    table(tmp_path, "a.jpg,dog", ("dog", "cat"))
    with pytest.raises(
        FileNotFoundError, match=r"labels\.csv has the columns a\.jpg, dog: call that of the images image"
    ):
        read(tmp_path, "train")
    (tmp_path / "labels.csv").rename(tmp_path / "tags.csv")
    with pytest.raises(ValueError, match=r"a column 'image', but got \['a\.jpg', 'dog'\]; name it in the first line"):
        read(tmp_path, "train")


def test_boxes_are_no_tags(tmp_path: Path) -> None:
    """As in ImageNet's LOC_val_solution.csv, whose second column has no usual name."""
    table(tmp_path, "ImageId,PredictionString", ("n01440764 10 20 30 40", "n01443537 1 2 3 4"))
    with pytest.raises(FileNotFoundError, match=r"labels\.csv has the columns ImageId, PredictionString"):
        read(tmp_path, "train")


def test_a_table_of_splits_that_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As in CelebA."""
    table(tmp_path, "image_id,Smiling,Male", ("1", "-1"), ("1", "1", "-1"), name="list_attr_celeba.csv")
    table(tmp_path, "image_id,partition", (0, 0, 1), name="list_eval_partition.csv")
    text(tmp_path / "test.csv", "image_id\nx.jpg\n")
    with caplog.at_level("INFO"):
        assert len(read(tmp_path, "train")) == 6
    assert "list_eval_partition.csv may list the images of splits" in caplog.text
    assert "test.csv" not in caplog.text
