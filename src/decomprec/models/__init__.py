"""The segmenter, its encoders and decoders, and the classifier that becomes the guide."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from decomprec.models.classifiers import PooledClassifier
from decomprec.models.paper_unet import PaperDecoder, PaperEncoder
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.models.small import SmallEncoder

if TYPE_CHECKING:
    from decomprec.models.encoders import PretrainedEncoder, ShortcutDecoder, UnetDecoder
    from decomprec.models.pretrained import Pretrained, load_pretrained, save_pretrained
    from decomprec.models.resnet18 import ResNet18Encoder, resnet18_classifier

__all__ = [
    "DecompositionSegmenter",
    "PaperDecoder",
    "PaperEncoder",
    "PooledClassifier",
    "Pretrained",
    "PretrainedEncoder",
    "ResNet18Encoder",
    "ShortcutDecoder",
    "SmallEncoder",
    "UnetDecoder",
    "load_pretrained",
    "resnet18_classifier",
    "save_pretrained",
]

# smp, timm and torchvision take seconds to import; the paper's own network does without them.
_LAZY = {
    "PretrainedEncoder": "encoders",
    "ShortcutDecoder": "encoders",
    "UnetDecoder": "encoders",
    "Pretrained": "pretrained",
    "load_pretrained": "pretrained",
    "save_pretrained": "pretrained",
    "ResNet18Encoder": "resnet18",
    "resnet18_classifier": "resnet18",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"decomprec.models.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
