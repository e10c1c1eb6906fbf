"""Semantic segmentation from image tags alone, by reconstruction from a structured decomposition (Zeng 2024)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from decomprec import functional
from decomprec.decomposition import Decomposition, LossTerms
from decomprec.functional import recompose
from decomprec.guide import Frozen, FrozenGuide
from decomprec.losses import ClsLoss, DecompositionLoss, MaskLoss, PseudoLabelLoss, ReconLoss
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.priors import HingeAreaLoss
from decomprec.views import FilledView, component_view

if TYPE_CHECKING:
    from decomprec.trained_model import Prediction, TrainedModel, load

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
    "PseudoLabelLoss",
    "ReconLoss",
    "TrainedModel",
    "component_view",
    "functional",
    "load",
    "recompose",
]


def __getattr__(name: str) -> Any:
    # torchvision and the hub take seconds to import, and the blocks do without them.
    if name in ("Prediction", "TrainedModel", "load"):
        return getattr(import_module("decomprec.trained_model"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
