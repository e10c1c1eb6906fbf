"""The segmenter, its encoders and decoders, and the classifier that becomes the guide."""

from decomprec.models.classifiers import PooledClassifier
from decomprec.models.decoders import ShortcutDecoder, UnetDecoder
from decomprec.models.encoders import NamedEncoder, SmallEncoder
from decomprec.models.paper_unet import PaperDecoder, PaperEncoder
from decomprec.models.segmenter import DecompositionSegmenter

__all__ = [
    "DecompositionSegmenter",
    "NamedEncoder",
    "PaperDecoder",
    "PaperEncoder",
    "PooledClassifier",
    "ShortcutDecoder",
    "SmallEncoder",
    "UnetDecoder",
]
