"""What to do with a folder that can't be read: the cure for each tool whose signs it has."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from decomprec.data.formats.tables import possible_tables, unused_tables
from decomprec.data.image_io import IMAGE_SUFFIXES, image_files
from decomprec.data.names import holds_masks, in_system, is_system, split_of, subfolders

_USUAL = (
    "Put the images of each class into a folder (dog/*.jpg and other/*.jpg, or train/dog/*.jpg), or list the images "
    "with their tags in tags.csv, or put masks of the same names in masks/ next to images/."
)
_PACKED = {
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"), "unpack them"),
    **dict.fromkeys((".parquet", ".arrow"), "load them with `datasets` and give the rows to TaggedRows"),
    **dict.fromkeys((".tfrecord", ".tfrecords", ".lmdb", ".h5", ".hdf5"), "save the images as files"),
    **dict.fromkeys((".npy", ".npz", ".mat", ".dcm", ".nii", ".pkl"), "save them as PNG"),
}


_LISTS = (".txt", ".lst", ".csv", ".tsv", ".json", ".jsonl", ".xml")
_SHEETS = (".xlsx", ".xls", ".ods", ".parquet")
_LOOKED_AT = 8
_MOST_BYTES = 2**22


def cures(root: Path) -> str:
    """Say what a folder and its splits hold and what to do, the likeliest first."""
    names = [child.name for child in subfolders(root)]
    folders = [root, *(child for child in subfolders(root) if split_of(child.name))]
    said = [sentence for say in (_of_tools, unused_tables, _of_lists) for folder in folders for sentence in say(folder)]
    return f"{names}. " + " ".join([*dict.fromkeys(said), *_of_files(root), _USUAL])


def find_listings(root: Path, images: Sequence[Path]) -> list[Path]:
    """Find the files in a folder that list images: that have the names of most of a few of them.

    Names count with their endings; in JSON also without, in quotes.
    """
    few = images[:: max(1, len(images) // _LOOKED_AT)][:_LOOKED_AT]
    found = []
    for file in sorted(root.iterdir()):
        suffix = file.suffix.lower()
        if few and suffix in _LISTS and file.is_file() and not is_system(file.name):
            content = _head(file)
            named = (
                image.name.encode() in content or (suffix == ".json" and f'"{image.stem}"'.encode() in content)
                for image in few
            )
            found += [file] if 2 * sum(named) > len(few) else []
    return found


def _head(file: Path) -> bytes:
    """Read the first 4 MiB of a file."""
    with file.open("rb") as stream:
        return stream.read(_MOST_BYTES)


def _of_tools(root: Path) -> list[str]:
    names = [child.name for child in subfolders(root)]
    found = []
    if (root / "annotations.xml").is_file():
        found.append(
            'For CVAT, export as "COCO 1.0" or "Segmentation mask 1.1", or tags, one an image, as "ImageNet 1.0".'
        )
    if (root / "meta.json").is_file():
        found.append("For Supervisely, export as COCO or Pascal VOC.")
    elif any(b'"choices"' in _head(file) for file in root.glob("*.json")):
        found.append("For tags of Label Studio, export as CSV.")
    elif any(root.glob("*.json")):
        found.append("JSON is read if it is COCO or lists images and tags; for labelme, make COCO with labelme2coco.")
    if "SegmentationClass" in names and "JPEGImages" not in names:
        found.append("Put the images of SegmentationClass into JPEGImages; CVAT does with the option to save images.")
    if "leftImg8bit" in (root.name, *names):
        found.append("For Cityscapes, list the images with their tags in tags.csv.")
    return found


def _of_lists(root: Path) -> list[str]:
    """What to do with lists of the images that are no tables."""
    said = [
        f"Save {file.name} as tags.csv, with the columns image and tags."
        for file in sorted(root.iterdir())
        if file.suffix.lower() in _SHEETS and not is_system(file.name)
    ]
    tables = possible_tables(root)
    listings = [file for file in find_listings(root, image_files(root)) if file not in tables]
    said += [
        f"{file.name} lists the images: if it says their tags, save it as tags.csv, with the columns image and tags."
        for file in listings[:1]
    ]
    return said


def _of_files(root: Path) -> list[str]:
    """What to do with files that hold images, if there are no images."""
    files = [file for file in root.rglob("*") if file.is_file() and not in_system(file.relative_to(root))]
    counts = Counter(file.suffix.lower() for file in files)
    if any(suffix in IMAGE_SUFFIXES for suffix in counts):
        masks = Counter((file.parent, file.suffix.lower()) for file in files if holds_masks(file.parent.name))
        arrays = [(folder, suffix) for folder, suffix in masks if suffix in _PACKED]
        return [f"{folder.name} holds files {suffix}: {_PACKED[suffix]}." for folder, suffix in arrays[:1]]
    if packed := [suffix for suffix in counts if suffix in _PACKED]:
        return [f"It holds {counts[packed[0]]} files {packed[0]} and no images: {_PACKED[packed[0]]}."]
    unknown = Counter({suffix: count for suffix, count in counts.items() if suffix not in (*_LISTS, *_SHEETS)})
    return [
        f"It holds {count} files {suffix or 'without an ending'} and no images: if they are images, convert them to "
        "JPEG or PNG, or correct their endings."
        for suffix, count in unknown.most_common(1)
    ]
