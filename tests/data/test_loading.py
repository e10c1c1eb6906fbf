"""The format of the data set at a path, and that each format gives what its data set gives."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from decomprec.data import CocoInstances, OxfordPets, TaggedCSV, TaggedFolder, VOCDevkit, eval_transform, load_images
from decomprec.data.datamodule import TaggedDataModule
from decomprec.data.detect import detect_format
from decomprec.data.formats.voc import VOC_CLASSES

OPTIONS: dict[str, Any] = {"transform": eval_transform(8), "masks": False}


def image(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 10, 3), value, dtype=np.uint8)).save(path)
    return path


def mask(path: Path, values: list[int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((8, 10), dtype=np.uint8)
    pixels[0, : len(values)] = values
    Image.fromarray(pixels).save(path)
    return path


def folder(root: Path) -> Path:
    for i, name in enumerate(("train/dog/a", "train/other/b", "train/cat/c", "val/dog/d")):
        image(root / f"{name}.png", i)
    return root


def table(root: Path) -> Path:
    for name in "abc":
        image(root / "images" / f"{name}.png", ord(name))
    (root / "tags.csv").write_text("image,split,tags\na,train,dog cat\nb,train,\nc,val,dog")
    return root


def devkit(root: Path) -> Path:
    for split, names in (("train", "ab"), ("val", "c")):
        lists = root / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{split}.txt").write_text("\n".join(names))
        for name in names:
            image(root / "JPEGImages" / f"{name}.jpg", ord(name))
            mask(root / "SegmentationClass" / f"{name}.png", [12, 8, 255])
            (root / "Annotations").mkdir(exist_ok=True)
            objects = "<object><name>dog</name></object><object><name>cat</name></object>"
            (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    return root


def coco(file: Path, images: Path, count: int, start: int = 0) -> Path:
    """A file of images; every other has a cat, every third a dog."""
    entries, annotations = [], []
    for number in range(start, start + count):
        image(images / f"{number}.png", number)
        entries.append({"id": number, "file_name": f"{number}.png", "height": 8, "width": 10})
        for step, category in ((2, 17), (3, 18)):
            if number % step == 0:
                box = [[0, 0, step, 0, step, 8, 0, 8]]
                annotations.append({"image_id": number, "category_id": category, "segmentation": box})
    categories = [{"id": 18, "name": "dog"}, {"id": 17, "name": "cat"}]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": entries, "categories": categories, "annotations": annotations}))
    return file


def coco_root(root: Path) -> Path:
    coco(root / "annotations" / "instances_train2017.json", root / "train2017", 6)
    coco(root / "annotations" / "instances_val2017.json", root / "val2017", 3, start=6)
    return root


def pets(root: Path) -> Path:
    base = root / "oxford-iiit-pet"
    for split, names in (("trainval", ["beagle_1", "Birman_1"]), ("test", ["beagle_2"])):
        lines = []
        for name in names:
            image(base / "images" / f"{name}.jpg")
            mask(base / "annotations" / "trimaps" / f"{name}.png", [1, 2, 3])
            lines.append(f"{name} 1 {2 if name.islower() else 1} 1")
        (base / "annotations" / f"{split}.txt").write_text("\n".join(lines))
    return root


def imagenet(root: Path) -> Path:
    for wnid in ("n02085620", "n01440764"):
        for i in range(20):
            path = root / "train" / wnid / f"{wnid}_{i}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (10, 8), (i, 0, 0)).save(path)
    return root


def assert_same(first: Any, second: Any) -> None:
    assert first.class_names == second.class_names
    assert torch.equal(first.tags, second.tags)
    assert len(first) == len(second)
    for i in range(len(first)):
        a, b = first[i], second[i]
        assert a.keys() == b.keys()
        assert a["name"] == b["name"]
        assert all(torch.equal(a[key], b[key]) for key in a if key != "name")


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("classes", [None, ("dog",), ("dog", "cat")])
def test_formats_give_what_their_data_sets_give(split: str, classes: tuple[str, ...] | None, tmp_path: Path) -> None:
    options: dict[str, Any] = {"transform": eval_transform(8), "masks": split == "val"}
    chosen: dict[str, Any] = {} if classes is None else {"classes": classes}
    root = coco_root(tmp_path / "coco")
    annotations = root / "annotations" / f"instances_{split}2017.json"
    table_root = table(tmp_path / "csv")
    expected = {
        folder(tmp_path / "folder"): ("folder", lambda path: TaggedFolder(path, split, **chosen, **options)),
        table_root: ("csv", lambda path: TaggedCSV(path / "tags.csv", split=split, **chosen, **options)),
        table_root / "tags.csv": ("csv", lambda path: TaggedCSV(path, split=split, **chosen, **options)),
        devkit(tmp_path / "VOC2012"): ("voc", lambda path: VOCDevkit(path, split, **chosen, **options)),
        tmp_path: ("voc", lambda path: VOCDevkit(path, split, **chosen, **options)),
        pets(tmp_path / "pets"): ("pets", lambda path: OxfordPets(path, split, **chosen, **options)),
    }
    images = root / f"{split}2017"
    for path in (root, root / "annotations", root / "annotations" / "instances_train2017.json"):
        expected[path] = ("coco", lambda _: CocoInstances(annotations, images=images, **chosen, **options))
    for path, (format, build) in expected.items():
        assert detect_format(path) == format
        for named in ("auto", format):
            assert_same(load_images(path, named, classes=classes)(split, **options), build(path))


def test_folders_of_classes_with_telling_names_are_folders(tmp_path: Path) -> None:
    image(tmp_path / "train" / "JPEGImages" / "a.png")
    assert detect_format(tmp_path) == "folder"
    (tmp_path / "JPEGImages").mkdir()  # a class, as there are no ImageSets
    assert detect_format(tmp_path) == "folder"
    assert detect_format(imagenet(tmp_path / "imagenet")) == "folder"


@pytest.mark.parametrize("place", ["images", ".", "instances", "annotations/images"])
def test_one_coco_file_is_split(place: str, tmp_path: Path) -> None:
    annotations = "annotations/" if place.startswith("annotations") else ""
    file = coco(tmp_path / f"{annotations}instances.json", tmp_path / place, 20)
    whole = CocoInstances(file, images=tmp_path / place)
    for path in (file, tmp_path):
        load = load_images(path)
        train, val = load("train", **OPTIONS), load("val", transform=None, masks=True)
        assert (len(train), len(val)) == (16, 4)
        names = [[item["name"] for item in map(part.__getitem__, range(len(part)))] for part in (train, val)]
        assert sorted(map(int, names[0] + names[1])) == list(range(20))
        for part, part_names in zip((train, val), names, strict=True):
            assert part.class_names == ("cat", "dog")
            assert torch.equal(part.tags, whole.tags[[int(name) for name in part_names]])
            assert [record.name for record in part.records] == part_names
            for i, name in enumerate(part_names):
                assert torch.equal(part[i]["tags"], part.tags[i])
                assert (255 * part[i]["image"]).round().unique().tolist() == [int(name)]
        assert set(val[0]["mask"].unique().tolist()) <= {0, 1, 2, 255}
        again = load("val", **OPTIONS)
        assert [again[i]["name"] for i in range(4)] == names[1]
        TaggedDataModule(train, val, batch_size=16)
        with pytest.raises(ValueError, match="tags only"):
            TaggedDataModule(load("train", transform=None, masks=True), val, batch_size=16)


def test_a_skipped_image_moves_no_other_to_another_split(tmp_path: Path) -> None:
    file = coco(tmp_path / "instances.json", tmp_path / "images", 20)
    splits = {}
    for damaged in (False, True):
        if damaged:
            for name in ("3", "11"):
                (tmp_path / "images" / f"{name}.png").write_text("no image")
        load = load_images(file, on_error="skip")
        for split in ("train", "val"):
            records = load(split, transform=None, masks=split == "val").records
            splits[split, damaged] = {record.name for record in records}
    for split in ("train", "val"):
        assert splits[split, True] == splits[split, False] - {"3", "11"}


def test_imagenet_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from decomprec.data.formats import imagenet as module

    def draw(root: Path, out: Path, **options: Any) -> Path:
        return draw_imagenet_dogs(root, out, per_side=10, **options)

    draw_imagenet_dogs = module.draw_imagenet_dogs
    monkeypatch.setattr(module, "draw_imagenet_dogs", draw)
    root, file = imagenet(tmp_path / "imagenet"), tmp_path / "run" / "dogs.csv"
    load = load_images(root, "imagenet", seed=3, list_file=file)
    assert not file.exists()
    train, val = load("train", **OPTIONS), load("val", **OPTIONS)
    assert json.loads(file.with_suffix(".json").read_text())["seed"] == 3
    assert train.class_names == val.class_names == ("dog",)
    assert (len(train), len(val)) == (16, 4)
    assert train.tags.sum() == 8
    assert all(("n02085620" in str(r.image)) == (r.tags == ("dog",)) for r in train.records)
    with pytest.raises(ValueError, match="`list_file`"):
        load_images(root, "imagenet")


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"found no .*nowhere"):
        load_images(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"found no .*nowhere"):
        load_images(tmp_path / "nowhere", "voc")
    with pytest.raises(ValueError, match=r"auto or one of folder, csv, .* but got 'zip'"):
        load_images(tmp_path, "zip")
    (tmp_path / "tags.txt").touch()
    with pytest.raises(ValueError, match=r"end in \.csv, \.json, \.parquet or \.tar"):
        load_images(tmp_path / "tags.txt")
    root = coco_root(tmp_path / "coco")
    with pytest.raises(ValueError, match="`split` to be one of"):
        load_images(root)("test", **OPTIONS)
    shutil.copy(root / "annotations" / "instances_train2017.json", root / "annotations" / "instances_train2014.json")
    with pytest.raises(ValueError, match=r"one split for train .*, but got \['train2014', 'train2017'\]"):
        load_images(root)("train", **OPTIONS)
    with pytest.raises(ValueError, match="for the split val, a share of train, but got none"):
        load_images(coco(tmp_path / "one.json", tmp_path, 1))("val", **OPTIONS)


def test_all_classes_of_voc_without_a_choice(tmp_path: Path) -> None:
    assert load_images(devkit(tmp_path))("val", **OPTIONS).class_names == VOC_CLASSES
