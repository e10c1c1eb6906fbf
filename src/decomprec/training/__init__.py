"""The reference trainer: Lightning modules of both stages, presets, and the run that puts them together."""

from decomprec.training.build import build_classifier, build_loss, build_segmenter, start_from_guide
from decomprec.training.callbacks import PanelEveryEpoch, SeedEveryEpoch
from decomprec.training.checkpoints import WholeCheckpoints
from decomprec.training.collapse import CollapsedRunError, StopCollapsed
from decomprec.training.interruptions import NonFiniteError, StoppedRunError
from decomprec.training.modules import GuideModule, SegmenterModule, fit_head
from decomprec.training.nonfinite import StopNonFinite
from decomprec.training.presets import PRESETS, GuideSettings, Preset, SegmenterSettings
from decomprec.training.run import train

__all__ = [
    "PRESETS",
    "CollapsedRunError",
    "GuideModule",
    "GuideSettings",
    "NonFiniteError",
    "PanelEveryEpoch",
    "Preset",
    "SeedEveryEpoch",
    "SegmenterModule",
    "SegmenterSettings",
    "StopCollapsed",
    "StopNonFinite",
    "StoppedRunError",
    "WholeCheckpoints",
    "build_classifier",
    "build_loss",
    "build_segmenter",
    "fit_head",
    "start_from_guide",
    "train",
]
