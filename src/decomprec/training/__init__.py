"""The reference trainer: Lightning modules of all stages, presets, and the run that puts them together."""

from decomprec.training.build import build_classifier, build_loss, build_segmenter, build_self_training_loss
from decomprec.training.callbacks import CollapsedRunError, PanelEveryEpoch, SeedEveryEpoch, StopCollapsed
from decomprec.training.modules import GuideModule, SegmenterModule
from decomprec.training.presets import PRESETS, GuideSettings, Preset, SegmenterSettings, SelfTrainingSettings
from decomprec.training.run import train
from decomprec.training.saved import Trained, load_run

__all__ = [
    "PRESETS",
    "CollapsedRunError",
    "GuideModule",
    "GuideSettings",
    "PanelEveryEpoch",
    "Preset",
    "SeedEveryEpoch",
    "SegmenterModule",
    "SegmenterSettings",
    "SelfTrainingSettings",
    "StopCollapsed",
    "Trained",
    "build_classifier",
    "build_loss",
    "build_segmenter",
    "build_self_training_loss",
    "load_run",
    "train",
]
