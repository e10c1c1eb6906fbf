"""Large images: tiles against the whole, strips against the whole, and what is held at a time."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decomprec import inference
from decomprec.batching import resized
from decomprec.models import DecompositionSegmenter, PooledClassifier, SmallEncoder
from decomprec.refine import half_pamr
from decomprec.tiling import blend, cut, enlarged, fade
from decomprec.trained_model import TrainedModel


@pytest.mark.parametrize(("length", "side", "overlap"), [(1, 8, 4), (8, 8, 4), (9, 8, 4), (100, 16, 4), (97, 16, 8)])
def test_parts_cover_a_length_and_their_weights_sum_to_one(length: int, side: int, overlap: int) -> None:
    parts = cut(length, side, overlap)
    total = torch.zeros(length)
    for index, part in enumerate(parts):
        assert part.start % (side - overlap) == 0
        assert part.stop - part.start <= side
        total[part] += fade(parts, index, overlap)
    torch.testing.assert_close(total, torch.ones(length))
    assert len(parts) == 1 or parts[-1].stop - parts[-1].start > overlap


def test_what_depends_on_near_pixels_alone_is_that_of_the_whole() -> None:
    """A blur reaches 3 pixels, the outer quarter of the overlap has 4."""
    image = torch.rand(3, 70, 90, generator=torch.Generator().manual_seed(0))

    def blur(tile: Tensor) -> Tensor:
        padded = F.pad(tile[None], (3, 3, 3, 3), mode="replicate")
        return F.avg_pool2d(padded, 7, stride=1)[0]

    torch.testing.assert_close(blend(blur, image, side=32, overlap=16).float(), blur(image), atol=1e-3, rtol=0)


def test_tiles_that_disagree_are_blended_without_a_step() -> None:
    """Each tile says another number: from pixel to pixel the result changes by little."""
    values = iter([0.0, 1.0, 0.0, 1.0])
    found = blend(lambda tile: torch.full((1, *tile.shape[1:]), next(values)), torch.zeros(3, 4, 100), 40, 20)
    assert (found[0, :, 1:] - found[0, :, :-1]).abs().max() <= 1.01 / 10
    assert (found.min(), found.max()) == (0, 1)


@pytest.mark.parametrize("size", [(33, 47), (900, 1300), (20, 2000), (2000, 1), (7, 9)])
def test_strips_are_the_enlarged_masks(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decomprec.tiling._STRIP", 1 << 16)
    masks = torch.rand(3, 33, 47, generator=torch.Generator().manual_seed(0))
    strips = list(enlarged(masks, size))
    whole = F.interpolate(masks[None], size=size, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(torch.cat(strips, dim=1), whole, atol=1e-5, rtol=0)
    assert max(strip.numel() for strip in strips) <= max(1 << 16, 3 * size[1])


@pytest.mark.parametrize("shape", [(22, 31), (120, 90), (300, 400), (230, 300)])
def test_a_large_image_is_resized_as_a_small_one(
    shape: tuple[int, int], image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = resized(image, shape)
    monkeypatch.setattr("decomprec.batching._RESIZED_AT_ONCE", 1 << 14)
    in_parts = resized(image, shape)
    assert in_parts.dtype == torch.uint8
    assert in_parts.shape == (3, *shape)
    difference = (in_parts.int() - at_once.int()).abs()
    assert difference.max() <= 1  # rounding, of which torchvision does two
    assert difference.float().mean() < 0.3


class Brightness(nn.Module):
    """Sees the second class in images that are bright as a whole."""

    def forward(self, images: Tensor) -> Tensor:
        bright = images.mean(dim=(1, 2, 3)) > 0.5
        return torch.stack([torch.ones_like(bright), bright], dim=1).float() - 0.5


def decided_model(classifier: Any = None) -> TrainedModel:
    torch.manual_seed(0)
    segmenter = DecompositionSegmenter(3, SmallEncoder((8, 16)), decoder_widths=(16, 8)).eval()
    for module in segmenter.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after some training
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.02, 0.1)
    return TrainedModel(segmenter, ["cat", "dog"], 200, classifier)


@torch.no_grad()
def reach(segmenter: DecompositionSegmenter) -> int:
    """How many pixels away the masks can depend on a pixel."""
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(2))
    images[1] = images[0]
    images[1, :, 48, 48] = 1 - images[0, :, 48, 48]
    first, second = segmenter.mask_logits(images)
    rows, columns = (first != second).any(dim=0).nonzero().T
    return int(torch.maximum((rows - 48).abs(), (columns - 48).abs()).max())


@pytest.fixture
def image() -> Tensor:
    """Coarse colour fields with noise, 230 x 300; the left half is darker than the right."""
    generator = torch.Generator().manual_seed(1)
    field = F.interpolate(torch.rand(1, 3, 6, 8, generator=generator), size=(230, 300), mode="bilinear")[0]
    field = 0.5 * field + 0.15 * torch.rand(3, 230, 300, generator=generator)
    field[..., 150:] += 0.3
    return (255 * field).byte()


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes all images large ones: tiles of 192 pixels that overlap by 96."""

    def apply() -> None:
        monkeypatch.setattr(inference, "TILE", 192)
        monkeypatch.setattr(inference, "OVERLAP", 96)
        monkeypatch.setattr(inference, "WHOLE_PIXELS", 192 * 192)

    return apply


@pytest.mark.parametrize(("refine", "close", "same"), [(None, 2e-3, 0.999), (half_pamr, 0.05, 0.999)])
def test_an_image_in_tiles_has_the_masks_of_the_whole(
    refine: Any, close: float, same: float, image: Tensor, small_tiles: Callable[[], None]
) -> None:
    """The network sees less far than the 24 pixels that count for nothing; PAMR reaches up to 240."""
    model, seen = decided_model(), []
    assert reach(model.segmenter) < 24
    whole = model(image, ["cat", "dog"], refine=refine)
    small_tiles()
    model.segmenter.encoder.register_forward_pre_hook(lambda _, images: seen.append(tuple(images[0].shape)))
    tiled = model(image, ["cat", "dog"], refine=refine)
    assert len(seen) == 2 * 2
    assert all(height <= 192 and width <= 192 for _, _, height, width in seen)
    assert tiled.seen_masks.dtype == torch.float16
    assert len(whole.label_map.unique()) > 1
    assert (tiled.masks - whole.masks).abs().max() < close
    assert (tiled.masks - whole.masks).abs().mean() < 2e-3
    assert (tiled.label_map == whole.label_map).float().mean() >= same
    torch.testing.assert_close(tiled.masks.sum(dim=0), torch.ones(230, 300), atol=2e-3, rtol=0)


def test_components_go_by_tiles_too(image: Tensor, small_tiles: Callable[[], None]) -> None:
    """They still rebuild the image: their sum is the reconstruction, as far as half precision goes."""
    model, seen = decided_model(), []
    whole = model.components(image)
    small_tiles()
    model.segmenter.encoder.register_forward_pre_hook(lambda _, images: seen.append(tuple(images[0].shape)))
    tiled = model.components(image)
    assert len(seen) == 2 * 2
    assert tiled.shape == whole.shape
    assert (tiled - whole).abs().max() < 3e-3
    assert (tiled.sum(dim=0) - whole.sum(dim=0)).abs().max() < 5e-3


def test_the_whole_image_decides_the_classes_of_all_tiles(image: Tensor, small_tiles: Callable[[], None]) -> None:
    """The image as a whole is dark; most tiles of its right half are bright."""
    model = decided_model(Brightness())
    small_tiles()
    assert image[..., 172:].float().mean() > 127.5 > image.float().mean()
    dark, bright = model([image, 255 - image // 2])
    assert dark.masks[1].any()
    assert not dark.masks[2].any()
    assert bright.masks[2].any()


def test_a_large_image_without_a_class_is_background(image: Tensor, small_tiles: Callable[[], None]) -> None:
    model = decided_model(PooledClassifier(SmallEncoder((4,)), 3))
    nn.init.constant_(model.guide.head.bias, -1e3)
    small_tiles()
    result = model(image)
    assert result.found == ()
    torch.testing.assert_close(result.masks[0], torch.ones(230, 300), atol=1e-3, rtol=0)
