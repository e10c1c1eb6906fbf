from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from decomprec import DecompositionSegmenter
from decomprec.models import PooledClassifier, SmallEncoder
from decomprec.refine import (
    RefinedPredictor,
    at_scale,
    guided_filter,
    once,
    pamr,
    remembering,
    rescale,
)
from decomprec.refine import resize as our_resize


def plain_guided_filter(guide: torch.Tensor, mask: torch.Tensor, radius: int, eps: float) -> torch.Tensor:
    """He et al. 2010, equations 11, 14 and 15 for a grey guide, pixel by pixel, away from the border."""
    height, width = guide.shape
    a, b = torch.zeros_like(guide), torch.zeros_like(guide)
    for y in range(radius, height - radius):
        for x in range(radius, width - radius):
            window = (slice(y - radius, y + radius + 1), slice(x - radius, x + radius + 1))
            g, m = guide[window], mask[window]
            covariance = (g * m).mean() - g.mean() * m.mean()
            variance = (g * g).mean() - g.mean() ** 2
            a[y, x] = covariance / (variance + eps)
            b[y, x] = m.mean() - a[y, x] * g.mean()
    result = torch.full_like(guide, torch.nan)
    for y in range(2 * radius, height - 2 * radius):
        for x in range(2 * radius, width - 2 * radius):
            window = (slice(y - radius, y + radius + 1), slice(x - radius, x + radius + 1))
            result[y, x] = a[window].mean() * guide[y, x] + b[window].mean()
    return result


def test_guided_filter_is_that_of_plain_loops() -> None:
    """On an image whose red alone varies, the colour form of the filter is the grey one on red."""
    torch.manual_seed(0)
    red = torch.rand(20, 20, dtype=torch.float64)
    images = torch.stack([red, torch.full_like(red, 0.5), torch.full_like(red, 0.5)])[None]
    mask = torch.rand(20, 20, dtype=torch.float64) * 0.2 + 0.4
    found = guided_filter(images, torch.stack([1 - mask, mask])[None], radius=2, eps=1e-2)[0, 1]
    expected = plain_guided_filter(red, mask, radius=2, eps=1e-2)
    inner = slice(4, -4)
    torch.testing.assert_close(found[inner, inner], expected[inner, inner], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(3, 12), (12, 4), (1, 9), (1, 1)])
def test_guided_filter_of_a_strip_is_that_of_a_narrower_window(height: int, width: int) -> None:
    radius, eps = 4, 1e-2
    rows, columns = min(radius, height - 1), min(radius, width - 1)

    def mean(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, ((rows, rows), (columns, columns)), mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * rows + 1, 2 * columns + 1))
        return windows.mean(axis=(2, 3))

    generator = np.random.default_rng(0)
    red, mask = generator.random((height, width)), 0.2 * generator.random((height, width)) + 0.4
    slope = (mean(red * mask) - mean(red) * mean(mask)) / (mean(red * red) - mean(red) ** 2 + eps)
    expected = mean(slope) * red + mean(mean(mask) - slope * mean(red))
    grey = np.full_like(red, 0.5)
    images, masks = torch.tensor(np.stack([red, grey, grey])[None]), torch.tensor(np.stack([1 - mask, mask])[None])
    found = guided_filter(images, masks, radius, eps)[0, 1]
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-5)


@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 10_000))
def test_refined_masks_are_masks(slots: int, radius: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(1, 3, 16, 16, generator=generator)
    masks = (5 * torch.randn(1, slots, 16, 16, generator=generator)).softmax(dim=1)
    refined = guided_filter(images, masks, radius)
    assert refined.min() >= 0
    torch.testing.assert_close(refined.sum(dim=1), torch.ones(1, 16, 16), rtol=0, atol=1e-3)


@pytest.mark.parametrize("refine", [guided_filter, pamr])
def test_a_ragged_mask_follows_the_edge_of_its_image(refine: Callable) -> None:
    images = torch.full((1, 3, 32, 32), 0.2)
    images[..., 16:] = 0.8
    torch.manual_seed(0)
    truth = (images[:, 0] > 0.5).float()
    ragged = (0.3 + 0.4 * truth + 0.3 * torch.randn(1, 32, 32)).clamp(0, 1)
    refined = refine(images, torch.stack([1 - ragged, ragged], dim=1)).argmax(dim=1)
    wrong_before = ((ragged > 0.5) != truth.bool()).float().mean()
    assert wrong_before > 0.1
    assert (refined != truth).float().mean() < 0.01


def plain_pamr(image: torch.Tensor, maps: torch.Tensor, iterations: int, dilations: tuple[int, ...]) -> torch.Tensor:
    """The docstring's equation for one image (3, H, W) and maps (C, H, W), pixel by pixel."""
    height, width = image.shape[1:]
    for _ in range(iterations):
        mixed = torch.empty_like(maps)
        for y in range(height):
            for x in range(width):
                places = [
                    (min(max(y + d * down, 0), height - 1), min(max(x + d * right, 0), width - 1))
                    for d in dilations
                    for down in (-1, 0, 1)
                    for right in (-1, 0, 1)
                    if (down, right) != (0, 0)
                ]
                around = torch.stack([image[:, v, u] for v, u in places])
                sigma = torch.cat([around, image[None, :, y, x]]).std(dim=0, correction=0)
                scores = -((around - image[:, y, x]).abs() / (0.1 * sigma)).mean(dim=1)
                alpha = scores.exp() / scores.exp().sum()
                mixed[:, y, x] = sum(a * maps[:, v, u] for a, (v, u) in zip(alpha, places, strict=True))
        maps = mixed
    return maps


def test_pamr_is_that_of_plain_loops() -> None:
    torch.manual_seed(0)
    images, maps = torch.rand(2, 3, 7, 6, dtype=torch.float64), 5 * torch.rand(2, 2, 7, 6, dtype=torch.float64)
    found = pamr(images, maps, iterations=2, dilations=(1, 3))
    for image, before, after in zip(images, maps, found, strict=True):
        torch.testing.assert_close(after, plain_pamr(image, before, iterations=2, dilations=(1, 3)))


@given(st.integers(1, 3), st.sampled_from([(1,), (1, 2), (3, 20)]), st.integers(0, 10_000))
def test_pamr_mixes_every_map_by_itself(iterations: int, dilations: tuple[int, ...], seed: int) -> None:
    """Constant maps come back, nothing leaves its range, sums are kept, and the whole is linear in the maps."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, 12, 9, generator=generator, dtype=torch.float64)
    masks, others = (3 * torch.randn(2, 2, 3, 12, 9, generator=generator, dtype=torch.float64)).softmax(dim=2)
    refine = partial(pamr, images, iterations=iterations, dilations=dilations)

    refined = refine(masks)
    torch.testing.assert_close(refined.sum(dim=1), torch.ones(2, 12, 9, dtype=torch.float64))
    assert refined.min() >= masks.min() - 1e-12
    assert refined.max() <= masks.max() + 1e-12
    torch.testing.assert_close(refine(torch.full_like(masks, 0.3)), torch.full_like(masks, 0.3))
    torch.testing.assert_close(refine(2 * masks + 0.5 * others), 2 * refined + 0.5 * refine(others))


@given(st.floats(0.05, 1), st.integers(0, 10_000))
def test_pamr_does_not_depend_on_contrast(contrast: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(1, 3, 10, 10, generator=generator, dtype=torch.float64)
    masks = torch.rand(1, 1, 10, 10, generator=generator, dtype=torch.float64)
    dull = contrast * images + (1 - contrast) / 2
    torch.testing.assert_close(pamr(dull, masks), pamr(images, masks))


def test_pamr_in_a_flat_image_is_a_plain_mean() -> None:
    maps = torch.zeros(1, 1, 5, 5)
    maps[..., 2, 2] = 8
    expected = torch.zeros(5, 5)
    expected[1:4, 1:4] = 1
    expected[2, 2] = 0
    torch.testing.assert_close(pamr(torch.full((1, 3, 5, 5), 0.7), maps, 1, (1,))[0, 0], expected)


def test_pamr_of_half_precision_maps() -> None:
    torch.manual_seed(0)
    images, maps = torch.rand(1, 3, 12, 12), torch.rand(1, 2, 12, 12).softmax(dim=1)
    refined = pamr(images.bfloat16(), maps.bfloat16())
    assert refined.dtype == torch.bfloat16
    expected = pamr(images.bfloat16().float(), maps.bfloat16().float())
    torch.testing.assert_close(refined, expected.bfloat16(), rtol=0, atol=0)


def by_place(images: torch.Tensor) -> torch.Tensor:
    """Logits by the colour of each pixel and by its column."""
    ramp = torch.linspace(-2, 2, images.shape[-1], dtype=images.dtype)
    by_colour = torch.cat([torch.zeros_like(images[:, :1]), 10 * images[:, :2] - 5], dim=1)
    return by_colour + torch.stack([ramp, -ramp, 0 * ramp])[:, None]


def last_wins(images: torch.Tensor) -> torch.Tensor:
    """Logits of four classes, of which the last wins everywhere."""
    return torch.arange(4.0)[:, None, None].expand(len(images), 4, *images.shape[-2:])


@pytest.mark.parametrize("refine", [None, guided_filter, partial(pamr, iterations=2, dilations=(1, 2))])
def test_absent_classes_cannot_win(refine: Callable | None) -> None:
    images = torch.rand(2, 3, 24, 24)
    predict = RefinedPredictor(at_scale(last_wins, 0.5), refine)
    assert predict(images).eq(3).all()
    labels = predict(images, torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    assert labels.dtype == torch.int64
    assert labels[0].eq(2).all()
    assert labels[1].eq(0).all()


def test_without_refinement_it_is_the_segmenter() -> None:
    model = DecompositionSegmenter(num_classes=4).eval()
    images, tags = torch.rand(1, 3, 24, 24), torch.tensor([[1.0, 1.0, 0.0]])
    assert RefinedPredictor(model.mask_logits)(images).equal(model.predict(images))
    assert RefinedPredictor(model.mask_logits)(images, tags).equal(model.predict(images, tags))


def test_classifier_decides_where_tags_are_not_given() -> None:
    images = torch.rand(2, 3, 8, 8)
    opinion = torch.tensor([[-1.0, 0.1, -1.0], [-3.0, 0.0, -0.1]])
    predict = RefinedPredictor(last_wins, guided_filter, classifier=lambda images: opinion)
    labels = predict(images)
    assert labels[0].eq(2).all()
    assert labels[1].eq(0).all()  # all is rejected: background alone
    assert predict(images, torch.ones(2, 3)).eq(3).all()  # what is known is not asked


@pytest.mark.parametrize("refine", [None, guided_filter, partial(pamr, iterations=2, dilations=(1, 2))])
@pytest.mark.parametrize("decides", [True, False])
def test_masks_with_and_without_tags_are_those_of_two_calls(refine: Callable | None, decides: bool) -> None:
    torch.manual_seed(0)
    images = torch.rand(6, 3, 24, 24)
    opinion = torch.tensor([[1.0, -1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    tags = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    decide = (lambda images: opinion[: len(images)]) if decides else None
    predict = RefinedPredictor(by_place, refine, decide, background_bias=0.3)
    found = predict.with_and_without_tags(images, tags)
    # Image by image: none is another's neighbour in a batch.
    for i, (image, known, decided) in enumerate(zip(images.split(1), tags.split(1), opinion.split(1), strict=True)):
        logits = by_place(image)
        logits[:, 0] += 0.3
        for labels, present in zip(found, (known, (decided > 0).float() if decides else torch.ones(1, 2)), strict=True):
            masks = logits.clone()
            masks[0, 1:][present[0] == 0] = -torch.inf
            masks = masks.softmax(dim=1)
            masks = masks if refine is None else refine(image, masks)
            masks[0, 1:][present[0] == 0] = 0
            assert torch.equal(labels[i], masks.argmax(dim=1)[0])
    assert torch.equal(found[0], predict(images, tags))
    assert torch.equal(found[1], predict(images))


def test_an_image_without_a_class_is_not_refined() -> None:
    seen: list[int] = []

    def refine(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return masks

    masks = RefinedPredictor(last_wins, refine).masks(torch.rand(3, 3, 8, 8), torch.eye(3)[[0, 1, 1]] * torch.eye(3)[1])
    assert seen == [2]
    assert masks[0, 0].eq(1).all()
    assert masks[0, 1:].eq(0).all()
    assert masks[1:, 1:].sum(dim=1).ne(0).all()


def test_a_function_asked_once_is_asked_again_for_other_images() -> None:
    asked: list[torch.Tensor] = []
    remembered = once(lambda images: asked.append(images) or 2 * images)
    first, second = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    for images in (first, first, second, second, first.clone(), first):
        torch.testing.assert_close(remembered(images), 2 * images)
    assert len(asked) == 4


def test_a_network_remembers_within_the_block_only() -> None:
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3).eval()
    images = torch.rand(1, 3, 16, 16)
    asked: list[int] = []
    classifier.encoder.stages[0].register_forward_hook(lambda *_: asked.append(1))
    with torch.inference_mode():
        expected = classifier(images), classifier.activation_maps(images)
        with remembering(classifier.encoder):
            found = classifier(images), classifier.activation_maps(images)
            with pytest.raises(RuntimeError):
                classifier(torch.rand(1, 4, 16, 16))
        classifier(images)
    assert len(asked) == 4
    torch.testing.assert_close(found, expected)
    assert "forward" not in vars(classifier.encoder)


def test_refinement_cannot_revive_an_absent_class() -> None:
    seen = []

    def revive(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        seen.append(masks)
        return masks + torch.tensor([0, 0, 0, 10.0])[:, None, None]

    predict = RefinedPredictor(last_wins, revive)
    tags = torch.tensor([[1.0, 0.0, 0.0]])
    assert predict(torch.rand(1, 3, 8, 8), tags).eq(1).all()
    assert seen[0][:, 2:].eq(0).all()
    torch.testing.assert_close(seen[0].sum(dim=1), torch.ones(1, 8, 8))


@pytest.mark.parametrize(
    ("refine", "change", "message"),
    [
        (guided_filter, {"masks": torch.rand(1, 2, 8, 9)}, "`masks` to have shape"),
        (guided_filter, {"images": 2 * torch.ones(1, 3, 8, 8)}, r"`images` to lie in \[0, 1\]"),
        (guided_filter, {"radius": 0}, "`radius` of at least 1"),
        (guided_filter, {"eps": 0.0}, "`eps` above 0"),
        (pamr, {"maps": torch.rand(2, 2, 8, 8)}, "`maps` to have shape"),
        (pamr, {"maps": torch.ones(1, 2, 8, 8, dtype=torch.int64)}, "`maps` to be floating point"),
        (pamr, {"images": -torch.ones(1, 3, 8, 8)}, r"`images` to lie in \[0, 1\]"),
        (pamr, {"iterations": 0}, "`iterations` of at least 1"),
        (pamr, {"dilations": ()}, "`dilations` to be distances"),
        (pamr, {"dilations": (1, 0)}, "`dilations` to be distances"),
    ],
)
def test_wrong_input_raises(refine: Callable, change: dict, message: str) -> None:
    masks = torch.rand(1, 2, 8, 8).softmax(dim=1)
    arguments = {"images": torch.rand(1, 3, 8, 8), "masks" if refine is guided_filter else "maps": masks, **change}
    with pytest.raises(ValueError, match=message):
        refine(**arguments)


def test_resize_weighs_pixels_by_their_distance() -> None:
    """Halving is a mean with weights that fall linearly to 0 at two pixels from the centre, cut off at the borders."""
    images = torch.rand(2, 3, 1, 8)
    found = our_resize(images, (1, 4))
    for i in range(4):
        weights = [max(0.0, 1 - abs(j + 0.5 - (2 * i + 1)) / 2) for j in range(8)]
        expected = sum(w * images[..., j] for j, w in enumerate(weights)) / sum(weights)
        torch.testing.assert_close(found[..., i], expected)
    assert our_resize(images, images.shape[-2:]) is images
    assert rescale(images, 0.01).shape == (2, 3, 1, 1)


def test_tags_that_do_not_fit_raise() -> None:
    images = torch.rand(1, 3, 8, 8)
    with pytest.raises(ValueError, match="Expected `tags` to have shape"):
        RefinedPredictor(last_wins)(images, torch.ones(1, 4))
    with pytest.raises(ValueError, match=r"Expected `classifier\(images\) > 0` to have shape"):
        RefinedPredictor(last_wins, classifier=lambda images: torch.ones(1, 4))(images)


def test_a_network_sees_rescaled_images_and_its_logits_come_back_to_their_size() -> None:
    images = torch.rand(2, 3, 20, 30)

    def logits(seen: torch.Tensor) -> torch.Tensor:
        return 3 * seen[:, :2] - 1

    seen = F.interpolate(images, size=(10, 15), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    expected = F.interpolate(logits(seen), size=(20, 30), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(at_scale(logits, 0.5)(images), expected)
    assert torch.equal(at_scale(logits, 1.0)(images), logits(images))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_resized_too(dtype: torch.dtype) -> None:
    """CPUs have no antialiasing in bfloat16 of their own."""
    images = torch.rand(2, 3, 16, 20).to(dtype)
    resized = our_resize(images, (8, 9))
    assert resized.dtype == dtype
    torch.testing.assert_close(resized.float(), our_resize(images.float(), (8, 9)), atol=4e-3, rtol=0)
