import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from decomprec.data import OxfordPets, TaggedCSV, VOCDevkit
from decomprec.data.formats.imagenet import draw_imagenet_dogs, imagenet_train_folder, is_dog_breed
from decomprec.data.formats.voc import VOC_CLASSES


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)


# VOC


@pytest.fixture
def devkit(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    objects = {"2007_1": [("dog", 0), ("person", 1)], "2007_2": [("cat", 0)]}
    for name, present in objects.items():
        save(root / "JPEGImages" / f"{name}.jpg", np.zeros((3, 4, 3)))
        xml = "".join(
            f"<object><name>{tag}</name><difficult>{difficult}</difficult><part><name>head</name></part></object>"
            for tag, difficult in present
        )
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{xml}</annotation>")
    save(root / "SegmentationClass" / "2007_1.png", [[0, 12, 15, 255]] * 3)
    save(root / "SegmentationClass" / "2007_2.png", [[0, 0, 0, 255]] * 3)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_1\n2007_2\n")
    (lists / "val.txt").write_text("")
    return tmp_path


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc_tags_from_xml(devkit, below):
    data = VOCDevkit(devkit / below)
    assert data.class_names == VOC_CLASSES
    tags = [{VOC_CLASSES[j] for j in item["tags"].nonzero().flatten()} for item in data]
    assert tags == [{"dog", "person"}, {"cat"}]


def test_voc_masks_and_classes(devkit):
    data = VOCDevkit(devkit, classes=("person", "dog"), masks=True)
    assert data.tags.tolist() == [[1, 1], [0, 0]]
    assert data[0]["mask"][0].tolist() == [0, 2, 1, 255]


def test_voc_tags_from_masks(devkit):
    data = VOCDevkit(devkit, classes=("cat", "dog"), tags_from="masks")
    assert data.tags.tolist() == [[0, 1], [0, 0]]
    assert "mask" not in data[0]


def test_voc_does_without_masks(devkit):
    for file in (devkit / "VOCdevkit/VOC2012/SegmentationClass").iterdir():
        file.unlink()
    assert len(list(VOCDevkit(devkit))) == 2


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"split": "test"}, ValueError, r"train.*val.*test"),
        ({"split": "val"}, ValueError, "at least one"),
        ({"classes": ("horse", "unicorn")}, ValueError, "unicorn"),
        ({"tags_from": "boxes"}, ValueError, "boxes"),
    ],
)
def test_voc_bad_arguments(devkit, options, error, words):
    with pytest.raises(error, match=words):
        VOCDevkit(devkit, **options)


def test_voc_missing_files(devkit, tmp_path):
    (devkit / "VOCdevkit/VOC2012/Annotations/2007_2.xml").unlink()
    with pytest.raises(FileNotFoundError, match=r"2007_2\.xml"):
        VOCDevkit(devkit)
    with pytest.raises(FileNotFoundError, match="JPEGImages"):
        VOCDevkit(tmp_path / "nowhere")


# ImageNet


@pytest.fixture
def imagenet(tmp_path):
    counts = {"n02085620": 12, "n02113978": 8, "n02085374": 6, "n02114367": 7, "n02115641": 7, "n01440764": 10}
    for wnid, count in counts.items():
        for i in range(count):
            save(tmp_path / "imagenet" / "train" / wnid / f"{wnid}_{i}.JPEG", np.zeros((2, 2, 3)))
    return tmp_path / "imagenet"


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_drawn_dogs_are_balanced_and_split(imagenet, tmp_path):
    rows = read(draw_imagenet_dogs(imagenet, tmp_path / "dogs.csv", per_side=20, val_fraction=0.2, seed=1))
    counts = {}
    for row in rows:
        counts[row["split"], row["tags"]] = counts.get((row["split"], row["tags"]), 0) + 1
        assert (row["tags"] == "dog") == (row["image"].split("/")[0] in ("n02085620", "n02113978"))
    assert counts == {("train", "dog"): 16, ("val", "dog"): 4, ("train", ""): 16, ("val", ""): 4}
    assert len({row["image"] for row in rows}) == 40
    assert sum(row["tags"] == "" for row in rows) == 20


def test_drawn_list_loads(imagenet, tmp_path):
    path = draw_imagenet_dogs(imagenet / "train", tmp_path / "dogs.csv", per_side=10)
    data = TaggedCSV(path, images=imagenet_train_folder(imagenet), split="val", classes=("dog",), masks=True)
    assert len(data) == 4
    assert data.tags.sum() == 2
    assert sum((item["mask"] == 0).all().item() for item in data) == 2


def test_drawing_is_seeded_and_reused(imagenet, tmp_path):
    first = draw_imagenet_dogs(imagenet, tmp_path / "a.csv", per_side=10)
    assert read(first) == read(draw_imagenet_dogs(imagenet, tmp_path / "b.csv", per_side=10))
    assert read(first) != read(draw_imagenet_dogs(imagenet, tmp_path / "c.csv", per_side=10, seed=1))
    time = first.stat().st_mtime_ns
    assert draw_imagenet_dogs(imagenet, first, per_side=10).stat().st_mtime_ns == time
    with pytest.raises(ValueError, match="per_side"):
        draw_imagenet_dogs(imagenet, first, per_side=11)
    assert json.loads(first.with_suffix(".json").read_text()) == {"per_side": 10, "val_fraction": 0.2, "seed": 0}
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("options", "words"), [({"per_side": 21}, "21 images of dogs"), ({"per_side": 2}, "both splits")]
)
def test_drawing_too_many_or_too_few(imagenet, tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        draw_imagenet_dogs(imagenet, tmp_path / "dogs.csv", **options)
    assert not (tmp_path / "dogs.csv").exists()


def test_imagenet_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="train folder"):
        draw_imagenet_dogs(tmp_path, tmp_path / "dogs.csv")


def test_neighbours_of_the_breeds_are_no_dogs():
    # The classes before and after the breeds in ImageNet-1k: grey whale ... sea lion, timber wolf, dingo, dhole.
    others = ["n02066245", "n02077923", "n02114367", "n02114548", "n02115641", "n02115913", "n02116738"]
    assert not any(map(is_dog_breed, others))
    assert all(map(is_dog_breed, ["n02085620", "n02085782", "n02099601", "n02113799", "n02113978"]))


# Pets


@pytest.fixture
def pets(tmp_path):
    base = tmp_path / "oxford-iiit-pet"
    trimap = [[1, 1, 3, 2]] * 3
    for name in ("Abyssinian_1", "beagle_2"):
        save(base / "images" / f"{name}.jpg", np.zeros((3, 4, 3)))
        save(base / "annotations" / "trimaps" / f"{name}.png", trimap)
    (base / "annotations" / "trainval.txt").write_text("Abyssinian_1 1 1 1\nbeagle_2 5 2 4\n")
    (base / "annotations" / "test.txt").write_text("beagle_2 5 2 4\n")
    return tmp_path


def test_pets_masks_and_tags(pets):
    data = OxfordPets(pets, "train", masks=True)
    assert data.tags.tolist() == [[1, 0], [0, 1]]
    assert data[0]["mask"][0].tolist() == [1, 1, 255, 0]
    assert data[1]["mask"][0].tolist() == [2, 2, 255, 0]
    assert len(OxfordPets(pets, "val")) == 1


def test_pets_dogs_only(pets):
    data = OxfordPets(pets, "train", classes=("dog",), masks=True)
    assert data.tags.tolist() == [[0], [1]]
    assert (data[0]["mask"] == 0).all()
    assert data[1]["mask"][0].tolist() == [1, 1, 255, 0]


def test_pets_do_without_masks(pets):
    for file in (pets / "oxford-iiit-pet" / "annotations" / "trimaps").iterdir():
        file.unlink()
    assert [set(item) for item in OxfordPets(pets)] == [{"image", "tags", "name"}] * 2


def test_pets_missing_or_offline(tmp_path, monkeypatch, pets):
    with pytest.raises(FileNotFoundError, match=r"download=True.*annotations\.tar\.gz"):
        OxfordPets(tmp_path / "nowhere")

    def offline(*args, **kwargs):
        raise OSError("Name or service not known.")

    monkeypatch.setattr("torchvision.datasets.oxford_iiit_pet.download_and_extract_archive", offline)
    with pytest.raises(FileNotFoundError, match=r"Name or service not known.*annotations\.tar\.gz"):
        OxfordPets(tmp_path / "nowhere", download=True)
    with pytest.raises(ValueError, match="test"):
        OxfordPets(pets, "test")
    with pytest.raises(ValueError, match="bird"):
        OxfordPets(pets, classes=("bird",))
    assert torch.is_tensor(OxfordPets(pets, download=True)[0]["image"])
