"""Files that give each image a number or name for its split, as CUB-200 and CelebA have them."""

import random
from pathlib import Path

import pytest
from support.layouts import image, read, tags_by_name, text

from decomprec.data.splits import meaning_of_values

COUNT = 12
SPLITS = dict.fromkeys(range(6), "train") | dict.fromkeys(range(6, 9), "val") | dict.fromkeys(range(9, 12), "test")
NUMBERS = {"train": 0, "val": 1, "test": 2}


def found(root: Path, *splits: str) -> dict[int, str]:
    return {int(name[-3:]): split for split in splits for name in tags_by_name(read(root, split))}


def birds(root: Path) -> list[str]:
    """Folders of classes, and the lists of CUB-200: images are numbered from 1, in another order than the files'."""
    names = [f"{i % 2:03d}.bird{i % 2}/bird_{i:03d}.jpg" for i in range(COUNT)]
    for name in names:
        image(root / "images" / name)
    random.Random(0).shuffle(names)
    text(root / "images.txt", "".join(f"{i} {name}\n" for i, name in enumerate(names, 1)))
    text(root / "classes.txt", "1 000.bird0\n2 001.bird1\n")
    trained = (int(SPLITS[int(Path(name).stem[-3:])] != "test") for name in names)
    text(root / "train_test_split.txt", "".join(f"{i} {bit}\n" for i, bit in enumerate(trained, 1)))
    return names


def test_numbered_images_as_in_cub(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    birds(tmp_path)
    with caplog.at_level("INFO"):
        parts = {split: set(found(tmp_path, split)) for split in ("train", "val", "test")}
    assert parts["train"] | parts["val"] == set(range(9))
    assert not parts["train"] & parts["val"]
    assert parts["test"] == {9, 10, 11}
    assert "train_test_split.txt: 0 is test, 1 is train." in caplog.text
    assert tags_by_name(read(tmp_path, "test")) == {f"bird_{i:03d}": {f"{i % 2:03d}.bird{i % 2}"} for i in (9, 10, 11)}


def test_a_number_without_an_image(tmp_path: Path) -> None:
    birds(tmp_path)
    lines = (tmp_path / "images.txt").read_text().splitlines()
    text(tmp_path / "images.txt", "\n".join(lines[:-1]))
    with pytest.raises(ValueError, match=r"images\.txt to name all images of .*split\.txt, but it lacks 12; add it"):
        read(tmp_path, "train")


@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize(
    ("file", "form", "header"),
    [
        ("list_eval_partition.txt", "{image} {value}", ""),
        ("list_eval_partition.csv", "{image},{value}", "image_id,partition\n"),
        ("partition.tsv", "{image}\t{value}", "image\tset\n"),
        ("split.txt", "{image}, {value}", ""),
        ("splits/split.txt", "{image}\t{value}", ""),
    ],
)
def test_images_with_a_value(file: str, form: str, header: str, names: bool, tmp_path: Path) -> None:
    for i in range(COUNT):
        image(tmp_path / f"img_align/{i:03d}.jpg")
    flags = "".join(f"{i:03d}.jpg,{(-1, 1)[i % 2]},{(1, 1, -1)[i % 3]}\n" for i in range(COUNT))
    text(tmp_path / "list_attr.csv", "image_id,Smiling,Male\n" + flags)
    values = {i: split if names else NUMBERS[split] for i, split in SPLITS.items()}
    rows = "".join(form.format(image=f"{i:03d}.jpg", value=value) + "\n" for i, value in values.items())
    text(tmp_path / file, header + rows)
    assert found(tmp_path, "train", "val", "test") == SPLITS
    shown = {name for tags in tags_by_name(read(tmp_path, "test")).values() for name in tags}
    assert shown == {"Smiling", "Male"}


def test_a_column_of_numbers(tmp_path: Path) -> None:
    for i in range(COUNT):
        image(tmp_path / f"{i:03d}.jpg")
    rows = "".join(f"{i:03d}.jpg,{('dog', 'cat')[i % 2]},{NUMBERS[split]}\n" for i, split in SPLITS.items())
    for column in ("split", "partition"):
        text(tmp_path / "table.csv", f"image,label,{column}\n{rows}")
        assert found(tmp_path, "train", "val", "test") == SPLITS
    text(tmp_path / "table.csv", f"image,label,fold\n{rows}")
    assert len(found(tmp_path, "train", "val")) == COUNT


@pytest.mark.parametrize(
    ("values", "name"),
    [("01", "split"), ("012", "folds"), ("012", "fold_split"), ("0123", "split"), ("12", "split"), ("", "")],
)
def test_values_without_a_clear_meaning(values: str, name: str) -> None:
    assert meaning_of_values(set(values), name) is None


def test_unclear_values_are_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(COUNT):
        image(tmp_path / f"{('dog', 'cat')[i % 2]}/{i:03d}.jpg")
    text(tmp_path / "split.txt", "".join(f"{i:03d}.jpg {i % 2}\n" for i in range(COUNT)))
    with caplog.at_level("INFO"):
        assert len(found(tmp_path, "train", "val")) == COUNT
    assert "split.txt may list the images of splits" in caplog.text


def test_two_files_of_values(tmp_path: Path) -> None:
    birds(tmp_path)
    text(tmp_path / "partition.txt", "".join(f"bird_{i:03d}.jpg {NUMBERS[split]}\n" for i, split in SPLITS.items()))
    with pytest.raises(
        ValueError, match=r"one file of the splits in .*, but got partition\.txt, train_test_split\.txt"
    ):
        read(tmp_path, "train")


def test_folders_of_splits_come_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i, split in SPLITS.items():
        for name in ("dog", "cat"):
            image(tmp_path / f"{split}/{name}/{name}{i:03d}.jpg")
    text(tmp_path / "partition.txt", "".join(f"dog{i:03d}.jpg {2 - n}\n" for i in SPLITS for n in [NUMBERS[SPLITS[i]]]))
    with caplog.at_level("INFO"):
        assert found(tmp_path, "train", "val", "test") == SPLITS
    assert "partition.txt is not used, as folders or tables say the splits: it lists" in caplog.text
