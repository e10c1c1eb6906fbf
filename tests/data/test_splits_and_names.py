"""Names of splits, of nothing and of systems in folders of classes, and images that are in two splits."""

import logging
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from support.layouts import image, mask, masked, read, tags_by_name, text

from decomprec.data import TaggedFolder
from decomprec.data.class_lists import read_class_list
from decomprec.data.datamodule import TaggedDataModule
from decomprec.data.leaks import equal_files


def folders(root: Path, names: dict[str, int]) -> dict[str, set[str]]:
    """Images in folders; what they show: the folder's name, or nothing in "other"."""
    shown: dict[str, set[str]] = {}
    for folder, count in names.items():
        for i in range(count):
            name = f"{folder.replace('/', '_')}_{i}"
            image(root / folder / f"{name}.jpg")
            shown[name] = {Path(folder).name} - {"other"}
    return shown


# Splits


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Train", "Val", "Test"),
        ("training", "validation", "testing"),
        ("TRAIN", "VALID", "TEST"),
        ("trn", "dev", "tst"),
        ("train", "eval", "test"),
        ("train_set", "val-set", "test set"),
        ("Train2017", "Val2017", "Test2017"),
    ],
)
@pytest.mark.parametrize("classes_first", [False, True])
def test_spellings_of_splits(train: str, val: str, test: str, classes_first: bool, tmp_path: Path) -> None:
    def place(split: str, name: str) -> str:
        return f"{name}/{split}" if classes_first else f"{split}/{name}"

    shown = {}
    for split in (train, val, test):
        for name in ("cat", "dog", "other"):
            for i in range(3):
                image(tmp_path / place(split, name) / f"{split}_{name}_{i}.jpg")
                shown[f"{split}_{name}_{i}"] = {name} - {"other"}
    for split, spelt in (("train", train), ("val", val), ("test", test)):
        data = read(tmp_path, split)
        assert data.class_names == ("cat", "dog")
        assert tags_by_name(data) == {name: tags for name, tags in shown.items() if name.startswith(f"{spelt}_")}


@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("others", [(), ("test",), ("Testing",)])
def test_a_part_is_held_out_without_a_split_for_validation(
    train: str, others: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shown = folders(tmp_path, {f"{train}/dog": 10, f"{train}/other": 10})
    folders(tmp_path, {f"{split}/{name}": 4 for split in others for name in ("dog", "other")})
    with caplog.at_level(logging.INFO, "decomprec.data"):
        found = {split: tags_by_name(read(tmp_path, split)) for split in ("train", "val")}
    assert {split: len(tags) for split, tags in found.items()} == {"train": 16, "val": 4}
    assert found["train"] | found["val"] == shown  # nothing of the test
    said = [record.message for record in caplog.records if "no split for validation" in record.message]
    assert len(said) == 1
    assert ("test images are not used" in said[0]) == bool(others)


@pytest.mark.parametrize("names", [{"test": 3}, {"val": 3, "test": 3}])
def test_what_is_not_meant_for_training_is_never_trained_on(names: dict[str, int], tmp_path: Path) -> None:
    folders(tmp_path, {f"{split}/{name}": count for split, count in names.items() for name in ("dog", "other")})
    with pytest.raises(ValueError, match=r"`split` to be one of .* but got 'train'; rename"):
        read(tmp_path, "train")


def test_two_spellings_of_one_split(tmp_path: Path) -> None:
    folders(tmp_path, {"train/dog": 2, "val/dog": 2, "valid/dog": 2})
    with pytest.raises(ValueError, match=r"one split for val in .*, but got \['val', 'valid'\]"):
        read(tmp_path, "val")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    shown = folders(tmp_path, {"train": 5, "bus": 5, "test": 3})
    assert tags_by_name(TaggedFolder(tmp_path)) == {n: tags for n, tags in shown.items() if tags != {"test"}}


def test_splits_that_the_user_names(tmp_path: Path) -> None:
    shown = folders(
        tmp_path, {f"{split}/{name}": 3 for split in ("train", "fold1", "fold2") for name in ("a", "other")}
    )
    for split, fold in (("train", "fold1"), ("val", "fold2")):
        data = tags_by_name(read(tmp_path, split, splits=("fold1", "fold2")))
        assert data == {name: tags for name, tags in shown.items() if name.startswith(fold)}


# Names


@pytest.mark.parametrize(
    "name",
    [
        *("Other", "others", "OTHERS", "negative", "Negatives", "background", "_background_", "None", "no_class"),
        *("No Class", "unlabeled", "unlabelled", "NaN", "N-A", "bg"),
    ],
)
def test_names_of_nothing(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders(tmp_path, {"dog": 5, name: 5})
    with caplog.at_level(logging.INFO, "decomprec.data"):
        for split in ("train", "val"):
            data = read(tmp_path, split)
            assert data.class_names == ("dog",)
            assert data.tags.sum() * 2 == len(data)
    assert sum(f"{name!r} means no class" in record.message for record in caplog.records) == 1
    insisted = TaggedFolder(tmp_path, classes=("dog", name))
    assert insisted.tags.sum(dim=0).tolist() == [5, 5]


SYSTEM = ["__MACOSX", ".git", ".ipynb_checkpoints", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", ".thumbnails"]


@pytest.mark.parametrize(
    "name", ["good", "OK", "Normal", "healthy", "no_defect", "No Crack", "non-crack", "0_negative"]
)
def test_names_of_what_has_nothing_to_draw(name: str, tmp_path: Path) -> None:
    folders(tmp_path / "images", {"crack": 5, name: 5})
    assert TaggedFolder(tmp_path / "images").class_names == ("crack",)
    assert TaggedFolder(tmp_path / "images", classes=("crack", name)).class_names == ("crack", name)
    for i in range(6):
        image(tmp_path / "table" / f"{i}.jpg")
    rows = "".join(f"{i}.jpg,{'crack' if i % 2 else name}\n" for i in range(6))
    text(tmp_path / "table" / "tags.csv", f"image,tags\n{rows}")
    assert read(tmp_path / "table", "train").class_names == ("crack",)


def test_what_denies_no_class_of_the_set_is_a_class(tmp_path: Path) -> None:
    folders(tmp_path, {"no parking": 3, "stop": 3})
    assert TaggedFolder(tmp_path).class_names == ("no parking", "stop")


def test_folders_of_the_same_folders_are_refused_unless_they_are_said_to_be_classes(tmp_path: Path) -> None:
    folders(tmp_path, {f"{part}/{name}": 3 for part in ("fold_1", "fold_2") for name in ("cat", "dog")})
    with pytest.raises(FileNotFoundError, match="all hold folders of the same names, cat, dog"):
        TaggedFolder(tmp_path)
    assert TaggedFolder(tmp_path, classes=("fold_1", "fold_2")).tags.sum(dim=0).tolist() == [6, 6]


def test_classes_may_hold_folders_of_their_own(tmp_path: Path) -> None:
    folders(tmp_path, {"dog/pugs": 3, "dog/boxers": 2, "cat/siamese": 4})
    assert TaggedFolder(tmp_path).tags.sum(dim=0).tolist() == [4, 5]


@pytest.mark.parametrize("splits", [("train", "val"), ("",)])
def test_files_and_folders_of_systems(
    splits: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shown = folders(tmp_path, {f"{split}/{name}".strip("/"): 5 for split in splits for name in ("dog", "other")})
    photo = next(tmp_path.rglob("*.jpg"))
    added = 0
    for folder in (tmp_path, *(folder for folder in list(tmp_path.rglob("*")) if folder.is_dir())):
        for name in SYSTEM:
            (folder / name / "dog").mkdir(parents=True)
            shutil.copy(photo, folder / name / "dog" / "copy.jpg")
        for name in (f"._{photo.name}", ".DS_Store", "Thumbs.db", "desktop.ini", f"{photo.name}~", ".hidden.jpg"):
            text(folder / name, b"\0\5\26\7")
        added += len(SYSTEM) + 6
    with caplog.at_level(logging.INFO, "decomprec.data"):
        found = {split: read(tmp_path, split) for split in ("train", "val")}
    assert all(data.class_names == ("dog",) for data in found.values())
    assert tags_by_name(found["train"]) | tags_by_name(found["val"]) == shown
    said = [record.message for record in caplog.records if "files are ignored" in record.message]
    assert len(said) == 1
    assert f"{added} system and editor files" in said[0]


def test_masks_of_systems(tmp_path: Path) -> None:
    folders(tmp_path, {"val/dog": 2, "train/dog": 2, "train/other": 2})
    for i in range(2):
        mask(tmp_path / "val_masks" / f"val_dog_{i}.png", 1)
        text(tmp_path / "val_masks" / f"._val_dog_{i}.png", b"\0\5\26\7")
    assert masked(read(tmp_path, "val")) == {"val_dog_0", "val_dog_1"}


# Masks

MASKS: dict[str, Callable[[str], str]] = {
    "name": lambda name: f"{name}.png",
    "mask": lambda name: f"{name}_mask.png",
    "image's ending": lambda name: f"{name}.jpg.png",
    "image's ending and mask": lambda name: f"{name}.jpg_mask.png",
    "label": lambda name: f"{name}-label.png",
    "segmentation": lambda name: f"{name}_seg.png",
    "in front": lambda name: f"mask_{name}.png",
    "ending in capitals": lambda name: f"{name}.PNG",
    "capitals": lambda name: f"{name.upper()}.png",
    "composed": lambda name: f"{unicodedata.normalize('NFC', name)}.png",
    "decomposed": lambda name: f"{unicodedata.normalize('NFD', name)}.png",
    "TIFF": lambda name: f"{name}.tif",
    "below their class": lambda name: f"dog/{name}.png",
}


@pytest.mark.parametrize(
    ("place", "form"),
    [
        *(("val_masks", form) for form in MASKS),
        *((place, "mask") for place in ("Val_Masks", "validation_labels", "masks", "masks/val", "val/masks")),
        *((place, "image's ending") for place in ("val/gt", "annotations/Val", "val/dog/masks")),
        *(("val/dog", form) for form in ("mask", "image's ending and mask", "label", "segmentation", "in front")),
    ],
)
def test_names_and_places_of_masks(place: str, form: str, tmp_path: Path) -> None:
    names = [f"h\u00fcndin_{i}" for i in range(4)]
    for i, name in enumerate(names):
        image(tmp_path / "train" / "dog" / f"{i}.jpg")
        image(tmp_path / "train" / "other" / f"o{i}.jpg")
        image(tmp_path / "val" / "dog" / f"{unicodedata.normalize('NFC', name)}.jpg")
        image(tmp_path / "val" / "other" / f"p{i}.jpg")
        mask(tmp_path / place / MASKS[form](name), 1)
    val = read(tmp_path, "val")
    assert (val.class_names, len(val)) == (("dog",), 8)
    assert masked(val) == set(names)
    assert not masked(read(tmp_path, "train"))


def test_a_list_of_classes_in_another_order_than_the_folders(tmp_path: Path) -> None:
    folders(tmp_path, {f"{split}/{name}": 2 for split in ("train", "val") for name in ("cat", "dog")})
    for name, value in (("dog", 1), ("cat", 2)):
        for i in range(2):
            mask(tmp_path / "val_masks" / f"val_{name}_{i}.png", value)
    text(tmp_path / "val_masks" / "classes.txt", "background\ndog\ncat\n")
    assert {int(item["mask"][0, 0]) - 1: item["tags"].argmax().item() for item in read(tmp_path, "val")} == {0: 0, 1: 1}
    text(tmp_path / "val_masks" / "classes.txt", "background\ndog\nhorse\n")
    with pytest.raises(ValueError, match=r"classes\.txt to name the classes of the masks, but it lacks \['cat'\]"):
        read(tmp_path, "val")


def test_two_masks_of_one_image(tmp_path: Path) -> None:
    folders(tmp_path, {"dog": 5, "other": 5})
    for ending in ("_mask", "_label"):
        mask(tmp_path / "masks" / f"dog_0{ending}.png", 1)
    with pytest.raises(ValueError, match=r"one mask for .*dog_0\.jpg, but .* fit alike; remove or rename one"):
        TaggedFolder(tmp_path, masks=True)


# Images in two splits


def test_images_in_two_splits(tmp_path: Path) -> None:
    folders(tmp_path, {f"{split}/{name}": 4 for split in ("train", "val") for name in ("dog", "other")})
    train, val = (read(tmp_path, split) for split in ("train", "val"))
    TaggedDataModule(train, val, batch_size=2)
    for i in range(2):
        shutil.copy(tmp_path / f"train/dog/train_dog_{i}.jpg", tmp_path / f"val/dog/renamed{i}.jpg")
    with pytest.warns(UserWarning, match="2 of 10 validation images are trained on too, such as .*renamed0"):
        TaggedDataModule(train, read(tmp_path, "val"), batch_size=2)


def test_equal_sizes_are_no_equal_images_and_large_files_are_read_to_the_end(tmp_path: Path) -> None:
    start = bytes(1 << 17)
    for name, content in (("a", start + b"1"), ("b", start + b"2"), ("c", start + b"1"), ("d", b""), ("e", b"")):
        (tmp_path / name).write_bytes(content)
    found = equal_files([tmp_path / "a", tmp_path / "d"], [tmp_path / name for name in "bce"])
    assert found == [(tmp_path / "a", tmp_path / "c")]  # that d and e are empty is another fault


def test_folders_of_splits_by_other_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split in ("Training", "Validierung", "holdout"):
        for name in ("cat", "dog"):
            for i in range(5):
                image(tmp_path / split / name / f"{i}.jpg")
    with caplog.at_level("INFO"):
        assert [len(read(tmp_path, split)) for split in ("train", "val")] == [8, 2]
    assert "'Validierung', 'holdout' mean no usual split, and are not used, unless `splits` names them" in caplog.text
    assert len(read(tmp_path, "val", splits=("Training", "Validierung"))) == 10


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("classes.txt", "background\nclothing:shirt\nclothing:shoes\n", ["clothing:shirt", "clothing:shoes"]),
        ("classes.txt", "0: background\n2: traffic:light\n1: phone: 5\n", ["phone: 5", "traffic:light"]),
        ("classes.txt", "background: 0\ndog: 2\ncat: 1\n", ["cat", "dog"]),
        ("classes.json", '["background", "clothing:shirt", "phone: 5"]', ["clothing:shirt", "phone: 5"]),
        ("labelmap.txt", "background:0,0,0::\nclothing:shirt:1,2,3::\n", ["clothing:shirt"]),
        ("labelmap.txt", "background:0,0,0::\ncat:1,2,3:head,tail:runs\n", ["cat"]),
        ("labelmap.txt", "background:::\ncat::head:\ndog:1,2,3::\n", ["cat", "dog"]),
    ],
)
def test_a_colon_is_part_of_a_name_unless_a_number_or_what_cvat_writes_follows(
    name: str, content: str, expected: list[str], tmp_path: Path
) -> None:
    text(tmp_path / name, content)
    assert read_class_list(tmp_path / name) == ("background", *expected)
