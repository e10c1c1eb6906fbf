"""Folders without classes that are laid out as if they had some: refused with the cure, or read as what they are."""

import re
from pathlib import Path

import pytest
from support.layouts import coco, drawn, image, photo, read, tags_by_name, text

from decomprec.data import TaggedFolder
from decomprec.data.names import empty_tags


def photos(root: Path, *folders: str, count: int = 4) -> None:
    for folder in folders:
        for i in range(count):
            photo(root / folder / f"{i}_{folder.replace('/', '_')}.jpg")


@pytest.mark.parametrize(
    ("first", "second", "suffix"),
    [
        ("x", "y", ""),
        ("input", "output", ""),
        ("stare-images", "labels-ah", ".ah"),
        ("top", "gts_for_participants", ""),
        ("DUTS-TR-Image", "DUTS-TR-Mask", ""),
        ("train/x", "train/y", ""),
    ],
)
def test_folders_of_photographs_and_their_masks(first: str, second: str, suffix: str, tmp_path: Path) -> None:
    for i in range(6):
        photo(tmp_path / first / f"{i}.jpg")
        drawn(tmp_path / second / f"{i}{suffix}.png", 1)
    names = [Path(folder).name for folder in (first, second)]
    with pytest.raises(
        FileNotFoundError, match=rf"{names[1]} have few values, as masks .* {names[0]}, call the folders"
    ):
        read(tmp_path, "train")
    insisted = read(tmp_path, "train", classes=names)
    assert insisted.class_names == tuple(names)


def test_a_class_of_drawings_next_to_photographs_is_one(tmp_path: Path) -> None:
    """Neither as many as the photographs, nor of their names."""
    photos(tmp_path, "photographs", count=5)
    for i in range(4):
        drawn(tmp_path / "cartoons" / f"drawing{i}.png", 1)
    assert read(tmp_path, "train").class_names == ("cartoons", "photographs")


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (("patient001", "patient002", "patient003"), "3 folders, such as patient001, are named like parts of the data"),
        (("Scene_1", "Scene_2"), "2 folders, such as Scene_1"),
        (("kos01", "kos02", "kos03"), "3 folders, such as kos01"),
        (("2019", "2020", "2021"), "3 folders, such as 2019"),
        (("2021-05-30", "2021-06-01"), "2 folders, such as 2021-05-30"),
        (("train/fold1", "train/fold2"), "2 folders, such as fold1"),
        (("TCGA_CS_4941_19960909", "TCGA_CS_4942_19970222"), "2 folders, such as TCGA_CS_4941_19960909"),
        (("100APPLE", "101APPLE"), "2 folders, such as 100APPLE"),
        (("DCIM/100APPLE",), "got only DCIM, which may just mean images"),
        (("100APPLE",), "got only 100APPLE, which may just mean images"),
        (("patient01",), "got only patient01, which may just mean images"),
        (("train_v2",), "but train_v2 looks like a split; .* if these are the classes, name them as `classes`"),
        (("0", "1"), "got 0 and 1; if 1 means that something is in the image, call 0 none"),
        (
            ("seg_train/seg_train/sea", "seg_test/seg_test/sea", "seg_pred/seg_pred"),
            "seg_test, seg_train look like splits",
        ),
        (("trainA", "trainB", "testA", "testB"), "testA, testB, trainA, trainB look like splits"),
        (("a/b/c/train/cat", "a/b/c/train/dog"), "sets of their own are in a/b/c; give one of them as `path`"),
        (
            ("COVID/images", "Normal/images"),
            "are in COVID, Normal; .* if these are the classes, name them as `classes`",
        ),
        (
            ("TrainVal_images/train_images", "TrainVal_parsing_annotations/train"),
            "only TrainVal_images, next to TrainV",
        ),
        (("stuffthingmaps/train2017", "images/train2017"), "only stuffthingmaps, next to images"),
        (("images/10k/train", "labels/sem_seg/masks/train"), "only 10k, next to labels"),
        (
            ("original/cat", "original/dog", "augmented/cat", "augmented/dog"),
            "folders augmented, original all hold folders of the same names, cat, dog",
        ),
        (("images/cat", "images/dog", "more/cow", "more/hen"), "its folders images, more hold only folders"),
    ],
)
def test_folders_that_are_no_classes(folders: tuple[str, ...], words: str, tmp_path: Path) -> None:
    for folder in folders:
        for i in range(4):
            photo(tmp_path / "data" / folder / f"{i}.jpg")
    text(tmp_path / "data" / "mapping.csv", "number,word\n1,cat\n")
    with pytest.raises(FileNotFoundError, match=words):
        read(tmp_path, "train")


@pytest.mark.parametrize("names", [("0", "1", "2"), ("000001", "000002"), ("s1", "s2"), ("class1", "class2")])
def test_numbered_folders_that_may_be_classes(names: tuple[str, ...], tmp_path: Path) -> None:
    photos(tmp_path, *names)
    assert read(tmp_path, "train").class_names == names


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("list_attr.txt", "{} 1 -1\n"),
        ("labels.json", '"{}": "dog",\n'),
        ("labels.json", '"{stem}": 1,\n'),
        ("annotations.xml", "<image name='{}'/>\n"),
        ("labels.csv", "{};dog;0.9\n"),  # the number leaves a doubt about the columns
    ],
)
def test_a_single_folder_of_images_that_a_file_lists(file: str, line: str, tmp_path: Path) -> None:
    photos(tmp_path, "img_align", count=20)
    names = [path.name for path in sorted((tmp_path / "img_align").iterdir())]
    text(tmp_path / file, "".join(line.format(name, stem=Path(name).stem) for name in names))
    with pytest.raises(
        FileNotFoundError, match=rf"only img_align, and {file} lists its images; .* save it as tags\.csv"
    ):
        read(tmp_path, "train")
    text(tmp_path / file, f"see {names[0]}")
    assert read(tmp_path, "train").class_names == ("img_align",)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("labels.txt", r"labels\.txt lists the images: if it says their tags, save it as tags\.csv"),
        ("train.txt", r"train\.txt lists the images"),
        ("labels.xlsx", r"Save labels\.xlsx as tags\.csv"),
        ("masks/0.npy", r"masks holds files \.npy: save them as PNG"),
    ],
)
def test_images_alone_with_a_file_that_is_not_read(file: str, words: str, tmp_path: Path) -> None:
    for i in range(4):
        image(tmp_path / "images" / f"{i}.jpg")
    text(tmp_path / file, "".join(f"images/{i}.jpg {i % 2}\n" for i in range(4)))
    with pytest.raises(FileNotFoundError, match=words):
        read(tmp_path, "train")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (
            "metadata.jsonl",
            '{{"file_name": "{}.jpg", "text": "a dog"}}\n',
            "metadata.jsonl has the columns file_name, text:",
        ),
        ("regions.json", '"{}.jpg": [],\n', "JSON is read if it is COCO .* regions.json lists the images"),
    ],
)
def test_a_file_in_each_split_that_is_not_read(file: str, content: str, words: str, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for i in range(4):
            image(tmp_path / split / f"{i}.jpg")
        text(tmp_path / split / file, "".join(content.format(i) for i in range(4)))
    with pytest.raises(FileNotFoundError, match=words) as caught:
        read(tmp_path, "train")
    assert str(caught.value).count(file) == 1  # said once, not for each split


@pytest.mark.parametrize(
    ("ending", "called"), [("", "without an ending"), (".NEF", ".nef"), (".jpg_large", ".jpg_large")]
)
def test_files_that_do_not_end_as_images(ending: str, called: str, tmp_path: Path) -> None:
    for name in ("dog", "cat"):
        text(tmp_path / name / f"0{ending}", "")
    with pytest.raises(FileNotFoundError, match=rf"holds 2 files {called} and no images: .* correct their endings"):
        read(tmp_path, "train")


def test_the_labelled_part_of_a_data_set(tmp_path: Path) -> None:
    photos(tmp_path, "labeled/cat", "labeled/dog", "unlabeled")
    assert read(tmp_path, "train").class_names == ("cat", "dog")


def test_classes_of_one_image_each(tmp_path: Path) -> None:
    photos(tmp_path, "cat", "dog", count=1)
    with pytest.raises(
        ValueError, match=r"split 'val' .* none of one or two images: add some, or put .* train/ and val/"
    ):
        read(tmp_path, "val")


@pytest.mark.parametrize(
    ("names", "nothing"),
    [
        (("yes", "no"), "no"),
        (("True", "False"), "False"),
        (("pass", "fail"), "pass"),
        (("crack", "uncracked"), "uncracked"),
        (("glioma_tumor", "meningioma_tumor", "no_tumor"), "no_tumor"),
        (("glioma", "notumor"), "notumor"),
        (("Mild", "Proliferate_DR", "No_DR"), "No_DR"),
        (("ok", "not_ok"), "ok"),
        (("healthy", "unhealthy"), "healthy"),
        (("cracks", "no_crack"), "no_crack"),
        (("crack", "without cracks"), "without cracks"),
        (("Parasitized", "Uninfected"), "Uninfected"),
        (("def_front", "ok_front"), "ok_front"),
        (("front_ok", "front_not_ok"), "front_ok"),
        (("0_healthy_leaf", "1_spotted_leaf"), "0_healthy_leaf"),
    ],
)
def test_names_that_deny_a_class(names: tuple[str, ...], nothing: str, tmp_path: Path) -> None:
    assert empty_tags(names) == {nothing}
    photos(tmp_path, *names)
    assert TaggedFolder(tmp_path).class_names == tuple(sorted(set(names) - {nothing}))


@pytest.mark.parametrize(
    "names",
    [
        ("with_mask", "without_mask"),
        ("no parking", "stop"),
        ("no", "cat"),
        ("pass", "shot"),
        ("union", "ion"),
        ("clean shot", "dog"),
        ("healthy_leaf", "leaf"),
    ],
)
def test_names_that_only_look_like_denials(names: tuple[str, ...]) -> None:
    assert not empty_tags(names)


def test_healthy_leaves_of_several_plants() -> None:
    """As in PlantVillage, where the blueberry has no folder of a disease."""
    healthy = {"Tomato___healthy", "Corn_(maize)___healthy", "Blueberry___healthy"}
    assert (
        empty_tags([*healthy, "Tomato___Late_blight", "Corn_(maize)___Common_rust_", "Potato___Late_blight"]) == healthy
    )


@pytest.mark.parametrize("name", ["empty", "Blank", "nil", "undefined", "no data"])
def test_more_names_of_folders_for_nothing(name: str, tmp_path: Path) -> None:
    """Camera traps call images without an animal empty or blank."""
    for folder in ("deer", name):
        for i in range(5):
            image(tmp_path / folder / f"{folder}{i}.jpg")
    assert read(tmp_path, "train").class_names == ("deer",)
    assert set(read(tmp_path, "train", classes=("deer", name)).class_names) == {"deer", name}


@pytest.mark.parametrize("cell", ["?", "#N/A", "<NA>", "\\N", "n/a", "NULL", "undefined"])
def test_cells_of_spreadsheets_and_data_bases_for_nothing(cell: str, tmp_path: Path) -> None:
    for i in range(6):
        image(tmp_path / f"{i}.jpg")
    text(tmp_path / "tags.csv", "image,tags\n" + "".join(f"{i}.jpg,{(cell, 'deer')[i % 2]}\n" for i in range(6)))
    for split in ("train", "val"):
        data = read(tmp_path, split)
        assert data.class_names == ("deer",)
        assert all(bool(tags) == int(name) % 2 for name, tags in tags_by_name(data).items())


def test_a_category_of_coco_for_nothing(tmp_path: Path) -> None:
    """Even if it has objects, as CVAT and Supervisely write where the background is drawn."""
    categories = [{"id": 1, "name": "Background"}, {"id": 2, "name": "deer"}]
    shown = {f"{i}.jpg": ["Background", *["deer"] * (i % 2)] for i in range(6)}
    file = coco(tmp_path, shown, categories, "instances.json")
    for place in (file, tmp_path):
        for split in ("train", "val"):
            data = read(place, split)
            assert data.class_names == ("deer",)
            assert all(bool(tags) == int(name) % 2 for name, tags in tags_by_name(data).items())
    assert set(read(file, "train", classes=("Background", "deer")).class_names) == {"Background", "deer"}


def test_categories_of_coco_in_two_spellings(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "Deer"}, {"id": 2, "name": "deer"}]
    file = coco(tmp_path, {"a.jpg": ["deer"], "b.jpg": ["Deer"]}, categories, "instances.json")
    with pytest.raises(ValueError, match=r"one spelling of each class in .*instances\.json, but got 'Deer' and 'deer'"):
        read(file, "train")
    assert read(file, "train", classes=("Deer", "deer")).class_names == ("Deer", "deer")


@pytest.mark.parametrize("name", ["data", "Frames", "tiles_png"])
def test_a_single_folder_whose_name_may_just_mean_images(name: str, tmp_path: Path) -> None:
    photos(tmp_path, name)
    with pytest.raises(FileNotFoundError, match=f"only {name}, which may just mean images; make a folder of each"):
        read(tmp_path, "train")
    assert read(tmp_path, "train", classes=[name]).class_names == (name,)
    photos(tmp_path, "other")
    assert read(tmp_path, "train").class_names == (name,)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("export.json", '[{"annotations": [{"result": [{"value": {"choices": ["dog"]}}]}]}]', "export as CSV"),
        ("annotations.xml", "<annotations/>", 'or tags, one an image, as "ImageNet 1.0"'),
    ],
)
def test_where_labelling_tools_keep_tags(file: str, content: str, words: str, tmp_path: Path) -> None:
    photos(tmp_path, "images")
    text(tmp_path / file, content)
    with pytest.raises(FileNotFoundError, match=words):
        read(tmp_path, "train")


@pytest.mark.parametrize("name", ["dog+cat", "cat & dog", "dog_and_cat", "Dog-Cat", "cat,dog", "traffic light+dog"])
def test_a_folder_named_like_others_together(name: str, tmp_path: Path) -> None:
    photos(tmp_path, "dog", "cat", "traffic light", name)
    with pytest.raises(FileNotFoundError, match=rf"but {re.escape(name)} is named like .* and .* together; if its"):
        read(tmp_path, "train")
    classes = ["cat", "dog", name]
    assert read(tmp_path, "train", classes=classes).class_names == tuple(classes)


def test_words_that_folders_share_are_no_combination(tmp_path: Path) -> None:
    names = ("black dog", "dog", "sand", "white dog")
    photos(tmp_path, *names)
    assert read(tmp_path, "train").class_names == names


def test_folders_with_their_number_of_images(tmp_path: Path) -> None:
    photos(tmp_path, "dog (12)", "other (3)")
    assert read(tmp_path, "train").class_names == ("dog (12)",)
