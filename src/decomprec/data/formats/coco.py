"""Instance annotations in COCO's JSON format."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from decomprec.data.checks import OnError, check_class_names, choose_classes
from decomprec.data.dataset import Record, TaggedImages
from decomprec.data.image_io import turn_with
from decomprec.data.paths import below, images_folder, read_text, relative
from decomprec.data.samples import IGNORE, Transform

_FARTHEST = 10  # how far out of the image a polygon may reach, in its sides


class CocoInstances(TaggedImages):
    """Images tagged with the categories of their annotations, as in COCO's ``instances_*.json``.

    Masks are drawn from polygons and RLE; this requires pycocotools. Pixels are 255 (ignore) where objects of different
    classes overlap, and in crowd regions without another object. If an object has no segmentation, all pixels of its
    image outside other objects are 255. Masks of an image with an EXIF orientation may fit the turned image or the
    stored one.

    Args:
        annotations: the JSON file.
        images: folder of the images' ``file_name``; by default ``images`` next to the JSON file, else its own folder.
        classes: selects and orders the foreground classes; other objects are background. None for all categories,
            by their id.
        masks: whether samples hold a ``mask``, see `TaggedImages`.
        transform: joint transform of image and mask, see `TaggedImages`.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the file has another format, an image is listed twice or lies outside its folder, `classes`
            are unknown, or pycocotools is needed and missing.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (4, 2)).save(root / "park.png")
        >>> annotations = {
        ...     "images": [{"id": 7, "file_name": "park.png", "height": 2, "width": 4}],
        ...     "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
        ...     "annotations": [{"image_id": 7, "category_id": 18, "segmentation": [[2, 0, 4, 0, 4, 2, 2, 2]]}],
        ... }
        >>> _ = (root / "instances.json").write_text(json.dumps(annotations))
        >>> data = CocoInstances(root / "instances.json", masks=True)
        >>> data.class_names, data[0]["tags"], data[0]["mask"]
        (('cat', 'dog'), tensor([0., 1.]), tensor([[0, 0, 2, 2], [0, 0, 2, 2]]))
    """

    def __init__(
        self,
        annotations: str | Path,
        *,
        images: str | Path | None = None,
        classes: Sequence[str] | None = None,
        masks: bool = False,
        transform: Transform | None = None,
        on_error: OnError = "raise",
    ) -> None:
        path = Path(annotations)
        file = _CocoFile.read(path)
        class_names = choose_classes(classes, file.names, path)
        self._labels_by_category = file.labels(class_names)
        if masks:
            mask_api()  # raises now, before any training
        folder = images_folder(path, images)
        records = []
        self._entries = {}
        for entry in file.images:
            image = below(folder, entry.file_name)
            present = {self._labels_by_category.get(instance["category_id"], 0) for instance in entry.instances}
            tags = tuple(name for label, name in enumerate(class_names, 1) if label in present)
            drawn = any(instance.get("segmentation") for instance in entry.instances)
            name = relative(image, folder).with_suffix("").as_posix()
            records.append(Record(image, tags, name, path if masks and drawn else None))
            self._entries[image] = entry
        super().__init__(records, class_names, masks=masks, transform=transform, on_error=on_error)

    def _labels(self, record: Record) -> Tensor | None:
        return None  # drawn from categories: no value can be mistaken

    def _mask(self, record: Record, image: Tensor) -> Tensor:
        entry, size = self._entries[record.image], image.shape[1:]
        # A file may claim any size: a mask is drawn only at the image's.
        if sorted(size) == sorted((entry.height, entry.width)):
            mask = turn_with(record.image, _label_map(entry, self._labels_by_category))
            if mask.shape == size:
                return mask
        raise ValueError(
            f"Expected {record.image} to have the height and width of its annotations, "
            f"{(entry.height, entry.width)}, but got {tuple(size)}."
        )


def coco_label_maps(annotations: str | Path) -> Iterator[tuple[str, Tensor]]:
    """Draw the label map of every image in a COCO file, without reading the images.

    Args:
        annotations: the JSON file. Label j+1 is its j-th category by id.

    Returns:
        File names and label maps (H, W), int64, as `CocoInstances` draws them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file has another format, or pycocotools is missing.
    """
    _, readers = coco_readers(Path(annotations))
    return ((file_name, read()) for file_name, read in readers)


def coco_readers(
    annotations: Path, classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[tuple[str, Callable[[], Tensor]]]]:
    """List the categories of a COCO file by id, and each image's file name with a function that draws its label map.

    Args:
        annotations: the JSON file.
        classes: category names in the order of their labels; other objects are background. None for all, by id.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file has another format.
    """
    file = _CocoFile.read(annotations)
    check_class_names(file.names, masks=True)
    labels = file.labels(file.names if classes is None else classes)
    return file.names, [(image.file_name, partial(_label_map, image, labels)) for image in file.images]


@dataclass
class _Entry:
    path: Path  # of the annotations
    file_name: str
    height: int
    width: int
    instances: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _CocoFile:
    images: list[_Entry]
    categories: dict[int, str]  # in the order of their ids

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.categories.values())

    def labels(self, class_names: Sequence[str]) -> dict[int, int]:
        """Return the label of each category that is a class."""
        label = {name: k for k, name in enumerate(class_names, 1)}
        return {key: label[name] for key, name in self.categories.items() if name in label}

    @classmethod
    def read(cls, path: Path) -> "_CocoFile":
        if not path.is_file():
            raise FileNotFoundError(f"Expected `annotations` to be a file, but got {path}.")
        try:
            content = json.loads(read_text(path))
            categories = {int(entry["id"]): str(entry["name"]) for entry in content["categories"]}
            images = {
                entry["id"]: _Entry(path, str(entry["file_name"]), int(entry["height"]), int(entry["width"]))
                for entry in content["images"]
            }
            if len(images) < len(content["images"]):
                raise ValueError("several images have one id")
            for image in images.values():
                pixels = image.height * image.width
                if min(image.height, image.width) < 1 or pixels > (Image.MAX_IMAGE_PIXELS or math.inf):
                    raise ValueError(f"{image.file_name} has the size {(image.height, image.width)}")
            for instance in content["annotations"]:
                images[instance["image_id"]].instances.append(instance)
                categories[instance["category_id"]]
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"Expected {path} to hold COCO's instance annotations, but: {error!r}.") from error
        return cls(list(images.values()), dict(sorted(categories.items())))


def _label_map(image: _Entry, labels: dict[int, int]) -> Tensor:
    """Draw the label map (H, W), int64, of an image's instances."""
    size = image.height, image.width
    objects: dict[int, Any] = defaultdict(lambda: np.zeros(size, dtype=bool))
    crowd = np.zeros(size, dtype=bool)
    unknown = False
    for instance in image.instances:
        label = labels.get(instance["category_id"])
        if label is None:
            continue
        if not instance.get("segmentation"):
            unknown = True
            continue
        region = _region(instance["segmentation"], image)
        if instance.get("iscrowd"):
            crowd |= region
        else:
            objects[label] |= region
    label_map = np.full(size, IGNORE if unknown else 0, dtype=np.int64)
    label_map[crowd] = IGNORE
    for label, region in objects.items():
        label_map[region] = label
    if objects:
        label_map[sum(region.astype(int) for region in objects.values()) > 1] = IGNORE
    return torch.from_numpy(label_map)


def _region(segmentation: Any, image: _Entry) -> Any:
    """Draw the pixels (H, W), bool, of polygons, compressed or uncompressed RLE."""
    api = mask_api()
    size = [image.height, image.width]
    try:
        if isinstance(segmentation, list):
            points = np.concatenate([np.asarray(polygon, dtype=np.float64) for polygon in segmentation])
            if not (abs(points) <= _FARTHEST * max(size)).all():
                raise ValueError("a polygon leads far out of the image")
            code = api.merge(api.frPyObjects(segmentation, image.height, image.width))
        elif isinstance(segmentation["counts"], list):
            code = api.frPyObjects(segmentation, image.height, image.width)
        else:
            code = segmentation
        if list(code["size"]) != size:
            raise ValueError(f"it has the height and width {code['size']}, not those of the image, {size}")
        region = api.decode(code).astype(bool)
    except Exception as error:  # pycocotools raises bare exceptions
        raise ValueError(
            f"Expected a segmentation of {image.file_name} in {image.path} to be polygons or RLE, but: {error}."
        ) from error
    return region


def mask_api() -> Any:
    """Import pycocotools' functions on masks.

    Raises:
        ValueError: if pycocotools is missing.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ValueError(
            'Expected pycocotools to be installed, which COCO\'s masks need; do pip install "decomprec[coco]".'
        ) from error
    return mask
