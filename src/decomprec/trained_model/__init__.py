"""A trained model: from an image to its masks in one call, and to a folder or the hub and back."""

from decomprec.trained_model.loading import load
from decomprec.trained_model.model import TrainedModel
from decomprec.trained_model.prediction import Prediction

__all__ = ["Prediction", "TrainedModel", "load"]
