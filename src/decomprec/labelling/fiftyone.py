"""FiftyOne: a dataset on disk (`fiftyone.types.FiftyOneDataset`) with label maps and a score for each image."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from decomprec._files import write_text, written_whole
from decomprec.data.image_io import read_labels
from decomprec.data.paths import below
from decomprec.labelling.label_maps import Labelled, LabelMaps, entries, read_json

METADATA, SAMPLES = "metadata.json", "samples.json"

_FIELD = "prediction"
_CORRECTED = "ground_truth"


def write(labelled: Iterable[Labelled], class_names: Sequence[str], out: Path) -> None:
    """Write the dataset. Images stay where they are, and are referred to by their absolute paths."""
    samples = []
    for item in labelled:
        mask = f"fields/{_FIELD}/{item.name}.png"  # FiftyOne resolves relative paths below fields/
        with written_whole(out / mask) as partial_file:
            # Not a palette, whose colours FiftyOne would read in place of the labels.
            Image.fromarray(item.read().cpu().numpy().astype(np.uint8)).save(partial_file)
        sample: dict[str, Any] = {
            "filepath": str(item.image.resolve()),
            "tags": [],
            "name": item.name,
            _FIELD: {"_cls": "Segmentation", "tags": [], "mask_path": mask},
        }
        if item.score is not None:
            sample["confidence"] = item.score
        samples.append(sample)
    targets = {str(k): name for k, name in enumerate(class_names, 1)}
    info = {"classes": {_FIELD: [*class_names]}, "mask_targets": {_FIELD: targets}, "default_mask_targets": targets}
    write_text(out / METADATA, json.dumps({"media_type": "image", "info": info}, indent=2) + "\n")
    write_text(out / SAMPLES, json.dumps({"samples": samples}, indent=1) + "\n")


def read(source: Path) -> LabelMaps:
    """Find the label maps in an exported dataset, in the field ground_truth if there are several with label maps.

    Raises:
        ValueError: if there is no such field, or more than one other; or if the dataset has no mask targets, which
            name the classes.
    """
    samples = entries(read_json(source / SAMPLES, SAMPLES), "samples", SAMPLES)
    fields = sorted({name for sample in samples for name, value in sample.items() if _is_label_map(value)})
    if len(fields) != 1 and _CORRECTED not in fields:
        raise ValueError(
            f"Expected {source.name} to have one field of segmentations, or one named {_CORRECTED}, but it has "
            f"{', '.join(fields) or 'none'}; export it with the one that is meant."
        )
    field = _CORRECTED if _CORRECTED in fields else fields[0]
    metadata = read_json(source / METADATA, METADATA)
    try:
        targets = _targets(metadata, field)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"Expected {METADATA} to name the classes by numbers, but: {error}.") from error
    if not targets:
        raise ValueError(
            f"Expected {source.name} to name the classes, but it has no mask targets; set "
            "dataset.default_mask_targets, such as {1: 'dog'}, and export it again."
        )
    numbers = {value: number for number, value in enumerate(targets, 1)}
    return LabelMaps(
        tuple(targets.values()),
        [
            (name := _name(sample), partial(_read, name, sample[field], source, numbers))
            for sample in samples
            if _is_label_map(sample.get(field))
        ],
    )


def _name(sample: Mapping[str, Any]) -> str:
    return str(sample.get("name") or Path(str(sample.get("filepath"))).stem)


def _is_label_map(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("_cls") == "Segmentation"


def _targets(metadata: Mapping[str, Any], field: str) -> dict[int, str]:
    """The names of the values in label maps, without the background."""
    for place in (metadata, metadata.get("info") or {}):
        for targets in ((place.get("mask_targets") or {}).get(field), place.get("default_mask_targets")):
            if targets:
                return {int(value): str(name) for value, name in targets.items() if int(value) not in (0, 255)}
    return {}


def _read(name: str, value: Mapping[str, Any], source: Path, numbers: Mapping[int, int]) -> Tensor:
    if value.get("mask_path"):
        stored = read_labels(below(source, value["mask_path"])).long()
    else:
        try:
            content = zlib.decompress(base64.b64decode(value["mask"]["$binary"]["base64"]))
            stored = torch.from_numpy(np.load(io.BytesIO(content), allow_pickle=False).astype(np.int64))
        except (KeyError, TypeError, ValueError, EOFError, zlib.error) as error:
            raise ValueError(f"Expected the label map of {name} to be as FiftyOne exports it, but: {error}.") from error
    known = {0: 0, 255: 255, **numbers}
    if unknown := set(stored.unique().tolist()) - set(known):
        raise ValueError(
            f"Expected the label map of {name} to hold the mask targets {sorted(numbers)} only, but got {unknown}."
        )
    values, where = stored.unique(return_inverse=True)
    return torch.tensor([known[value] for value in values.tolist()])[where]
