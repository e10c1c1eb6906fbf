"""What to do with a folder that can't be read: the cure for each tool whose signs it has."""

from collections import Counter
from pathlib import Path

from decomprec.data.formats.tables import unused_tables
from decomprec.data.image_io import IMAGE_SUFFIXES
from decomprec.data.names import in_system, subfolders

_USUAL = (
    "Put the images of each class into a folder (dog/*.jpg and other/*.jpg, or train/dog/*.jpg), or list the images "
    "with their tags in tags.csv, or put masks of the same names in masks/ next to images/."
)
_PACKED = {
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"), "unpack them"),
    **dict.fromkeys((".parquet", ".arrow"), "load them with `datasets` and give the rows to TaggedRows"),
    **dict.fromkeys((".tfrecord", ".tfrecords", ".lmdb", ".h5", ".hdf5", ".npy", ".npz"), "save the images as files"),
}


def cures(root: Path) -> str:
    """Say what a folder holds and what to do, the likeliest first."""
    names = [child.name for child in subfolders(root)]
    return f"{names}. " + " ".join([*_of_tools(root, names), *unused_tables(root), *_of_files(root), _USUAL])


def _of_tools(root: Path, names: list[str]) -> list[str]:
    found = []
    if (root / "annotations.xml").is_file():
        found.append('For CVAT, export as "COCO 1.0" or "Segmentation mask 1.1".')
    if (root / "meta.json").is_file():
        found.append("For Supervisely, export as COCO or Pascal VOC.")
    elif any(root.glob("*.json")):
        found.append("JSON files are read if they are COCO: export as that, from labelme with labelme2coco.")
    if "SegmentationClass" in names and "JPEGImages" not in names:
        found.append("Put the images of SegmentationClass into JPEGImages; CVAT does with the option to save images.")
    if "leftImg8bit" in (root.name, *names):
        found.append("For Cityscapes, list the images with their tags in tags.csv.")
    return found


def _of_files(root: Path) -> list[str]:
    """What to do with files that hold images, if there are no images."""
    files = [file for file in root.rglob("*") if file.is_file() and not in_system(file.relative_to(root))]
    counts = Counter(file.suffix.lower() for file in files)
    if any(suffix in IMAGE_SUFFIXES for suffix in counts):
        return []
    packed = [suffix for suffix in counts if suffix in _PACKED]
    return [f"It holds {counts[suffix]} files {suffix} and no images: {_PACKED[suffix]}." for suffix in packed[:1]]
