"""Layouts of other tools are read as what they are, or refused with the cure; expectations are how they were made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.layouts import SIZE, coco, image, mask, masked, read, tags_by_name, text, xml

from decomprec.data.detect import detect_format
from decomprec.data.formats.voc import VOC_CLASSES

CATEGORIES = [
    {"id": 0, "name": "animals", "supercategory": "none"},
    {"id": 1, "name": "cat", "supercategory": "animals"},
    {"id": 2, "name": "dog", "supercategory": "animals"},
]
SHOWN = {"cat0": {"cat"}, "dog1": {"dog"}, "both2": {"cat", "dog"}, "none3": set()}


def shown(split: str) -> dict[str, set[str]]:
    return {f"{split}_{name}": objects for name, objects in SHOWN.items()}


def roboflow(root: Path, *splits: str, name: str = "_annotations.coco.json") -> Path:
    for split in splits:
        files = {f"{image}.jpg": sorted(objects) for image, objects in shown(split).items()}
        coco(root / split, files, CATEGORIES, name)
    return root


@pytest.mark.parametrize("splits", [("train", "valid", "test"), ("Train", "Validation"), ("training", "val")])
@pytest.mark.parametrize("above", ["", "export-3"])
def test_a_coco_file_in_each_split(splits: tuple[str, ...], above: str, tmp_path: Path) -> None:
    roboflow(tmp_path / above, *splits)
    file = tmp_path / above / splits[0] / "_annotations.coco.json"
    for path in (tmp_path, file):
        assert detect_format(path) == "coco"
        for split, folder in zip(("train", "val", "test"), splits, strict=False):
            data = read(path, split)
            assert data.class_names == ("cat", "dog")  # what groups them is no class
            assert tags_by_name(data) == shown(folder)
        assert masked(read(path, "val")) == {name for name, objects in shown(splits[1]).items() if objects}


def test_a_coco_file_for_training_alone_or_beside_a_test(tmp_path: Path) -> None:
    for splits in (("train",), ("train", "test")):
        root = roboflow(tmp_path / "_".join(splits), *splits)
        train, val = tags_by_name(read(root, "train")), tags_by_name(read(root, "val"))
        assert train
        assert val
        assert train | val == shown("train")
        assert not set(train) & set(val)


def test_a_single_coco_file(tmp_path: Path) -> None:
    roboflow(tmp_path / "annotated", ".", name="instances_default.json")
    roboflow(tmp_path / "result", ".", name="result.json")
    for name in ("annotated", "result"):
        assert detect_format(tmp_path / name) == "coco"
        train, val = (read(tmp_path / name, split) for split in ("train", "val"))
        assert train.class_names == ("cat", "dog")
        assert tags_by_name(train) | tags_by_name(val) == shown(".")


def labelme(root: Path, masks: str = "SegmentationClass", names: str = "_background_\ncat\ndog\n") -> Path:
    for name, objects in SHOWN.items():
        image(root / "JPEGImages" / f"{name}.jpg")
        mask(root / masks / f"{name}.png", 2 if "dog" in objects else int("cat" in objects))
        image(root / "SegmentationClassVisualization" / f"{name}.jpg")
        text(root / "SegmentationClassNpy" / f"{name}.npy", b"\x93NUMPY")
    text(root / "class_names.txt", names)
    return root


@pytest.mark.parametrize("masks", ["SegmentationClass", "SegmentationClassPNG"])
@pytest.mark.parametrize("names", ["_background_\ncat\ndog\n", "__ignore__\n_background_\ncat\ndog\n", "cat\ndog\n"])
def test_labelme2voc(masks: str, names: str, tmp_path: Path) -> None:
    root = labelme(tmp_path, masks, names)
    train, val = (read(root, split) for split in ("train", "val"))
    assert train.class_names == val.class_names == ("cat", "dog")
    expected = {name: {"dog"} if "dog" in objects else objects for name, objects in SHOWN.items()}
    assert tags_by_name(train) | tags_by_name(val) == expected
    assert masked(val) == {record.name for record in val.records}
    for item, record in zip(val, val.records, strict=True):
        assert item["mask"][0, 0] == {"cat0": 1, "dog1": 2, "both2": 2, "none3": 0}[record.name]


PAIRS: dict[str, Callable[[Path, str, str], tuple[Path, Path]]] = {
    "images and masks": lambda root, split, name: (root / f"images/{name}.jpg", root / f"masks/{name}.png"),
    "images and labels": lambda root, split, name: (root / f"images/{name}.jpg", root / f"labels/{name}.png"),
    "img and annotations": lambda root, split, name: (root / f"img/{name}.png", root / f"annotations/{name}.png"),
    "Images and GroundTruth": lambda root, split, name: (root / f"Images/{name}.jpg", root / f"GroundTruth/{name}.png"),
    "beside each image": lambda root, split, name: (root / f"{name}.jpg", root / f"{name}_mask.png"),
    "splits outside": lambda root, split, name: (
        root / split / f"images/{name}.jpg",
        root / split / f"masks/{name}.png",
    ),
    "splits inside": lambda root, split, name: (
        root / f"images/{split}/{name}.jpg",
        root / f"labels/{split}/{name}.png",
    ),
    "splits in names": lambda root, split, name: (
        root / f"{split}_images/{name}.jpg",
        root / f"{split}_masks/{name}_mask.png",
    ),
    "masks beside splits": lambda root, split, name: (
        root / f"{split}/{name}.jpg",
        root / f"{split}_masks/{name}_mask.bmp",
    ),
    "masks glued to splits": lambda root, split, name: (
        root / f"{split}/{name}.jpg",
        root / f"{split}annot/{name}.png",
    ),
    "splits and lab": lambda root, split, name: (root / f"{split}_img/{name}.jpg", root / f"{split}_lab/{name}.png"),
    "together in splits": lambda root, split, name: (root / f"{split}/{name}.jpg", root / f"{split}/{name}_label.png"),
}


@pytest.mark.parametrize("layout", PAIRS)
@pytest.mark.parametrize("listed", [False, True])
def test_images_with_masks(layout: str, listed: bool, tmp_path: Path) -> None:
    splits = ("train", "val") if "split" in layout else ("train",)
    classes = ("cat", "dog") if listed else ("class 1", "class 3")
    for split in splits:
        for name, value in (("a", 0), ("b", 1), ("c", 3), ("d", 255), ("e", 1), ("f", 3)):
            photo, label = PAIRS[layout](tmp_path, split, f"{split}_{name}")
            image(photo)
            mask(label, value)
    image(tmp_path / "visualization" / "a.jpg")
    if listed:
        text(tmp_path / "classes.txt", "background\ncat\nsofa\ndog\n")
        classes = ("cat", "sofa", "dog")
    else:
        image(tmp_path / ".thumbnails" / "a.jpg")
    train, val = (read(tmp_path, split) for split in ("train", "val"))
    assert train.class_names == val.class_names == classes
    found = tags_by_name(train) | tags_by_name(val)
    one, three = classes[0], classes[-1]
    of_split = {"a": set(), "b": {one}, "c": {three}, "d": set(), "e": {one}, "f": {three}}
    assert found == {f"{split}_{name}": tags for split in splits for name, tags in of_split.items()}
    assert masked(val) == {record.name for record in val.records}
    if len(splits) == 2:
        assert all(record.name.startswith("val") for record in val.records)
        assert {int(item["mask"][0, 0]) for item in val} == {0, 1, len(classes), 255}


def test_images_without_a_mask_are_left_out_of_such_layouts(tmp_path: Path) -> None:
    for i in range(10):
        image(tmp_path / "images" / f"{i}.jpg")
        if i < 8:
            mask(tmp_path / "masks" / f"{i}.png", 1 + i % 2)
    with pytest.warns(UserWarning, match="2 of 10 images in .*images have no file of their name in .*masks"):
        train = read(tmp_path, "train")
    with pytest.warns(UserWarning, match="2 of 10"):
        val = read(tmp_path, "val")
    assert set(tags_by_name(train)) | set(tags_by_name(val)) == {str(i) for i in range(8)}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("names", ["names: [cat, dog]\n", "names:\n  0: cat\n  1: dog\n", None])
def test_yolo(inside: bool, names: str | None, tmp_path: Path) -> None:
    for split in ("train", "valid"):
        for name, objects in shown(split).items():
            folders = (f"images/{split}", f"labels/{split}") if inside else (f"{split}/images", f"{split}/labels")
            image(tmp_path / folders[0] / f"{name}.jpg")
            lines = [f"{('cat', 'dog').index(thing)} 0.5 0.5 0.2 0.2\n" for thing in sorted(objects)]
            if lines:  # YOLO writes no file for an image without objects
                text(tmp_path / folders[1] / f"{name}.txt", "".join(lines))
    text(tmp_path / ("data.yaml" if names else "classes.txt"), names or "cat\ndog\n")
    for split, folder in (("train", "train"), ("val", "valid")):
        data = read(tmp_path, split)
        assert data.class_names == ("cat", "dog")
        assert tags_by_name(data) == shown(folder)


def test_a_split_of_yolo_is_named_by_the_file_above(tmp_path: Path) -> None:
    for name, objects in SHOWN.items():
        image(tmp_path / f"train/images/{name}.jpg")
        lines = [f"{('cat', 'dog').index(thing)} 0.5 0.5 0.2 0.2\n" for thing in sorted(objects)]
        text(tmp_path / f"train/labels/{name}.txt", "".join(lines))
    text(tmp_path / "data.yaml", "names: [cat, dog]\n")
    train, val = (read(tmp_path / "train", split) for split in ("train", "val"))
    assert train.class_names == ("cat", "dog")
    assert tags_by_name(train) | tags_by_name(val) == SHOWN


@pytest.mark.parametrize("file", ["classes.json", "id2label.json", "label_map.json"])
@pytest.mark.parametrize(
    "content",
    [
        ["background", "cat", "dog"],
        ["cat", "dog"],
        {"0": "background", "1": "cat", "2": "dog"},
        {"1": "cat", "2": "dog", "255": "void"},
        {"dog": 2, "cat": 1},
        [{"id": 1, "name": "cat", "color": [255, 0, 0]}, {"id": 2, "name": "dog"}],
    ],
)
def test_mask_values_in_json(file: str, content: Any, tmp_path: Path) -> None:
    for i in range(6):
        image(tmp_path / f"images/{i}.jpg")
        mask(tmp_path / f"masks/{i}.png", i % 3)
    text(tmp_path / file, json.dumps(content))
    train, val = (read(tmp_path, split) for split in ("train", "val"))
    assert train.class_names == ("cat", "dog")
    assert tags_by_name(train) | tags_by_name(val) == {
        str(i): {0: set(), 1: {"cat"}, 2: {"dog"}}[i % 3] for i in range(6)
    }


@pytest.mark.parametrize("header", ["Pixel Value, Class\n", ""])
def test_masks_of_roboflow(header: str, tmp_path: Path) -> None:
    """Masks next to the images of each split, with a table that names their values."""
    for split in ("train", "valid"):
        for i in range(6):
            image(tmp_path / split / f"{split}{i}_jpg.rf.0a{i}.jpg")
            mask(tmp_path / split / f"{split}{i}_jpg.rf.0a{i}_mask.png", i % 3)
        text(tmp_path / split / "_classes.csv", f"{header}0, background\n1, cat\n2, dog\n")
    for split, part in (("train", "train"), ("val", "valid")):
        data = read(tmp_path, split)
        assert data.class_names == ("cat", "dog")
        assert tags_by_name(data) == {
            f"{part}{i}_jpg.rf.0a{i}": {0: set(), 1: {"cat"}, 2: {"dog"}}[i % 3] for i in range(6)
        }


@pytest.mark.parametrize("content", ['{"cat": 100, "dog": 200}', '{"classes": ["cat"]}', "[1, 2]", "cat"])
def test_json_that_names_no_mask_values_is_refused(content: str, tmp_path: Path) -> None:
    for i in range(6):
        image(tmp_path / f"images/{i}.jpg")
        mask(tmp_path / f"masks/{i}.png", i % 3)
    text(tmp_path / "classes.json", content)
    with pytest.raises(ValueError, match=r"classes\.json to (be JSON|hold a list of class names)"):
        read(tmp_path, "train")


def test_annotations_in_xml_beside_the_images(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name, objects in shown(split).items():
            image(tmp_path / split / f"{name}.jpg")
            xml(tmp_path / split / f"{name}.xml", objects)
    train, val = (read(tmp_path, split) for split in ("train", "val"))
    assert train.class_names == ("cat", "dog")
    assert tags_by_name(train) | tags_by_name(val) == shown("train")


# VOC


def devkit(root: Path, names: tuple[str, str] = ("cat", "dog"), annotations: bool = True) -> dict[str, set[str]]:
    """Six images; what each shows."""
    objects = {f"2007_{i}": {names[i % 2]} if i else set() for i in range(6)}
    for name, present in objects.items():
        image(root / "JPEGImages" / f"{name}.jpg")
        if annotations:
            xml(root / "Annotations" / f"{name}.xml", present)
    return objects


LISTS: dict[str, Callable[[str], str]] = {
    "names": lambda name: name,
    "names with endings": lambda name: f"{name}.jpg",
    "flags": lambda name: f"{name}  1",
    "paths": lambda name: f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png",
    "paths of one column": lambda name: f"JPEGImages/{name}.jpg",
}


@pytest.mark.parametrize("form", LISTS)
@pytest.mark.parametrize("folder", ["Segmentation", "Main", "."])
@pytest.mark.parametrize("above", ["", "VOC2007", "VOCdevkit/VOC2010"])
def test_lists_of_voc(form: str, folder: str, above: str, tmp_path: Path) -> None:
    root = tmp_path / above
    objects = devkit(root)
    names = list(objects)
    for split, part in (("train", names[:4]), ("val", names[4:])):
        text(root / "ImageSets" / folder / f"{split}.txt", "\n".join(map(LISTS[form], part)) + "\n")
    assert detect_format(tmp_path) == "voc"
    for split, part in (("train", names[:4]), ("val", names[4:])):
        data = read(tmp_path, split)
        assert data.class_names == VOC_CLASSES
        assert tags_by_name(data) == {name: objects[name] for name in part}


@pytest.mark.parametrize("ending", [".png", ".PNG", ".jpeg", ".WebP", ".Tiff"])
def test_endings_that_lists_of_voc_leave_out(ending: str, tmp_path: Path) -> None:
    objects = devkit(tmp_path)
    for file in list((tmp_path / "JPEGImages").iterdir()):
        file.rename(file.with_suffix(ending))
    for split in ("train", "val"):
        text(tmp_path / f"ImageSets/Main/{split}.txt", "\n".join(objects))
    assert tags_by_name(read(tmp_path, "train")) == objects


def test_masks_that_a_list_of_voc_names(tmp_path: Path) -> None:
    names = list(devkit(tmp_path))
    for name in names:
        mask(tmp_path / "SegmentationClassAug" / f"{name}.png", VOC_CLASSES.index("dog") + 1)
    text(tmp_path / "ImageSets/Segmentation/train_aug.txt", "\n".join(map(LISTS["paths"], names[:4])))
    text(tmp_path / "ImageSets/Segmentation/val.txt", "\n".join(map(LISTS["paths"], names[4:])))
    text(tmp_path / "ImageSets/Segmentation/trainval.txt", "\n".join(names))
    assert set(tags_by_name(read(tmp_path, "train"))) == set(names[:4])  # trainval would hold the validation images
    assert masked(read(tmp_path, "val")) == set(names[4:])
    assert set(tags_by_name(read(tmp_path, "train", splits=("trainval", "val")))) == set(names)


def test_lists_of_each_class(tmp_path: Path) -> None:
    objects = devkit(tmp_path, annotations=False)
    names = list(objects)
    for split, part in (("train", names[:4]), ("val", names[4:])):
        for k in ("cat", "dog"):
            lines = [f"{name} {' 1' if k in objects[name] else '-1'}" for name in part]
            text(tmp_path / f"ImageSets/Main/{k}_{split}.txt", "\n".join(lines))
    for split, part in (("train", names[:4]), ("val", names[4:])):
        assert tags_by_name(read(tmp_path, split)) == {name: objects[name] for name in part}


def test_classes_of_ones_own_in_vocs_layout(tmp_path: Path) -> None:
    objects = devkit(tmp_path, ("helmet", "vest"))
    names = list(objects)
    text(tmp_path / "ImageSets/Segmentation/train.txt", "\n".join(names[:4]))
    text(tmp_path / "ImageSets/Segmentation/val.txt", "\n".join(names[4:]))
    for name in names:
        mask(tmp_path / "SegmentationClass" / f"{name}.png", 1)
    for split, part in (("train", names[:4]), ("val", names[4:])):
        data = read(tmp_path, split)
        assert data.class_names == ("helmet", "vest")
        assert tags_by_name(data) == {name: objects[name] for name in part}
        assert not masked(data)  # which of both is 1 is unknown
    text(
        tmp_path / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\nvest:1,1,1::\nhelmet:2,2,2::\n"
    )
    data = read(tmp_path, "val")
    assert data.class_names == ("vest", "helmet")
    assert masked(data) == set(names[4:])
    assert all(item["mask"][0, 0] == 1 for item in data)


def test_a_devkit_without_lists_and_annotations(tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit" / "VOC2007"
    names = list(devkit(root, annotations=False))
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    for name in names:
        mask(root / "SegmentationClass" / f"{name}.png", 12)
    train, val = (read(tmp_path / "VOCdevkit", split) for split in ("train", "val"))
    assert train.class_names == VOC_CLASSES
    assert tags_by_name(train) | tags_by_name(val) == {name: {"dog"} for name in names}
    assert not {r.name for r in train.records} & {r.name for r in val.records}


# Refused


def refused(root: Path, *files: str) -> Path:
    for file in files:
        for i in range(3):
            image(root / f"{file}{i}.jpg")
    return root


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("images/a",), r"tags\.csv.*masks/ next to images/"),
        (("a",), r"dog/\*\.jpg.*tags\.csv.*masks/"),
        (("images/a", "visualization/a"), r"tags\.csv.*masks/"),
        (("train/a", "test/b"), r"train/dog/\*\.jpg"),
        (("train/images/a", "val/images/b"), r"tags\.csv.*masks/"),
        (("JPEGImages/a", "SegmentationClassVisualization/a"), r"tags\.csv"),
        (("val/dog/a", "dog/b", "other/c"), "move the folders of the classes to train on into train"),
        (("dog/train/a", "dog/val/b", "cat/c"), r"move the splits up"),
        (("train/mask/a", "train/no_mask/b", "val/mask/c"), "'mask' may be one or hold annotations"),
        (("photos/a", "drawings/b"), "'photos' may be one or hold annotations; name the `classes`"),
        (("jpg/a",), r"dog/\*\.jpg.*tags\.csv.*masks/"),
        (("D/CD/a", "D/UD/b", "W/CW/c", "W/UW/d"), r"D, W hold only folders, such as CD, UD of D\. .* as `classes`"),
        (("cars_train/a", "cars_test/b"), r"cars_test, cars_train look like splits; call splits train"),
        (
            ("A_Input/a", "A_GroundTruth/a"),
            r"only A_Input, next to A_GroundTruth; .* call the folders images",
        ),
        (
            ("train/A/images_png/a", "train/A/masks_png/a", "train/B/images_png/b"),
            r"sets of their own are in A, B; give",
        ),
        (("mask/a", "no_mask/b"), "'mask' may be one or hold annotations; name the `classes`"),
    ],
)
def test_layouts_that_cannot_be_told(files: tuple[str, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises((FileNotFoundError, ValueError), match=words):
        read(refused(tmp_path, *files), "train")


def test_what_may_be_a_class_is_one_if_the_user_says_so(tmp_path: Path) -> None:
    refused(tmp_path, "mask/a", "no_mask/b")
    assert read(tmp_path, "train", classes=("mask", "no_mask")).class_names == ("mask", "no_mask")


@pytest.mark.parametrize(
    ("below", "others"), [("101_ObjectCategories", ["Annotations/cat/1.mat"]), ("images", ["labels/1.txt", "db/1.mat"])]
)
def test_folders_of_classes_next_to_other_files(below: str, others: list[str], tmp_path: Path) -> None:
    refused(tmp_path, f"{below}/cat/a", f"{below}/dog/b", f"{below}/BACKGROUND_Google/c")
    for other in others:
        text(tmp_path / other, "cat/a0.jpg")
    train, val = (read(tmp_path, split) for split in ("train", "val"))
    assert train.class_names == ("cat", "dog")
    classes = {"a": {"cat"}, "b": {"dog"}, "c": set()}
    expected = {f"{letter}{i}": tags for letter, tags in classes.items() for i in range(3)}
    assert tags_by_name(train) | tags_by_name(val) == expected


def test_images_that_a_table_of_objects_leaves_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    refused(tmp_path, "train_images/a", "train_images/b")
    rows = (f"a{i}.jpg,{1 + i},1 3 9 2" for i in range(3))
    text(tmp_path / "train.csv", "\n".join(["ImageId,ClassId,EncodedPixels", *rows]))
    with caplog.at_level("INFO"):
        found = tags_by_name(read(tmp_path, "train")) | tags_by_name(read(tmp_path, "val"))
    assert found == {f"a{i}": {str(1 + i)} for i in range(3)}
    assert "lists no object in 3 images, such as" in caplog.text


def test_a_stray_image_beside_folders_of_classes(tmp_path: Path) -> None:
    refused(tmp_path, "train/dog/a", "val/dog/b", "images/dog/c")
    image(tmp_path / "val" / "preview.jpg")
    mask(tmp_path / "val_masks" / "b0.png", 1)
    for split, letter in (("train", "a"), ("val", "b")):
        assert tags_by_name(read(tmp_path, split)) == {f"{letter}{i}": {"dog"} for i in range(3)}


def test_several_devkits_and_labels_in_json(tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        devkit(tmp_path / "years" / "VOCdevkit" / year)
    with pytest.raises(ValueError, match=r"one devkit of VOC .* VOCdevkit/VOC2007, VOCdevkit/VOC2012; give one"):
        read(tmp_path / "years", "train")
    image(tmp_path / "json" / "images" / "a.jpg")
    text(tmp_path / "json" / "annotations" / "a.json", '{"shapes": []}')
    with pytest.raises(ValueError, match="but got JSON; convert it to COCO"):
        read(tmp_path / "json", "train")


@pytest.mark.parametrize("layout", ["paired", "voc", "folder", "csv"])
def test_black_and_white_masks_of_one_class(layout: str, tmp_path: Path) -> None:
    places = {"paired": ("images", "masks"), "voc": ("JPEGImages", "SegmentationClass"), "csv": ("images", "masks")}
    for i in range(10):
        photos, masks = places.get(layout, ("crack" if i % 2 else "other", "masks"))
        image(tmp_path / photos / f"{i}.jpg")
        mask(tmp_path / masks / f"{i}.png", 255 * (i % 2))
    if layout == "csv":
        rows = (f"{i}.jpg,{'crack' if i % 2 else ''}" for i in range(10))
        text(tmp_path / "tags.csv", "\n".join(["image,tags", *rows]))
    elif layout in ("paired", "voc"):
        text(tmp_path / "classes.txt", "background\ncrack\n")
    train, val = (read(tmp_path, split) for split in ("train", "val"))
    assert train.class_names == val.class_names == ("crack",)
    found = tags_by_name(train) | tags_by_name(val)
    assert found == {str(i): {"crack"} if i % 2 else set() for i in range(10)}
    for item in val:
        half = int(item["name"]) % 2
        assert item["mask"].tolist() == [[half] * SIZE[1]] * (SIZE[0] // 2) + [[0] * SIZE[1]] * (SIZE[0] // 2)


@pytest.mark.parametrize("layout", ["paired", "voc"])
def test_black_and_white_masks_of_several_classes(layout: str, tmp_path: Path) -> None:
    photos, masks = {"paired": ("images", "masks"), "voc": ("JPEGImages", "SegmentationClass")}[layout]
    for i in range(4):
        image(tmp_path / photos / f"{i}.jpg")
        mask(tmp_path / masks / f"{i}.png", 255)
    text(tmp_path / "classes.txt", "background\ncrack\nhole\n")
    with pytest.raises(ValueError, match=r"hold only 0 and 255; write the number of the class where it is"):
        read(tmp_path, "train")


def test_masks_of_shades(tmp_path: Path) -> None:
    for i in range(4):
        image(tmp_path / "images" / f"{i}.jpg")
        mask(tmp_path / "masks" / f"{i}.png", (255, 128, 51, 204)[i])
    with pytest.raises(ValueError, match=r"0, 51, 128, 204, 255, look like shades of grey; write 0 for the background"):
        read(tmp_path, "train")


def photo_and_mask(photo: Path, label: Path, value: int) -> None:
    """A photograph of many values, with any ending, and a mask whose upper half has a value."""
    pixels = np.random.default_rng(len(str(photo))).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    labels = np.zeros((48, 64), dtype=np.uint8)
    labels[:24] = value
    for file, content in ((photo, pixels), (label, labels)):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(file)


@pytest.mark.parametrize(("photo", "label"), [("jpg", "png"), ("JPG", "png"), ("png", "bmp"), ("png", "jpg")])
@pytest.mark.parametrize("split", ["{}", "{}crop", "{0}crop/{0}crop", "."])
def test_masks_with_the_names_of_their_images(photo: str, label: str, split: str, tmp_path: Path) -> None:
    """As in Crack500, where some masks are black."""
    for part in ("train", "val", "test"):
        for i in range(5):
            place = tmp_path / split.format(part) / f"{part}{i}"
            photo_and_mask(place.with_suffix(f".{photo}"), place.with_suffix(f".{label}"), 255 if i else 0)
    train, val = (read(tmp_path, part) for part in ("train", "val"))
    found = {"train": tags_by_name(train), "val": tags_by_name(val)}
    parts = ("train", "val", "test") if split == "." else ("train", "val")
    shown = {f"{part}{i}": {"class 1"} if i else set() for part in parts for i in range(5)}
    assert found["train"] | found["val"] == shown
    if split != ".":
        assert set(found["train"]) == {f"train{i}" for i in range(5)}
    item = next(item for item in val if item["tags"].any())
    assert item["mask"].unique().tolist() == [0, 1]
    assert all(record.image.suffix == f".{photo}" for record in (*train.records, *val.records))


def test_two_photographs_of_each_name_are_refused(tmp_path: Path) -> None:
    for i in range(3):
        photo_and_mask(tmp_path / f"{i}.jpg", tmp_path / "away" / "mask.png", 1)
        photo_and_mask(tmp_path / f"{i}.png", tmp_path / "away" / "mask.png", 1)
    (tmp_path / "away" / "mask.png").unlink()
    (tmp_path / "away").rmdir()
    with pytest.raises(ValueError, match=r"two files, 0\.jpg and 0\.png, and it can't be told which .* 0_mask\.png"):
        read(tmp_path, "train")


@pytest.mark.parametrize("split", ["training", "."])
@pytest.mark.parametrize(("view", "truth"), [("mask", "1st_manual"), ("mask", "manual1"), ("masks", "labels")])
def test_two_folders_of_masks_are_refused(split: str, view: str, truth: str, tmp_path: Path) -> None:
    """As in DRIVE, where mask/ holds the field of view."""
    for i in range(4):
        photo_and_mask(tmp_path / split / f"images/{i}.tif", tmp_path / split / f"{truth}/{i}_manual1.gif", 255)
        photo_and_mask(tmp_path / split / f"images/{i}.tif", tmp_path / split / f"{view}/{i}_mask.gif", 255)
    with pytest.raises(ValueError, match=rf"{view} and {truth} both hold an image of two values .* move the one that"):
        read(tmp_path, "train")


def test_other_folders_next_to_masks_are_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(4):
        photo_and_mask(tmp_path / f"images/{i}.jpg", tmp_path / f"masks/{i}.png", 255)
        photo_and_mask(tmp_path / f"depth/{i}.png", tmp_path / "masks/0.png", 255)
    with caplog.at_level("INFO"):
        assert len(read(tmp_path, "train")) == 3
    assert "masks says what is in the images; depth is not used" in caplog.text
