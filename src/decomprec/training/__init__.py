"""The reference trainer: presets, the Lightning modules of both stages, and `train`, which runs them."""

from decomprec.training.collapse import CollapsedRunError
from decomprec.training.interruptions import NonFiniteError, StoppedRunError
from decomprec.training.modules import GuideModule, SegmenterModule
from decomprec.training.presets import PRESETS, Preset
from decomprec.training.run import train
from decomprec.training.settings import GuideSettings, SegmenterSettings

__all__ = [
    "PRESETS",
    "CollapsedRunError",
    "GuideModule",
    "GuideSettings",
    "NonFiniteError",
    "Preset",
    "SegmenterModule",
    "SegmenterSettings",
    "StoppedRunError",
    "train",
]
