"""COCO's instance annotations, as run lengths or as polygons."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from torch import Tensor

from decomprec._files import written_whole
from decomprec.data.formats.coco import coco_readers
from decomprec.data.formats.coco_masks import mask_api
from decomprec.data.samples import IGNORE
from decomprec.labelling.label_maps import Labelled, LabelMaps, Mask
from decomprec.labelling.polygons import polygons


class CocoWriter:
    """Collects label maps and writes them as one COCO file: one RLE annotation for each class in each image.

    Category k is label k; background and 255 (ignore) get no annotation.

    Args:
        class_names: of the K-1 classes.
        segment: returns what is written as the segmentation of the pixels (H, W), bool, of a class; None for RLE.

    Raises:
        ValueError: if pycocotools is missing.

    Examples:
        >>> import tempfile, torch
        >>> writer = CocoWriter(["cat", "dog"])
        >>> writer.add("park.jpg", torch.tensor([[0, 0, 2, 2], [0, 0, 2, 2]]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     writer.save(Path(folder) / "annotations.json")
        ...     written = json.loads((Path(folder) / "annotations.json").read_text())
        >>> [(a["category_id"], a["bbox"], a["area"]) for a in written["annotations"]]
        [(2, [2.0, 0.0, 2.0, 2.0], 4)]
    """

    def __init__(self, class_names: Sequence[str], segment: Callable[[Mask], Any] | None = None) -> None:
        self._api = mask_api()
        self._segment = segment
        self.class_names = tuple(class_names)
        self._images: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}

    def add(self, file_name: str, labels: Tensor) -> None:
        """Add an image's label map; the order of the calls does not matter.

        Args:
            file_name: of the image.
            labels: (H, W), integers in 0 to K-1, or 255.

        Raises:
            ValueError: if a label is no class, or the image was added before.
        """
        height, width = labels.shape
        values = labels.cpu().numpy()
        present = [k for k in np.unique(values).tolist() if k not in (0, IGNORE)]
        if present and (min(present) < 0 or max(present) > len(self.class_names)):
            raise ValueError(f"Expected `labels` to lie in 0 to {len(self.class_names)}, but got {present}.")
        if file_name in self._images:
            raise ValueError(f"Expected `file_name` of an image that was not added before, but got {file_name!r}.")
        annotations = []
        for k in present:
            mask = values == k
            code = self._api.encode(np.asfortranarray(mask, dtype=np.uint8))
            rle = {"size": [height, width], "counts": code["counts"].decode("ascii")}
            annotations.append(
                {
                    "category_id": k,
                    "segmentation": rle if self._segment is None else self._segment(mask),
                    "area": int(self._api.area(code)),
                    "bbox": self._api.toBbox(code).tolist(),
                    "iscrowd": 0,
                }
            )
        self._images[file_name] = {"file_name": file_name, "height": height, "width": width}, annotations

    def save(self, path: str | Path) -> None:
        """Write all images, sorted by name; a reader sees the old file or the whole new one."""
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id, (_, (image, regions)) in enumerate(sorted(self._images.items()), 1):
            images.append({"id": image_id, **image})
            for region in regions:
                annotations.append({"id": len(annotations) + 1, "image_id": image_id, **region})
        categories = [{"id": k, "name": name, "supercategory": ""} for k, name in enumerate(self.class_names, 1)]
        content = {
            "info": {"description": "Masks of decomprec"},  # some versions of pycocotools need it
            "licenses": [],
            "images": images,
            "categories": categories,
            "annotations": annotations,
        }
        with written_whole(path) as partial:
            partial.write_text(json.dumps(content), encoding="utf-8")


def write(labelled: Iterable[Labelled], class_names: Sequence[str], out: Path) -> None:
    """Write one file, whose segmentations are run lengths (RLE): see `CocoWriter`."""
    _write(labelled, CocoWriter(class_names), out)


def write_polygons(labelled: Iterable[Labelled], class_names: Sequence[str], out: Path) -> None:
    """Write one file, whose segmentations are polygons, for tools that edit or train on these."""
    _write(labelled, CocoWriter(class_names, _polygons), out)


def read(source: Path) -> LabelMaps:
    """Find the label maps of a COCO file."""
    names, readers = coco_readers(source)
    return LabelMaps(names, [(PurePosixPath(file).with_suffix("").as_posix(), draw) for file, draw in readers])


def _write(labelled: Iterable[Labelled], writer: CocoWriter, out: Path) -> None:
    for item in labelled:
        writer.add(item.file_name, item.read())
    writer.save(out)


def _polygons(mask: Mask) -> list[Any]:
    return [ring.ravel().tolist() for ring in polygons(mask)]
