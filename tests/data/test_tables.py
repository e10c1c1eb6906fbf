"""Tables of images and tags, as spreadsheets and tools write them."""

import csv
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.layouts import image, mask, masked, read, tags_by_name, text

from decomprec.data import TaggedCSV
from decomprec.data.detect import detect_format
from decomprec.data.formats.tag_cells import find_separator, split_tags


def table(root: Path, content: str | bytes, count: int = 6, name: str = "tags.csv") -> Path:
    for i in range(count):
        image(root / "images" / f"{i}.jpg")
    return text(root / name, content)


def rows(header: str, tags: list[str], sign: str = ",") -> str:
    return header + "\n" + "".join(f"{i}.jpg{sign}{cell}\n" for i, cell in enumerate(tags))


@pytest.mark.parametrize(
    ("cells", "separator", "tags"),
    [
        (["golden retriever", "tabby cat"], None, [{"golden retriever"}, {"tabby cat"}]),
        (["golden retriever", "dog", "bald eagle", "golden eagle"], None, None),
        (["hot dog", "dog", "cat"], None, None),
        (["traffic light", "traffic sign", "stop sign", "car"], None, None),
        (["traffic light, car", "car"], ",", [{"traffic light", "car"}, {"car"}]),
        (["traffic light;car", "stop sign"], ";", [{"traffic light", "car"}, {"stop sign"}]),
        (["traffic light | car", ""], "|", [{"traffic light", "car"}, set()]),
        (["traffic light\ncar", ""], "\n", [{"traffic light", "car"}, set()]),
        (["dog person", "dog", ""], " ", [{"dog", "person"}, {"dog"}, set()]),
        (["dog cat", "cat dog"], " ", [{"dog", "cat"}, {"dog", "cat"}]),
        (["cat dog", "cat", "dog", "dog person", "person"], " ", None),
        (['"traffic light" car', "car"], " ", [{"traffic light", "car"}, {"car"}]),
        (['"tench, Tinca tinca"; goldfish', "goldfish"], ";", [{"tench, Tinca tinca", "goldfish"}, {"goldfish"}]),
    ],
)
def test_what_separates_tags(cells: list[str], separator: str | None, tags: list[set[str]] | None) -> None:
    if tags is None:
        tags = [set(cell.split()) if separator else {cell} for cell in cells]
    assert find_separator(cells) == separator
    assert [set(found) for found in split_tags(cells)] == tags


@given(st.lists(st.lists(st.text(), max_size=4), min_size=1))
@pytest.mark.parametrize("write", [json.dumps, repr, lambda tags: json.dumps({"choices": tags})])
def test_lists_of_tags_in_any_notation(write: Callable[[list[str]], str], written: list[list[str]]) -> None:
    expected = [{tag.strip() for tag in tags} - {""} for tags in written]
    assert [set(tags) for tags in split_tags([*map(write, written), "dog"])] == [*expected, {"dog"}]


@pytest.mark.parametrize("cell", ["[1, 2]", "{1: 2}", "('dog')", "[__import__('os')]", "[" * 10_000 + "]"])
def test_brackets_that_hold_no_names(cell: str) -> None:
    with pytest.raises(ValueError, match=r"but got .* leave out brackets and quotes"):
        split_tags([cell])


@pytest.mark.parametrize("path", ["/data/upload/1/0a1b2c3d-{}.jpg", "/data/local-files/?d=images/{}.jpg"])
def test_table_of_label_studio(path: str, tmp_path: Path) -> None:
    cells = ['"{""choices"": [""crack"", ""rust""]}"', "crack", "good"]
    lines = [f"{i},{cell},{path.format(i)}\n" for i, cell in enumerate(cells)]
    table(tmp_path, "annotation_id,choice,image\n" + "".join(lines), count=3, name="project-3.csv")
    found = read(tmp_path, None)
    assert tags_by_name(found) == {"0": {"crack", "rust"}, "1": {"crack"}, "2": set()}


def test_two_separators_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"one separator between tags, but got ',' and ';', as in 'a,b' and 'c;d'; use one"
    ):
        split_tags(["a,b", "c;d"])


WORDS = st.text(st.characters(categories=("Lu", "Ll")), min_size=1, max_size=6)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=8, unique_by=lambda name: name[0]), st.randoms())
def test_tags_of_several_words_stay_whole(names: list[tuple[str, ...]], random: Any) -> None:
    """A name for each image, each with other words, as breeds have."""
    cells = [" ".join(f"{word}{i}{place}" for place, word in enumerate(name)) for i, name in enumerate(names)]
    random.shuffle(cells)
    assert split_tags(cells) == [(cell,) for cell in cells]


@given(st.lists(st.sets(st.sampled_from(["ant", "bee", "cat", "dog"]), min_size=1), min_size=1, max_size=8))
def test_single_words_that_also_stand_alone_are_separated_by_spaces(images: list[set[str]]) -> None:
    cells = [*(" ".join(sorted(tags)) for tags in images), "ant", "bee", "cat", "dog"]
    assert [set(tags) for tags in split_tags(cells)] == [*images, {"ant"}, {"bee"}, {"cat"}, {"dog"}]


def test_what_was_understood_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table(tmp_path / "a", rows("image,tags", ["golden retriever"] * 3 + ["tabby cat"] * 3))
    table(tmp_path / "b", rows("image;tags", ["dog, cat", "dog"] * 3, ";"))
    with caplog.at_level(logging.INFO, "decomprec.data"):
        for name in "ab":
            for split in ("train", "val"):
                read(tmp_path / name / "tags.csv", split)
    said = [record.message for record in caplog.records]
    assert sum("each cell is one tag, such as 'golden retriever'" in message for message in said) == 1
    assert sum("tags are separated by ',', as in 'dog, cat'" in message for message in said) == 1


@pytest.mark.parametrize("delimiter", list(",;\t|"))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "columns",
    [
        ("image", "split", "tags"),
        ("Filename", "Set", "Labels"),
        ("FILE_NAME", "subset", "class"),
        ("path", "Split", "Tag"),
    ],
)
def test_delimiters_encodings_and_columns(
    delimiter: str, encoding: str, columns: tuple[str, ...], tmp_path: Path
) -> None:
    splits = ["Train"] * 4 + ["valid"] * 2
    tags = [["hündin"], ["hündin", "red car"], [], ["red car"], ["hündin"], []]
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(columns)
    writer.writerows(
        (f"{i}.jpg", split, ", ".join(cell)) for i, (split, cell) in enumerate(zip(splits, tags, strict=True))
    )
    path = table(tmp_path, file.getvalue().encode(encoding))
    for split, part in (("train", range(4)), ("val", range(4, 6))):
        data = read(path, split)
        assert data.class_names == ("hündin", "red car")
        assert tags_by_name(data) == {str(i): set(tags[i]) for i in part}


def test_the_line_that_excel_reads(tmp_path: Path) -> None:
    path = table(tmp_path, "sep=;\r\nimage;tags\r\n0.jpg;dog\r\n1.jpg;none\r\n")
    assert tags_by_name(TaggedCSV(path)) == {"0": {"dog"}, "1": set()}


@pytest.mark.parametrize("cell", ["none", "NONE", "background", "NaN", "N/A", "-", "", " ", "no class", "_background_"])
def test_cells_that_mean_nothing(cell: str, tmp_path: Path) -> None:
    path = table(tmp_path, rows("image,tags", ["dog", cell, "dog", cell]))
    data = TaggedCSV(path)
    assert tags_by_name(data) == {"0": {"dog"}, "1": set(), "2": {"dog"}, "3": set()}
    if cell.strip(" -"):
        assert TaggedCSV(path, classes=("dog", cell)).tags.sum(dim=0).tolist() == [2, 2]


@pytest.mark.parametrize("splits", [None, ["train"] * 5, ["train"] * 3 + ["test"] * 2])
def test_rows_held_out_for_validation(splits: list[str] | None, tmp_path: Path) -> None:
    header = "image,tags" if splits is None else "image,tags,split"
    cells = ["dog", "", "dog", "", "dog"]
    path = table(
        tmp_path, rows(header, cells if splits is None else [",".join(p) for p in zip(cells, splits, strict=True)])
    )
    train, val = (set(tags_by_name(read(path, split))) for split in ("train", "val"))
    assert train
    assert val
    assert not train & val
    assert train | val == {str(i) for i in range(5) if splits is None or splits[i] == "train"}


def test_columns_of_each_class(tmp_path: Path) -> None:
    path = table(tmp_path, "filename, dog, red car\n0.jpg, 1, 0\n1.jpg, 1, 1\n2.jpg, 0, 0\n", name="_classes.csv")
    assert detect_format(tmp_path) == "csv"
    assert tags_by_name(TaggedCSV(path)) == {"0": {"dog"}, "1": {"dog", "red car"}, "2": set()}


@pytest.mark.parametrize("name", ["images/0.jpg", "images\\0.jpg", "0", "0.JPG", "./0.jpg"])
def test_spellings_of_an_image(name: str, tmp_path: Path) -> None:
    data = TaggedCSV(table(tmp_path, f"image,tags\n{name},dog\n1.jpg,\n"))
    assert [record.image.resolve() for record in data.records] == [
        (tmp_path / f"images/{i}.jpg").resolve() for i in (0, 1)
    ]


@pytest.mark.parametrize("sign", [",", ";"])
def test_rows_and_columns_that_a_spreadsheet_leaves_empty(sign: str, tmp_path: Path) -> None:
    lines = [
        ["image", "tags", "", ""],
        ["0.jpg", "dog", "", ""],
        ["", "", "", ""],
        ["1.jpg", "", "", ""],
        [" ", "", "", ""],
    ]
    path = table(tmp_path, "\r\n".join(map(sign.join, lines)))
    assert tags_by_name(TaggedCSV(path)) == {"0": {"dog"}, "1": set()}


def test_numbers_that_have_lost_their_zeros(tmp_path: Path) -> None:
    """A spreadsheet turns 0007 into 7; which file is meant is not guessed."""
    for i in range(4):
        image(tmp_path / "images" / f"000{i}.jpg")
    text(tmp_path / "labels.csv", rows("id,tags", ["dog", "cat", "dog", ""]).replace(".jpg", ""))
    with pytest.raises(FileNotFoundError, match="or write the names of the files in full, zeros in front too"):
        TaggedCSV(tmp_path / "labels.csv")


def test_masks_of_a_table(tmp_path: Path) -> None:
    path = table(tmp_path, rows("image,tags", ["dog", "cat", "dog", ""]))
    for name in ("0_mask.png", "1.jpg.png", "2.PNG"):
        mask(tmp_path / "masks" / name, 1)
    assert masked(TaggedCSV(path, masks=True)) == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("file,label,class", r"one column of the tags, but got \['label', 'class'\]"),
        ("path,filename,tags", r"one column of the image, but got \['path', 'filename'\]"),
        ("photo,photo 2,tags", "to have a column 'image', but got"),
        ("image,words", "to have a column 'tags', but got"),
    ],
)
def test_columns_that_cannot_be_told(header: str, words: str, tmp_path: Path) -> None:
    line = ",".join(["0.jpg", "1.jpg" if "photo" in header else "dog", "cat"][: header.count(",") + 1])
    with pytest.raises(ValueError, match=words):
        TaggedCSV(table(tmp_path, f"{header}\n{line}\n"))


@pytest.mark.parametrize("sign", ["\uff0c", "\uff1b", "\u3001"])
def test_commas_of_chinese_and_japanese(sign: str) -> None:
    assert split_tags([f"traffic light{sign}car", "dog"]) == [("traffic light", "car"), ("dog",)]


@pytest.mark.parametrize("sign", [":", "~", "\\", r"\n"])
def test_more_signs_that_separate_tags_that_stand_alone(sign: str) -> None:
    assert split_tags([f"dog{sign}cat", "dog", "cat"]) == [("dog", "cat"), ("dog",), ("cat",)]
    assert split_tags([f"dog{sign}big", "dog", "cat"]) == [(f"dog{sign}big",), ("dog",), ("cat",)]


@pytest.mark.parametrize("cells", [["dog:0.9", "cat:0.1"], ["dog=1 cat=0", ""], ["hot dog: 1, cat: 0"]])
def test_tags_with_numbers_are_refused(cells: list[str]) -> None:
    with pytest.raises(ValueError, match=r"but got '.*'; list the classes in the image, without numbers"):
        split_tags(cells)


def test_classes_may_end_with_numbers() -> None:
    assert split_tags(["grade:1", "grade:2", ""]) == [("grade:1",), ("grade:2",), ()]


def test_numbers_with_a_point(tmp_path: Path) -> None:
    """pandas writes 1.0 for 1 where a cell of the column is empty; 0.9 is no class."""
    numbers = ["1.0", "2.0", "3.0", "", "1.0", "2.0"]
    path = table(tmp_path, rows("image,label", numbers))
    text(tmp_path / "classes.txt", "none\ncat\ndog\ncow\n")
    names = {"": set(), "1.0": {"cat"}, "2.0": {"dog"}, "3.0": {"cow"}}
    for split in ("train", "val"):
        assert all(tags == names[numbers[int(name)]] for name, tags in tags_by_name(read(path, split)).items())
    table(tmp_path, rows("image,label", ["0.9", "0.1", "0.5", "1", "0.25", "1"]))
    with pytest.raises(ValueError, match=r"'label' of .*tags\.csv to hold the names of classes, but got numbers"):
        read(path, "train")
