"""The COCO files of a data set: one in each split's folder, one for each split in one folder, or one for all images."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from decomprec.data.formats.coco import CocoInstances
from decomprec.data.formats.coco_file import CocoFile, id_order
from decomprec.data.formats.split_lists import split_indices
from decomprec.data.names import is_system, split_of, subfolders
from decomprec.data.splits import Part, choose_part, in_part

_ROBOFLOW = "_annotations.coco.json"


def load_coco(path: Path, split: str, *, classes: Sequence[str] | None = None, **options: Any) -> CocoInstances:
    """Load a split of COCO files. Without a file for validation, a fifth of the images to train on is held out.

    Args:
        path: a folder as `find_coco_files` knows, or one of its files.
        split: "train", "val", "test" or another name of a split.
        classes: see `CocoInstances`.
        **options: of `CocoInstances`.

    Raises:
        ValueError: if the split is unknown or empty, there are several files for it, or a file can't be read.
    """
    files = find_coco_files(path)
    if not files:
        raise ValueError(f"Expected one instances*.json for {split} in {path}, but got none; give a file as `path`.")
    unsplit = list(files) == ["train"]
    part = Part("train", "all") if unsplit else choose_part(files, split, path)
    file = files[part.source]
    if classes is None and not file.name.startswith("instances"):
        classes = _classes(files.values())
    data = CocoInstances(file, images=_images_of(file, part.source), classes=classes, **options)
    # Drawn from all images of the file: skipping one moves no other to another split.
    folder = file.parent.parent if file.parent.name == "annotations" else file.parent
    chosen = split_indices([PurePath(n) for n in data.listed], split, folder) if unsplit else None
    kept = {data.listed[i] for i in chosen or in_part(data.listed, part, path)}
    return data.select([i for i, record in enumerate(data.records) if record.name in kept])


def find_coco_files(path: Path) -> dict[str, Path]:
    """Find COCO files by split: in the splits' folders, as Roboflow writes, else in a folder and its ``annotations``.

    Args:
        path: the folder, or one of the files: those of the other splits count too.

    Returns:
        The files by the names of the splits, a single one as "train"; none if there is none.

    Raises:
        ValueError: if it is unclear which file is of which split.
    """
    if path.is_file():
        return _with_siblings(path)
    inside = {child.name: _only_file(child) for child in subfolders(path) if split_of(child.name)}
    found = {name: file for name, file in inside.items() if file is not None}
    if found:
        return found
    places = (path, path / "annotations")
    files = [file for place in places for file in sorted(place.glob("instances*.json"))]
    files = files or [file for place in places for file in _coco_files(place)]
    return {"train": files[0]} if len(files) == 1 else _by_split(files, path)


def _with_siblings(path: Path) -> dict[str, Path]:
    if split_of(path.parent.name) and path in (found := find_coco_files(path.parent.parent)).values():
        return found
    sibling = path.with_name(path.name.replace("train", "val"))
    return {"train": path, "val": sibling} if sibling != path and sibling.is_file() else {"train": path}


def _by_split(files: Iterable[Path], where: Path) -> dict[str, Path]:
    """The files by the word of a split in their names."""
    found: dict[str, Path] = {}
    others = []
    for file in files:
        name = next((word for word in re.split(r"[\W_]+", file.stem) if split_of(word)), None)
        if name is None:
            others.append(file)
        elif found.setdefault(name, file) != file:
            raise ValueError(f"Expected one COCO file for {name} in {where}, but got {_names([found[name], file])}.")
    if others and "train" not in map(split_of, found):
        raise ValueError(
            f"Expected one COCO file for each split in {where}, but got {_names(others)}; give one as `path`, or name "
            "them instances_train.json and instances_val.json."
        )
    return found


def _names(files: Iterable[Path]) -> str:
    return ", ".join(file.name for file in files)


def _only_file(folder: Path) -> Path | None:
    roboflow = folder / _ROBOFLOW
    files = [roboflow] if roboflow.is_file() else list(_coco_files(folder))
    return files[0] if len(files) == 1 else None


def _coco_files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.glob("*.json")):
        if not is_system(file.name):
            content = file.read_bytes()
            if all(f'"{key}"'.encode() in content for key in ("images", "annotations", "categories")):
                yield file


def _images_of(file: Path, split: str) -> Path | None:
    """The folder of a file's images, such as train2017 for instances_train2017.json; None for the usual ones."""
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    name = file.stem.removeprefix("instances_")
    folders = [root / name, root / "images" / name, root / split, root / "images" / split, root / "images"]
    folders.append(file.parent / "images")
    return next((folder for folder in folders if folder.is_dir()), root if root != file.parent else None)


def _classes(files: Collection[Path]) -> tuple[str, ...]:
    """The classes of any file, in the order of their ids."""
    read = [CocoFile.read(file) for file in files]
    ids = {name: key for file in read for key, name in reversed(file.categories.items())}
    known = {name for file in read for name in file.classes()}
    return tuple(sorted(known, key=lambda name: id_order(ids[name])))
