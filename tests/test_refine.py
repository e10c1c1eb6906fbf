import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decomprec import DecompositionSegmenter
from decomprec.refine import GuidedPredictor, guided_filter


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
    """On a picture whose red alone varies, the colour form of the filter is the grey one on red."""
    torch.manual_seed(0)
    red = torch.rand(20, 20, dtype=torch.float64)
    images = torch.stack([red, torch.full_like(red, 0.5), torch.full_like(red, 0.5)])[None]
    mask = torch.rand(20, 20, dtype=torch.float64) * 0.2 + 0.4
    found = guided_filter(images, torch.stack([1 - mask, mask])[None], radius=2, eps=1e-2)[0, 1]
    expected = plain_guided_filter(red, mask, radius=2, eps=1e-2)
    inner = slice(4, -4)
    torch.testing.assert_close(found[inner, inner], expected[inner, inner], rtol=0, atol=1e-5)


@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 10_000))
def test_refined_masks_are_masks(slots: int, radius: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(1, 3, 16, 16, generator=generator)
    masks = (5 * torch.randn(1, slots, 16, 16, generator=generator)).softmax(dim=1)
    refined = guided_filter(images, masks, radius)
    assert refined.min() >= 0
    torch.testing.assert_close(refined.sum(dim=1), torch.ones(1, 16, 16), rtol=0, atol=1e-3)


def test_a_ragged_mask_follows_the_edge_of_its_picture() -> None:
    images = torch.full((1, 3, 32, 32), 0.2)
    images[..., 16:] = 0.8
    torch.manual_seed(0)
    truth = (images[:, 0] > 0.5).float()
    ragged = (0.3 + 0.4 * truth + 0.3 * torch.randn(1, 32, 32)).clamp(0, 1)
    refined = guided_filter(images, torch.stack([1 - ragged, ragged], dim=1), radius=4).argmax(dim=1)
    wrong_before = ((ragged > 0.5) != truth.bool()).float().mean()
    assert wrong_before > 0.1
    assert (refined != truth).float().mean() < 0.01


def test_absent_classes_cannot_win() -> None:
    model = DecompositionSegmenter(num_classes=4).eval()
    images = torch.rand(2, 3, 24, 24)
    tags = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    labels = GuidedPredictor(model.mask_logits)(images, tags)
    assert set(labels[0].unique().tolist()) <= {0, 2}
    assert labels[1].unique().tolist() == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masks": torch.rand(1, 2, 8, 9)}, "`masks` to have shape"),
        ({"images": 2 * torch.ones(1, 3, 8, 8)}, r"`images` to lie in \[0, 1\]"),
        ({"radius": 0}, "`radius` of at least 1"),
        ({"eps": 0.0}, "`eps` above 0"),
    ],
)
def test_wrong_input_raises(change: dict, message: str) -> None:
    arguments = {"images": torch.rand(1, 3, 8, 8), "masks": torch.rand(1, 2, 8, 8).softmax(dim=1), **change}
    with pytest.raises(ValueError, match=message):
        guided_filter(**arguments)
