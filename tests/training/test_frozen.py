"""Frozen parts, the standardised head, and the size at which images are seen."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.tiny import QUIET, tiny
from torch import nn

from decomprec import DecompositionLoss, DecompositionSegmenter
from decomprec.data import SyntheticScenes
from decomprec.models import PooledClassifier, SmallEncoder
from decomprec.training import SegmenterModule, SegmenterSettings, train

TINY = tiny()


@pytest.fixture(scope="module")
def scenes() -> tuple[SyntheticScenes, SyntheticScenes]:
    return SyntheticScenes(16, 2, size=32, seed=1), SyntheticScenes(8, 2, size=32, seed=2, masks=True)


def test_frozen_parts_keep_weights_and_statistics(scenes, tmp_path: Path) -> None:
    preset = TINY.override({"guide.freeze_encoder": True, "guide.head_steps": 20, "segmenter.freeze_encoder": True})
    trained = train(preset, *scenes, tmp_path / "run", seed=3, trainer_options=QUIET)
    torch.manual_seed(3)
    start = PooledClassifier(SmallEncoder((4, 8)), 3, standardise=True).state_dict()
    guide, segmenter = trained.classifier.state_dict(), trained.segmenter.state_dict()
    encoder = [name for name in start if name.startswith("encoder.")]
    assert any("running_mean" in name for name in encoder)
    for name in encoder:
        assert torch.equal(guide[name], start[name]), name
        assert torch.equal(segmenter[name], start[name]), name
    assert not torch.equal(guide["head.weight"], start["head.weight"])
    assert guide["norm.running_mean"].any()


def test_maps_of_a_standardised_head_average_to_its_logits() -> None:
    torch.manual_seed(0)
    classifier = PooledClassifier(SmallEncoder((4, 8)), 3, standardise=True)
    for _ in range(5):
        classifier(torch.rand(8, 3, 16, 16))
    classifier.eval()
    images = torch.rand(4, 3, 16, 16)
    logits = classifier.activation_maps(images).mean(dim=(-2, -1)) + classifier.head.bias
    torch.testing.assert_close(logits, classifier(images), rtol=1e-4, atol=1e-4)
    assert isinstance(classifier.norm, nn.BatchNorm2d)


def test_images_shrink_in_training_and_validation_and_the_iou_is_measured_at_full_size() -> None:
    sizes = []
    segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)))
    segmenter.encoder.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape[-2:])))
    loss = DecompositionLoss(cls_loss=lambda out, images, tags: out.mask_logits.mean())
    module = SegmenterModule(segmenter, loss, num_classes=2, settings=SegmenterSettings(image_size=16))
    module.log = lambda *args, **kwargs: None  # no trainer is attached
    torch.manual_seed(0)
    images, mask = torch.rand(2, 3, 32, 32), torch.randint(2, (2, 32, 32))
    batch = {"image": images, "tags": torch.ones(2, 1), "mask": mask}
    module.training_step(batch, 0)
    module.eval()
    module.validation_step(batch, 0)
    assert sizes == [(16, 16), (16, 16)]
    logits = segmenter.mask_logits(F.interpolate(images, size=16, mode="bilinear", antialias=True))
    labels = F.interpolate(logits, size=32, mode="bilinear").argmax(dim=1)
    shares = [((labels == k) & (mask == k)).sum() / ((labels == k) | (mask == k)).sum() for k in range(2)]
    torch.testing.assert_close(module.iou.compute(), sum(shares) / 2)
