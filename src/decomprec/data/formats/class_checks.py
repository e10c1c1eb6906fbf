"""Refusals of folders that may or may not hold a folder per class."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from decomprec.data.formats.class_candidates import candidates_of_split, class_images, has_class_images, is_empty
from decomprec.data.mask_files import MaskFiles, mask_images
from decomprec.data.names import (
    empty_tags,
    has_role,
    holds_images,
    holds_masks,
    may_be_class,
    split_of,
    subfolders,
)
from decomprec.data.notices import say


def check_data_sets(root: Path, folders: list[Path]) -> None:
    """Refuse folders of data sets: they hold folders of images or masks, or splits of classes, and no images."""
    sets = []
    for outer in folders:
        folder = _innermost(outer)
        children = subfolders(folder)
        inner = [child for child in children if holds_images(child.name)]
        splits = (child for child in children if split_of(child.name) and is_empty(child))
        inner += [child for child in splits if candidates_of_split(child, ())]
        if inner and is_empty(folder):
            sets.append(folder.relative_to(root).as_posix())
    if sets:
        raise FileNotFoundError(
            f"Expected {root} to hold a folder per class, but data sets of their own are in {', '.join(sets)}; "
            f"give one of them as `path`, or move the folders of the classes into train/ and val/ of {root}; if these "
            "are the classes, name them as `classes`."
        )


def check_names_of_splits(root: Path, names: Collection[str]) -> None:
    """Refuse folders if half, or the only one, are splits by a word in their names: cars_train and cars_test."""
    words = {name: re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", name) for name in names if split_of(name) is None}
    splits = {name: found for name, parts in words.items() if (found := {split_of(part) for part in parts} - {None})}
    several = 2 * len(splits) >= len(names) and len(set().union(*splits.values())) > 1
    if several or len(splits) == len(names) == 1:
        look = "look like splits" if several else "looks like a split"
        raise FileNotFoundError(
            f"Expected {root} to hold a folder per class, but {', '.join(sorted(splits))} {look}; call splits train, "
            "val or test, with a folder per class in each, or list the images with their tags in tags.csv; if these "
            "are the classes, name them as `classes`."
        )


def check_labelled(root: Path, splits: Mapping[str, Sequence[Path]]) -> None:
    """Refuse folders whose splits have masks of their own, as data sets do: Class1/Train/Label of DAGM.

    Args:
        root: of the data set, for messages.
        splits: of each folder that may be a class.
    """
    labelled = [(name, child) for name, parts in splits.items() for part in parts for child in _mask_folders(part)]
    if labelled:
        name, child = labelled[0]
        raise FileNotFoundError(
            f"Expected {root} to hold a folder per class, but {name} has splits with masks, in {child}; if it is a "
            f"separate data set, give {root / name} as `path`; if {', '.join(splits)} are the classes, name them as "
            "`classes`."
        )


def check_twins(images: Mapping[Path, Sequence[Path]]) -> None:
    """Refuse a folder where each name is that of two files, such as a.jpg and a.png: one of them may be a mask."""
    for folder, files in images.items():
        names = Counter(file.with_suffix("") for file in files)
        if files and min(names.values()) > 1:
            raise FileNotFoundError(
                f"Expected images in {folder}, but each name is that of two files, {files[0].name} and "
                f"{files[1].name}; if one is a mask, move the masks into masks/, or call them {files[0].stem}_mask.png."
            )


def check_trained(root: Path, parts: dict[str, dict[str, Path]]) -> None:
    """Refuse splits whose images to train on are all without defects, as in MVTec AD."""
    names = {split_of(part): set(folders) for part, folders in parts.items()}
    train, test = names.get("train", set()), names.get("test", set()) | names.get("val", set())
    if train and train == empty_tags(train) and (tagged := sorted(test - empty_tags(test))):
        good = sorted(train)[0]
        raise FileNotFoundError(
            f"Expected {root} to hold images to train on of each class, but train has only {', '.join(sorted(train))}, "
            f"and {', '.join(tagged)} are in other splits. Tags of what is to be found are needed: make a folder of "
            f"{good}/ and of each of these, with images of all splits, of which a fifth is then held out; or list the "
            "images with their tags and splits in tags.csv."
        )


def check_nested(root: Path, folders: list[Path]) -> None:
    """Refuse folders that hold no images but the same folders each: parts of a data set, or classes in parts?

    Raises:
        FileNotFoundError: says how to tell.
    """
    inner = {
        folder.name: {child.name for child in subfolders(folder) if not has_role(child.name)} for folder in folders
    }
    shared = set.intersection(*inner.values()) if len(inner) > 1 else set()
    loose = any(file.parent == folder for folder in folders for file in class_images(folder))
    if len(inner) > 1 and not shared and not loose and min(map(len, inner.values())) > 1:
        first, names = next((name, ", ".join(sorted(found))) for name, found in inner.items())
        parts = ", ".join(sorted(inner))
        raise FileNotFoundError(
            f"Expected {root} to hold a folder per class, but its folders {parts} hold only folders, such as {names} "
            f"of {first}. If these are the classes, put them all into one folder, or give {root / first} as `path`; if "
            f"{parts} are, name them as `classes`."
        )
    if shared and not loose:
        names, parts = (", ".join(sorted(some)) for some in (shared, inner))
        raise FileNotFoundError(
            f"Expected {root} to hold a folder per class, but its folders {parts} all hold folders of the same names, "
            f"{names}. If these are the classes, put them into train/ and val/, or give one folder as `path`; if "
            f"{parts} are, name them as `classes`."
        )


def check_beside_splits(root: Path, others: Collection[str], parts: dict[str, dict[str, Path]]) -> None:
    """Refuse folders beside splits if none of the splits is to be trained on; say which are not used."""
    with_images = sorted(name for name in others if has_class_images(root / name))
    if not with_images:
        return
    if all(split_of(name) for name in with_images):
        for name in with_images:
            say(f"{root / name} holds images without folders of classes, and is not used.")
        if any(split_of(name) == "train" for name in parts if parts[name]):
            return
    if any(split_of(name) == "train" for name, folders in parts.items() if folders):
        say(f"{root} has splits: its folders {', '.join(with_images)} are not used.")
        return
    raise FileNotFoundError(
        f"Expected {root} to hold the splits train and val, but got {sorted(parts)}; move the folders of the "
        "classes to train on into train."
    )


def check_doubtful(root: Path, folders: dict[str, Path], classes: Collection[str]) -> None:
    """Refuse a folder "mask" that fits no image, such as faces with masks, or "photos" beside other classes."""
    named = [child for child in subfolders(root) if holds_images(child.name) or may_be_class(child.name)]
    for child in named if folders else ():
        if child.name in folders or child.name in classes or not has_class_images(child):
            continue
        masks = MaskFiles(child)
        images = [file for folder in folders.values() for file in class_images(folder)]
        if holds_images(child.name) or not any(masks.find(Path(file.name)) for file in images):
            raise FileNotFoundError(
                f"Expected {root} to hold a folder per class, but {child.name!r} may be one or hold annotations; name "
                "the `classes` to say so, or rename it."
            )


def _innermost(folder: Path) -> Path:
    """The folder itself, or the one that archives keep in folders of nothing else: ILSVRC/Data/CLS-LOC."""
    while is_empty(folder) and len(children := subfolders(folder)) == 1 and not has_role(children[0].name):
        if split_of(children[0].name):
            break
        folder = children[0]
    return folder


def _mask_folders(folder: Path) -> list[Path]:
    return [child for child in subfolders(folder) if holds_masks(child.name) and mask_images(child)]
