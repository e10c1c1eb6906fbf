"""COCO's splits: a file for each, or one file whose images are split."""

import random
from pathlib import Path
from typing import Any

from decomprec.data.formats.coco import CocoInstances

_SPLITS = ("train", "val")
_VAL_FRACTION = 0.2


def load_coco(path: Path, split: str, **options: Any) -> CocoInstances:
    """Load a split of a folder with ``instances_train*.json`` and ``instances_val*.json``, or of one of these files.

    If there is a single file, a fifth of its images is the validation split, the same in every run. The options are
    those of `CocoInstances`.

    Raises:
        ValueError: if the split is unknown or empty, or there is not one file for it.
    """
    if split not in _SPLITS:
        raise ValueError(f"Expected `split` to be one of {list(_SPLITS)}, but got {split!r}.")
    files = {part: _file_of(path, part) for part in _SPLITS}
    file = files[split]
    data = CocoInstances(file, images=_images_of(file), **options)
    if files["train"] != files["val"]:
        return data
    # Drawn from all images of the file: skipping one moves no other to another split.
    names = sorted(set(data.listed))
    held_out = set(random.Random(0).sample(names, max(1, round(_VAL_FRACTION * len(names)))))
    indices = [i for i, record in enumerate(data.records) if (record.name in held_out) == (split == "val")]
    if not indices:
        raise ValueError(f"Expected {file} to list images for both splits, but got none for {split}.")
    return data.select(indices)


def instance_files(folder: Path) -> list[Path]:
    """List the files ``instances*.json`` in a folder and in its ``annotations``."""
    return [file for parent in (folder, folder / "annotations") for file in sorted(parent.glob("instances*.json"))]


def _file_of(path: Path, split: str) -> Path:
    """Return the annotations of a split; of both splits if there is a single file."""
    if path.is_file():
        sibling = path.with_name(path.name.replace("train", split))
        return sibling if sibling.is_file() else path
    files = instance_files(path)
    fitting = [file for file in files if split in file.name] or files
    if len(fitting) != 1:
        names = ", ".join(file.name for file in fitting) or "none"
        raise ValueError(
            f"Expected one instances*.json for {split} in {path}, but got {names}; give that file as `path`."
        )
    return fitting[0]


def _images_of(file: Path) -> Path | None:
    """Return a file's folder of images in COCO's layout, such as train2017 for instances_train2017.json."""
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    name = file.stem.removeprefix("instances_")
    folders = (root / name, root / "images" / name, root / "images")
    return next((folder for folder in folders if folder.is_dir()), None)
