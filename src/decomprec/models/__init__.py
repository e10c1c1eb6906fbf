"""The segmenter, its encoders and decoders, and the classifier that becomes the guide."""

from decomprec.models.classifiers import PooledClassifier
from decomprec.models.decoders import UnetDecoder
from decomprec.models.encoders import SmallEncoder, TimmEncoder
from decomprec.models.paper_unet import PaperDecoder, PaperEncoder
from decomprec.models.segmenter import DecompositionSegmenter

__all__ = [
    "DecompositionSegmenter",
    "PaperDecoder",
    "PaperEncoder",
    "PooledClassifier",
    "SmallEncoder",
    "TimmEncoder",
    "UnetDecoder",
]
