"""The Pascal VOC 2012 devkit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from .items import Transform
from .pictures import read_mask
from .tagged import MaskValues, Record, TaggedImages, choose_classes

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


class VOCDevkit(TaggedImages):
    """Pictures of the VOC segmentation task, tagged from their annotations or from their masks.

    Args:
        root: The folder with JPEGImages, Annotations, ImageSets and SegmentationClass, or one in which it
            is ``VOC2012`` or ``VOCdevkit/VOC2012``.
        split: A list in ImageSets/Segmentation: "train", "val", "trainval", or one that was added.
        classes: Selects and orders the foreground classes, None for all 20; other objects are background.
        tags_from: "xml" takes every annotated object, also those marked difficult. "masks" takes every class
            with a pixel in the mask; it opens the masks for that, on construction.
        masks: Whether items hold a ``mask`` (see `TaggedImages`).
        transform: Joint transform of picture and mask, see `make_item`.

    Raises:
        FileNotFoundError: If `root` is not a devkit, or lacks the split's list or a file.
        ValueError: If `classes` or `tags_from` is unknown, or the split is empty.
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
    ) -> None:
        if tags_from not in ("xml", "masks"):
            raise ValueError(f'Expected `tags_from` to be "xml" or "masks", but got {tags_from!r}.')
        class_names = choose_classes(classes, VOC_CLASSES, "VOC")
        devkit = _devkit(Path(root))
        lists = devkit / "ImageSets" / "Segmentation"
        list_file = lists / f"{split}.txt"
        if not list_file.is_file():
            found = sorted(file.stem for file in lists.glob("*.txt"))
            raise FileNotFoundError(f"Expected `split` to be one of {found}, but got {split!r}.")
        names = list_file.read_text(encoding="utf-8").split()

        records = []
        for name in names:
            image = devkit / "JPEGImages" / f"{name}.jpg"
            mask = devkit / "SegmentationClass" / f"{name}.png"
            annotation = devkit / "Annotations" / f"{name}.xml"
            source = annotation if tags_from == "xml" else mask
            for file in (image, source):
                if not file.is_file():
                    raise FileNotFoundError(f"Expected {file} to exist, but it does not.")
            present = _xml_tags(annotation) if tags_from == "xml" else _mask_tags(mask, image)
            tags = tuple(tag for tag in class_names if tag in present)
            records.append(Record(image, tags, name, mask if masks and mask.is_file() else None))
        super().__init__(
            records,
            class_names,
            masks=masks,
            decode_mask=MaskValues.from_names(("background", *VOC_CLASSES), class_names),
            transform=transform,
        )


def _devkit(root: Path) -> Path:
    for folder in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if (folder / "JPEGImages").is_dir():
            return folder
    raise FileNotFoundError(f"Expected `root` to hold VOC2012's JPEGImages, but got {root}.")


def _xml_tags(annotation: Path) -> set[str]:
    return {name.text or "" for name in ElementTree.parse(annotation).getroot().findall("object/name")}


def _mask_tags(mask: Path, image: Path) -> set[str]:
    values = read_mask(mask, image).unique().tolist()
    return {VOC_CLASSES[value - 1] for value in values if 1 <= value <= len(VOC_CLASSES)}
