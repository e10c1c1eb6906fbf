"""The folders and classes of a VOC devkit."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from decomprec.data.class_lists import find_class_list, read_class_list, read_colours
from decomprec.data.formats.object_names import xml_names
from decomprec.data.image_io import image_files
from decomprec.data.mask_colours import Colours
from decomprec.data.names import is_nothing
from decomprec.data.notices import say

VOC_CLASSES = (
    *["aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"],
    *["diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"],
)

_MASKS = ("SegmentationClass", "SegmentationClassPNG", "SegmentationClassAug", "SegmentationClassRaw")


class Classes(NamedTuple):
    """The classes of a devkit.

    Attributes:
        names: of the foreground classes.
        values: names by mask values, the background first; None if the values are unknown.
        where: what says so, for messages.
        colours: of the classes in masks, if a list states them.
    """

    names: tuple[str, ...]
    values: tuple[str, ...] | None
    where: str
    colours: Colours | None = None


def find_devkit(root: Path) -> Path | None:
    """Find the devkit in a folder, up to two levels down: JPEGImages with lists, masks or annotations; None if absent.

    Raises:
        ValueError: if there are several.
    """
    if not root.is_dir():
        return None
    if _is_devkit(root):
        return root
    inner = sorted(child for child in root.iterdir() if child.is_dir() and re.fullmatch(r"(?i)voc.*", child.name))
    deeper = [folder for child in inner if child.name.casefold() == "vocdevkit" for folder in sorted(child.iterdir())]
    found = [folder for folder in (*inner, *deeper) if _is_devkit(folder)]
    if len(found) > 1:
        years = ", ".join(folder.relative_to(root).as_posix() for folder in found)
        raise ValueError(f"Expected one devkit of VOC in {root}, but got {years}; give one of them as `path`.")
    return found[0] if found else None


def devkit_classes(devkit: Path, annotated: Iterable[str] = (), chosen: Sequence[str] = ()) -> Classes:
    """Find the classes of a devkit, see `VOCDevkit`.

    Args:
        devkit: the folder with JPEGImages.
        annotated: names of images whose annotations name the classes if there is no list of them.
        chosen: names that are classes even if they usually mean that there is none.

    Raises:
        ValueError: if the list or an annotation can't be read.
    """
    file = find_class_list(devkit, devkit.parent)
    if file is not None:
        values = read_class_list(file)
        return Classes(values[1:], values, str(file), read_colours(file))
    annotations = [devkit / "Annotations" / f"{name}.xml" for name in annotated]
    names = {name for path in annotations if path.is_file() for name in xml_names(path)}
    own = sorted(name for name in names if not is_nothing(name) or name in chosen)
    if set(own) <= set(VOC_CLASSES):
        return Classes(VOC_CLASSES, ("background", *VOC_CLASSES), "VOC")
    say(f"the annotations of {devkit} name other classes than VOC: {', '.join(own)}.")
    if len(own) > 1 and mask_folder(devkit).is_dir():
        say(f"{devkit}: masks are left out, as their values are unknown; name the values in class_names.txt.")
    return Classes(tuple(own), ("background", *own) if len(own) == 1 else None, str(devkit))


def mask_folder(devkit: Path) -> Path:
    """The first of the usual folders that holds images: labelme's SegmentationClass may hold arrays."""
    return next((f for name in _MASKS if (f := devkit / name).is_dir() and image_files(f)), devkit / _MASKS[0])


def _is_devkit(folder: Path) -> bool:
    partners = ("ImageSets", "Annotations", *_MASKS)
    return (folder / "JPEGImages").is_dir() and any((folder / name).is_dir() for name in partners)
