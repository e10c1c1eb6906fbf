"""The format of a data set, by what its folder contains."""

import re
from pathlib import Path

from decomprec.data.formats.coco_splits import find_coco_files
from decomprec.data.formats.hugging_face import is_hugging_face
from decomprec.data.formats.named_splits import made_of
from decomprec.data.formats.pairs import find_pairs
from decomprec.data.formats.pets import is_pets
from decomprec.data.formats.table_files import is_json_table
from decomprec.data.formats.tables import SUFFIXES, find_tables
from decomprec.data.formats.voc_devkit import find_devkit
from decomprec.data.image_io import IMAGE_SUFFIXES
from decomprec.data.names import has_role, is_system, split_of, subfolders
from decomprec.data.notices import say

_ENDINGS = {**dict.fromkeys(SUFFIXES, "csv"), ".json": "coco", ".parquet": "hf", ".tar": "webdataset"}


def detect_format(path: str | Path) -> str:
    """Detect the format of a data set.

    The format of a file follows from its ending: .csv, .tsv, .jsonl, .json (COCO, or csv if it is a list of images),
    .parquet (hf) or .tar (webdataset). That of a folder is the first of these that it holds:

    - "voc": JPEGImages with ImageSets, masks or annotations, also below ``VOC2012`` or ``VOCdevkit``;
    - "pets": ``oxford-iiit-pet``, or its ``images`` and ``annotations/trimaps``;
    - "coco": ``instances*.json`` or other COCO files, itself, in ``annotations``, or in each folder of a split;
    - "hf": what ``save_to_disk`` of Hugging Face's ``datasets`` writes, or Parquet files;
    - "webdataset": tar files;
    - "csv": ``tags.csv``, or another table of images and tags, also one for each split or in each split's folder;
    - "paired": ``images`` next to ``masks`` or ``labels``, with or without splits;
    - "folder": anything else, a folder per class.

    ImageNet is not detected: it has a folder per class too.

    Args:
        path: a folder or file.

    Returns:
        A format of `load_images`.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if a file has another ending, or a folder holds several devkits of VOC.

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
    check_exists(path)
    if path.is_file():
        format = _ENDINGS.get(path.suffix.lower())
        if format is None:
            raise ValueError(
                f"Expected `path` to be a folder or end in .csv, .json, .parquet or .tar, but got {path}; name its "
                "`format`."
            )
        return "csv" if format == "coco" and is_json_table(path) else format
    path = unwrapped(path)
    if find_devkit(path):
        return "voc"
    if (path / "oxford-iiit-pet").is_dir() or is_pets(path):
        return "pets"
    if find_coco_files(path):
        return "coco"
    if is_hugging_face(path):
        return "hf"
    if made_of(path, ".tar"):
        return "webdataset"
    if find_tables(path):
        return "csv"
    return "paired" if find_pairs(path) else "folder"


def unwrapped(path: Path) -> Path:
    """Return the folder that holds the data set if `path` holds nothing else, as unpacked archives do."""
    while path.is_dir() and not any(_is_data(file) for file in path.iterdir()):
        children = subfolders(path)
        if len(children) != 1 or split_of(children[0].name):
            break
        if has_role(children[0].name) and not any(split_of(child.name) for child in subfolders(children[0])):
            break
        if not _is_layout(children[0]):
            break
        say(f"{path} holds only {children[0].name}, which is read.")
        path = children[0]
    return path


def check_exists(path: Path) -> None:
    """Raise a FileNotFoundError if there is nothing at a path."""
    if not path.exists():
        raise FileNotFoundError(f"Expected `path` to be a folder, or a CSV or JSON file, but found no {path}.")


def _is_data(file: Path) -> bool:
    return file.is_file() and not is_system(file.name) and file.suffix.lower() in (*IMAGE_SUFFIXES, *SUFFIXES, ".json")


def _is_layout(folder: Path) -> bool:
    """Whether a folder is more than a folder of images of one class, and none of the places where VOC's devkit lies."""
    if re.fullmatch(r"(?i)voc(devkit|\d{4})?|oxford-iiit-pet", folder.name):
        return False
    return bool(subfolders(folder)) and not any(
        _is_data(file) for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES
    )
