"""Scores over a data set, the baselines beside them, and the report."""

from decomprec.evaluation.baselines import CamPredictor, CentredEllipse, EveryPixel, best_cam_threshold
from decomprec.evaluation.comparison import Results, Row, compare
from decomprec.evaluation.diagnostics import decomposition_diagnostics
from decomprec.evaluation.metrics import SegmentationScores, evaluate, guide_accuracy, image_iou
from decomprec.protocols import Localiser, Predictor

__all__ = [
    "CamPredictor",
    "CentredEllipse",
    "EveryPixel",
    "Localiser",
    "Predictor",
    "Results",
    "Row",
    "SegmentationScores",
    "best_cam_threshold",
    "compare",
    "decomposition_diagnostics",
    "evaluate",
    "guide_accuracy",
    "image_iou",
]
