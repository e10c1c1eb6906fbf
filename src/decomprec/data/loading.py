"""Which data set lies at a path, and its images by split."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from decomprec.data.checks import OnError
from decomprec.data.formats.coco import CocoInstances
from decomprec.data.formats.csv import TaggedCSV
from decomprec.data.formats.folder import TaggedFolder
from decomprec.data.formats.imagenet import draw_imagenet_dogs, imagenet_train_folder
from decomprec.data.formats.pets import OxfordPets
from decomprec.data.formats.voc import VOCDevkit
from decomprec.data.samples import Transform
from decomprec.protocols import LoadData

FORMATS = ("folder", "csv", "voc", "coco", "pets", "imagenet")
"""What `load_images` reads: `TaggedFolder`, `TaggedCSV`, `VOCDevkit`, `CocoInstances`, `OxfordPets`, and the dogs of
`draw_imagenet_dogs`."""

_TABLE = "tags.csv"
_VAL_FRACTION = 0.2


def detect_format(path: str | Path) -> str:
    """Recognise the format of a data set by what lies there.

    A file is told by its ending, .csv or .json (COCO). A folder is a VOC devkit if it holds JPEGImages and ImageSets
    (or VOC2012, or VOCdevkit/VOC2012, with them), Oxford-IIIT Pet if it holds oxford-iiit-pet, COCO if instances*.json
    lie in it or its annotations, a CSV if it holds tags.csv, and else a folder per class. ImageNet is not
    recognised: its folder is one per class too.

    Args:
        path: A folder or file.

    Returns:
        One of `FORMATS`.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If a file's ending is another.

    Examples:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "dog").mkdir()
        >>> detect_format(root)
        'folder'
        >>> (root / "instances.json").touch()
        >>> detect_format(root), detect_format(root / "instances.json")
        ('coco', 'coco')
    """
    path = Path(path)
    if path.is_file():
        format = {".csv": "csv", ".json": "coco"}.get(path.suffix.lower())
        if format is None:
            raise ValueError(f"Expected DATA to be a folder or end in .csv or .json, but got {path}; say its format.")
        return format
    _check_there(path)
    devkits = (path, path / "VOC2012", path / "VOCdevkit" / "VOC2012")
    if any((devkit / "JPEGImages").is_dir() and (devkit / "ImageSets").is_dir() for devkit in devkits):
        return "voc"
    if (path / "oxford-iiit-pet").is_dir():
        return "pets"
    if _instance_files(path):
        return "coco"
    return "csv" if (path / _TABLE).is_file() else "folder"


def load_images(
    path: str | Path,
    format: str = "auto",
    *,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    list_file: str | Path | None = None,
    download: bool = False,
    on_error: OnError = "raise",
) -> LoadData:
    """Find the loader of a data set.

    COCO has a file for each split: beside instances_train*.json lies instances_val*.json. Where there is one file
    alone, a fifth of its images is the validation split, the same in every run.

    Args:
        path: The folder or file.
        format: One of `FORMATS`, or "auto" for `detect_format`.
        classes: Selects and orders the foreground classes; None for all that the data set has.
        seed: Draws the images of "imagenet".
        list_file: CSV file that keeps what was drawn; "imagenet" needs it.
        download: Whether "pets" may download what is missing.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Returns:
        A function of the split that builds the data set.

    Raises:
        FileNotFoundError: If there is nothing at `path`; when called, if files are missing.
        ValueError: If the format is unknown or not to be recognised; when called, as for the data set.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("train/dog/a.png", "train/other/b.png", "val/dog/c.png"):
        ...     (root / name).parent.mkdir(parents=True, exist_ok=True)
        ...     Image.new("RGB", (4, 4)).save(root / name)
        >>> load = load_images(root)
        >>> load("train", transform=None, masks=False).tags.tolist()
        [[1.0], [0.0]]
    """
    path = Path(path)
    if format not in ("auto", *FORMATS):
        raise ValueError(f"Expected `format` to be auto or one of {', '.join(FORMATS)}, but got {format!r}.")
    if not download:
        _check_there(path)
    if format == "auto":
        format = detect_format(path)
    if format == "imagenet" and list_file is None:
        raise ValueError("Expected `list_file` to say where the images drawn from ImageNet are listed, but got None.")
    chosen = {} if classes is None else {"classes": tuple(classes)}

    def load(split: str, *, transform: Transform | None, masks: bool) -> Any:
        options: dict[str, Any] = {**chosen, "transform": transform, "masks": masks, "on_error": on_error}
        if format == "folder":
            return TaggedFolder(path, split, **options)
        if format == "csv":
            return TaggedCSV(path / _TABLE if path.is_dir() else path, split=split, **options)
        if format == "voc":
            return VOCDevkit(path, split, **options)
        if format == "coco":
            return _coco(path, split, **options)
        if format == "pets":
            return OxfordPets(path, split, download=download, **options)
        assert list_file is not None
        drawn = draw_imagenet_dogs(path, list_file, seed=seed)
        return TaggedCSV(drawn, images=imagenet_train_folder(path), split=split, **options)

    return load


def _check_there(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"Expected DATA to be a folder, or a CSV or JSON file, but found no {path}.")


def _coco(path: Path, split: str, **options: Any) -> Any:
    files = {part: _coco_file(path, part) for part in ("train", "val")}
    if split not in files:
        raise ValueError(f"Expected `split` to be one of {list(files)}, but got {split!r}.")
    file = files[split]
    data = CocoInstances(file, images=_coco_images(file), **options)
    if files["train"] != files["val"]:
        return data
    # Drawn from all that the file lists, so that an image that is skipped moves no other to another split.
    content = json.loads(file.read_text(encoding="utf-8-sig"))
    names = sorted({Path(image["file_name"]).with_suffix("").as_posix() for image in content["images"]})
    held_out = set(random.Random(0).sample(names, max(1, round(_VAL_FRACTION * len(names)))))
    indices = [i for i, record in enumerate(data.records) if (record.name in held_out) == (split == "val")]
    if not indices:
        raise ValueError(f"Expected {file} to list images for both splits, but got none for {split}.")
    return data.select(indices)


def _instance_files(folder: Path) -> list[Path]:
    return [file for parent in (folder, folder / "annotations") for file in sorted(parent.glob("instances*.json"))]


def _coco_file(path: Path, split: str) -> Path:
    """The annotations of a split; of both, where there is one file alone."""
    if path.is_file():
        sibling = path.with_name(path.name.replace("train", split))
        return sibling if sibling.is_file() else path
    files = _instance_files(path)
    fitting = [file for file in files if split in file.name] or files
    if len(fitting) != 1:
        names = ", ".join(file.name for file in fitting) or "none"
        raise ValueError(
            f"Expected one instances*.json for {split} in {path}, but got {names}; give that file as DATA."
        )
    return fitting[0]


def _coco_images(file: Path) -> Path | None:
    """The folder of a file's images where COCO has it: instances_train2017.json's is called train2017."""
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    name = file.stem.removeprefix("instances_")
    folders = (root / name, root / "images" / name, root / "images")
    return next((folder for folder in folders if folder.is_dir()), None)
