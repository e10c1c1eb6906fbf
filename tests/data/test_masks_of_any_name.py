"""Masks in folders and files of any name, found by what the names share and by their values; expectations are how they
were made."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.layouts import drawn, image, masked, photo, read, tags_by_name, text

COUNT = 10


def write(root: Path, photos: str, masks: str, values: tuple[int, ...] = (1, 2)) -> None:
    for i in range(COUNT):
        photo(root / photos.format(i))
        drawn(root / masks.format(i), values[i % len(values)])


def check(root: Path, photos: str, values: tuple[int, ...] = (1, 2)) -> None:
    train, val = (read(root, split) for split in ("train", "val"))
    stem = Path(photos).stem
    expected = {stem.format(i): {f"class {values[i % len(values)]}"} for i in range(COUNT)}
    assert tags_by_name(train) | tags_by_name(val) == expected
    assert len(train) + len(val) == COUNT
    assert masked(val) == {record.name for record in val.records}
    for item, record in zip(val, val.records, strict=True):
        assert item["mask"][0, 0] == train.class_names.index(*expected[record.name]) + 1
        assert item["mask"][-1, 0] == 0


@pytest.mark.parametrize(
    ("photos", "masks"),
    [
        *(("images/{}.jpg", folder + "/{}.png") for folder in ("y", "anno", "semantic", "figure_ground", "1st_manual")),
        *(
            ("images/{}.jpg", folder + "/{}.png")
            for folder in ("label_images", "masks_machine", "labelsTr", "Mask_Image")
        ),
        *((folder + "/{}.jpg", "masks/{}.png") for folder in ("input", "raw", "src", "frames", "patches", "data", "A")),
        ("images_512/{}.jpg", "masks_512/{}.png"),
        ("images_256x256/{}.jpg", "masks_256x256/{}.png"),
        ("img_dir/{}.jpg", "ann_dir/{}.png"),
    ],
)
def test_folders_of_other_names(photos: str, masks: str, tmp_path: Path) -> None:
    write(tmp_path, photos, masks)
    check(tmp_path, photos)


@pytest.mark.parametrize(
    ("photos", "masks"),
    [
        ("{}x", "{}x (mask)"),
        ("{}x", "{}x_mask_1"),
        ("{}x", "{}x_lbl"),
        ("image_{}", "mask_{}"),
        ("img{}", "label{}"),
        ("img_{}", "{}"),
        ("{}_training", "{}_manual1"),
        ("a{}_0000", "a{}"),
        ("im00{}", "im00{}.ah"),
        ("{}_leftImg8bit", "{}_gtFine_labelIds"),
    ],
)
def test_files_of_other_names(photos: str, masks: str, tmp_path: Path) -> None:
    places = [(f"images/{photos}.jpg", f"masks/{masks}.png"), (f"{photos}.jpg", f"{masks}.png")]
    for number, (of_photo, of_mask) in enumerate(places):
        write(tmp_path / str(number), of_photo, of_mask)
        check(tmp_path / str(number), of_photo)


@pytest.mark.parametrize("split", ["", "train/"])
def test_folders_of_masks_of_each_class(split: str, tmp_path: Path) -> None:
    """All images and masks are numbered alike; each mask belongs to the class that its folder names."""
    for i in range(COUNT):
        photo(tmp_path / split / "other" / f"{i}.jpg")
    for name, value in (("cat", 1), ("dog", 2)):
        for i in range(COUNT):
            photo(tmp_path / split / name / f"{i}.jpg")
            drawn(tmp_path / split / f"{name}_masks" / f"{i}.png", value)
    val = read(tmp_path, "val")
    assert val.class_names == ("cat", "dog")
    assert len(val) == 6
    for item, record in zip(val, val.records, strict=True):
        assert (record.mask is None) == (record.tags == ())
        assert item["mask"][0, 0] == {(): 0, ("cat",): 1, ("dog",): 2}[record.tags]


def test_the_layout_of_mmsegmentation(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path, f"img_dir/{split}/{split}{{}}.jpg", f"ann_dir/{split}/{split}{{}}.png")
    for split in ("train", "val"):
        assert tags_by_name(read(tmp_path, split)) == {f"{split}{i}": {f"class {1 + i % 2}"} for i in range(COUNT)}


def test_names_that_share_too_little_are_refused(tmp_path: Path) -> None:
    """Masks 10 to 19 are not those of images 0 to 9."""
    for i in range(COUNT):
        photo(tmp_path / "images" / f"{i}.jpg")
        drawn(tmp_path / "masks" / f"1{i}.png", 1)
    with pytest.raises(ValueError, match=r"none fits; that of 0\.jpg is 0\.png"):
        read(tmp_path, "train")


def test_a_mask_is_no_image_of_its_own(tmp_path: Path) -> None:
    """Files called NAME_mask were read as images whose masks they are themselves, where NAME is missing."""
    write(tmp_path, "{}.jpg", "{}_mask.png")
    for i in range(COUNT, 2 * COUNT):
        photo(tmp_path / f"{i}_mask.jpg")
    with pytest.warns(UserWarning, match="10 of 20 images .* are left out"):
        train, val = (read(tmp_path, split) for split in ("train", "val"))
    assert set(tags_by_name(train)) | set(tags_by_name(val)) == {str(i) for i in range(COUNT)}


def test_other_masks_among_the_images_are_refused(tmp_path: Path) -> None:
    """As in DRIVE without its folders: of the field of view and of the vessels."""
    write(tmp_path, "{}_training.tif", "{}_training_mask.gif", (255,))
    for i in range(COUNT):
        drawn(tmp_path / f"{i}_manual1.gif", 255)
    with pytest.raises(ValueError, match=r"10 of 20 images without a mask, such as 0_manual1\.gif, look like masks"):
        read(tmp_path, "train")


def test_trimaps_are_refused_until_their_values_have_names(tmp_path: Path) -> None:
    for i in range(COUNT):
        photo(tmp_path / "images" / f"{i}.jpg")
        labels = np.full((12, 16), 2, dtype=np.uint8)
        labels[:4], labels[4] = 1 if i % 2 else 2, 3
        (tmp_path / "trimaps").mkdir(exist_ok=True)
        Image.fromarray(labels).save(tmp_path / "trimaps" / f"{i}.png")
    with pytest.raises(ValueError, match=r"Expected 0, the background, .* hold only 1, 2, 3, as trimaps do; name"):
        read(tmp_path, "train")
    text(tmp_path / "classes.txt", "background\npet\nbackground 2\nbackground 3\n")
    found = tags_by_name(read(tmp_path, "train")) | tags_by_name(read(tmp_path, "val"))
    assert found == {str(i): {"pet"} if i % 2 else set() for i in range(COUNT)}


@pytest.mark.parametrize(
    "forms", [("masks/cat/{}.png", "masks/dog/{}.png"), ("masks/{}_mask1.png", "masks/{}_mask2.png")]
)
def test_several_masks_of_an_image_are_refused(forms: tuple[str, str], tmp_path: Path) -> None:
    for form in forms:
        write(tmp_path, "images/{}.jpg", form, (255,))
    with pytest.raises(ValueError, match=r"fit alike; .* merge them into one, with the number of each class"):
        read(tmp_path, "train")


@pytest.mark.parametrize("named", [False, True])
def test_labels_next_to_images_in_a_folder_of_any_name(named: bool, tmp_path: Path) -> None:
    """As CVAT exports YOLO."""
    for i in range(COUNT):
        image(tmp_path / "obj_train_data" / f"{i}.jpg")
        text(tmp_path / "obj_train_data" / f"{i}.txt", f"{i % 2} 0.5 0.5 0.2 0.2\n")
    text(tmp_path / "obj.names", "cat\ndog\n")
    if named:
        text(tmp_path / "train.txt", "".join(f"data/obj_train_data/{i}.jpg\n" for i in range(COUNT)))
    train, val = (read(tmp_path, split) for split in ("train", "val"))
    assert train.class_names == ("cat", "dog")
    assert tags_by_name(train) | tags_by_name(val) == {str(i): {("cat", "dog")[i % 2]} for i in range(COUNT)}


def test_lists_of_splits_next_to_vocs_folders(tmp_path: Path) -> None:
    for i in range(COUNT):
        photo(tmp_path / "JPEGImages" / f"{i}.jpg")
        drawn(tmp_path / "SegmentationClass" / f"{i}.png", 1 + i % 2)
    text(tmp_path / "class_names.txt", "background\ncat\ndog\n")
    for split, numbers in (("train", range(5)), ("val", range(5, 8)), ("test", range(8, COUNT))):
        text(tmp_path / f"{split}.txt", "\n".join(map(str, numbers)))
    assert set(tags_by_name(read(tmp_path, "train"))) == {str(i) for i in range(5)}
    assert set(tags_by_name(read(tmp_path, "val"))) == {str(i) for i in range(5, 8)}


def test_a_list_of_images_is_none_of_classes(tmp_path: Path) -> None:
    """As DAGM's Labels.txt next to the masks."""
    write(tmp_path, "images/{}.png", "masks/{}_label.png", (255,))
    text(tmp_path / "masks" / "Labels.txt", "".join(f"{i}\t1\t{i}.PNG\t0\t{i}_label.PNG\n" for i in range(COUNT)))
    assert read(tmp_path, "train").class_names == ("class 1",)
