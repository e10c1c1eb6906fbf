"""Bad tags, lists and masks: read correctly or refused in a sentence, as docs/results/bad_input.md says."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.bad_cases import Case, Cases, save, table_of_page

from decomprec.data import CocoInstances, Record, TaggedCSV, TaggedFolder, TaggedImages, TaggedRows, VOCDevkit
from decomprec.data.datamodule import TaggedDataModule
from decomprec.data.formats.coco import coco_label_maps
from decomprec.data.image_io import read_labels
from decomprec.evaluation.label_files import score_label_files

CASES = Cases()
PIXELS = np.full((4, 6, 3), 7, dtype=np.uint8)


def images(folder: Path, *names: str) -> Path:
    for name in names or ("a", "b", "c"):
        save(folder / f"{name}.png", PIXELS)
    return folder


def table(folder: Path, text: str | bytes, **options: Any) -> TaggedCSV:
    """A CSV file next to a.png, b.png and c.png."""
    images(folder)
    (folder / "tags.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return TaggedCSV(folder / "tags.csv", **options)


def class_folders(folder: Path, **count: int) -> Path:
    for name, number in count.items():
        images(folder / name, *(f"{name}{i}" for i in range(number)))
    return folder


def secret(folder: Path) -> Path:
    """A private image outside the data set's folder."""
    return save(folder.parent / "private" / "secret.png", PIXELS)


def record(folder: Path, *tags: str, mask: Any = None) -> Record:
    file = None if mask is None else save(folder / "mask.png", mask)
    return Record(save(folder / "a.png", PIXELS), tags, "a", file)


def loaded(folder: Path) -> TaggedDataModule:
    data = TaggedFolder(folder, "train" if (folder / "train").is_dir() else None)
    return TaggedDataModule(data, data, batch_size=1)


# Tags


@CASES("unknown tag", "refused", r"tags to be among \('dog',\), but got \['dgo'\]")
def _(folder: Path) -> None:
    TaggedImages([record(folder, "dgo")], ["dog"])


@CASES("unknown index of a tag", "refused", r"numbers into `names` = \['cat', 'dog'\], but got 2")
def _(folder: Path) -> None:
    TaggedRows([{"image": PIXELS, "tags": [2]}], names=["cat", "dog"])


@CASES("class that is in no list", "refused", r"`classes` to be among those in .*tags\.csv, .* but got \['horse'\]")
def _(folder: Path) -> None:
    table(folder, "image,tags\na,dog\nb,cat\n", classes=["dog", "horse"])


@CASES("no tag")
def _(folder: Path) -> None:
    assert table(folder, "image,tags\na,dog\nb,\n").tags.tolist() == [[1], [0]]


@CASES("all tags")
def _(folder: Path) -> None:
    assert table(folder, "image,tags\na,dog;cat\nb,\n").tags.tolist() == [[1, 1], [0, 0]]


@CASES("no image has a tag", "refused", r"`classes` to be among those in .*tags\.csv, .* has none; tag images")
def _(folder: Path) -> None:
    table(folder, "image,tags\na,\nb,\n")


@CASES("class that never occurs", "warned", "none of 2 have dog: what that looks like can't be learnt .* `classes`")
def _(folder: Path) -> None:
    class_folders(folder / "train", cat=1, other=1)
    class_folders(folder / "val", dog=1, cat=1)
    loaded(folder)


@CASES("class that always occurs", "warned", "all of 2 have animal: what that looks like can't be learnt")
def _(folder: Path) -> None:
    data = table(folder, "image,tags\na,animal dog\nb,animal\n")
    TaggedDataModule(data, data, batch_size=2)


@CASES("no negatives", "warned", 'all of 3 have dog: .* add images without .in a folder "other"')
def _(folder: Path) -> None:
    loaded(class_folders(folder, dog=3))


@CASES("one image", "refused", "`batch_size` to be 1 to 1, the size of `train_set`, but got 8")
def _(folder: Path) -> None:
    data = TaggedFolder(class_folders(folder, dog=1))
    TaggedDataModule(data, data, batch_size=8)


@CASES("empty split", "refused", "split 'train' of .* to hold images, but got none")
def _(folder: Path) -> None:
    class_folders(folder / "val", dog=1)
    (folder / "train" / "dog").mkdir(parents=True)
    TaggedFolder(folder, "train")


@CASES("split that is in no row", "refused", r"`split` to be one of \['train'\] or None, but got 'extra'")
def _(folder: Path) -> None:
    table(folder, "image,split,tags\na,train,dog\n", split="extra")


@CASES("class named twice", "refused", r"`class_names` to be distinct names, but got \('dog', 'dog'\)")
def _(folder: Path) -> None:
    TaggedImages([record(folder)], ["dog", "dog"])


@CASES("class name with a line break", "refused", r"`class_names` to be of printable characters, but got \['dog\\n")
def _(folder: Path) -> None:
    TaggedFolder(class_folders(folder, **{"dog\nperson": 1, "other": 1}))


@CASES("markup in a class name")
def _(folder: Path) -> None:
    assert TaggedFolder(class_folders(folder, **{"<svg onload=hacked()>": 1})).class_names == ("<svg onload=hacked()>",)


@CASES("300 classes")
def _(folder: Path) -> None:
    names = [f"class {i}" for i in range(300)]
    assert TaggedImages([record(folder, "class 299")], names)[0]["tags"].nonzero().item() == 299


@CASES("300 classes, with masks", "refused", "at most 254 classes with masks=True, but got 300")
def _(folder: Path) -> None:
    TaggedImages([record(folder)], [f"class {i}" for i in range(300)], masks=True)


# CSV files


@CASES("duplicate rows", "refused", r"tags\.csv to list each image once, but got a 2 times; give all of its tags")
def _(folder: Path) -> None:
    table(folder, "image,tags\na,dog\nb,cat\na,\n")


@CASES("image in two splits", "refused", r"tags\.csv to list each image once, but got a 2 times")
def _(folder: Path) -> None:
    table(folder, "image,split,tags\na,train,dog\nb,train,\na,val,dog\n", split="train")


@CASES("one image by two spellings", "refused", r"to list each image once, but got .*a\.png 2 times")
def _(folder: Path) -> None:
    table(folder, "image,tags\na,dog\na.png,cat\n")


@CASES("missing file", "refused", r"all files to exist, but 1 do not: .*nowhere")
def _(folder: Path) -> None:
    table(folder, "image,tags\na,dog\nnowhere,dog\n")


@CASES("row without an image", "refused", r"line 3 of .*tags\.csv to name an image, but got \['', 'dog'\]")
def _(folder: Path) -> None:
    table(folder, "image,tags\na,dog\n,dog\n")


@CASES("empty CSV file", "refused", r"tags\.csv to have a column 'image', but got \[\]")
def _(folder: Path) -> None:
    table(folder, "")


@CASES("semicolons or tabs between columns")
def _(folder: Path) -> None:
    for sign in ";\t|":
        data = table(folder, f"image{sign}tags\na{sign}dog, cat\nb{sign}\n")
        assert (data.class_names, data.tags.tolist()) == (("cat", "dog"), [[1, 1], [0, 0]])


@CASES("two columns of one name", "refused", r"to have a column 'tags', but got \['image', 'tags', 'tags'\]")
def _(folder: Path) -> None:
    table(folder, "image,tags,tags\na,dog,cat\n")


@CASES("spaces behind commas")
def _(folder: Path) -> None:
    data = table(folder, 'image, split, tags\na, train, "dog, cat"\nb, val, dog\n', split="train")
    assert (data.class_names, data.tags.tolist()) == (("cat", "dog"), [[1, 1]])


@CASES("tags with commas, without quotes", "refused", r"line 2 of .* to have 2 cells, image, tags, .* in quotes")
def _(folder: Path) -> None:
    table(folder, "image,tags\na,dog,cat\n")


@CASES("row that is too short", "refused", r"line 3 of .* to have 2 cells, .* but got \['b'\]; an empty cell needs")
def _(folder: Path) -> None:
    table(folder, "image,tags\na,dog\nb\n")


@CASES("bars between tags")
def _(folder: Path) -> None:
    assert table(folder, "image,tags\na,dog|big cat\nb,dog\n").class_names == ("big cat", "dog")


@CASES("tags as lists in Python or JSON")
def _(folder: Path) -> None:
    assert table(folder, "image,tags\na,\"['dog', 'big cat']\"\nb,[]\nc,dog\n").class_names == ("big cat", "dog")


@CASES("brackets around what is no list of names", "refused", r"tags such as 'dog, cat', but got .* leave out brackets")
def _(folder: Path) -> None:
    table(folder, "image,tags\na,[dog; cat]\n")


@CASES("Latin-1", "refused", r"tags\.csv to be text in UTF-8, but byte 16 is none; save it with that encoding")
def _(folder: Path) -> None:
    table(folder, "image,tags\na,caf\xe9\n".encode("latin-1"))


@CASES("UTF-16 with a byte order mark")
def _(folder: Path) -> None:
    assert table(folder, "image,tags\na,h\xfcndin\n".encode("utf-16")).class_names == ("h\xfcndin",)


@CASES("UTF-8 with a byte order mark, lines of Windows")
def _(folder: Path) -> None:
    assert table(folder, "image,tags\r\na,caf\xe9\r\n".encode("utf-8-sig")).class_names == ("caf\xe9",)


@CASES("null byte in a path", "refused", "images below .*, but got 'a.x00': .*embedded null")
def _(folder: Path) -> None:
    table(folder, "image,tags\na\0,dog\n")


@CASES("cell of 200,000 letters", "refused", r"tags\.csv to be a CSV file, but: field larger than")
def _(folder: Path) -> None:
    table(folder, f"image,tags\na,{'d' * 200_000}\n")


# Paths that lead out


@CASES("`..` in a CSV file", "refused", r"images below .*, but got '\.\./private/secret', which leads out of it")
def _(folder: Path) -> None:
    secret(folder)
    table(folder, "image,tags\n../private/secret,dog\n")


@CASES("absolute path in a CSV file", "refused", r"images below .*, but got '/.*secret\.png', which leads out of it")
def _(folder: Path) -> None:
    table(folder, f"image,tags\n{secret(folder)},dog\n")


@CASES("absolute path to an image below the folder")
def _(folder: Path) -> None:
    assert table(folder, f"image,tags\n{folder}/a.png,dog\n")[0]["name"] == "a"


@CASES("link out of the folder, in a CSV file", "refused", r"but got 'd\.png', which leads out of it")
def _(folder: Path) -> None:
    (folder / "d.png").symlink_to(secret(folder))
    table(folder, "image,tags\nd,dog\n")


@CASES("link out of the folder, in a folder of a class", "refused", r"but got 'dog/b\.png', which leads out of it")
def _(folder: Path) -> None:
    class_folders(folder, dog=1)
    (folder / "dog" / "b.png").symlink_to(secret(folder))
    TaggedFolder(folder)


@CASES("folder of a class that is a link out", "refused", r"but got 'dog/secret\.png', which leads out of it")
def _(folder: Path) -> None:
    (folder / "dog").symlink_to(secret(folder).parent)
    TaggedFolder(folder)


@CASES("mask that is a link out", "refused", r"but got 'masks/dog0\.png', which leads out of it")
def _(folder: Path) -> None:
    class_folders(folder, dog=1)
    (folder / "masks").mkdir()
    (folder / "masks" / "dog0.png").symlink_to(secret(folder))
    TaggedFolder(folder, masks=True)


@CASES("data set that is a link, and links within it")
def _(folder: Path) -> None:
    class_folders(folder / "real", dog=2)
    (folder / "real" / "dog" / "again.png").symlink_to(folder / "real" / "dog" / "dog0.png")
    (folder / "link").symlink_to(folder / "real")
    assert len(TaggedFolder(folder / "link")) == 3
    (folder / "real" / "tags.csv").write_text("image,tags\ndog/dog0,dog\n")
    assert len(TaggedCSV(folder / "link" / "tags.csv")) == 1


@CASES("`..` in a list of VOC", "refused", r"but got 'JPEGImages/\.\./\.\./\.\./private/secret\.jpg', which leads out")
def _(folder: Path) -> None:
    secret(folder)
    devkit(folder, names="../../../private/secret")


@CASES("`..` in a COCO file", "refused", r"but got '\.\./private/secret\.png', which leads out of it")
def _(folder: Path) -> None:
    secret(folder)
    coco(folder, file_name="../private/secret.png")


@CASES("absolute path in a COCO file", "refused", r"but got '/.*secret\.png', which leads out of it")
def _(folder: Path) -> None:
    coco(folder, file_name=str(secret(folder)))


# Masks


@CASES("mask of another size", "refused", r"mask\.png to have its image's height and width \(4, 6\), .* \(4, 3\)")
def _(folder: Path) -> None:
    TaggedImages([record(folder, mask=PIXELS[:, :3, 0])], ["dog"], masks=True)[0]


@CASES("unknown index in a mask", "refused", r"mask\.png to hold known values, but got \[7\]")
def _(folder: Path) -> None:
    TaggedImages([record(folder, mask=PIXELS[..., 0])], ["dog"], masks=True)[0]


@CASES("negative index in an array", "refused", r"known values, but got \[-1\]")
def _(folder: Path) -> None:
    TaggedRows([{"image": PIXELS, "tags": ["dog"], "mask": np.full((4, 6), -1)}], masks=True)[0]


BLACK_AND_WHITE = np.tile([0, 255], (4, 3))


@CASES("black and white masks, 0 and 255")
def _(folder: Path) -> None:
    white = record(folder, "dog", mask=BLACK_AND_WHITE)
    known = Record(save(folder / "b.png", PIXELS), ("dog",), "b", save(folder / "b_mask.png", np.ones((4, 6))))
    item = TaggedImages([white], ["cat", "dog"], masks=True)[0]
    assert item["mask"].tolist() == (BLACK_AND_WHITE // 255 * 2).tolist()
    assert TaggedImages([white, known], ["dog"], masks=True)[0]["mask"].unique().tolist() == [0, 255]
    no_tag = TaggedImages([white, replace(known, tags=(), mask=white.mask)], ["dog"], masks=True)
    assert no_tag[1]["mask"].unique().tolist() == [0, 255]


@CASES("black and white masks in rows")
def _(folder: Path) -> None:
    white = {"image": PIXELS, "tags": ["dog"], "mask": BLACK_AND_WHITE}
    rows = [{"image": PIXELS, "tags": ["dog"], "mask": None}, white]
    assert [item["mask"].unique().tolist() for item in TaggedRows(rows, masks=True)] == [[255], [0, 1]]


@CASES(
    "black and white masks of images with several classes", "refused", r"such as 2 for 'dog', .* apart the 2 classes"
)
def _(folder: Path) -> None:
    both = replace(record(folder, "dog", mask=BLACK_AND_WHITE), tags=("dog", "cat"))
    TaggedImages([both], ["cat", "dog"])
    TaggedImages([both], ["cat", "dog"], masks=True)


@CASES(
    "masks of other classes than the tags",
    "refused",
    r"mask\.png holds 1 \(cat\), and its image has dog; list the names",
)
def _(folder: Path) -> None:
    for labels in ([0, 0], [1, 2]):  # a dog that is overlooked, and one beside a cat
        TaggedImages([record(folder, "dog", mask=np.tile(labels, (4, 3)))], ["cat", "dog"], masks=True)
    TaggedImages([record(folder, "dog", mask=np.tile([0, 1], (4, 3)))], ["cat", "dog"], masks=True)


@CASES("mask in JPEG", "refused", r"m\.jpg to hold exact values, but it is a JPEG.* save it as PNG")
def _(folder: Path) -> None:
    assert read_labels(save(folder / "black.jpg", np.zeros((8, 8)))).unique().tolist() == [0]
    half = np.repeat([0, 255], (11, 5))[None].repeat(16, axis=0)
    file = save(folder / "half.jpg", half)
    assert len(np.unique(np.asarray(Image.open(file)))) > 2
    assert read_labels(file).tolist() == half.tolist()
    read_labels(save(folder / "m.jpg", half // 255))


@CASES("mask of equal channels")
def _(folder: Path) -> None:
    values = np.arange(24).reshape(4, 6)
    for channels in (3, 4):
        pixels = np.stack([values] * 3 + [np.full((4, 6), 255)] * (channels - 3), axis=-1)
        assert read_labels(save(folder / "m.png", pixels)).tolist() == values.tolist()


@CASES("mask of 16 bits")
def _(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.array([[0, 1, 255]], dtype=np.uint16)).save(folder / "m.png")
    assert read_labels(folder / "m.png").tolist() == [[0, 1, 255]]


@CASES("mask with values beyond 255", "refused", r"m\.png to hold the numbers of classes, 0 to 255, but got 0 to 300")
def _(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.array([[0, 300]], dtype=np.uint16)).save(folder / "m.png")
    read_labels(folder / "m.png")


@CASES("mask with three channels", "refused", r"mask\.png to have one 8-bit channel, but got mode RGB")
def _(folder: Path) -> None:
    TaggedImages([record(folder, mask=PIXELS * np.arange(3))], ["dog"], masks=True)[0]


@CASES("mask that fits two images", "refused", r"each mask to belong to one image, but .*a\.png fits several")
def _(folder: Path) -> None:
    for name in ("dog", "cat"):
        images(folder / name, "a")
    images(folder / "masks", "a")
    TaggedFolder(folder, masks=True)


def scored(folder: Path, drawn: Any, truth: Any, names: bytes = b"background\ndog\n") -> Any:
    save(folder / "drawn" / "a.png", drawn)
    save(folder / "truth" / "a.png", truth)
    (folder / "drawn" / "classes.txt").write_bytes(names)
    return score_label_files(folder / "drawn", folder / "truth")[0]


@CASES("evaluate: label beyond classes.txt", "refused", r"drawn/a\.png to hold labels of 0 to 1, but got 7")
def _(folder: Path) -> None:
    scored(folder, PIXELS[..., 0], np.zeros((4, 6)))


@CASES("evaluate: black and white masks of one class")
def _(folder: Path) -> None:
    expected = scored(folder, BLACK_AND_WHITE[:, ::-1] // 255, BLACK_AND_WHITE // 255)
    assert scored(folder, BLACK_AND_WHITE[:, ::-1], BLACK_AND_WHITE).iou == expected.iou == (0, 0)


@CASES(
    "evaluate: black and white ground truth of several classes",
    "refused",
    r"truth to hold .*, 1 to 2, .* only 0 and 255",
)
def _(folder: Path) -> None:
    scored(folder, np.zeros((4, 6)), BLACK_AND_WHITE, names=b"background\ncat\ndog\n")


@CASES(
    "evaluate: sizes that differ", "refused", r"a\.png to have the height and width of .*, \(4, 6\), but got \(4, 3\)"
)
def _(folder: Path) -> None:
    scored(folder, np.zeros((4, 3)), np.zeros((4, 6)))


@CASES("evaluate: classes.txt in Latin-1", "refused", r"classes\.txt to be text in UTF-8, but byte 14 is none")
def _(folder: Path) -> None:
    scored(folder, np.zeros((4, 6)), np.zeros((4, 6)), names="background\ncaf\xe9".encode("latin-1"))


@CASES("evaluate: missing mask", "refused", r"drawn to hold a mask for each ground truth, but got none for .*b\.png")
def _(folder: Path) -> None:
    save(folder / "truth" / "b.png", np.zeros((4, 6)))
    scored(folder, np.zeros((4, 6)), np.zeros((4, 6)))


# VOC


def devkit(folder: Path, names: str = "a", xml: str = "<annotation/>") -> VOCDevkit:
    save(folder / "JPEGImages" / "a.jpg", PIXELS)
    for path, text in (("Annotations/a.xml", xml), ("ImageSets/Segmentation/train.txt", names)):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(text)
    return VOCDevkit(folder)


@CASES("VOC: empty list", "refused", r"train\.txt to list at least one image, but got none")
def _(folder: Path) -> None:
    devkit(folder, names="\n")


@CASES("VOC: duplicate entries", "refused", r"to list each image once, but got .*a\.jpg 2 times")
def _(folder: Path) -> None:
    devkit(folder, names="a\na\n")


@CASES("VOC: unknown class", "refused", r"objects of .*a\.xml to be of the classes in .*, but got \['unicorn'\]")
def _(folder: Path) -> None:
    (folder / "class_names.txt").write_text("_background_\ndog\n")
    devkit(folder, xml="<annotation><object><name>unicorn</name></object></annotation>")


@CASES("VOC: damaged annotation", "refused", r"a\.xml to be an annotation in XML, but: no element found")
def _(folder: Path) -> None:
    devkit(folder, xml="<annotation><object>")


@CASES("VOC: entities that grow to gigabytes", "refused", r"a\.xml to be an annotation in XML, but: limit on input")
def _(folder: Path) -> None:
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 20}">' for i in range(1, 9))
    document = f'<!DOCTYPE a [<!ENTITY e0 "dog">{entities}]>'
    devkit(folder, xml=f"{document}<annotation><object><name>&e8;</name></object></annotation>")


@CASES("VOC: entity that names a file", "refused", r"a\.xml to be an annotation in XML, but: undefined entity")
def _(folder: Path) -> None:
    document = f'<!DOCTYPE a [<!ENTITY e SYSTEM "{secret(folder).as_uri()}">]>'
    devkit(folder, xml=f"{document}<annotation><object><name>&e;</name></object></annotation>")


# COCO


def coco(folder: Path, *annotations: dict[str, Any], masks: bool = False, **image: Any) -> CocoInstances:
    images(folder)
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 6, **image}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 1, **annotation} for annotation in annotations],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    return CocoInstances(folder / "coco.json", masks=masks)


def rewritten(folder: Path, **changes: Any) -> CocoInstances:
    coco(folder)
    content = json.loads((folder / "coco.json").read_text())
    (folder / "coco.json").write_text(json.dumps({**content, **changes}))
    return CocoInstances(folder / "coco.json")


@CASES("COCO: no JSON", "refused", r"coco\.json to hold COCO's instance annotations, but: JSONDecodeError")
def _(folder: Path) -> None:
    (folder / "coco.json").write_text("image,tags\n")
    CocoInstances(folder / "coco.json")


@CASES("COCO: JSON of 100,000 levels", "refused", r"coco\.json to hold COCO's instance annotations, but: RecursionErr")
def _(folder: Path) -> None:
    (folder / "coco.json").write_text("[" * 100_000)
    CocoInstances(folder / "coco.json")


@CASES("COCO: unknown category", "refused", r"coco\.json to hold COCO's instance .* annotations\[0\] is of category 9")
def _(folder: Path) -> None:
    coco(folder, {"category_id": 9})


@CASES(
    "COCO: annotation of no image", "refused", r"coco\.json to hold COCO's instance .* annotations\[0\] is of image 5"
)
def _(folder: Path) -> None:
    coco(folder, {"image_id": 5})


@CASES("COCO: no image", "refused", "`records` to hold at least one image, but got none")
def _(folder: Path) -> None:
    rewritten(folder, images=[])


@CASES("COCO: two images of one id", "refused", "several images have one id")
def _(folder: Path) -> None:
    rewritten(folder, images=[{"id": 1, "file_name": f"{n}.png", "height": 4, "width": 6} for n in "ab"])


@CASES("COCO: one image twice", "refused", r"to list each image once, but got .*a\.png 2 times")
def _(folder: Path) -> None:
    rewritten(folder, images=[{"id": i, "file_name": "a.png", "height": 4, "width": 6} for i in (1, 2)])


@CASES("COCO: image that claims 10¹² pixels", "refused", r"a\.png has the size \(1000000, 1000000\)")
def _(folder: Path) -> None:
    coco(folder, height=10**6, width=10**6)
    next(coco_label_maps(folder / "coco.json"))


@CASES("COCO: image of another size", "refused", r"height and width of its annotations, \(5, 6\), but got \(4, 6\)")
def _(folder: Path) -> None:
    coco(folder, {"segmentation": [[0, 0, 2, 0, 2, 2]]}, masks=True, height=5)[0]


@CASES("COCO: EXIF-rotated")
def _(folder: Path) -> None:
    polygon = {"segmentation": [[0, 0, 4, 0, 4, 2, 0, 2]]}
    stored, displayed = coco(folder, polygon, masks=True), coco(folder, polygon, masks=True, height=6, width=4)
    exif = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)  # a quarter turn to the right
    save(folder / "a.png", PIXELS, exif=b"Exif\0\0" + exif)
    mask = torch.zeros(4, 6, dtype=torch.int64)
    mask[:2, :4] = 1
    assert torch.equal(stored[0]["mask"], mask.rot90(-1))
    assert torch.equal(displayed[0]["mask"], torch.ones(6, 4, dtype=torch.int64).index_fill(0, torch.arange(2, 6), 0))
    assert stored[0]["image"].shape == displayed[0]["image"].shape == (3, 6, 4)


@CASES("COCO: RLE of another size", "refused", r"a\.png in .*json to be .* height and width \[100000, 100000\]")
def _(folder: Path) -> None:
    coco(folder, {"segmentation": {"size": [10**5, 10**5], "counts": [10**9]}}, masks=True)[0]


@CASES("COCO: RLE that is longer than its image", "refused", r"a\.png in .*json to be polygons or RLE, but")
def _(folder: Path) -> None:
    coco(folder, {"segmentation": {"size": [4, 6], "counts": [1, 3, 100]}}, masks=True)[0]


@CASES("COCO: polygon far out of the image", "refused", r"a\.png in .*json to be .* polygon leads far out")
def _(folder: Path) -> None:
    coco(folder, {"segmentation": [[0, 0, 1e9, 0, 1e9, 1e9]]}, masks=True)[0]


@CASES("COCO: polygon with NaN", "refused", r"a\.png in .*json to be .* polygon leads far out")
def _(folder: Path) -> None:
    coco(folder, {"segmentation": [[float("nan")] * 6]}, masks=True)[0]


@CASES("COCO: polygon of two points")
def _(folder: Path) -> None:
    data = coco(folder, {"segmentation": [[1, 1, 3, 3]]}, masks=True)
    assert data.tags.tolist() == [[1]]
    assert (data[0]["mask"][1:3, 1:3] == 255).all()
    assert (data[0]["mask"] == 255).sum() == 4


@CASES("COCO: odd number of coordinates", "refused", r"of annotation 8 is not: a polygon has 7 numbers, .* Correct it")
def _(folder: Path) -> None:
    coco(folder, {"id": 8, "segmentation": [[0, 0, 2, 0, 2, 2, 1]]}, masks=True)[0]


@CASES("COCO: paths of another machine, ids as text, no sizes")
def _(folder: Path) -> None:
    data = coco(folder, {"segmentation": [0, 0, 2, 0, 2, 2, 0, 2]}, masks=True, file_name=r"C:\x\a.png", height=None)
    assert data.records[0].name == "a"
    assert (data[0]["mask"] == 1).sum() == 4


@CASES("COCO: boxes without segmentation")
def _(folder: Path) -> None:
    data = coco(folder, {"segmentation": [], "bbox": [0, 0, 2, 2]}, masks=True)
    assert data.tags.tolist() == [[1]]
    assert data[0]["mask"].unique().tolist() == [255]  # the place is unknown


@CASES.parametrize()
def test_label(case: Case, tmp_path: Path) -> None:
    case.check(tmp_path / "data")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()


def test_the_page_lists_these_cases() -> None:
    assert table_of_page("Tags, lists and masks") == [(case.name, case.outcome) for case in CASES]
