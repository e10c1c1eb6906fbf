"""Label maps as instance annotations in COCO's JSON format, for the tools that read those."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from decomprec._files import written_whole
from decomprec.data.formats.coco import mask_api
from decomprec.data.samples import IGNORE


class CocoWriter:
    """Collects label maps and writes them as one COCO file: an annotation, in RLE, for each class in each image.

    `decomprec.data.CocoInstances` and `decomprec.data.coco_label_maps` read it, and so does whatever reads COCO.
    Category k is label k; the background and 255 (ignore) are no category.

    Args:
        class_names: Of the K-1 classes.

    Raises:
        ValueError: If pycocotools is missing, or (on `add`) a label is no class.

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

    def __init__(self, class_names: Sequence[str]) -> None:
        self._api = mask_api()
        self.class_names = tuple(class_names)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, file_name: str, labels: Tensor) -> None:
        """Add an image's label map (H, W), integers in 0 to K-1, or 255."""
        height, width = labels.shape
        values = labels.cpu().numpy()
        present = [k for k in np.unique(values).tolist() if k not in (0, IGNORE)]
        if present and (min(present) < 0 or max(present) > len(self.class_names)):
            raise ValueError(f"Expected `labels` to lie in 0 to {len(self.class_names)}, but got {present}.")
        image_id = len(self._images) + 1
        self._images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for k in present:
            code = self._api.encode(np.asfortranarray(values == k, dtype=np.uint8))
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image_id,
                    "category_id": k,
                    "segmentation": {"size": [height, width], "counts": code["counts"].decode("ascii")},
                    "area": int(self._api.area(code)),
                    "bbox": self._api.toBbox(code).tolist(),
                    "iscrowd": 0,
                }
            )

    def save(self, path: str | Path) -> None:
        """Write everything that was added."""
        categories = [{"id": k, "name": name} for k, name in enumerate(self.class_names, 1)]
        content = {"images": self._images, "categories": categories, "annotations": self._annotations}
        with written_whole(path) as partial:
            partial.write_text(json.dumps(content), encoding="utf-8")
