"""Masks of a trained model: what decides the classes, and many images at a time against one at a time."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize

from decomprec.batching import plan_batches
from decomprec.inference import batch_masks
from decomprec.models import DecompositionSegmenter, PooledClassifier, SmallEncoder
from decomprec.models.features import rectified
from decomprec.refine import half_pamr
from decomprec.tiling import enlarged
from decomprec.trained_model import TrainedModel

SIZES = [(60, 90), (50, 50), (120, 180), (90, 60), (51, 50), (60, 90), (33, 33), (40, 400)]


class ByWidth(nn.Module):
    """Sees the class in wide images, by as much as they are wider than 40 pixels."""

    def forward(self, images: Tensor) -> Tensor:
        return images.new_full((len(images), 1), images.shape[-1] - 40.0)


class Unwanted(nn.Module):
    def forward(self, features: Sequence[Tensor]) -> Tensor:
        raise AssertionError("the image decoder was asked")


def random_model(classifier: bool = True) -> TrainedModel:
    """Three classes; batch statistics as after some training, and logits of a classifier about 0."""
    torch.manual_seed(0)
    segmenter = DecompositionSegmenter(
        3, SmallEncoder((8, 16, 16)), decoder_widths=(16, 8, 8), image_decoder=Unwanted()
    )
    decide = PooledClassifier(SmallEncoder((8, 16)), num_classes=3, standardise=True)
    for network in (segmenter.encoder, segmenter.mask_decoder, decide):
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.05, 0.2)
    model = TrainedModel(segmenter, ("cat", "dog"), 32, decide if classifier else None)
    decide.eval()
    with torch.no_grad():
        look_at(decide, random_images())
    return model


def look_at(classifier: PooledClassifier, images: list[Tensor]) -> None:
    """Let the classifier's BatchNorm see the pixels of images."""
    parts = [rectified(classifier.gather(classifier.encoder(image[None] / 255))).flatten(2)[0] for image in images]
    pixels = torch.cat(parts, dim=1)
    classifier.norm.running_mean, classifier.norm.running_var = pixels.mean(dim=1), pixels.var(dim=1)


def random_images() -> list[Tensor]:
    """Coarse colour fields with noise, dark to bright."""
    generator = torch.Generator().manual_seed(1)
    images = []
    for i, (height, width) in enumerate(SIZES):
        coarse = torch.rand(1, 3, 4, 4, generator=generator)
        field = F.interpolate(coarse, size=(height, width), mode="bilinear") * (i + 4) / (len(SIZES) + 4)
        noise = 0.2 * torch.rand(1, 3, height, width, generator=generator)
        images.append((255 * (0.8 * field + noise)).byte()[0])
    return images


def masks_of(model: TrainedModel, images: list[Tensor], tags: Tensor | None = None, size: int = 32) -> Iterator[Tensor]:
    """The masks of each image at its own resolution."""
    found = batch_masks(images, model.segmenter, model.classifier, tags, size)
    return (
        torch.cat(list(enlarged(masks, (image.shape[1], image.shape[2]))), dim=1)
        for image, masks in zip(images, found, strict=True)
    )


@torch.no_grad()
def one_at_a_time(image: Tensor, model: TrainedModel, tags: Tensor | None, size: int) -> Tensor:
    """What the masks of an image are, written out."""
    height, width = image.shape[1:]
    scale = min(size / min(height, width), 4 * size / max(height, width))
    sides = [max(1, round(scale * side / 8)) * 8 for side in (height, width)]  # 8 is the segmenter's stride
    seen = resize(image[None], sides, antialias=True).float() / 255
    if tags is None and model.classifier is not None:
        tags = (model.classifier(seen) > 0).float()
    logits = model.segmenter.mask_logits(seen)
    if tags is not None:
        logits[0, 1:][tags[0] == 0] = -torch.inf
    masks = logits.softmax(dim=1)
    masks = half_pamr(seen, masks)
    return F.interpolate(masks, size=(height, width), mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("decides", ["the classifier", "tags", "nothing"])
@pytest.mark.parametrize("size", [32, 24])
def test_a_batch_is_its_images_one_at_a_time(decides: str, size: int) -> None:
    model, images = random_model(classifier=decides == "the classifier"), random_images()
    tags = (torch.arange(2 * len(images)).view(-1, 2) % 3 > 0).float() if decides == "tags" else None
    found = list(masks_of(model, images, tags, size))
    assert len(found) == len(images)
    drawn = set()
    for i, (image, masks) in enumerate(zip(images, found, strict=True)):
        own = None if tags is None else tags[i : i + 1]
        torch.testing.assert_close(masks, one_at_a_time(image, model, own, size), atol=5e-5, rtol=0)
        torch.testing.assert_close(next(masks_of(model, [image], own, size)), masks, atol=5e-5, rtol=0)
        assert not masks.is_inference()
        drawn.add(tuple((masks.amax(dim=(1, 2)) > 0).tolist()))
    assert max(float(masks.std(dim=(1, 2)).max()) for masks in found) > 0.01
    assert len(drawn) > 1 or decides == "nothing"  # classes differ between the images


def test_images_of_one_size_go_through_the_networks_together() -> None:
    model, seen = random_model(classifier=False), []
    model.segmenter.encoder.register_forward_pre_hook(lambda _, images: seen.append(tuple(images[0].shape)))
    masks = masks_of(model, random_images())
    assert len(list(masks)) == len(SIZES)
    # In multiples of 8, the stride: 51 x 50 is seen at 32 x 32, and 40 x 400 at 16 x 128 in place of 13 x 128.
    assert seen == [(3, 3, 32, 48), (3, 3, 32, 32), (1, 3, 48, 32), (1, 3, 16, 128)]


def test_a_shared_trunk_sees_the_images_once() -> None:
    model, images = random_model(), random_images()
    classifier = model.guide
    classifier.encoder = model.segmenter.encoder
    with torch.no_grad():
        look_at(classifier, images)
    apart = TrainedModel(model.segmenter, model.class_names, 32, deepcopy(classifier))
    expected = list(masks_of(apart, images))
    seen: list[tuple[int, ...]] = []
    model.segmenter.encoder.register_forward_pre_hook(lambda _, views: seen.append(tuple(views[0].shape)))
    for masks, wanted in zip(masks_of(model, images), expected, strict=True):
        torch.testing.assert_close(masks, wanted, atol=1e-5, rtol=0)
    assert seen == [(3, 3, 32, 48), (3, 3, 32, 32), (1, 3, 48, 32), (1, 3, 16, 128)]
    assert any(masks[1:].any() for masks in expected)


def test_images_without_a_class_do_not_reach_the_mask_decoder() -> None:
    model, images = random_model(), random_images()
    tags = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 1.0], *[[0.0, 0.0]] * 4])
    decoded: list[int] = []
    model.segmenter.mask_decoder.register_forward_hook(lambda _, __, logits: decoded.append(len(logits)))
    for image, masks, known in zip(images, masks_of(model, images, tags), tags, strict=True):
        assert masks.shape == (3, *image.shape[1:])
        assert torch.equal(masks.amax(dim=(1, 2))[1:] > 0, known > 0)
        if not known.any():
            torch.testing.assert_close(masks[0], torch.ones(image.shape[1:]))
    assert decoded == [1, 1]


@pytest.mark.parametrize(
    ("enlarge", "image_size", "found"), [(1, 40, False), (1, 44, True), (2, 20, False), (2, 22, True)]
)
def test_the_classifier_sees_images_as_large_as_the_encoder_does(enlarge: int, image_size: int, found: bool) -> None:
    torch.manual_seed(0)
    segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4), enlarge=enlarge).eval()
    model = TrainedModel(segmenter, ("dog",), image_size, ByWidth())
    masks = model(torch.full((3, 72, 72), 90, dtype=torch.uint8)).masks
    assert bool(masks[1].any()) is found
    torch.testing.assert_close(masks.sum(dim=0), torch.ones(72, 72))


def test_what_a_batch_refuses_before_it_is_asked_for_masks() -> None:
    model, images = random_model(), random_images()
    with pytest.raises(ValueError, match="to be uint8"):
        masks_of(model, [*images, images[0].float()])
    with pytest.raises(ValueError, match="to be uint8 of shape"):
        masks_of(model, [*images, images[0][:1]])
    with pytest.raises(ValueError, match="of 8 images"):
        masks_of(model, images, torch.ones(1, 2))
    with pytest.raises(ValueError, match="at least 1, but got 0"):
        masks_of(model, images, size=0)
    assert list(masks_of(model, [])) == []


def test_batches_hold_every_image_once_and_like_shapes_follow_each_other() -> None:
    rng = np.random.default_rng(0)
    shapes = [(480, 640), (640, 480), (240, 320), (500, 500), (480, 720)]
    sizes = [shapes[i] for i in rng.integers(0, len(shapes), 200)]
    for batch, device in ((1, "cpu"), (7, "cpu"), (500, "cuda"), (None, "cpu"), (None, "cuda")):
        plan = plan_batches(sizes, 160, batch, device)
        order = [i for part in plan for i in part]
        assert sorted(order) == list(range(200))
        ratios = [sizes[i][0] / sizes[i][1] for i in order]
        changes = [a != b for a, b in pairwise(ratios)]
        assert sum(changes) == 3  # 480 x 640 and 240 x 320 are one shape
        for (i, j), changed in zip(pairwise(order), changes, strict=True):
            assert changed or i < j
        if batch is not None:
            assert [len(part) for part in plan[:-1]] == [batch] * (len(plan) - 1)


def test_batches_are_bounded_by_what_is_seen_and_by_what_is_held() -> None:
    small, photographs = [(224, 298)] * 100, [(3000, 4000)] * 100
    for device, least, most in (("cpu", 3, 6), ("cuda", 12, 24)):
        lengths = {len(part) for part in plan_batches(small, 224, device=device)[:-1]}
        assert len(lengths) == 1
        assert least <= lengths.pop() <= most
        assert {len(part) for part in plan_batches(small, 5000, device=device)} == {1}
    pixels = [12_000_000 * len(part) for part in plan_batches(photographs, 32, device="cuda")]
    assert max(pixels) <= 2**26
    assert min(pixels[:-1]) > 2**25
    assert plan_batches([(20_000, 20_000)], 32) == [[0]]  # larger than any bound, but there is no smaller batch
