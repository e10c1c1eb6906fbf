"""Scores of label maps, and one table of a model and its baselines."""

from decomprec.evaluation.baselines import CamPredictor
from decomprec.evaluation.comparison import Results, compare
from decomprec.evaluation.metrics import SegmentationScores, evaluate, guide_accuracy

__all__ = ["CamPredictor", "Results", "SegmentationScores", "compare", "evaluate", "guide_accuracy"]
