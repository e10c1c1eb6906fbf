"""The data set at a path: its format, and its images by split."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from decomprec.data.checks import OnError
from decomprec.data.formats.coco_splits import instance_files, load_coco
from decomprec.data.formats.csv import TaggedCSV
from decomprec.data.formats.folder import TaggedFolder
from decomprec.data.formats.imagenet import load_imagenet_dogs
from decomprec.data.formats.pets import OxfordPets
from decomprec.data.formats.voc import VOCDevkit, find_devkit
from decomprec.data.samples import Transform
from decomprec.protocols import LoadData

_TABLE = "tags.csv"


def _load_csv(path: Path, split: str, **options: Any) -> TaggedCSV:
    return TaggedCSV(path / _TABLE if path.is_dir() else path, split=split, **options)


_LOADERS: dict[str, Callable[..., Any]] = {
    "folder": TaggedFolder,
    "csv": _load_csv,
    "voc": VOCDevkit,
    "coco": load_coco,
    "pets": OxfordPets,
    "imagenet": load_imagenet_dogs,
}

FORMATS = tuple(_LOADERS)
"""Formats that `load_images` reads. "imagenet" is the paper's dogs of ImageNet, the others are named like their data
sets."""


def detect_format(path: str | Path) -> str:
    """Detect the format of a data set.

    A file is told by its ending, .csv or .json (COCO). A folder is a VOC devkit if it holds JPEGImages and ImageSets
    (or VOC2012, or VOCdevkit/VOC2012, with them), Oxford-IIIT Pet if it holds oxford-iiit-pet, COCO if it or its
    annotations folder holds instances*.json, CSV if it holds tags.csv, and else a folder per class. ImageNet is not
    detected: it has a folder per class too.

    Args:
        path: a folder or file.

    Returns:
        A format of `load_images`.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if a file has another ending.

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
    _check_exists(path)
    if path.is_file():
        format = {".csv": "csv", ".json": "coco"}.get(path.suffix.lower())
        if format is None:
            raise ValueError(
                f"Expected `path` to be a folder or end in .csv or .json, but got {path}; name its `format`."
            )
        return format
    if find_devkit(path, "ImageSets"):
        return "voc"
    if (path / "oxford-iiit-pet").is_dir():
        return "pets"
    if instance_files(path):
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
    """Choose the loader of a data set.

    COCO has a file for each split: instances_val*.json next to instances_train*.json. If there is a single file, a
    fifth of its images is the validation split, the same in every run.

    Args:
        path: the folder or file.
        format: "folder", "csv", "voc", "coco", "pets" or "imagenet"; "auto" calls `detect_format`.
        classes: selects and orders the foreground classes; None for all classes of the data set.
        seed: draws the images of "imagenet".
        list_file: CSV file that records the drawn images; required for "imagenet".
        download: whether "pets" may download missing files.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Returns:
        A function of the split that makes the data set.

    Raises:
        FileNotFoundError: if there is nothing at `path`; when called, if files are missing.
        ValueError: if the format is unknown or can't be detected; when called, if the data set can't be made.

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
        _check_exists(path)
    if format == "auto":
        format = detect_format(path)
    if format == "imagenet" and list_file is None:
        raise ValueError("Expected `list_file` to say where the images drawn from ImageNet are listed, but got None.")
    chosen = {} if classes is None else {"classes": tuple(classes)}
    special: dict[str, Any] = {"pets": {"download": download}, "imagenet": {"list_file": list_file, "seed": seed}}
    options = {"on_error": on_error, **chosen, **special.get(format, {})}

    def load(split: str, *, transform: Transform | None, masks: bool) -> Any:
        return _LOADERS[format](path, split, transform=transform, masks=masks, **options)

    return load


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"Expected `path` to be a folder, or a CSV or JSON file, but found no {path}.")
