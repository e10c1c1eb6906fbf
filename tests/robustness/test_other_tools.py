"""Layouts and names of other tools, as docs/results/bad_input.md says; tests/data has more of each."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from support.bad_cases import Case, Cases, table_of_page
from support.layouts import coco, drawn, image, mask, masked, photo, read, tags_by_name, text, xml

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


@CASES("VOC's layout with other classes")
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


@CASES("Kaggle's train.csv and test.csv")
def _(folder: Path) -> None:
    numbered(folder / "train_images")
    text(folder / "train.csv", "image_id,label\n" + "\n".join(f"{i},{('cat', 'dog')[i % 2]}" for i in range(5)))
    text(folder / "test.csv", "image_id\n7\n")
    text(folder / "sample_submission.csv", "image_id,label\n7,cat\n")
    data = read(folder, "train")
    assert all(tags == {("cat", "dog")[int(name) % 2]} for name, tags in tags_by_name(data).items())


@CASES("Hugging Face's metadata")
def _(folder: Path) -> None:
    lines = [f'{{"file_name": "{name}.jpg", "tags": ["dog", "red"]}}' for name in numbered(folder / "train")]
    text(folder / "train" / "metadata.jsonl", "\n".join(lines))
    assert read(folder, "train").tags.tolist() == [[1, 1]] * 4


@CASES("Roboflow's tables")
def _(folder: Path) -> None:
    for split in ("train", "valid"):
        rows = [f"{name}.jpg, {int(name) % 2}, 0" for name in numbered(folder / split)]
        text(folder / split / "_classes.csv", "\n".join(["filename, dog, cat", *rows]))
    assert read(folder, "val").tags[:, 0].tolist() == [0, 1, 0, 1, 0]


@CASES("rows and columns of tags")
def _(folder: Path) -> None:
    rows = {
        "rows": ["image,label", *(f"{name}.jpg,{tag}" for name in numbered(folder / "rows") for tag in ("dog", "cat"))],
        "columns": ["image,label1,label2", *(f"{name}.jpg,dog,cat" for name in numbered(folder / "columns"))],
    }
    for place, lines in rows.items():
        text(folder / place / "labels.csv", "\n".join(lines))
        assert read(folder / place, "train").class_names == ("cat", "dog")
        assert read(folder / place, "train").tags.tolist() == [[1, 1]] * 4


@CASES("lists without a header")
def _(folder: Path) -> None:
    text(folder / "labels.csv", "\n".join(f"TRAIN,gs://bucket/{name}.jpg,dog,cat" for name in numbered(folder)))
    assert read(folder, "train").tags.tolist() == [[1, 1]] * 4


@CASES("lists in JSON")
def _(folder: Path) -> None:
    tags = {f"{name}.jpg": ["dog", "cat"] for name in numbered(folder)}
    text(folder / "labels.json", json.dumps(tags))
    assert read(folder, "train").tags.tolist() == [[1, 1]] * 4


@CASES("image twice in JSON", "refused", r"labels\.json to be JSON, but: the key '0\.jpg' comes 2 times; join")
def _(folder: Path) -> None:
    numbered(folder)
    text(folder / "labels.json", '{"0.jpg": ["dog"], "1.jpg": [], "0.jpg": ["cat"]}')
    read(folder, "train")


@CASES("COCO files of all splits in one folder")
def _(folder: Path) -> None:
    for split in ("train", "val"):
        coco(folder / split, {f"{split}.jpg": ["dog"]}, [{"id": 1, "name": "dog"}], "a.json").rename(
            folder / f"{split}.json"
        )
    assert [tags_by_name(read(folder, split)) for split in ("train", "val")] == [{"train": {"dog"}}, {"val": {"dog"}}]


def coloured(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), colour).save(path)


LABELMAP = "# label:color_rgb:parts:actions\ncat:250,50,83::\nbackground:0,0,0::\ndog:51,221,255::\n"


@CASES("CVAT's segmentation masks")
def _(folder: Path) -> None:
    names = numbered(folder / "JPEGImages")
    for name in names:
        coloured(
            folder / "SegmentationClass" / f"{name}.png", ((51, 221, 255), (250, 50, 83), (0, 0, 0))[int(name) % 3]
        )
        coloured(folder / "SegmentationObject" / f"{name}.png", (128, 0, 0))
    text(folder / "ImageSets/Segmentation/default.txt", "\n".join(names))
    text(folder / "labelmap.txt", LABELMAP)
    train, val = (read(folder, split) for split in ("train", "val"))
    assert train.class_names == ("cat", "dog")
    assert {**tags_by_name(train), **tags_by_name(val)} == {
        name: ({"dog"}, {"cat"}, set())[int(name) % 3] for name in names
    }
    assert [int(item["mask"].unique()) for item in val] == [(2, 1, 0)[int(r.name) % 3] for r in val.records]


@CASES("masks of colours")
def _(folder: Path) -> None:
    for name in numbered(folder / "images"):
        coloured(folder / "masks" / f"{name}.png", (64, 128, 64) if int(name) % 2 else (0, 0, 0))
    text(folder / "class_dict.csv", "name,r,g,b\nAnimal,64,128,64\nVoid,0,0,0\n")
    for split in ("train", "val"):
        assert all(bool(tags) == int(name) % 2 for name, tags in tags_by_name(read(folder, split)).items())


@CASES("colour that no list has", "refused", r"mask .*\d\.png to have the 3 colours in .*labelmap\.txt, .* are 9,9,9;")
def _(folder: Path) -> None:
    for name in numbered(folder / "images"):
        coloured(folder / "masks" / f"{name}.png", (9, 9, 9))
    text(folder / "labelmap.txt", LABELMAP)
    read(folder, "train")


@CASES(
    "column of 0 and 1 called label",
    "refused",
    r"'label' of .*train\.csv to hold the names of classes, .* only 0 and 1",
)
def _(folder: Path) -> None:
    numbered(folder / "train")
    text(folder / "train.csv", "id,label\n0,0\n1,1\n")
    read(folder, "train")


@CASES(
    "masks of shades next to images",
    "refused",
    r"hold the numbers .* 0, 51, 204, 255, look like shades of grey; write 0",
)
def _(folder: Path) -> None:
    for number in numbered(folder / "images"):
        mask(folder / "masks" / f"{number}.png", (51, 204, 255)[int(number) % 3])
    read(folder, "train")


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


@CASES("several data sets in a folder", "refused", r"data sets of their own are in bottle, cable; give one of them")
def _(folder: Path) -> None:
    for name in ("bottle", "cable"):
        folders(folder / name, "train/good", "test/good", "test/broken")
    read(folder, "train")


@CASES("splits with masks in each folder", "refused", r"Class1 has splits with masks, in .*Class1/Test/Label; if it")
def _(folder: Path) -> None:
    for name in ("Class1", "Class2"):
        for split in ("Train", "Test"):
            for number in numbered(folder / name / split):
                mask(folder / name / split / "Label" / f"{number}_label.PNG", 255)
    assert tags_by_name(read(folder / "Class1", "test")) == {str(i): {"class 1"} for i in range(5)}
    read(folder, "train")


@CASES("versions of the same images", "refused", r"expertC and input hold the same images in two versions, .* 0\.png")
def _(folder: Path) -> None:
    for number in numbered(folder / "input"):
        photo = Image.open(folder / "input" / f"{number}.jpg")
        (folder / "expertC").mkdir(exist_ok=True)
        photo.point(lambda value: value * 0.7 + 40).save(folder / "expertC" / f"{number}.png")
        image(folder / "other" / f"{number}.jpg")
    assert read(folder, "train", classes=("input", "expertC")).class_names == ("input", "expertC")
    for name in ("cat", "dog"):
        numbered(folder.with_name("classes") / name)
    assert read(folder.with_name("classes"), "train").class_names == ("cat", "dog")
    read(folder, "train")


@CASES(
    "masks in VOC's Annotations", "refused", r"Annotations to hold XML, but got images; .* SegmentationClass and name"
)
def _(folder: Path) -> None:
    for number in numbered(folder / "JPEGImages" / "480p" / "bear"):
        mask(folder / "Annotations" / "480p" / "bear" / f"{number}.png", 1)
    read(folder, "train")


@CASES("defects in test alone", "refused", r"train has only good, and broken, hole are in other splits.* tags\.csv")
def _(folder: Path) -> None:
    read(folders(folder, "train/good", "test/good", "test/broken", "test/hole"), "train")


@CASES(
    "each name twice in a folder of a class",
    "refused",
    r"dog0\.jpg and dog0\.png; if one is a mask, .*masks/.*dog0_mask\.png",
)
def _(folder: Path) -> None:
    folders(folder, "dog", "other")
    for name in range(5):
        image(folder / "dog" / f"dog{name}.png")
    read(folder, "train")


@CASES("masks with the names of their images")
def _(folder: Path) -> None:
    for name in numbered(folder / "train"):
        image(folder / "train" / f"{name}.jpg").rename(folder / "train" / f"{name}.JPG")
        mask(folder / "train" / f"{name}.png", 0 if name == "0" else 255)
    found = tags_by_name(read(folder, "train")) | tags_by_name(read(folder, "val"))
    assert found == {str(i): {"class 1"} if i else set() for i in range(5)}


@CASES("two folders of masks", "refused", r"mask and manual1 both hold an image of two values .* move the one that is")
def _(folder: Path) -> None:
    for name in numbered(folder / "images"):
        mask(folder / "mask" / f"{name}.png", 255)
        mask(folder / "manual1" / f"{name}.png", 255)
    read(folder, "train")


@CASES("lists of splits next to images")
def _(folder: Path) -> None:
    names = [f"dog{i}" for i in range(5)]
    folders(folder, "dog", "other")
    text(folder / "train_val_list.txt", "\n".join([*names, "other/other0.jpg 0"]))
    text(folder / "test_list.txt", "other/other1.jpg 0\nother/other2.jpg 0\n")
    found = [name for split in ("train", "val") for name in tags_by_name(read(folder, split))]
    assert sorted(found) == [*names, "other0"]


@CASES("image in the lists of two splits", "refused", r"test\.txt, train\.txt in .* both list dog/dog1\.jpg; leave one")
def _(folder: Path) -> None:
    folders(folder, "dog", "other")
    text(folder / "train.txt", "dog0\ndog1\n")
    text(folder / "test.txt", "dog1\n")
    read(folder, "train")


@CASES("exports that are not read", "refused", r'For CVAT, export as "COCO 1\.0" or "Segmentation mask 1\.1"')
def _(folder: Path) -> None:
    numbered(folder / "images")
    text(folder / "annotations.xml", "<annotations/>")
    read(folder, "train")


@CASES(
    "folder that may be a class or hold masks", "refused", "'mask' may be one or hold annotations; name the `classes"
)
def _(folder: Path) -> None:
    folders(folder, "mask", "no mask")
    assert read(folder, "train", classes=("mask", "no mask")).class_names == ("mask", "no mask")
    read(folder, "train")


@CASES("images and masks in folders of other names")
def _(folder: Path) -> None:
    for place, (photos, masks) in {"a": ("images", "y"), "b": ("frames", "masks"), "c": ("img_dir", "ann_dir")}.items():
        for i in range(5):
            photo(folder / place / photos / f"{i}.jpg")
            drawn(folder / place / masks / f"{i}.png", 1)
        data = [read(folder / place, split) for split in ("train", "val")]
        assert [(part.class_names, len(part)) for part in data] == [(("class 1",), 4), (("class 1",), 1)]
        assert len(masked(data[1])) == 1


@CASES(
    "folders of photographs and of their masks",
    "refused",
    "images in y have few values, as masks have; .* of those in x",
)
def _(folder: Path) -> None:
    for i in range(5):
        photo(folder / "x" / f"{i}.jpg")
        drawn(folder / "y" / f"{i}.png", 1)
    read(folder, "train")


@CASES(
    "other masks among the images", "refused", r"5 of 10 images without a mask, such as 0_manual1\.gif, look like masks"
)
def _(folder: Path) -> None:
    for i in range(5):
        photo(folder / f"{i}_training.tif")
        drawn(folder / f"{i}_training_mask.gif", 255)
        drawn(folder / f"{i}_manual1.gif", 255)
    read(folder, "train")


@CASES(
    "masks without 0",
    "refused",
    "Expected 0, the background, in masks of .*, but they hold only 1, 3, as trimaps do; name",
)
def _(folder: Path) -> None:
    for i in range(5):
        photo(folder / "images" / f"{i}.jpg")
        (folder / "masks").mkdir(exist_ok=True)
        Image.new("L", (16, 12), 1 if i else 3).save(folder / "masks" / f"{i}.png")
    read(folder, "train")


@CASES("several masks of one image", "refused", "fit alike; .* merge them into one, with the number of each class")
def _(folder: Path) -> None:
    for i in range(5):
        photo(folder / "images" / f"{i}.jpg")
        for name in ("cat", "dog"):
            drawn(folder / "masks" / name / f"{i}.png", 255)
    read(folder, "train")


@CASES(
    "folders of patients, scenes or dates",
    "refused",
    "its 2 folders, such as patient01, are named like parts of the data",
)
def _(folder: Path) -> None:
    read(folders(folder, "patient01", "patient02"), "train")


@CASES("folders 0 and 1", "refused", "got 0 and 1; if 1 means that something is in the image, call 0 none")
def _(folder: Path) -> None:
    read(folders(folder, "0", "1"), "train")


@CASES(
    "a folder named like two others together", "refused", r"dog\+cat is named like dog and cat together; if its images"
)
def _(folder: Path) -> None:
    read(folders(folder, "cat", "dog", "dog+cat"), "train")


@CASES("a single folder whose name may just mean images", "refused", "only data, which may just mean images; make a")
def _(folder: Path) -> None:
    read(folders(folder, "data"), "train")


@CASES("a table of Label Studio")
def _(folder: Path) -> None:
    numbered(folder / "images")
    both = '"{""choices"": [""cat"", ""dog""]}"'
    lines = [f"{i},{both if i else 'dog'},/data/upload/1/0a1b2c3d-{i}.jpg" for i in range(5)]
    text(folder / "project-1.csv", "\n".join(["id,choice,image", *lines]))
    found = tags_by_name(read(folder, None))
    assert found == {"0": {"dog"}, **{str(i): {"cat", "dog"} for i in range(1, 5)}}


@CASES("splits by a word in half of the names", "refused", "seg_test, seg_train look like splits; call splits train")
def _(folder: Path) -> None:
    read(folders(folder, "seg_train/seg_train/sea", "seg_test/seg_test/sea", "seg_pred/seg_pred"), "train")


@CASES(
    "one folder of images and a file that lists them",
    "refused",
    r"only photos_a, and list_attr\.txt lists its images; if",
)
def _(folder: Path) -> None:
    text(folders(folder, "photos_a") / "list_attr.txt", "".join(f"photos_a{i}.jpg 1 -1\n" for i in range(5)))
    read(folder, "train")


@CASES("columns of yes and no")
def _(folder: Path) -> None:
    numbered(folder / "images")
    for no, yes in (("no", "yes"), ("-1", "1"), ("", "x")):
        text(
            folder / "tags.csv",
            "\n".join(["image,cat,dog", *(f"{i}.jpg,{no if i % 2 else yes},{no}" for i in range(5))]),
        )
        assert tags_by_name(read(folder, "train"))["0"] == {"cat"}


@CASES(
    "-1 or empty cells next to 0 and 1",
    "refused",
    "0 and 1 for each class, and no others: no -1 or empty cells next to 0",
)
def _(folder: Path) -> None:
    numbered(folder / "images")
    read(text(folder / "tags.csv", "image,cat\n0,1\n1,0\n2,-1\n3,\n"), "train")


@CASES("splits in columns of other names")
def _(folder: Path) -> None:
    numbered(folder / "images")
    for column, train, val in (("is_valid", "False", "True"), ("phase", "train", "val")):
        rows = (f"{i},{'cat' if i % 2 else 'dog'},{train if i < 3 else val}" for i in range(5))
        text(folder / "tags.csv", "\n".join([f"image,label,{column}", *rows]))
        assert [set(tags_by_name(read(folder, split))) for split in ("train", "val")] == [{*"012"}, {*"34"}]


@CASES("numbers with a list of their names")
def _(folder: Path) -> None:
    numbered(folder / "images")
    text(folder / "labels.csv", "image,label\n0,0\n1,1\n2,2\n3,0\n4,1\n")
    text(folder / "classes.txt", "cat\ndog\ncow\n")
    assert tags_by_name(read(folder, "train"))["0"] == {"cat"}


def with_masks_named(folder: Path) -> Path:
    """A table that names the masks of odd images."""
    rows = []
    for name in numbered(folder / "images"):
        cell = f"annotated/m{name}.png" if int(name) % 2 else ""
        if cell:
            mask(folder / cell, 1)
        rows.append(f"{name}.jpg,val,{'scratch' if cell else 'normal'},{cell}")
    return text(folder / "labels.csv", "\n".join(["image,split,label,mask", *rows, ""]))


@CASES("masks that a table names")
def _(folder: Path) -> None:
    assert masked(read(with_masks_named(folder), "val")) == {"1", "3"}


@CASES(
    "missing mask that a table names", "refused", r"masks that .*labels\.csv names .* 3\.jpg .*annotated/m3\.png; put"
)
def _(folder: Path) -> None:
    table = with_masks_named(folder)
    (folder / "annotated/m3.png").unlink()
    read(table, "val")


@CASES("numbers for splits")
def _(folder: Path) -> None:
    folders(folder / "images", "cat", "dog", count=3)
    names = [f"{name}/{name}{i}.jpg" for name in ("cat", "dog") for i in range(3)]
    text(folder / "images.txt", "".join(f"{i} {name}\n" for i, name in enumerate(names, 1)))
    text(folder / "train_test_split.txt", "".join(f"{i} {i % 3 and 1}\n" for i in range(1, 7)))
    assert set(tags_by_name(read(folder, "test"))) == {"cat2", "dog2"}
    (folder / "images.txt").unlink()
    text(folder / "train_test_split.txt", "".join(f"{name} {i % 3}\n" for i, name in enumerate(names)))
    assert [len(read(folder, split)) for split in ("train", "val", "test")] == [2, 2, 2]
    assert set(tags_by_name(read(folder, "val"))) == {"cat1", "dog1"}


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


@CASES("names that deny a class")
def _(folder: Path) -> None:
    for number, names in enumerate([("yes", "no"), ("crack", "uncracked"), ("glioma_tumor", "no_tumor")]):
        assert TaggedFolder(folders(folder / str(number), *names)).class_names == names[:1]


@CASES("class in two spellings", "refused", "one spelling of each class in .*, but got 'Cat' and 'cat'; use one or")
def _(folder: Path) -> None:
    read(folders(folder, "train/cat", "train/dog", "val/Cat", "val/dog"), "train")


@CASES("masks under other names")
def _(folder: Path) -> None:
    folders(folder, "dog", "cat")
    forms = ("{}_mask.png", "{}.jpg.png", "{}_label.png", "{}.PNG", "{}.bmp")
    names = [f"dog{i}" for i in range(5)]
    for name, form in zip(names, forms, strict=True):
        mask(folder / "masks" / form.format(name), 2)
    assert masked(TaggedFolder(folder, masks=True)) == set(names)


@CASES("masks that share a part of their names")
def _(folder: Path) -> None:
    for i in range(5):
        photo(folder / "images" / f"image_{i}_rgb.jpg")
        drawn(folder / "masks" / f"truth-{i}.png", 1)
    assert len(masked(read(folder, "val"))) == 1


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


@CASES("image named without folder or ending")
def _(folder: Path) -> None:
    numbered(folder / "photos" / "day1")
    assert len(read(text(folder / "list.csv", "id,label\n0,dog\n1,cat\n2,dog\n"), "train")) == 2


@CASES("tags of two words")
def _(folder: Path) -> None:
    numbered(folder / "images")
    path = text(folder / "tags.csv", "image,tags\n0,golden retriever\n1,tabby cat\n2,\n3,tabby cat\n")
    assert read(path, "train").class_names == ("golden retriever", "tabby cat")


@CASES("signs between tags")
def _(folder: Path) -> None:
    numbered(folder / "images")
    for sign in ("+", "/", " & ", " and "):
        text(folder / "tags.csv", f"image,tags\n0,cat{sign}dog\n1,cat\n2,dog\n3,\n4,cat\n")
        assert read(folder, "train").class_names == ("cat", "dog")


@CASES(
    "two separators between tags",
    "refused",
    "one separator between tags, but got ',' and ';', as in 'dog, cat' and 'cat;dog'",
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
