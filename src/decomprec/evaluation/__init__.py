"""Scores over a data set, baselines, and the table that compares them."""

from decomprec.evaluation.baselines import CamPredictor, CentredEllipse, EveryPixel, best_cam_threshold
from decomprec.evaluation.comparison import Results, compare
from decomprec.evaluation.diagnostics import decomposition_diagnostics
from decomprec.evaluation.metrics import SegmentationScores, evaluate, guide_accuracy

__all__ = [
    "CamPredictor",
    "CentredEllipse",
    "EveryPixel",
    "Results",
    "SegmentationScores",
    "best_cam_threshold",
    "compare",
    "decomposition_diagnostics",
    "evaluate",
    "guide_accuracy",
]
