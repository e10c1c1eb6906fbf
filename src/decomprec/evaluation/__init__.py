"""Scores over a data set, the baselines beside them, and the report."""

from decomprec.evaluation.baselines import CamPredictor, CentredEllipse, EveryPixel, Localiser, best_cam_threshold
from decomprec.evaluation.diagnostics import decomposition_diagnostics
from decomprec.evaluation.metrics import Predictor, SegmentationScores, evaluate, guide_accuracy, image_iou
from decomprec.evaluation.report import Results, Row, compare

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
