"""The layout of Pascal VOC: its own devkits, and those that other tools write with other classes."""

from collections.abc import Sequence, Set
from glob import escape
from pathlib import Path
from typing import Literal

from decomprec.data.checks import OnError, choose_classes
from decomprec.data.dataset import TaggedImages
from decomprec.data.formats.object_names import mask_values, xml_names
from decomprec.data.formats.voc_devkit import VOC_CLASSES, Classes, devkit_classes, find_devkit, mask_folder
from decomprec.data.formats.voc_lists import Entry, VOCLists, find_lists, flagged_classes, listed_entries
from decomprec.data.image_io import IMAGE_SUFFIXES
from decomprec.data.mask_files import MaskFiles, mask_images
from decomprec.data.mask_meaning import only_white
from decomprec.data.names import is_nothing, is_system
from decomprec.data.paths import below
from decomprec.data.record import MaskValues, Record
from decomprec.data.samples import IGNORE, Transform
from decomprec.data.splits import choose_part, in_part

__all__ = ["VOC_CLASSES", "VOCDevkit"]


class VOCDevkit(TaggedImages):
    """Images in VOC's layout, tagged from their annotations, their masks, or the lists of their classes.

    The classes are those of a ``class_names.txt`` or ``labelmap.txt`` in the devkit; without one, VOC's 20 or, if
    other objects are annotated, the names of all annotated objects in alphabetical order. The values of masks are then
    unknown, and masks are left out.

    Args:
        root: the folder with JPEGImages, Annotations, ImageSets and SegmentationClass, or one that holds it, such as
            ``VOC2012``, ``VOCdevkit/VOC2007`` or ``VOCdevkit``.
        split: a list in ImageSets/Segmentation, else in ImageSets/Main: "train", "val" or another, such as
            "train_aug". Without a list for validation, a fifth of the training images is held out, without any list a
            fifth of all, the same in every run.
        classes: selects and orders the foreground classes, None for all; other objects are background.
        tags_from: "xml" takes every annotated object, difficult ones included. "masks" takes every class
            with a pixel in the mask, and reads all masks on construction. None takes the first that the devkit has:
            annotations, lists of classes (``dog_train.txt``), masks.
        masks: whether samples hold a ``mask``, see `TaggedImages`.
        transform: joint transform of image and mask, see `TaggedImages`.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Raises:
        FileNotFoundError: if `root` is not a devkit, or lacks a file.
        ValueError: if `classes` or `tags_from` is unknown, there is no list for the split, it is empty, an annotation
            can't be read, or an entry leads out of the devkit.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        classes: Sequence[str] | None = None,
        tags_from: Literal["xml", "masks"] | None = None,
        masks: bool = False,
        transform: Transform | None = None,
        on_error: OnError = "raise",
    ) -> None:
        if tags_from not in (None, "xml", "masks"):
            raise ValueError(f'Expected `tags_from` to be "xml", "masks" or None, but got {tags_from!r}.')
        devkit = find_devkit(Path(root))
        if devkit is None:
            raise FileNotFoundError(f"Expected `root` to hold a devkit's JPEGImages, but got {root}.")
        lists = find_lists(devkit)
        source = tags_from or _source(devkit, lists)
        if source == "xml" and mask_images(devkit / "Annotations"):
            raise ValueError(
                f"Expected {devkit / 'Annotations'} to hold XML, but got images; if they are masks of numbered "
                "classes, call the folder SegmentationClass and name the classes in class_names.txt; if they number "
                "objects, as in videos, list the images with their tags in tags.csv."
            )
        every = listed_entries(devkit, lists)
        entries = _of_split(every, split, devkit)
        images = [_image(devkit, entry.name) for entry in entries]
        annotated = {Path(entry.name).stem for part in every.values() for entry in part} if source == "xml" else ()
        known = devkit_classes(devkit, annotated, classes or ())
        class_names = choose_classes(classes, known.names, known.where)
        mask_files = MaskFiles(mask_folder(devkit), devkit)
        flagged = flagged_classes(devkit, lists) if source == "lists" else {}
        found = [_mask(devkit, entry, image, mask_files) for entry, image in zip(entries, images, strict=True)]
        shown = _mask_tags(devkit, images, found, known) if source == "masks" else []
        records = []
        for i, (entry, image, mask) in enumerate(zip(entries, images, found, strict=True)):
            name = _name(devkit, image)
            present: Set[str]
            match source:
                case "lists":
                    present = flagged.get(entry.name, set())
                case "masks":
                    present = shown[i]
                case _:
                    present = _xml_tags(devkit, name, known)
            tags = tuple(tag for tag in class_names if tag in present)
            records.append(Record(image, tags, name, mask if masks and known.values is not None else None))
        super().__init__(
            records,
            class_names,
            masks=masks,
            decode_mask=MaskValues.from_names(known.values or ("background",), class_names),
            mask_colours=known.colours,
            transform=transform,
            on_error=on_error,
        )


def _source(devkit: Path, lists: VOCLists) -> str:
    if any(not is_system(file.name) for file in (devkit / "Annotations").glob("*.xml")):
        return "xml"
    return "lists" if lists.classes else "masks" if mask_folder(devkit).is_dir() else "xml"


def _of_split(every: dict[str, list[Entry]], split: str, devkit: Path) -> list[Entry]:
    part = choose_part(every, split, devkit)
    entries = every[part.source]
    if not entries:
        raise ValueError(f"Expected the list {part.source}.txt to list at least one image, but got none.")
    return [entries[i] for i in in_part([entry.name for entry in entries], part, devkit)]


def _image(devkit: Path, name: str) -> Path:
    """The file of an image, which lists name with or without its ending."""
    for suffix in (".jpg", "", *IMAGE_SUFFIXES, ".JPG", ".JPEG", ".PNG"):
        file = below(devkit, f"JPEGImages/{name}{suffix}")
        if file.is_file():
            return file
    listed = devkit / f"JPEGImages/{name}"
    files = listed.parent.glob(f"{escape(listed.name)}.*")  # slow in a large folder, but finds .WebP
    found = (file for file in files if file.stem == listed.name and file.suffix.lower() in IMAGE_SUFFIXES)
    return next(found, listed.with_name(f"{listed.name}.jpg"))


def _name(devkit: Path, image: Path) -> str:
    return image.relative_to(devkit / "JPEGImages").with_suffix("").as_posix()


def _mask(devkit: Path, entry: Entry, image: Path, masks: MaskFiles) -> Path | None:
    listed = below(devkit, entry.mask) if entry.mask is not None else None
    return listed if listed is not None and listed.is_file() else masks.find(image.relative_to(devkit / "JPEGImages"))


def _xml_tags(devkit: Path, name: str, known: Classes) -> frozenset[str]:
    annotation = below(devkit, f"Annotations/{name}.xml")
    if not annotation.is_file():
        raise FileNotFoundError(
            f"Expected {annotation} to exist, but it does not; add it, or masks in SegmentationClass instead of "
            "Annotations, with the names of their values in class_names.txt."
        )
    names = xml_names(annotation)
    if unknown := sorted(name for name in names - set(known.names) if not is_nothing(name)):
        raise ValueError(
            f"Expected objects of {annotation} to be of the classes in {known.where}, {list(known.names)}, but got "
            f"{unknown}; correct one of both."
        )
    return names


def _mask_tags(devkit: Path, images: Sequence[Path], masks: Sequence[Path | None], known: Classes) -> list[set[str]]:
    """The classes in the mask of each image: in masks of black and white, the only one of the devkit."""
    held = []
    for image, mask in zip(images, masks, strict=True):
        if mask is None:
            raise FileNotFoundError(f"Expected a mask of {image} in {mask_folder(devkit)}, but got none.")
        held.append(mask_values(mask, image, known.colours))
    names = dict(enumerate(known.values or ()))
    if only_white(held):
        if len(known.names) > 1:
            raise ValueError(
                f"Expected masks in {mask_folder(devkit)} to hold the numbers of the {len(known.names)} classes of "
                f"{known.where}, but they hold only 0 and {IGNORE}; write the number of the class where it is or, if "
                f"there is only one, its name into {devkit / 'class_names.txt'}, behind a line 'background'."
            )
        names[IGNORE] = known.names[0]
    for mask, values in zip(masks, held, strict=True):
        if unknown := sorted(values - {IGNORE, *names}):
            raise ValueError(
                f"Expected mask {mask} to hold known values, but got {unknown}; name them in class_names.txt."
            )
    return [{names[value] for value in values if value in names} for values in held]
