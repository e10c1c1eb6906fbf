"""From soft masks to label maps: tags, and masks that follow the image's edges."""

from decomprec.refine.caching import once, remembering
from decomprec.refine.filters import guided_filter, half_pamr, pamr
from decomprec.refine.predictor import RefinedPredictor
from decomprec.refine.scales import at_scale, rescale, rescale_to, resize, resize_labels

__all__ = [
    "RefinedPredictor",
    "at_scale",
    "guided_filter",
    "half_pamr",
    "once",
    "pamr",
    "remembering",
    "rescale",
    "rescale_to",
    "resize",
    "resize_labels",
]
