"""Semantic segmentation from image tags alone, by reconstruction from a structured decomposition (Zeng 2024)."""

from decomprec import functional
from decomprec.decomposition import Decomposition, LossTerms
from decomprec.functional import recompose
from decomprec.guide import Frozen, FrozenGuide
from decomprec.losses import ClsLoss, DecompositionLoss, MaskLoss, PseudoLabelLoss, ReconLoss
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.priors import HingeAreaLoss
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
    "PseudoLabelLoss",
    "ReconLoss",
    "component_view",
    "functional",
    "recompose",
]
