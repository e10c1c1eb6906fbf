"""Datasets whose training items hold an image and its tags; masks are for evaluation only."""

from typing import TYPE_CHECKING, Any

from .coco import CocoInstances, coco_label_maps
from .csv_tags import TaggedCSV, split_tags
from .folder import TaggedFolder
from .imagenet import draw_imagenet_dogs, imagenet_train_folder, is_dog_breed
from .items import IGNORE, Transform, collate, make_item
from .pets import OxfordPets
from .rows import TaggedRows
from .sources import LoadData, data_kind, load_pictures
from .synthetic import SyntheticScenes, render_scene, scene_class_names
from .tagged import MaskDecoder, MaskValues, Record, TaggedDataset, TaggedImages
from .transforms import eval_transform, train_transform
from .voc import VOC_CLASSES, VOCDevkit

if TYPE_CHECKING:
    from .module import TaggedDataModule

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
    "data_kind",
    "draw_imagenet_dogs",
    "eval_transform",
    "imagenet_train_folder",
    "is_dog_breed",
    "load_pictures",
    "make_item",
    "render_scene",
    "scene_class_names",
    "split_tags",
    "train_transform",
]


def __getattr__(name: str) -> Any:
    # Lightning takes seconds to import, and the datasets do without it.
    if name == "TaggedDataModule":
        from .module import TaggedDataModule

        return TaggedDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
