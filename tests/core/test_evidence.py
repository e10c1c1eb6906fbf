"""A start and seeds from the guide's evidence."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from benchmarks.quality.gradcam import gradcam_maps
from safetensors.torch import load_file
from support.tiny import QUIET, tiny
from torch import Tensor, nn

from decomprec import DecompositionLoss, DecompositionSegmenter
from decomprec import functional as DF
from decomprec.affinity import feature_affinity, random_walk
from decomprec.data import SyntheticScenes
from decomprec.evidence import EvidenceMasks, evidence_layer
from decomprec.models import PooledClassifier, ShortcutDecoder, SmallEncoder
from decomprec.models.encoders import rectified
from decomprec.trained_model import load
from decomprec.training import SegmenterModule, train
from decomprec.training.build import build_classifier, build_loss, build_segmenter, start_from_guide

TINY = tiny({"segmenter.evidence": True, "segmenter.seeds": 0.3})


@pytest.fixture
def classifier() -> PooledClassifier:
    """With features of every size, and statistics as a training would leave them."""
    torch.manual_seed(0)
    return lived_in(PooledClassifier(SmallEncoder((4, 8)), num_classes=4, standardise=True))


def lived_in(classifier: PooledClassifier) -> PooledClassifier:
    for _ in range(20):
        classifier(torch.rand(8, 3, 16, 16))
    return classifier.eval().requires_grad_(False)


def unrefined(images: Tensor, masks: Tensor) -> Tensor:
    return masks


def plain_evidence(classifier: PooledClassifier, features: Tensor) -> Tensor:
    """e_j (B, K-1, h, w) of features (B, C, h, w) of any sign, in loops over float64."""
    head, norm = classifier.head.weight.double(), classifier.norm
    (batch, channels, height, width), classes = features.shape, len(head)
    found = torch.zeros(batch, classes, height, width, dtype=torch.float64)
    for j in range(classes):
        positive = [max(float(head[j, c]), 0) / math.sqrt(norm.running_var[c] + norm.eps) for c in range(2 * channels)]
        expected = sum(p * float(norm.running_mean[c]) for c, p in enumerate(positive))
        for b in range(batch):
            for y in range(height):
                for x in range(width):
                    values = [float(v) for v in features[b, :, y, x]]
                    parts = [max(v, 0) for v in values] + [max(-v, 0) for v in values]
                    found[b, j, y, x] = sum(p * r for p, r in zip(positive, parts, strict=True)) / expected
    return found


def test_evidence_is_the_equation_in_plain_loops(classifier) -> None:
    features = torch.randn(2, 8, 3, 4)
    classifier.norm.running_mean.uniform_(0.1, 1)  # of features of both signs
    logits = evidence_layer(classifier, threshold=1.3, sharpness=3)(rectified(features))
    assert not logits[:, 0].any()
    expected = 3 * (plain_evidence(classifier, features) - 1.3)
    torch.testing.assert_close(logits[:, 1:].double(), expected, rtol=1e-4, atol=1e-4)


def test_the_mean_evidence_over_the_recorded_images_is_one(classifier) -> None:
    features = classifier.features(torch.rand(8, 3, 16, 16))
    classifier.norm.running_mean.copy_(features.mean(dim=(0, 2, 3)))
    logits = evidence_layer(classifier, threshold=0.5, sharpness=2)(features)
    torch.testing.assert_close(logits[:, 1:].mean(dim=(0, 2, 3)), torch.ones(3), rtol=1e-4, atol=1e-4)  # 2 (1 - 0.5)


def test_evidence_of_features_that_are_not_negative_is_layercam_up_to_its_scale(classifier) -> None:
    images = torch.rand(2, 3, 16, 16)
    evidence = evidence_layer(classifier, threshold=1, sharpness=1)(classifier.features(images))[:, 1:] + 1
    layercam = gradcam_maps(classifier, "layer-cam")(images)
    largest = evidence.amax(dim=(0, 2, 3), keepdim=True)
    assert (largest > 0).all()
    # One factor for a class, the same in all images; LayerCAM itself divides by each image's maximum later.
    scale = layercam.amax(dim=(0, 2, 3), keepdim=True) / largest
    torch.testing.assert_close(layercam, evidence * scale, rtol=1e-3, atol=1e-5)


class Brightness(nn.Module):
    """One feature: how much brighter than grey the image is."""

    out_channels = (1, 1)
    strides = (4,)

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = F.avg_pool2d(images.mean(dim=1, keepdim=True) - 0.5, 2)
        return [fine, F.avg_pool2d(fine, 2)]


def test_a_class_may_be_known_by_a_feature_below_zero() -> None:
    classifier = PooledClassifier(Brightness(), num_classes=3, standardise=True).eval()
    with torch.no_grad():
        classifier.norm.running_mean.fill_(0.25)
        classifier.head.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))  # of day and night
    images = torch.cat([torch.full((1, 3, 16, 8), 0.9), torch.full((1, 3, 16, 8), 0.1)], dim=3)
    evidence = EvidenceMasks(classifier, scale=1, refine=unrefined)
    for tags, label in (([1.0, 0.0], 1), ([0.0, 1.0], 2)):
        found = evidence(images, torch.tensor([tags])).argmax(dim=1)
        there = (images[:, 0] > 0.5) if label == 1 else (images[:, 0] < 0.5)
        assert torch.equal(found, torch.where(there, label, 0))


@pytest.mark.parametrize("widths", [(4, 8), (4, 6, 8)])
def test_masks_are_the_equation_step_by_step(widths: tuple[int, ...]) -> None:
    classifier = lived_in(PooledClassifier(SmallEncoder(widths), num_classes=4, standardise=True))
    images, tags = torch.rand(2, 3, 32, 48), torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    seen: list[tuple[Tensor, Tensor]] = []

    def refine(images: Tensor, masks: Tensor) -> Tensor:
        seen.append((images, masks))
        return masks

    masks = EvidenceMasks(classifier, scale=1, threshold=0.3, sharpness=5, refine=refine)(images, tags)
    ((small, half),) = seen
    assert small.shape == (2, 3, 16, 24)

    features = classifier.encoder(images)
    finer = features[-3:-1]
    assert len(finer) == len(widths) - 1
    enlarged = F.interpolate(plain_evidence(classifier, features[-1]), size=finer[-1].shape[-2:], mode="bilinear")
    spread = random_walk(feature_affinity(finer), enlarged)
    logits = torch.full((2, 4, *spread.shape[-2:]), -math.inf, dtype=torch.float64)
    logits[:, 0] = 0
    for b in range(2):
        for j in range(3):
            values = spread[b, j]
            if tags[b, j]:
                logits[b, j + 1] = 5 * ((values - values.min()) / (values.max() - values.min()) - 0.3)
    expected = F.interpolate(logits.nan_to_num(neginf=-1e9), size=(16, 24), mode="bilinear", antialias=True)
    torch.testing.assert_close(half.double(), expected.softmax(dim=1), rtol=1e-3, atol=1e-4)
    assert not masks[0, 2].any()
    torch.testing.assert_close(masks, F.interpolate(half, size=(32, 48), mode="bilinear"))


def test_the_encoder_sees_the_images_at_the_scale(classifier) -> None:
    sizes: list[tuple[int, ...]] = []
    classifier.encoder.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape[-2:])))
    for scale in (0.5, 1.5):
        masks = EvidenceMasks(classifier, scale=scale)(torch.rand(1, 3, 16, 24), torch.ones(1, 3))
        assert masks.shape == (1, 4, 16, 24)
    assert sizes == [(8, 12), (24, 36)]


def test_each_image_is_by_itself_and_its_masks_are_shares(classifier) -> None:
    evidence = EvidenceMasks(classifier, scale=1)
    images = torch.cat([torch.rand(2, 3, 16, 16), torch.zeros(1, 3, 16, 16)])
    tags = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    masks = evidence(images, tags)
    torch.testing.assert_close(masks.sum(dim=1), torch.ones(3, 16, 16))
    assert (masks >= 0).all()
    torch.testing.assert_close(masks[1, 0], torch.ones(16, 16))  # no class is present
    for b in range(3):
        torch.testing.assert_close(masks[b : b + 1], evidence(images[b : b + 1], tags[b : b + 1]), rtol=1e-4, atol=1e-4)


def test_a_class_without_any_evidence_is_nowhere(classifier) -> None:
    classifier.head.weight.zero_()
    masks = EvidenceMasks(classifier, refine=unrefined)(torch.rand(1, 3, 16, 16), torch.ones(1, 3))
    assert (masks.argmax(dim=1) == 0).all()


def test_nothing_trains_the_classifier_that_gives_the_seeds(classifier) -> None:
    segmenter = DecompositionSegmenter(4, SmallEncoder((4, 8)), decoder_widths=(8, 4))
    loss = DecompositionLoss(cls_loss=lambda out, images, tags: out.areas.mean(), lambda_seeds=1.0)
    evidence = EvidenceMasks(classifier.requires_grad_(True))
    module = SegmenterModule(segmenter, loss, num_classes=4, evidence=evidence)
    assert len(list(module.parameters())) == len(list(segmenter.parameters()))
    assert module.state_dict().keys() == SegmenterModule(segmenter, loss, num_classes=4).state_dict().keys()
    images, tags = torch.rand(2, 3, 16, 16), torch.ones(2, 3)
    terms = module.losses({"image": images, "tags": tags})
    seeds = evidence.seeds(images, tags)
    torch.testing.assert_close(terms["seeds"], DF.seed_loss(segmenter.mask_logits(images), seeds))
    terms["seeds"].backward()
    assert all(parameter.grad is None for parameter in classifier.parameters())


@pytest.mark.parametrize(
    ("values", "message"),
    [({"threshold": 0}, "`threshold`"), ({"sharpness": -1}, "`sharpness`"), ({"threshold": math.nan}, "`threshold`")],
)
def test_wrong_numbers_raise(classifier, values, message: str) -> None:
    for part in (evidence_layer, EvidenceMasks):
        with pytest.raises(ValueError, match=message):
            part(classifier, **values)


@pytest.mark.parametrize("values", [{"scale": 0}, {"scale": math.nan}, {"threshold": 1}])
def test_wrong_numbers_of_the_masks_raise(classifier, values) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(values))}`"):
        EvidenceMasks(classifier, **values)


def test_wrong_tags_raise(classifier) -> None:
    with pytest.raises(ValueError, match="`tags`"):
        EvidenceMasks(classifier)(torch.rand(1, 3, 16, 16), torch.ones(1, 2))


def test_a_classifier_that_does_not_standardise_raises() -> None:
    with pytest.raises(ValueError, match="standardise=True"):
        evidence_layer(PooledClassifier(SmallEncoder((4, 8)), 2))


def test_the_shortcut_is_added_to_the_unet() -> None:
    torch.manual_seed(0)
    decoder = ShortcutDecoder((4, 8), out_channels=3, widths=(8, 4)).eval()
    features = [torch.rand(1, 4, 8, 8), torch.randn(1, 8, 4, 4)]
    both = decoder(features)
    parts = torch.cat([features[-1].clamp(min=0), -features[-1].clamp(max=0)], dim=1)
    coarse = F.interpolate(decoder.shortcut(parts), size=16, mode="bilinear")
    nn.init.zeros_(decoder.shortcut.weight)
    nn.init.zeros_(decoder.shortcut.bias)
    torch.testing.assert_close(both, decoder(features) + coarse)


def test_evidence_needs_the_guides_own_encoder() -> None:
    with pytest.raises(ValueError, match=r"segmenter\.encoder to be 'guide'"):
        TINY.override({"segmenter.encoder": "resnet18"})


@pytest.mark.parametrize("setting", [{"segmenter.evidence": False}, {"segmenter.seeds": 0}])
def test_a_guide_whose_evidence_is_used_records_its_statistics(setting: dict[str, object]) -> None:
    assert isinstance(build_classifier(TINY.override(setting), 3).norm, nn.BatchNorm1d)
    neither = TINY.override({"segmenter.evidence": False, "segmenter.seeds": 0})
    assert isinstance(build_classifier(neither, 3).norm, nn.Identity)
    assert isinstance(build_classifier(neither.override({"guide.freeze_encoder": True}), 3).norm, nn.BatchNorm1d)


def test_a_classifier_without_statistics_has_no_evidence() -> None:
    with pytest.raises(ValueError, match="standardise=True"):
        EvidenceMasks(PooledClassifier(SmallEncoder((4, 8)), 3))


def test_the_mask_decoder_starts_from_the_trained_guide_and_is_trained_on(tmp_path: Path) -> None:
    scenes = SyntheticScenes(16, 2, size=32, seed=1)
    trained = train(TINY, scenes, scenes, tmp_path / "run", trainer_options=QUIET)
    evidence = evidence_layer(trained.classifier)
    segmenter = build_segmenter(TINY, 3, trained.classifier)
    start_from_guide(TINY, segmenter, trained.classifier)
    start = segmenter.mask_decoder
    assert isinstance(start, ShortcutDecoder)
    assert torch.equal(start.shortcut.weight, evidence.weight)
    after = load_file(tmp_path / "run/segmenter/finished.safetensors")["mask_decoder.shortcut.weight"]
    moved = (after - evidence.weight).abs().max()
    # Adam moves a weight by at most about its learning rate in a step, and there were 2 steps.
    assert 0 < moved < 1e-2
    assert evidence.weight.abs().max() > 10 * moved
    again = load(tmp_path / "run").segmenter
    assert torch.equal(again.mask_decoder.shortcut.weight, after)
    assert build_loss(TINY, trained.classifier).lambda_seeds == 0.3


def test_the_guide_is_trained_before_it_is_frozen(tmp_path: Path) -> None:
    scenes = SyntheticScenes(16, 2, size=32, seed=1)
    trained = train(TINY, scenes, scenes, tmp_path / "run", seed=5, trainer_options=QUIET)
    torch.manual_seed(5)
    start = PooledClassifier(SmallEncoder((4, 8)), 3, standardise=True)
    assert not torch.equal(trained.classifier.head.weight, start.head.weight)
    assert not torch.equal(next(iter(trained.classifier.encoder.parameters())), next(iter(start.encoder.parameters())))


def test_a_segmenter_from_evidence_draws_its_evidence(classifier) -> None:
    segmenter = build_segmenter(TINY, 4, classifier)
    start_from_guide(TINY, segmenter, classifier)
    assert isinstance(segmenter, DecompositionSegmenter)
    for parameter in segmenter.mask_decoder.head.parameters():  # the U-Net's part, which is random
        nn.init.zeros_(parameter)
    images = torch.rand(2, 3, 32, 32)
    expected = evidence_layer(classifier)(classifier.features(images))
    found = segmenter.eval().mask_logits(images)
    torch.testing.assert_close(found, F.interpolate(expected, size=32, mode="bilinear"), rtol=1e-4, atol=1e-4)
