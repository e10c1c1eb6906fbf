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

from decomprec import Decomposition, DecompositionSegmenter, PseudoLabelLoss
from decomprec.data import SyntheticScenes
from decomprec.evidence import EvidenceMasks, evidence_layer
from decomprec.models import PooledClassifier, ShortcutDecoder, SmallEncoder
from decomprec.trained_model import load
from decomprec.training import train
from decomprec.training.build import build_classifier, build_loss, build_segmenter, start_from_guide

TINY = tiny({"segmenter.evidence": True, "segmenter.seeds": 0.3})


@pytest.fixture
def classifier() -> PooledClassifier:
    """With features of every size, and statistics as a training would leave them."""
    torch.manual_seed(0)
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=4, standardise=True)
    for _ in range(20):
        classifier(torch.rand(8, 3, 16, 16))
    return classifier.eval().requires_grad_(False)


def unrefined(images: Tensor, masks: Tensor) -> Tensor:
    return masks


def test_evidence_is_the_equation_in_plain_loops(classifier) -> None:
    features = classifier.encoder(torch.rand(2, 3, 16, 16))[-1].double()
    weight, norm = classifier.head.weight.double(), classifier.norm
    logits = evidence_layer(classifier, threshold=1.3, sharpness=3)(features.float())
    assert not logits[:, 0].any()
    for j in range(3):
        positive = [max(weight[j, c].item(), 0) / math.sqrt(norm.running_var[c].item() + norm.eps) for c in range(8)]
        expected = sum(p * norm.running_mean[c].item() for c, p in enumerate(positive))
        for b in range(2):
            for y in range(features.shape[2]):
                for x in range(features.shape[3]):
                    evidence = sum(p * features[b, c, y, x].item() for c, p in enumerate(positive)) / expected
                    assert logits[b, j + 1, y, x].item() == pytest.approx(3 * (evidence - 1.3), rel=1e-4, abs=1e-4)


def test_the_mean_evidence_over_the_recorded_images_is_one(classifier) -> None:
    features = classifier.encoder(torch.rand(8, 3, 16, 16))[-1]
    classifier.norm.running_mean.copy_(features.mean(dim=(0, 2, 3)))
    logits = evidence_layer(classifier, threshold=0.5, sharpness=2)(features)
    torch.testing.assert_close(logits[:, 1:].mean(dim=(0, 2, 3)), torch.ones(3), rtol=1e-4, atol=1e-4)  # 2 (1 - 0.5)


def test_evidence_is_layercam_up_to_its_scale(classifier) -> None:
    images = torch.rand(2, 3, 16, 16)
    evidence = evidence_layer(classifier, threshold=1, sharpness=1)(classifier.encoder(images)[-1])[:, 1:] + 1
    layercam = gradcam_maps(classifier, "layer-cam")(images)
    largest = evidence.amax(dim=(0, 2, 3), keepdim=True)
    assert (largest > 0).all()
    # One factor for a class, the same in all images; LayerCAM itself divides by each image's maximum later.
    scale = layercam.amax(dim=(0, 2, 3), keepdim=True) / largest
    torch.testing.assert_close(layercam, evidence * scale, rtol=1e-3, atol=1e-5)


def test_masks_are_the_softmax_over_the_present_classes_at_half_the_size(classifier) -> None:
    images, tags = torch.rand(1, 3, 32, 32), torch.tensor([[1.0, 0.0, 1.0]])
    seen: list[tuple[Tensor, Tensor]] = []

    def refine(images: Tensor, masks: Tensor) -> Tensor:
        seen.append((images, masks))
        return masks

    masks = EvidenceMasks(classifier, scales=(1.0,), sharpness=4, refine=refine)(images, tags)
    ((small, half),) = seen
    assert small.shape == (1, 3, 16, 16)
    logits = F.interpolate(
        evidence_layer(classifier, sharpness=4)(classifier.encoder(images)[-1]), size=16, mode="bilinear"
    )
    torch.testing.assert_close(half[:, [0, 1, 3]], logits[:, [0, 1, 3]].softmax(dim=1))
    assert not masks[:, 2].any()
    torch.testing.assert_close(masks, F.interpolate(half, size=32, mode="bilinear"))


def test_scales_are_averaged(classifier) -> None:
    # Of an image of one colour every scale gives the same features but at the border, so their mean is each of them.
    layer = EvidenceMasks(classifier, scales=(1.0, 2.0), refine=unrefined)
    one, two = (EvidenceMasks(classifier, scales=(scale,), refine=unrefined) for scale in (1.0, 2.0))
    images, tags = torch.rand(1, 3, 32, 32), torch.ones(1, 3)
    odds = [(m[:, 1:] / m[:, :1]).log() for m in (half_size(t, images, tags) for t in (layer, one, two))]
    torch.testing.assert_close(odds[0], (odds[1] + odds[2]) / 2, rtol=1e-3, atol=1e-3)


def half_size(teacher: EvidenceMasks, images: Tensor, tags: Tensor) -> Tensor:
    """The masks before they are enlarged."""
    seen: list[Tensor] = []
    teacher.refine = lambda images, masks: (seen.append(masks), masks)[1]
    teacher(images, tags)
    return seen[0]


def test_the_teacher_is_no_part_of_what_is_trained(classifier) -> None:
    classifier.requires_grad_(True)
    loss = PseudoLabelLoss(EvidenceMasks(classifier))
    assert not list(loss.parameters())
    logits = torch.randn(1, 4, 16, 16, requires_grad=True)
    loss(Decomposition(logits, torch.rand(1, 4, 3, 16, 16)), torch.rand(1, 3, 16, 16), torch.ones(1, 3)).backward()
    assert logits.grad is not None
    assert all(parameter.grad is None for parameter in classifier.parameters())


@pytest.mark.parametrize(
    ("values", "message"),
    [({"threshold": 0}, "`threshold`"), ({"sharpness": -1}, "`sharpness`"), ({"threshold": math.nan}, "`threshold`")],
)
def test_wrong_numbers_raise(classifier, values, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evidence_layer(classifier, **values)


def test_wrong_scales_and_tags_raise(classifier) -> None:
    with pytest.raises(ValueError, match="`scales`"):
        EvidenceMasks(classifier, scales=())
    with pytest.raises(ValueError, match="`tags`"):
        EvidenceMasks(classifier)(torch.rand(1, 3, 16, 16), torch.ones(1, 2))


def test_a_classifier_that_does_not_standardise_raises() -> None:
    with pytest.raises(ValueError, match="standardise=True"):
        evidence_layer(PooledClassifier(SmallEncoder((4, 8)), 2))


def test_the_shortcut_is_added_to_the_unet() -> None:
    torch.manual_seed(0)
    decoder = ShortcutDecoder((4, 8), out_channels=3, widths=(8, 4)).eval()
    features = [torch.rand(1, 4, 8, 8), torch.rand(1, 8, 4, 4)]
    both = decoder(features)
    coarse = F.interpolate(decoder.shortcut(features[-1]), size=16, mode="bilinear")
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
    expected = evidence_layer(classifier)(classifier.encoder(images)[-1])
    found = segmenter.eval().mask_logits(images)
    torch.testing.assert_close(found, F.interpolate(expected, size=32, mode="bilinear"), rtol=1e-4, atol=1e-4)
