"""COCO's instance annotations, as run lengths or as polygons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from decomprec.data.formats.coco import coco_readers
from decomprec.evaluation.coco import CocoWriter
from decomprec.labelling.label_maps import Labelled, LabelMaps, Mask
from decomprec.labelling.polygons import polygons


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
