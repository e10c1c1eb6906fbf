"""A preset that trains in a second, and modules of both stages that no BatchNorm disturbs."""

from typing import Any

from support.two_processes import Plain, PlainDecoder

from decomprec import DecompositionLoss, DecompositionSegmenter, FrozenGuide
from decomprec.models import PooledClassifier
from decomprec.training import PRESETS, GuideModule, GuideSettings, SegmenterModule, SegmenterSettings

TINY = PRESETS["demo"].override(
    {
        "image_size": 32,
        "guide.encoder_options": {"widths": [4, 8]},
        "guide.epochs": 2,
        "guide.batch_size": 8,
        "segmenter.decoder_widths": [8, 4],
        "segmenter.epochs": 3,
        "segmenter.batch_size": 8,
    }
)
QUIET: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}


def guide_stage() -> GuideModule:
    settings = GuideSettings(learning_rate=1e-2, scales=(1.0, 2.0))
    return GuideModule(PooledClassifier(Plain(), num_classes=4), settings, one_cycle=True)


def segmenter_stage() -> SegmenterModule:
    segmenter = DecompositionSegmenter(4, Plain(), mask_decoder=PlainDecoder(4), image_decoder=PlainDecoder(12))
    guide = FrozenGuide(PooledClassifier(Plain(), num_classes=4))
    return SegmenterModule(segmenter, DecompositionLoss(guide, 0.1, 0.1), 4, SegmenterSettings(learning_rate=1e-2))
