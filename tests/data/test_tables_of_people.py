"""Tables as Kaggle, pandas, fastai and spreadsheets leave them; what is read is compared with how they were made."""

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from support.layouts import image, read, tags_by_name, text

from decomprec.data.formats.table_columns import class_columns, split_cells
from decomprec.data.formats.tables import find_tables
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


@pytest.mark.parametrize(("absent", "present"), SIGNS)
def test_a_single_column_of_yes_and_no(absent: str, present: str, tmp_path: Path) -> None:
    """It is the class that it is called like, unless it is called like a column of names."""
    table(tmp_path / "class", "image,crack", (absent, present))
    assert both(tmp_path / "class") == {str(i): {"crack"} if i % 2 else set() for i in range(COUNT)}
    if absent:
        table(tmp_path / "names", "image,label", (absent, present))
        with pytest.raises(ValueError, match=rf"got only {absent} and {present}; if these say .* call the column like"):
            read(tmp_path / "names", "train")


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
        ("Val", ("False", "False", "False", "True"), {0, 1, 2, 4, 5, 6}, {3, 7}),
        ("train", (1, 1, 1, 0), None, None),
        ("phase", ("train", "train", "train", "val"), {0, 1, 2, 4, 5, 6}, {3, 7}),
        ("data set", ("Train", "Train", "Train", "Validation"), {0, 1, 2, 4, 5, 6}, {3, 7}),
        ("usage", ("Training", "Training", "Training", "test"), None, None),
    ],
)
@pytest.mark.parametrize("flags", [False, True])
def test_columns_of_splits(
    column: str, cells: tuple[str, ...], train: set[int] | None, val: set[int] | None, flags: bool, tmp_path: Path
) -> None:
    if flags and column in ("Val", "train"):
        table(tmp_path, f"image,{column},cat,dog", cells, (0, 1), (1, 0))
        assert read(tmp_path, "train").class_names == tuple(sorted((column, "cat", "dog")))  # VOC has a class "train"
        return
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
    with pytest.raises(ValueError, match=r"one column of the split, but got \['is_valid', 'is_test'\]; keep one"):
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


LISTS = {
    "image and tag": lambda i, tag: f"{i}.jpg,{tag}",
    "path and tag": lambda i, tag: f"/home/me/data/images/{i}.jpg;{tag}",
    "tag and image": lambda i, tag: f"{tag}\t{i}.jpg",
    "split of Google": lambda i, tag: f"{'VALIDATION' if i == 7 else 'TRAIN'},gs://bucket/images/{i}.jpg,{tag}",
    "no split of Google": lambda i, tag: f"UNASSIGNED,gs://bucket/images/{i}.jpg,{tag}",
}


@pytest.mark.parametrize("line", LISTS.values(), ids=LISTS)
def test_lists_without_a_header(line: Callable[[int, str], str], tmp_path: Path) -> None:
    table(tmp_path, "image,label", ("cat", "dog"))
    text(tmp_path / "labels.csv", "\n".join(line(i, "dog" if i % 2 else "traffic light") for i in range(COUNT)))
    assert both(tmp_path) == {str(i): {"dog"} if i % 2 else {"traffic light"} for i in range(COUNT)}


def test_a_list_without_a_header_has_as_many_tags_as_an_image_needs(tmp_path: Path) -> None:
    table(tmp_path, "image,label", ("cat", "dog"))
    tags = [["dog"], ["cat", "dog", "bird"], ["cat"], ["bird", "cat"]]
    text(tmp_path / "labels.csv", "\n".join(",".join([f"{i}.jpg", *tags[i % 4]]) for i in range(COUNT)))
    assert both(tmp_path) == {str(i): set(tags[i % 4]) for i in range(COUNT)}


@pytest.mark.parametrize("rest", ["1,2,3,4,dog", "0.9,dog", "x.png", "x.png,dog"])
def test_a_list_without_a_header_that_leaves_a_doubt_is_refused(rest: str, tmp_path: Path) -> None:
    table(tmp_path, "image,label", ("cat", "dog"))
    text(tmp_path / "labels.csv", "\n".join(f"{i}.jpg,{rest}" for i in range(COUNT)))
    with pytest.raises((ValueError, FileNotFoundError), match=r"call that of the images image, that of the tags tags"):
        read(tmp_path, "train")


TAGS = [["dog"], ["cat", "traffic light"], [], ["cat"]]
JSON = {
    "objects": [{"image": f"{i}.jpg", "labels": TAGS[i % 4]} for i in range(COUNT)],
    "tags by image": {f"{i}.jpg": TAGS[i % 4] for i in range(COUNT)},
    "objects by image": {f"{i}.jpg": {"labels": TAGS[i % 4], "width": 8} for i in range(COUNT)},
    "as one text": {f"{i}.jpg": "; ".join(TAGS[i % 4]) for i in range(COUNT)},
    "Label Studio's short form": [
        {"id": i, "image": f"/data/upload/1/0a1b2c3d-{i}.jpg", "choice": {"choices": TAGS[i % 4]}} for i in range(COUNT)
    ],
}


@pytest.mark.parametrize("value", JSON.values(), ids=JSON)
@pytest.mark.parametrize("by_file", [False, True])
def test_tables_of_json(value: object, by_file: bool, tmp_path: Path) -> None:
    table(tmp_path, "image,label", ("cat", "dog"))
    (tmp_path / "labels.csv").unlink()
    file = text(tmp_path / "labels.json", json.dumps(value, indent=2))
    place = file if by_file else tmp_path
    found = tags_by_name(read(place, "train")) | tags_by_name(read(place, "val"))
    assert found == {str(i): set(TAGS[i % 4]) for i in range(COUNT)}


@pytest.mark.parametrize(
    "value",
    [
        [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
        [{"id": 0, "label": "cat"}],
        {"0": "cat", "1": "dog"},
        [{"image_id": 1, "category_id": 2, "bbox": [0, 0, 1, 1], "score": 0.5}],
        [{"data": {"image": "0.jpg"}, "annotations": []}],
        [{"image": f"{i}.jpg", "objects": [{"label": "cat", "box": [1, 2]}][i % 2 :]} for i in range(4)],  # Create ML
        ["0.jpg", "1.jpg"],
        [],
    ],
)
def test_json_that_lists_no_images_is_no_table(value: object, tmp_path: Path) -> None:
    file = text(tmp_path / "labels.json", json.dumps(value))
    assert find_tables(tmp_path) == {}
    with pytest.raises(
        ValueError, match=r"labels\.json to (be COCO|list at least one image|hold COCO|have a column 'tags')"
    ):
        read(file, "train")


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


@pytest.mark.parametrize("folders", [False, True])
def test_a_class_in_two_unicode_forms(folders: bool, tmp_path: Path) -> None:
    """A Mac stores accents apart from their letters: the names look alike, so the message writes escapes."""
    names = [unicodedata.normalize(form, "cr\u00e9pi") for form in ("NFC", "NFD")]
    for split, name in zip(("train", "val"), names, strict=True) if folders else ():
        image(tmp_path / split / name / f"{split}.jpg")
        image(tmp_path / split / "other" / f"{split}.jpg")
    if not folders:
        table(tmp_path, "image,label", names)
    with pytest.raises(ValueError, match=r"got 'cre\\u0301pi' and 'cr\\xe9pi'; use one or"):
        read(tmp_path, "train")
    assert len(set(read(tmp_path, "train", classes=names).class_names)) == 2


@pytest.mark.parametrize("copy", ["dog (1)", "dog - Copy", "dog copy 2", "dog - Copy (2)"])
def test_a_folder_that_a_system_has_copied(copy: str, tmp_path: Path) -> None:
    for name in ("dog", "cat", copy):
        image(tmp_path / name / f"{name}.jpg")
    with pytest.raises(ValueError, match=rf"got 'dog' and '{re.escape(copy)}'; use one or"):
        read(tmp_path, "train")
    (tmp_path / "dog").rename(tmp_path / "bird")  # the number may belong to the name
    assert copy in read(tmp_path, "train").class_names


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


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("label_list.txt", "0 cat\n1 dog\n2 cow\n"),
        ("labels.txt", "cat\ndog\ncow\n"),
        ("label_num_to_disease_map.json", '{"0": "cat", "1": "dog", "2": "cow"}'),
        ("class_to_idx.json", '{"dog": 1, "cat": 0, "cow": 2}'),
        ("idx_to_class.json", '{"2": "cow", "0": "cat", "1": "dog"}'),
    ],
)
def test_numbers_are_named_by_the_list_next_to_the_table(file: str, content: str, tmp_path: Path) -> None:
    table(tmp_path, "image_id,label", range(3))
    text(tmp_path / file, content)
    assert both(tmp_path) == {str(i): {("cat", "dog", "cow")[i % 3]} for i in range(COUNT)}


def test_numbers_without_names_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table(tmp_path, "image_id,label", range(3))
    with caplog.at_level("INFO"):
        assert both(tmp_path) == {str(i): {str(i % 3)} for i in range(COUNT)}
    assert "tags are numbers; classes.txt next to the table can name them" in caplog.text
