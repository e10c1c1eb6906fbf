"""Layouts and names of other tools, as docs/results/bad_input.md says; tests/data has more of each."""

import json
import shutil
from pathlib import Path

import pytest
from support.bad_cases import Case, Cases, table_of_page
from support.layouts import coco, image, mask, masked, read, tags_by_name, text, xml

from decomprec.data import TaggedFolder
from decomprec.data.datamodule import TaggedDataModule
from decomprec.data.overview import missing_masks
from decomprec.evaluation.label_files import score_label_files

CASES = Cases()


def folders(root: Path, *names: str, count: int = 5) -> Path:
    for name in names:
        for i in range(count):
            image(root / name / f"{name.replace('/', '_')}{i}.jpg")
    return root


def numbered(folder: Path, count: int = 5) -> list[str]:
    names = [str(i) for i in range(count)]
    for name in names:
        image(folder / f"{name}.jpg")
    return names


# Layouts


@CASES("Roboflow's COCO export")
def _(folder: Path) -> None:
    categories = [{"id": 0, "name": "pets", "supercategory": "none"}, {"id": 1, "name": "dog", "supercategory": "pets"}]
    for split in ("train", "valid", "test"):
        coco(folder / split, {f"{split}.jpg": ["dog"], f"{split}2.jpg": []}, categories, "_annotations.coco.json")
    assert read(folder, "train").class_names == ("dog",)
    assert tags_by_name(read(folder, "val")) == {"valid": {"dog"}, "valid2": set()}


@CASES("labelme2voc without ImageSets")
def _(folder: Path) -> None:
    for name in numbered(folder / "JPEGImages"):
        mask(folder / "SegmentationClass" / f"{name}.png", 1)
        image(folder / "SegmentationClassVisualization" / f"{name}.jpg")
    text(folder / "class_names.txt", "_background_\ndog\n")
    data = [read(folder, split) for split in ("train", "val")]
    assert [len(part) for part in data] == [4, 1]
    assert data[0].class_names == data[1].class_names == ("dog",)


@CASES("VOC's layout with classes of its own")
def _(folder: Path) -> None:
    for name in numbered(folder / "JPEGImages"):
        xml(folder / "Annotations" / f"{name}.xml", ["helmet"])
    assert read(folder, "train").class_names == ("helmet",)


@CASES("lists of VOC with flags or paths")
def _(folder: Path) -> None:
    for name in numbered(folder / "JPEGImages"):
        xml(folder / "Annotations" / f"{name}.xml", ["dog"])
    text(folder / "ImageSets/Main/train.txt", "0  1\n1 -1\n")
    text(folder / "ImageSets/Main/val.txt", "/JPEGImages/2.jpg /SegmentationClassAug/2.png\n")
    text(folder / "ImageSets/Main/train_aug.txt", "3\n4\n")
    assert set(tags_by_name(read(folder, "train"))) == {"0", "1"}
    assert set(tags_by_name(read(folder, "val"))) == {"2"}
    assert set(tags_by_name(read(folder, "train", splits=("train_aug", "val")))) == {"3", "4"}


@CASES("images next to masks")
def _(folder: Path) -> None:
    for name in numbered(folder / "images"):
        mask(folder / "labels" / f"{name}.png", 1)
    assert read(folder, "train").class_names == ("class 1",)
    text(folder / "classes.txt", "background\ndog\n")
    assert read(folder, "train").class_names == ("dog",)


@CASES("images next to YOLO labels")
def _(folder: Path) -> None:
    for name in numbered(folder / "images" / "train"):
        text(folder / "labels" / "train" / f"{name}.txt", "1 0.5 0.5 0.1 0.1\n")
    text(folder / "data.yaml", "names: [cat, dog]\n")
    assert read(folder, "train").tags.tolist() == [[0, 1]] * 4


@CASES("images alone", "refused", r"a folder per class, but got \['images'\]. .*dog/.*tags\.csv, or put masks")
def _(folder: Path) -> None:
    numbered(folder / "images")
    read(folder, "train")


@CASES("splits without folders of classes", "refused", r"a folder per class, but got \['test', 'train'\]. .*tags\.csv")
def _(folder: Path) -> None:
    read(folders(folder, "train", "test"), "train")


@CASES("several devkits of VOC", "refused", "one devkit of VOC in .*, but got VOC2007, VOC2012; give one of them")
def _(folder: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        numbered(folder / year / "JPEGImages")
        (folder / year / "ImageSets").mkdir()
    read(folder, "train")


@CASES(
    "folder that may be a class or hold masks", "refused", "'mask' may be one or hold annotations; name the `classes"
)
def _(folder: Path) -> None:
    folders(folder, "mask", "no mask")
    assert read(folder, "train", classes=("mask", "no mask")).class_names == ("mask", "no mask")
    read(folder, "train")


# Names


@CASES("splits in other spellings")
def _(folder: Path) -> None:
    folders(folder, "Training/dog", "Training/other", "VALID/dog")
    assert [len(read(folder, split)) for split in ("train", "val")] == [10, 5]


@CASES("test split without one for validation")
def _(folder: Path) -> None:
    folders(folder, "train/dog", "test/dog")
    names = [name for split in ("train", "val") for name in tags_by_name(read(folder, split))]
    assert sorted(names) == [f"train_dog{i}" for i in range(5)]


@CASES("split in two spellings", "refused", r"one split for val in .*, but got \['val', 'valid'\]")
def _(folder: Path) -> None:
    read(folders(folder, "train/dog", "val/dog", "valid/dog"), "val")


@CASES("images in two splits", "warned", "1 of 6 validation images are trained on too, such as .*copy.jpg, the same as")
def _(folder: Path) -> None:
    folders(folder, "train/dog", "train/other", "val/dog")
    shutil.copy(folder / "train/dog/train_dog0.jpg", folder / "val/dog/copy.jpg")
    TaggedDataModule(read(folder, "train"), read(folder, "val"), batch_size=2)


@CASES("files and folders of systems")
def _(folder: Path) -> None:
    folders(folder, "dog", "cat", "__MACOSX/dog", "dog/.ipynb_checkpoints", "cat/@eaDir", "$RECYCLE.BIN")
    text(folder / "dog" / "._dog0.jpg", b"\0")
    data = TaggedFolder(folder)
    assert (data.class_names, len(data)) == (("cat", "dog"), 10)


@CASES("names for nothing")
def _(folder: Path) -> None:
    folders(folder, "dog", "Others")
    assert TaggedFolder(folder).tags.sum(dim=0).tolist() == [5]
    assert TaggedFolder(folder, classes=("Others", "dog")).tags.sum(dim=0).tolist() == [5, 5]


@CASES("masks under other names")
def _(folder: Path) -> None:
    folders(folder, "dog", "cat")
    forms = ("{}_mask.png", "{}.jpg.png", "{}_label.png", "{}.PNG", "{}.bmp")
    names = [f"dog{i}" for i in range(5)]
    for name, form in zip(names, forms, strict=True):
        mask(folder / "masks" / form.format(name), 2)
    assert masked(TaggedFolder(folder, masks=True)) == set(names)


@CASES("masks that are missing")
def _(folder: Path) -> None:
    folders(folder, "train/dog", "train/other", "val/dog", "val/other")
    mask(folder / "val_masks" / "val_dog0.png", 1)
    assert missing_masks(read(folder, "val")) == (
        "4 of 5 validation images with a class have no mask: they are not measured"
    )


@CASES("mask values in another order")
def _(folder: Path) -> None:
    for side, order, value in (("drawn", "dog\ncat", 1), ("truth", "cat\ndog", 2)):
        mask(folder / side / "a.png", value)
        text(folder / side / "classes.txt", f"background\n{order}\n")
    scores, names = score_label_files(folder / "drawn", folder / "truth")
    assert (names, scores.iou[:2]) == (("background", "dog", "cat"), (1, 1))


@CASES("tags of two words")
def _(folder: Path) -> None:
    numbered(folder / "images")
    path = text(folder / "tags.csv", "image,tags\n0,golden retriever\n1,tabby cat\n2,\n3,tabby cat\n")
    assert read(path, "train").class_names == ("golden retriever", "tabby cat")


@CASES(
    "two signs between tags", "refused", "one sign between tags, but got ',' and ';', as in 'dog, cat' and 'cat;dog'"
)
def _(folder: Path) -> None:
    numbered(folder / "images")
    read(text(folder / "tags.csv", 'image,tags\n0,"dog, cat"\n1,cat;dog\n'), "train")


@CASES.parametrize()
def test_other_tool(case: Case, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    case.check(tmp_path / "data")


def test_the_page_lists_these_cases() -> None:
    assert table_of_page("Layouts and names of other tools") == [(case.name, case.outcome) for case in CASES]


def test_lists_of_classes_that_do_not_fit(tmp_path: Path) -> None:
    """Truth without a class of the masks is refused; without a list, numbers count; names of classes are reported."""
    mask(tmp_path / "drawn" / "a.png", 1)
    mask(tmp_path / "truth" / "a_mask.png", 1)
    text(tmp_path / "drawn" / "classes.txt", "background\ndog\n")
    scores, names = score_label_files(tmp_path / "drawn", tmp_path / "truth")
    assert (names, scores.iou) == (("background", "dog"), (1, 1))
    text(tmp_path / "truth" / "classes.txt", "background\nhorse\n")
    with pytest.raises(ValueError, match=r"truth to have the classes of the masks, but it lacks dog"):
        score_label_files(tmp_path / "drawn", tmp_path / "truth")
    (tmp_path / "drawn" / "classes.txt").unlink()
    assert score_label_files(tmp_path / "drawn", tmp_path / "truth")[1] == ("background", "horse")
    assert json.dumps(scores.to_dict())
