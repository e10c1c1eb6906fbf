"""Instance annotations in COCO's JSON format."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .items import IGNORE, Transform, make_item
from .pictures import read_image
from .tagged import Record, TaggedImages, choose_classes


class CocoInstances(TaggedImages):
    """Pictures tagged with the categories of their annotations, as in COCO's ``instances_*.json``.

    Masks are drawn from polygons and RLE, which takes pycocotools. Where objects of different classes overlap, and in
    crowd regions without another object, the mask is 255 (ignore). Of a picture in which an object has no
    segmentation, only the pixels of the others are known.

    Args:
        annotations: The JSON file.
        images: Folder of the pictures' ``file_name``; by default ``images`` beside the JSON file, else its own
            folder.
        classes: Selects and orders the foreground classes; other objects are background. None for all categories,
            by their id.
        masks: Whether items hold a ``mask`` (see `TaggedImages`).
        transform: Joint transform of picture and mask, see `make_item`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the file is not of this format, `classes` are unknown, or pycocotools is needed and missing.

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
    ) -> None:
        path = Path(annotations)
        file = _CocoFile.read(path)
        class_names = choose_classes(classes, file.names, path)
        self._labels = file.labels(class_names)
        self._pictures = file.pictures
        if masks:
            mask_api()  # what is missing is said before any training
        folder = Path(images) if images is not None else path.parent / "images"
        if images is None and not folder.is_dir():
            folder = path.parent
        records = []
        for picture in file.pictures:
            present = {self._labels.get(instance["category_id"], 0) for instance in picture.instances}
            tags = tuple(name for label, name in enumerate(class_names, 1) if label in present)
            drawn = any("segmentation" in instance for instance in picture.instances)
            name = Path(picture.file_name).with_suffix("").as_posix()
            records.append(Record(folder / picture.file_name, tags, name, path if masks and drawn else None))
        super().__init__(records, class_names, masks=masks, transform=transform)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.records[index]
        image = read_image(record.image)
        mask = None
        if self.masks:
            mask = _label_map(self._pictures[index], self._labels)
            if mask.shape != image.shape[1:]:
                raise ValueError(
                    f"Expected {record.image} to have the height and width of its annotations, {tuple(mask.shape)}, "
                    f"but got {tuple(image.shape[1:])}."
                )
        return make_item(image, self.tags[index].clone(), record.name, mask=mask, transform=self.transform)


def coco_label_maps(annotations: str | Path) -> Iterator[tuple[str, Tensor]]:
    """Draw the label map of every picture in a COCO file; the pictures themselves need not be there.

    Args:
        annotations: The JSON file. Label j+1 is its j-th category by id.

    Returns:
        File names and label maps (H, W), int64, as `CocoInstances` draws them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not of this format, or pycocotools is missing.
    """
    file = _CocoFile.read(Path(annotations))
    labels = file.labels(file.names)
    return ((picture.file_name, _label_map(picture, labels)) for picture in file.pictures)


@dataclass
class _Picture:
    file_name: str
    height: int
    width: int
    instances: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _CocoFile:
    pictures: list[_Picture]
    categories: dict[int, str]  # in the order of their ids

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.categories.values())

    def labels(self, class_names: Sequence[str]) -> dict[int, int]:
        """The label of each category that is a class."""
        label = {name: k for k, name in enumerate(class_names, 1)}
        return {key: label[name] for key, name in self.categories.items() if name in label}

    @classmethod
    def read(cls, path: Path) -> "_CocoFile":
        if not path.is_file():
            raise FileNotFoundError(f"Expected `annotations` to be a file, but got {path}.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            categories = {int(entry["id"]): str(entry["name"]) for entry in content["categories"]}
            pictures = {
                entry["id"]: _Picture(str(entry["file_name"]), int(entry["height"]), int(entry["width"]))
                for entry in content["images"]
            }
            for instance in content["annotations"]:
                pictures[instance["image_id"]].instances.append(instance)
                categories[instance["category_id"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"Expected {path} to hold COCO's instance annotations, but: {error!r}.") from error
        return cls(list(pictures.values()), dict(sorted(categories.items())))


def _label_map(picture: _Picture, labels: dict[int, int]) -> Tensor:
    """Label map (H, W), int64, of a picture's instances."""
    size = picture.height, picture.width
    objects: dict[int, Any] = defaultdict(lambda: np.zeros(size, dtype=bool))
    crowd = np.zeros(size, dtype=bool)
    unknown = False
    for instance in picture.instances:
        label = labels.get(instance["category_id"])
        if label is None:
            continue
        if "segmentation" not in instance:
            unknown = True
            continue
        region = _region(instance["segmentation"], picture)
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


def _region(segmentation: Any, picture: _Picture) -> Any:
    """The pixels (H, W), bool, of polygons, compressed or uncompressed RLE."""
    api = mask_api()
    try:
        if isinstance(segmentation, list):
            code = api.merge(api.frPyObjects(segmentation, picture.height, picture.width))
        elif isinstance(segmentation["counts"], list):
            code = api.frPyObjects(segmentation, picture.height, picture.width)
        else:
            code = segmentation
        region = api.decode(code).astype(bool)
    except Exception as error:  # pycocotools raises bare exceptions
        raise ValueError(
            f"Expected a segmentation of {picture.file_name} to be polygons or RLE, but: {error}."
        ) from error
    if region.shape != (picture.height, picture.width):
        raise ValueError(
            f"Expected a segmentation of {picture.file_name} to have its height and width, "
            f"{(picture.height, picture.width)}, but got {region.shape}."
        )
    return region


def mask_api() -> Any:
    """The functions of pycocotools on masks.

    Raises:
        ValueError: If pycocotools is missing.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ValueError(
            'Expected pycocotools to be installed, which COCO\'s masks need; do pip install "decomprec[coco]".'
        ) from error
    return mask
