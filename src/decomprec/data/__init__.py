"""Data sets of images with tags. Masks are used only for evaluation."""

from typing import TYPE_CHECKING, Any

from decomprec.data.dataset import MaskValues, Record, TaggedImages
from decomprec.data.formats.coco import CocoInstances
from decomprec.data.formats.csv import TaggedCSV
from decomprec.data.formats.folder import TaggedFolder
from decomprec.data.formats.pets import OxfordPets
from decomprec.data.formats.records import TaggedRows
from decomprec.data.formats.voc import VOCDevkit
from decomprec.data.loading import detect_format, load_images
from decomprec.data.samples import IGNORE, collate
from decomprec.data.synthetic import SyntheticScenes
from decomprec.data.transforms import eval_transform, train_transform

if TYPE_CHECKING:
    from decomprec.data.datamodule import TaggedDataModule

__all__ = [
    "IGNORE",
    "CocoInstances",
    "MaskValues",
    "OxfordPets",
    "Record",
    "SyntheticScenes",
    "TaggedCSV",
    "TaggedDataModule",
    "TaggedFolder",
    "TaggedImages",
    "TaggedRows",
    "VOCDevkit",
    "collate",
    "detect_format",
    "eval_transform",
    "load_images",
    "train_transform",
]


def __getattr__(name: str) -> Any:
    # Lightning takes seconds to import, and the data sets do without it.
    if name == "TaggedDataModule":
        from decomprec.data.datamodule import TaggedDataModule

        return TaggedDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
