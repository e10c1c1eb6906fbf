"""Tables that name the mask of each image; what is read is compared with how it was made."""

import json
from pathlib import Path

import pytest
from support.layouts import image, mask, masked, read, tags_by_name, text

from decomprec.data import TaggedCSV
from decomprec.data.formats.table_columns import mask_column

COUNT = 8
BAD = range(1, COUNT, 2)  # numbers of images with a defect


def masks_of(root: Path, column: str = "mask", place: str = "Masks/Anomaly", ending: str = ".png") -> Path:
    """A table of images in folders, whose odd ones have a mask of value 1; even ones are to validate."""
    rows = []
    for i in range(COUNT):
        label = "anomaly" if i in BAD else "normal"
        name = f"Images/{label}/{i:03d}.png"
        image(root / name)
        cell = f"{place}/{i:03d}{ending}" if i in BAD else ""
        if cell:
            mask(root / f"{place}/{i:03d}.png", 1)
        rows.append(f"{'val' if i >= 4 else 'train'},{label},{name},{cell}")
    return text(root / "table.csv", "\n".join([f"split,label,image,{column}", *rows]))


@pytest.mark.parametrize(
    "column", ["mask", "mask_path", "Mask File", "masks", "ground_truth", "segmentation", "gt_path"]
)
@pytest.mark.parametrize("ending", [".png", ".PNG"])
def test_masks_that_a_table_names(column: str, ending: str, tmp_path: Path) -> None:
    table = masks_of(tmp_path, column, ending=ending)
    for place in (table, tmp_path):
        data = read(place, "val")
        assert tags_by_name(data) == {f"{i:03d}": {"anomaly"} if i in BAD else set() for i in range(4, COUNT)}
        assert masked(data) == {f"{i:03d}" for i in range(4, COUNT) if i in BAD}
        for item, i in zip(data, range(4, COUNT), strict=True):
            assert item["mask"].unique().tolist() == ([0, 1] if i in BAD else [0])
        assert masked(read(place, "train")) == set()


def test_as_in_visa(tmp_path: Path) -> None:
    """A table of one object's images, with paths that start above it."""
    masks_of(tmp_path / "candle")
    table = tmp_path / "candle" / "table.csv"
    lines = table.read_text().replace("Images/", "candle/Images/").replace("Masks/", "candle/Masks/")
    text(table, lines)
    assert masked(read(tmp_path / "candle", "val")) == {"005", "007"}


def test_masks_in_a_folder_that_is_given(tmp_path: Path) -> None:
    table = masks_of(tmp_path, place="elsewhere")
    text(table, table.read_text().replace("elsewhere/", ""))
    data = TaggedCSV(table, split="val", masks=True, masks_dir=tmp_path / "elsewhere")
    assert masked(data) == {"005", "007"}


def test_the_values_of_masks_are_named_next_to_them(tmp_path: Path) -> None:
    table = masks_of(tmp_path, place="deep/masks")
    text(tmp_path / "deep/masks/classes.txt", "background\nscratch\nanomaly\n")
    for i in BAD:
        mask(tmp_path / f"deep/masks/{i:03d}.png", 2)
    data = read(table, "val")
    assert [item["mask"].unique().tolist() for item in data] == [[0], [0, 1]] * 2


def test_json_lines(tmp_path: Path) -> None:
    masks_of(tmp_path)
    (tmp_path / "table.csv").unlink()
    rows = [
        {"image": f"Images/{'anomaly' if i in BAD else 'normal'}/{i:03d}.png", "label": "scratch" if i in BAD else ""}
        | ({"mask": f"Masks/Anomaly/{i:03d}.png"} if i in BAD else {})
        for i in range(COUNT)
    ]
    table = text(tmp_path / "table.jsonl", "\n".join(map(json.dumps, rows)))
    data = TaggedCSV(table, masks=True)
    assert masked(data) == {f"{i:03d}" for i in BAD}


@pytest.mark.parametrize("gone", ["file", "path"])
def test_a_missing_mask(gone: str, tmp_path: Path) -> None:
    """A path whose last part is the name of an image does not make that image a mask."""
    table = masks_of(tmp_path)
    if gone == "file":
        (tmp_path / "Masks/Anomaly/005.png").unlink()
    else:
        (tmp_path / "Images/anomaly/005.png").rename(tmp_path / "005.png")
        (tmp_path / "Masks/Anomaly/005.png").unlink()
        text(table, table.read_text().replace("Images/anomaly/005.png", "005.png"))
    with pytest.raises(
        FileNotFoundError,
        match=r"masks that .*table\.csv names to exist, but that of .*005\.png does not: Masks/Anomaly/005\.png; put",
    ):
        read(table, "val")
    assert len(read(table, "train")) == 4


def test_a_mask_outside_the_folder(tmp_path: Path) -> None:
    table = masks_of(tmp_path / "data")
    mask(tmp_path / "secret.png", 1)
    text(table, table.read_text().replace("Masks/Anomaly/005.png", "../secret.png"))
    with pytest.raises(ValueError, match="leads out of it"):
        read(table, "val")


def test_a_table_far_from_its_images(tmp_path: Path) -> None:
    """As VisA's split_csv."""
    table = masks_of(tmp_path)
    (tmp_path / "split_csv").mkdir()
    with pytest.raises(FileNotFoundError, match=r"4 do not: .*; put .*table\.csv into the folder in which its paths"):
        read(table.rename(tmp_path / "split_csv/table.csv"), "train")


def test_masks_without_tags_are_refused(tmp_path: Path) -> None:
    """A repeated mask, such as a black one, is no tag."""
    for i in range(COUNT):
        image(tmp_path / f"{i}.jpg")
    mask(tmp_path / "black.png", 0)
    table = text(tmp_path / "tags.csv", "image,mask\n" + "\n".join(f"{i}.jpg,black.png" for i in range(COUNT)))
    with pytest.raises(
        ValueError, match=r"a column 'tags', but .* without tags, put masks of the same names in masks/"
    ):
        read(table, "train")


def test_several_masks_of_an_image(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    for name in ("m1.png", "m2.png"):
        mask(tmp_path / name, 1)
    table = text(tmp_path / "t.csv", "image,label,xmin,mask\na.jpg,dog,1,m1.png\na.jpg,cat,2,m2.png\n")
    with pytest.raises(ValueError, match=r"name one mask of a\.jpg, but got m1\.png and m2\.png; merge them"):
        TaggedCSV(table, masks=True)
    with pytest.raises(ValueError, match=r"one column of masks, but got \['mask', 'gt'\]; leave out"):
        mask_column({"image": ["a.jpg"], "mask": ["a.png"], "gt": ["b.png"]})


@pytest.mark.parametrize("cells", [("0", "1"), ("with", "without"), ("1 5 7 2", ""), ("", "")])
def test_columns_that_name_no_masks(cells: tuple[str, str]) -> None:
    """Faces with masks, run lengths, and empty columns."""
    assert mask_column({"image": ["a.jpg", "b.jpg"], "mask": list(cells)}) is None
