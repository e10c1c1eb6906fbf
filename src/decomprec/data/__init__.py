"""Data sets of images with tags. Masks are used only for evaluation, except those given to `with_masks`."""

from decomprec.data.corrections import with_masks
from decomprec.data.dataset import TaggedImages
from decomprec.data.formats.coco import CocoInstances
from decomprec.data.formats.csv import TaggedCSV
from decomprec.data.formats.folder import TaggedFolder
from decomprec.data.formats.pets import OxfordPets
from decomprec.data.formats.records import TaggedRows
from decomprec.data.formats.shard_writer import write_shards
from decomprec.data.formats.voc import VOCDevkit
from decomprec.data.loading import load_images
from decomprec.data.record import Record
from decomprec.data.samples import IGNORE, collate
from decomprec.data.synthetic import SyntheticScenes
from decomprec.data.transforms import eval_transform, mean_aspect, train_transform

__all__ = [
    "IGNORE",
    "CocoInstances",
    "OxfordPets",
    "Record",
    "SyntheticScenes",
    "TaggedCSV",
    "TaggedFolder",
    "TaggedImages",
    "TaggedRows",
    "VOCDevkit",
    "collate",
    "eval_transform",
    "load_images",
    "mean_aspect",
    "train_transform",
    "with_masks",
    "write_shards",
]
