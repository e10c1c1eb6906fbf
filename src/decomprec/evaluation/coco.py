"""Label maps as instance annotations in COCO's JSON format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from decomprec._files import written_whole
from decomprec.data.formats.coco_masks import mask_api
from decomprec.data.samples import IGNORE

Segment = Callable[[NDArray[np.bool_]], Any]


class CocoWriter:
    """Collects label maps and writes them as one COCO file: one RLE annotation for each class in each image.

    `decomprec.data.CocoInstances` and other readers of COCO files read it. Category k is label k; background and 255
    (ignore) get no annotation.

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

    def __init__(self, class_names: Sequence[str], segment: Segment | None = None) -> None:
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

    def save(self, path: str | Path, order: Iterable[str] = ()) -> None:
        """Write all images; a reader sees the old file or the whole new one.

        Args:
            path: of the JSON file.
            order: file names in the order of the images and ids. Names that were not added are skipped; images that
                are not named follow, sorted by name.
        """
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for file_name in dict.fromkeys([*order, *sorted(self._images)]):
            if file_name in self._images:
                image, regions = self._images[file_name]
                image_id = len(images) + 1
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
