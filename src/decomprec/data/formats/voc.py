"""The Pascal VOC 2012 devkit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from decomprec.data.checks import OnError, choose_classes
from decomprec.data.dataset import MaskValues, Record, TaggedImages
from decomprec.data.image_io import read_mask
from decomprec.data.paths import below, mask_below, read_text
from decomprec.data.samples import Transform

VOC_CLASSES = (
    *["aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"],
    *["diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"],
)


class VOCDevkit(TaggedImages):
    """Images of the VOC segmentation task, tagged from their annotations or from their masks.

    Args:
        root: the folder with JPEGImages, Annotations, ImageSets and SegmentationClass, or one that holds it as
            ``VOC2012`` or ``VOCdevkit/VOC2012``.
        split: a list in ImageSets/Segmentation: "train", "val", "trainval", or a list of your own.
        classes: selects and orders the foreground classes, None for all 20; other objects are background.
        tags_from: "xml" takes every annotated object, difficult ones included. "masks" takes every class
            with a pixel in the mask, and reads all masks on construction.
        masks: whether samples hold a ``mask``, see `TaggedImages`.
        transform: joint transform of image and mask, see `TaggedImages`.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Raises:
        FileNotFoundError: if `root` is not a devkit, or lacks the split's list or a file.
        ValueError: if `classes` or `tags_from` is unknown, the split is empty, an annotation can't be read or has an
            object of an unknown class, or an entry leads out of the devkit.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        classes: Sequence[str] | None = None,
        tags_from: Literal["xml", "masks"] = "xml",
        masks: bool = False,
        transform: Transform | None = None,
        on_error: OnError = "raise",
    ) -> None:
        if tags_from not in ("xml", "masks"):
            raise ValueError(f'Expected `tags_from` to be "xml" or "masks", but got {tags_from!r}.')
        class_names = choose_classes(classes, VOC_CLASSES, "VOC")
        devkit = find_devkit(Path(root))
        if devkit is None:
            raise FileNotFoundError(f"Expected `root` to hold VOC2012's JPEGImages, but got {root}.")
        lists = devkit / "ImageSets" / "Segmentation"
        list_file = lists / f"{split}.txt"
        if not list_file.is_file():
            found = sorted(file.stem for file in lists.glob("*.txt"))
            raise FileNotFoundError(f"Expected `split` to be one of {found}, but got {split!r}.")
        names = read_text(list_file).split()
        if not names:
            raise ValueError(f"Expected {list_file} to list at least one image, but got none.")

        records = []
        for name in names:
            image = below(devkit, f"JPEGImages/{name}.jpg")
            mask = f"SegmentationClass/{name}.png"
            source = below(devkit, f"Annotations/{name}.xml" if tags_from == "xml" else mask)
            if not source.is_file():
                raise FileNotFoundError(f"Expected {source} to exist, but it does not.")
            present = _xml_tags(source) if tags_from == "xml" else _mask_tags(source, image)
            tags = tuple(tag for tag in class_names if tag in present)
            records.append(Record(image, tags, name, mask_below(devkit, mask, masks)))
        super().__init__(
            records,
            class_names,
            masks=masks,
            decode_mask=MaskValues.from_names(("background", *VOC_CLASSES), class_names),
            transform=transform,
            on_error=on_error,
        )


def find_devkit(root: Path, *needed: str) -> Path | None:
    """Find the devkit in a folder: the one with JPEGImages and the other folders that are `needed`; None if absent."""
    for folder in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if all((folder / name).is_dir() for name in ("JPEGImages", *needed)):
            return folder
    return None


def _xml_tags(annotation: Path) -> set[str]:
    try:
        names = {name.text or "" for name in ElementTree.parse(annotation).getroot().findall("object/name")}
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the latter two for unknown encodings
        raise ValueError(f"Expected {annotation} to be an annotation in XML, but: {error}.") from error
    if unknown := names - set(VOC_CLASSES):
        raise ValueError(f"Expected objects of {annotation} to be of VOC's classes, but got {sorted(unknown)}.")
    return names


def _mask_tags(mask: Path, image: Path) -> set[str]:
    values = read_mask(mask, image).unique().tolist()
    return {VOC_CLASSES[value - 1] for value in values if 1 <= value <= len(VOC_CLASSES)}
