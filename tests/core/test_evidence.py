"""The guide's evidence, and the masks and seeds that come from it."""

from __future__ import annotations

import copy
import itertools
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.tiny import QUIET, tiny
from torch import Tensor, nn

from decomprec import DecompositionLoss, DecompositionSegmenter
from decomprec.affinity import feature_affinity, random_walk
from decomprec.data import SyntheticScenes
from decomprec.evidence import EvidenceMasks, evidence_weights, floor_of, shares_features
from decomprec.models import PooledClassifier, SmallEncoder
from decomprec.models.features import rectified
from decomprec.models.pooling import POOLINGS, Pooling
from decomprec.seeds import seed_loss
from decomprec.training import SegmenterModule, train
from decomprec.training.build import build_classifier

TINY = tiny({"segmenter.seeds": 0.3})


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


def evidence_of(classifier: PooledClassifier, parts: Tensor) -> Tensor:
    """e_j (B, K-1, h, w) of rectified features (B, 2C, h, w)."""
    weights, bias = evidence_weights(classifier)
    return (torch.einsum("jc,bchw->bjhw", weights, parts) + bias[:, None, None]).relu()


def plain_evidence(classifier: PooledClassifier, features: Tensor) -> Tensor:
    """e_j (B, K-1, h, w) of features (B, C, h, w) of any sign, in loops over float64."""
    head, norm = classifier.head.weight.double(), classifier.norm
    (batch, _, height, width), classes = features.shape, len(head)
    found = torch.zeros(batch, classes, height, width, dtype=torch.float64)
    for b, j, y, x in itertools.product(range(batch), range(classes), range(height), range(width)):
        values = [float(v) for v in features[b, :, y, x]]
        score = 0.0
        for c, part in enumerate([max(v, 0) for v in values] + [max(-v, 0) for v in values]):
            deviation = math.sqrt(norm.running_var[c] + norm.eps)
            score += float(head[j, c]) * (part - float(norm.running_mean[c])) / deviation
        found[b, j, y, x] = max(score - float(classifier.floor[j]), 0)
    return found


def test_evidence_is_the_equation_in_plain_loops(classifier) -> None:
    features = torch.randn(2, 8, 3, 4)
    classifier.norm.running_mean.uniform_(0.1, 1)  # of features of both signs
    classifier.norm.running_var.uniform_(0.1, 1)
    classifier.floor.uniform_(-1, 1)
    found = evidence_of(classifier, rectified(features))
    assert found.any()
    assert not found.all()
    torch.testing.assert_close(found.double(), plain_evidence(classifier, features), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_evidence_above_a_floor_of_zero_is_the_positive_part_of_the_activation_maps(pooling: Pooling) -> None:
    torch.manual_seed(0)
    encoder = SmallEncoder((4, 8))
    classifier = PooledClassifier(encoder, num_classes=4, standardise=True, pooling=pooling, levels=(-2, -1)).eval()
    images = torch.rand(2, 3, 16, 16)
    weights, bias = evidence_weights(classifier)
    assert weights.shape == (3, 24)
    assert bias.shape == (3,)
    assert not weights.requires_grad
    evidence = evidence_of(classifier, rectified(classifier.gather(encoder(images))))
    torch.testing.assert_close(evidence, classifier.activation_maps(images).clamp(min=0), rtol=1e-4, atol=1e-4)


def test_the_floor_is_what_a_tenth_of_the_pixels_exceeds_in_images_without_the_class(classifier) -> None:
    batches = [(torch.randn(3, 8, 5, 8), torch.randint(2, (3, 3))) for _ in range(4)]
    batches[0][1][0] = 0
    found = floor_of(classifier, batches)
    for j in range(3):
        exceeded = []
        for features, tags in batches:
            for scores, tag in zip(classifier.scores(features)[:, j], tags[:, j], strict=True):
                if not tag:
                    # Of 40 pixels: 0.9 of the way from the first to the last of their order.
                    ordered = sorted(scores.flatten().tolist())
                    exceeded.append(ordered[35] + 0.1 * (ordered[36] - ordered[35]))
        assert found[j].item() == pytest.approx(sum(exceeded) / len(exceeded), rel=1e-4)


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


def plain_otsu(values: list[float], bins: int = 256) -> float:
    """The upper edge of the bin at which two groups of values lie furthest apart (Otsu, 1979)."""
    lowest, width = min(values), (max(values) - min(values)) / bins
    places = [min(int((value - lowest) / width), bins - 1) for value in values]
    apart = []
    for last in range(bins - 1):
        below = [place for place in places if place <= last]
        above = [place for place in places if place > last]
        apart.append(len(below) * len(above) * (sum(below) / len(below) - sum(above) / len(above)) ** 2)
    return lowest + (apart.index(max(apart)) + 1) * width


@pytest.mark.parametrize("widths", [(4, 8), (4, 6, 8)])
def test_masks_are_the_equation_step_by_step(widths: tuple[int, ...]) -> None:
    classifier = lived_in(PooledClassifier(SmallEncoder(widths), num_classes=4, standardise=True))
    classifier.floor.fill_(-3)  # so low that every class has evidence
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
    for b in range(2):
        logits[b, 1:] -= plain_otsu(logits[b, 1:].amax(dim=0).flatten().tolist()) / 2
    expected = F.interpolate(logits.nan_to_num(neginf=-1e9), size=(16, 24), mode="bilinear", antialias=True)
    torch.testing.assert_close(half.double(), expected.softmax(dim=1), rtol=1e-3, atol=1e-4)
    assert not masks[0, 2].any()
    torch.testing.assert_close(masks, F.interpolate(half, size=(32, 48), mode="bilinear"))


def test_logits_know_no_tags(classifier) -> None:
    logits = EvidenceMasks(classifier, threshold=0.4, sharpness=5).logits(torch.rand(2, 3, 32, 32))
    assert not logits[:, 0].any()
    lowest, highest = logits[:, 1:].amin(dim=(2, 3)), logits[:, 1:].amax(dim=(2, 3))
    torch.testing.assert_close(lowest, torch.full((2, 3), -5 * 0.4))
    torch.testing.assert_close(highest, torch.full((2, 3), 5 * 0.6))


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
    torch.testing.assert_close(terms["seeds"], seed_loss(segmenter.mask_logits(images), seeds))
    terms["seeds"].backward()
    assert all(parameter.grad is None for parameter in classifier.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_seeds_are_where_the_masks_are_sure_in_any_precision(classifier, dtype: torch.dtype) -> None:
    images, tags = torch.rand(3, 3, 16, 16, dtype=dtype), torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1]])
    evidence = EvidenceMasks(classifier.to(dtype))
    masks = evidence(images, tags)
    sure, labels = masks.max(dim=1)
    clear = (sure - 0.65).abs() > 0.02  # whatever the rounding
    expected = torch.where(sure >= 0.65, labels, 255)
    assert clear.float().mean() > 0.5
    assert torch.equal(evidence.seeds(images, tags)[clear].long(), expected[clear])


def test_the_floor_of_many_images_is_exact_in_half_precision(classifier) -> None:
    batches = [(torch.randn(100, 8, 2, 2), torch.zeros(100, 3)) for _ in range(6)]
    half = [(features.bfloat16(), tags) for features, tags in batches]
    found = floor_of(copy.deepcopy(classifier).bfloat16(), half)
    torch.testing.assert_close(found, floor_of(classifier, batches), atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"threshold": 0}, "`threshold`"), ({"sharpness": -1}, "`sharpness`"), ({"threshold": math.nan}, "`threshold`")],
)
def test_wrong_numbers_raise(classifier, values, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvidenceMasks(classifier, **values)


@pytest.mark.parametrize("values", [{"scale": 0}, {"scale": math.nan}, {"threshold": 1}])
def test_wrong_numbers_of_the_masks_raise(classifier, values) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(values))}`"):
        EvidenceMasks(classifier, **values)


def test_wrong_tags_raise(classifier) -> None:
    with pytest.raises(ValueError, match="`tags`"):
        EvidenceMasks(classifier)(torch.rand(1, 3, 16, 16), torch.ones(1, 2))


def test_a_classifier_that_does_not_standardise_raises() -> None:
    with pytest.raises(ValueError, match="standardise=True"):
        evidence_weights(PooledClassifier(SmallEncoder((4, 8)), 2))


def test_a_guide_whose_evidence_is_used_records_its_statistics() -> None:
    assert isinstance(build_classifier(TINY, 3).norm, nn.BatchNorm2d)
    without = TINY.override({"segmenter.seeds": 0})
    assert isinstance(build_classifier(without, 3).norm, nn.Identity)
    assert isinstance(build_classifier(without.override({"guide.freeze_encoder": True}), 3).norm, nn.BatchNorm2d)


def test_a_classifier_without_statistics_has_no_evidence() -> None:
    with pytest.raises(ValueError, match="standardise=True"):
        EvidenceMasks(PooledClassifier(SmallEncoder((4, 8)), 3))


def test_the_guide_is_trained_before_it_is_frozen(tmp_path: Path) -> None:
    scenes = SyntheticScenes(16, 2, size=32, seed=1)
    trained = train(TINY, scenes, scenes, tmp_path / "run", seed=5, trainer_options=QUIET)
    torch.manual_seed(5)
    start = PooledClassifier(SmallEncoder((4, 8)), 3, standardise=True)
    assert not torch.equal(trained.classifier.head.weight, start.head.weight)
    assert not torch.equal(next(iter(trained.classifier.encoder.parameters())), next(iter(start.encoder.parameters())))


def test_an_enlarged_segmenter_leaves_out_maps_that_the_guide_needs() -> None:
    encoder = SmallEncoder((4, 8))
    classifier = PooledClassifier(encoder, num_classes=3, standardise=True, levels=(-2, -1))
    segmenter = DecompositionSegmenter(3, encoder, decoder_widths=(4,), enlarge=2)
    assert len(segmenter.features(torch.rand(1, 3, 16, 24))) == 1
    assert not shares_features(segmenter, classifier)
    assert shares_features(segmenter, PooledClassifier(encoder, num_classes=3, levels=(-1,)))
