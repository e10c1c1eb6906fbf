"""Datasets whose training items hold an image and its tags; masks are for evaluation only."""

from typing import TYPE_CHECKING, Any

from decomprec.data.dataset import MaskDecoder, MaskValues, Record, TaggedImages
from decomprec.data.formats.coco import CocoInstances, coco_label_maps
from decomprec.data.formats.csv import TaggedCSV, split_tags
from decomprec.data.formats.folder import TaggedFolder
from decomprec.data.formats.imagenet import draw_imagenet_dogs, imagenet_train_folder, is_dog_breed
from decomprec.data.formats.pets import OxfordPets
from decomprec.data.formats.records import TaggedRows
from decomprec.data.formats.voc import VOC_CLASSES, VOCDevkit
from decomprec.data.loading import detect_format, load_images
from decomprec.data.samples import IGNORE, Transform, collate, make_item
from decomprec.data.synthetic import SyntheticScenes, render_scene, scene_class_names
from decomprec.data.transforms import eval_transform, train_transform
from decomprec.protocols import LoadData, TaggedDataset

if TYPE_CHECKING:
    from decomprec.data.datamodule import TaggedDataModule

__all__ = [
    "IGNORE",
    "VOC_CLASSES",
    "CocoInstances",
    "LoadData",
    "MaskDecoder",
    "MaskValues",
    "OxfordPets",
    "Record",
    "SyntheticScenes",
    "TaggedCSV",
    "TaggedDataModule",
    "TaggedDataset",
    "TaggedFolder",
    "TaggedImages",
    "TaggedRows",
    "Transform",
    "VOCDevkit",
    "coco_label_maps",
    "collate",
    "detect_format",
    "draw_imagenet_dogs",
    "eval_transform",
    "imagenet_train_folder",
    "is_dog_breed",
    "load_images",
    "make_item",
    "render_scene",
    "scene_class_names",
    "split_tags",
    "train_transform",
]


def __getattr__(name: str) -> Any:
    # Lightning takes seconds to import, and the datasets do without it.
    if name == "TaggedDataModule":
        from decomprec.data.datamodule import TaggedDataModule

        return TaggedDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
