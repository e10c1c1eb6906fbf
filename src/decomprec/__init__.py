"""Semantic segmentation from image tags alone, by reconstruction from a structured decomposition (Zeng 2024)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decomprec import functional
    from decomprec.decomposition import Decomposition, LossTerms
    from decomprec.functional import recompose
    from decomprec.guide import Frozen, FrozenGuide
    from decomprec.losses import ClsLoss, DecompositionLoss, MaskLoss, ReconLoss
    from decomprec.models.segmenter import DecompositionSegmenter
    from decomprec.priors import HingeAreaLoss
    from decomprec.trained_model import Prediction, TrainedModel, load
    from decomprec.views import FilledView, component_view

__version__ = "0.1.0"

__all__ = [
    "ClsLoss",
    "Decomposition",
    "DecompositionLoss",
    "DecompositionSegmenter",
    "FilledView",
    "Frozen",
    "FrozenGuide",
    "HingeAreaLoss",
    "LossTerms",
    "MaskLoss",
    "Prediction",
    "ReconLoss",
    "TrainedModel",
    "component_view",
    "functional",
    "load",
    "recompose",
]

_NAMES = {
    "decomposition": ("Decomposition", "LossTerms"),
    "functional": ("recompose",),
    "guide": ("Frozen", "FrozenGuide"),
    "losses": ("ClsLoss", "DecompositionLoss", "MaskLoss", "ReconLoss"),
    "models.segmenter": ("DecompositionSegmenter",),
    "priors": ("HingeAreaLoss",),
    "trained_model": ("Prediction", "TrainedModel", "load"),
    "views": ("FilledView", "component_view"),
}


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: the command line prints its help, and chooses the number of threads, before it.
    if name == "functional":
        return import_module("decomprec.functional")
    for module, names in _NAMES.items():
        if name in names:
            return getattr(import_module(f"decomprec.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
