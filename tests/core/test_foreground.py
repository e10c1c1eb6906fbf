"""Which class the foreground is, where several occur: masks and evidence together."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize

from decomprec.evidence import class_evidence
from decomprec.inference import batch_masks
from decomprec.models import DecompositionSegmenter, PooledClassifier, SmallEncoder
from decomprec.refine import RefinedPredictor, divide_foreground
from decomprec.slots import mask_absent

SIZES = st.tuples(st.integers(1, 2), st.integers(2, 4), st.integers(1, 3), st.integers(1, 3))


def networks(num_classes: int = 4, standardise: bool = True) -> tuple[DecompositionSegmenter, PooledClassifier]:
    """A segmenter and its guide on one encoder, with statistics as a training would leave them."""
    torch.manual_seed(0)
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes, standardise=standardise)
    for _ in range(10):
        classifier(torch.rand(8, 3, 16, 16))
    segmenter = DecompositionSegmenter(num_classes, classifier.encoder, decoder_widths=(8, 4))
    return segmenter.eval().requires_grad_(False), classifier.eval().requires_grad_(False)


@given(SIZES, st.integers(0, 2**31))
def test_the_foreground_is_divided_by_the_product_of_both(size: tuple[int, ...], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(size, generator=generator, dtype=torch.float64)
    masks[:, 1:] *= torch.rand(masks[:, 1:].shape, generator=generator) > 0.4  # absent classes
    masks /= masks.sum(dim=1, keepdim=True)
    evidence = 6 * torch.randn(masks[:, 1:].shape, generator=generator, dtype=torch.float64)
    divided = divide_foreground(masks, evidence)
    batch, _, height, width = size
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                pixel = masks[b, :, y, x].tolist()
                weights = [m * math.exp(float(evidence[b, j, y, x])) for j, m in enumerate(pixel[1:])]
                total = sum(weights)
                expected = [(1 - pixel[0]) * w / total if total else 0.0 for w in weights]
                assert divided[b, :, y, x].tolist() == pytest.approx([pixel[0], *expected], abs=1e-12)


def test_evidence_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `evidence` \(B, K-1, H, W\).* but got \(1, 3, 2, 2\)"):
        divide_foreground(torch.rand(1, 3, 2, 2), torch.rand(1, 3, 2, 2))


def test_class_evidence_is_that_of_the_shared_features_in_one_range_for_each_class() -> None:
    segmenter, classifier = networks()
    images = torch.rand(2, 3, 16, 24)
    classifier.floor.fill_(-10)  # so low that all scores are above it
    evidence = class_evidence(segmenter, classifier)
    assert evidence is not None
    found = classifier.activation_maps(images) + 10
    found = nn.functional.interpolate(found, scale_factor=2, mode="bilinear")  # to the stride of the finer features
    lowest, highest = found.amin(dim=(2, 3), keepdim=True), found.amax(dim=(2, 3), keepdim=True)
    expected = nn.functional.interpolate((found - lowest) / (highest - lowest) - 0.5, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(evidence(images), 6 * expected, atol=1e-3, rtol=1e-3)
    assert evidence(torch.rand(1, 3, 15, 21)).shape == (1, 3, 15, 21)


def test_class_evidence_of_a_guide_with_its_own_encoder() -> None:
    segmenter, classifier = networks()
    shared = class_evidence(segmenter, classifier, segmenter.features)
    apart = class_evidence(segmenter, deepcopy(classifier), segmenter.features)
    assert shared is not None
    assert apart is not None
    images = torch.rand(1, 3, 15, 21)
    torch.testing.assert_close(apart(images), shared(images))


def test_there_is_no_class_evidence_without_a_guide_that_has_it() -> None:
    segmenter, classifier = networks()
    assert class_evidence(segmenter, networks(standardise=False)[1]) is None
    assert class_evidence(segmenter, classifier.encoder) is None
    assert class_evidence(segmenter, None) is None


def first_or_second(images: Tensor) -> Tensor:
    """Evidence for the second class on the right half of images, and for the first on the left."""
    right = torch.zeros(len(images), 2, *images.shape[2:])
    right[:, 0, :, : images.shape[3] // 2] = 9.0
    right[:, 1, :, images.shape[3] // 2 :] = 9.0
    return right


def first_class(images: Tensor) -> Tensor:
    """Mask logits that take every pixel for the first class."""
    return torch.tensor([0.0, 3.0, 2.0]).view(1, 3, 1, 1).expand(len(images), 3, *images.shape[2:])


def test_evidence_tells_classes_apart_only_where_there_are_several() -> None:
    images = torch.rand(3, 3, 2, 4)
    tags = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    plain, divided = RefinedPredictor(first_class), RefinedPredictor(first_class, evidence=first_or_second)
    labels = divided(images, tags)
    assert labels[0].tolist() == [[1, 1, 2, 2]] * 2
    assert torch.equal(labels[1:], plain(images, tags)[1:])
    assert torch.equal(divided.masks(images, tags)[1:], plain.masks(images, tags)[1:])


def test_evidence_is_not_asked_about_single_classes() -> None:
    def unwanted(images: Tensor) -> Tensor:
        raise AssertionError("the evidence was asked")

    predict = RefinedPredictor(first_class, evidence=unwanted)
    assert predict(torch.rand(2, 3, 2, 4), torch.tensor([[1.0, 0.0], [0.0, 0.0]])).shape == (2, 2, 4)
    with pytest.raises(AssertionError, match="asked"):
        predict(torch.rand(1, 3, 2, 4), torch.ones(1, 2))


def test_with_and_without_tags_are_both_as_alone() -> None:
    def decide(images: Tensor) -> Tensor:
        return torch.tensor([[1.0, -1.0], [1.0, 1.0]])[: len(images)]

    predict = RefinedPredictor(first_class, None, decide, first_or_second)
    images, tags = torch.rand(2, 3, 2, 4), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    given, decided = predict.with_and_without_tags(images, tags)
    assert torch.equal(given, predict(images, tags))
    assert torch.equal(decided, predict(images))
    assert not torch.equal(given, decided)


@pytest.mark.parametrize("size", [32, 30])
def test_a_trained_model_draws_with_the_evidence_of_its_guide(size: int) -> None:
    segmenter, classifier = networks(num_classes=3)
    image = (255 * torch.rand(3, size, size)).byte()
    tags = torch.tensor([[1.0, 1.0]])
    (drawn,) = batch_masks([image], segmenter, classifier, tags, size, refine=None)
    pixels = resize(image[None], [32, 32], antialias=True) / 255  # in multiples of the stride
    evidence = class_evidence(segmenter, classifier)
    assert evidence is not None
    masks = mask_absent(segmenter.mask_logits(pixels), tags).softmax(dim=1)
    torch.testing.assert_close(drawn, divide_foreground(masks, evidence(pixels))[0], atol=1e-5, rtol=1e-4)
    (alone,) = batch_masks([image], segmenter, None, tags, size, refine=None)
    assert not torch.allclose(drawn, alone, atol=1e-3)
