"""Lists of the images of each split, next to images in any layout; what is read is compared with how it was made."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.layouts import coco, image, mask, read, tags_by_name, text

NUMBERS = {"train": range(6), "val": range(6, 9), "test": range(9, 12)}
NAMES = [f"{i:03d}" for i in range(12)]
FORMS = {
    "names": "{name}",
    "files": "{name}.jpg",
    "paths and a number": "{inside} 3",
    "paths of another machine": "C:\\data\\{inside}",
    "image and mask": "{inside} masks/{name}.png",
}


def write_csv(root: Path) -> Callable[[str], str]:
    rows = [f"{name}.jpg,{'Mass|Nodule' if int(name) % 2 else 'No Finding'},60" for name in NAMES]
    text(root / "Data_Entry_2017.csv", "\n".join(["Image Index,Finding Labels,Patient Age", *rows]))
    return lambda name: f"images/{name}.jpg"


def write_folder(root: Path) -> Callable[[str], str]:
    return lambda name: f"images/{'mass' if int(name) % 2 else 'other'}/{name}.jpg"


def write_paired(root: Path) -> Callable[[str], str]:
    for name in NAMES:
        mask(root / "masks" / f"{name}.png", int(name) % 2)
    return lambda name: f"images/{name}.jpg"


def write_coco(root: Path) -> Callable[[str], str]:
    shown = {f"{name}.jpg": ["mass"] * (int(name) % 2) for name in NAMES}
    coco(root / "images", shown, [{"id": 1, "name": "mass"}], "all.json")
    (root / "images" / "all.json").rename(root / "instances.json")
    return lambda name: f"images/{name}.jpg"


LAYOUTS = {"csv": write_csv, "folder": write_folder, "paired": write_paired, "coco": write_coco}


def write(root: Path, layout: str) -> Callable[[str], str]:
    """A data set of twelve images, those with odd numbers tagged; returns where each image is."""
    place = LAYOUTS[layout](root)
    for name in NAMES:
        image(root / place(name))
    return place


def write_list(file: Path, form: str, place: Callable[[str], str], *splits: str) -> None:
    names = [NAMES[i] for split in splits for i in NUMBERS[split]]
    text(file, "\n".join(FORMS[form].format(name=name, inside=place(name)) for name in names))


def numbers(data: object) -> list[int]:
    return sorted(int(Path(name).name) for name in tags_by_name(data))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("files", "form"),
    [
        (("train.txt", "val.txt", "test.txt"), "names"),
        (("ImageSets/Segmentation/train.txt", "ImageSets/Segmentation/val.txt"), "image and mask"),
        (("splits/train_list.lst", "splits/valid_list.lst", "splits/test_list.lst"), "files"),
        (("meta/train.txt", "meta/val.txt", "meta/test.txt"), "paths and a number"),
        (("list_train.txt", "list_val.txt", "list_test.txt"), "paths of another machine"),
    ],
)
def test_lists_say_the_splits(layout: str, files: tuple[str, ...], form: str, tmp_path: Path) -> None:
    place = write(tmp_path, layout)
    for file, split in zip(files, NUMBERS, strict=False):
        write_list(tmp_path / file, form, place, split)
    train, val = (read(tmp_path, split) for split in ("train", "val"))
    assert numbers(train) == list(NUMBERS["train"])
    assert numbers(val) == list(NUMBERS["val"])
    assert {int(Path(name).name) for name, tags in tags_by_name(train).items() if tags} == {1, 3, 5}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("both", [True, False])
def test_images_to_test_are_not_trained_on(layout: str, both: bool, tmp_path: Path) -> None:
    """ChestX-ray14 has train_val_list.txt and test_list.txt; others list the images to test alone."""
    place = write(tmp_path, layout)
    write_list(tmp_path / "test_list.txt", "files", place, "test")
    if both:
        write_list(tmp_path / "train_val_list.txt", "files", place, "train", "val")
    train, val = (numbers(read(tmp_path, split)) for split in ("train", "val"))
    assert sorted(train + val) == list(range(9))
    assert len(val) == 2
    assert numbers(read(tmp_path, "test")) == list(NUMBERS["test"])


def test_a_list_of_both_says_nothing_next_to_one_of_each(tmp_path: Path) -> None:
    place = write(tmp_path, "csv")
    for name, splits in {"train": ["train"], "val": ["val"], "trainval": ["train", "val"]}.items():
        write_list(tmp_path / f"{name}.txt", "names", place, *splits)
    assert numbers(read(tmp_path, "train")) == list(NUMBERS["train"])


def test_images_and_lines_without_each_other_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = write(tmp_path, "folder")
    write_list(tmp_path / "train.txt", "names", place, "train")
    write_list(tmp_path / "val.txt", "names", place, "val")
    with (tmp_path / "val.txt").open("a") as file:
        file.write("\n# a comment\n\n777\n778\n")
    with caplog.at_level("INFO"):
        assert numbers(read(tmp_path, "val")) == list(NUMBERS["val"])
    assert "train.txt, val.txt say the split of each image" in caplog.text
    assert "2 lines of val.txt name no image, such as '777'" in caplog.text
    assert "3 images, such as images/mass/009.jpg, are in no list, and are not used" in caplog.text


@pytest.mark.parametrize("layout", ["folder", "paired", "csv"])
def test_lists_that_contradict_folders_or_columns_are_mentioned(
    layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def place(name: str) -> str:
        split = next(split for split, members in NUMBERS.items() if int(name) in members)
        return {"folder": f"{split}/mass/{name}.jpg", "paired": f"{split}/images/{name}.jpg"}.get(layout, f"{name}.jpg")

    for name in NAMES:
        image(tmp_path / place(name))
        if layout == "paired":
            mask(tmp_path / place(name).replace("images", "masks").replace("jpg", "png"), 1)
    if layout == "folder":
        image(tmp_path / "train" / "other" / "100.jpg")
    if layout == "csv":
        rows = [f"{name},{split},mass" for split, members in NUMBERS.items() for name in (NAMES[i] for i in members)]
        text(tmp_path / "tags.csv", "\n".join(["image,split,tags", *rows]))
    write_list(tmp_path / "train.txt", "names", place, "train")
    write_list(tmp_path / "test.txt", "names", place, "test")
    with caplog.at_level("INFO"):
        before = numbers(read(tmp_path, "val"))
    assert "is not used" not in caplog.text  # the lists say the same
    write_list(tmp_path / "train.txt", "names", place, "train", "test")
    with caplog.at_level("INFO"):
        assert numbers(read(tmp_path, "val")) == before == list(NUMBERS["val"])
    assert "train.txt is not used, as folders or tables say the splits: it lists 3 images of another" in caplog.text
    assert place("009").removesuffix(".jpg") in caplog.text


@pytest.mark.parametrize("name", ["train_test_split.txt", "train.txt", "train_ids.csv"])
def test_lists_of_another_form_are_mentioned(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "folder")
    text(tmp_path / name, "1 0\n2 1\n")
    with caplog.at_level("INFO"):
        assert len(read(tmp_path, "train")) + len(read(tmp_path, "val")) == 12
    assert f"{name} may list the images of splits" in caplog.text
    assert "write such names into train.txt, val.txt and test.txt" in caplog.text


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        (
            {"train.txt": "000\n001", "test.txt": "001\n002"},
            r"test\.txt, train\.txt in .* both list images/mass/001\.jpg",
        ),
        (
            {"train.txt": "000", "meta/train.txt": "001"},
            r"one list of train in .*, but got train\.txt, meta/train\.txt",
        ),
        (
            {"train1.txt": "000", "train2.txt": "001"},
            r"one split for train .* \['train1', 'train2'\]; name .* `splits`",
        ),
    ],
)
def test_lists_that_cannot_be_told_are_refused(lists: dict[str, str], words: str, tmp_path: Path) -> None:
    write(tmp_path, "folder")
    for name, content in lists.items():
        text(tmp_path / name, content)
    with pytest.raises(ValueError, match=words):
        read(tmp_path, "train")


def test_a_line_that_fits_two_images_is_refused(tmp_path: Path) -> None:
    for name in ("cat/1", "dog/1", "dog/2"):
        image(tmp_path / f"{name}.jpg")
    text(tmp_path / "train.txt", "cat/1\ndog/2\n")
    assert tags_by_name(read(tmp_path, "train")) == {"1": {"cat"}, "2": {"dog"}}
    text(tmp_path / "train.txt", "1\n")
    with pytest.raises(ValueError, match=r"'1' of .*train\.txt to be one image, but it may be cat/1\.jpg and d"):
        read(tmp_path, "train")


def test_labels_called_like_their_images_are_no_lists(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("train_1", "test_2", "val_3"):
        image(tmp_path / "images" / f"{name}.jpg")
        text(tmp_path / "labels" / f"{name}.txt", "0 0.5 0.5 0.1 0.1\n")
    text(tmp_path / "data.yaml", "names: [cat]\n")
    with caplog.at_level("INFO"):
        assert len(read(tmp_path, "train")) + len(read(tmp_path, "val")) == 3
    assert "may list" not in caplog.text
