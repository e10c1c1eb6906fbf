"""The priors beyond the paper, against loops and by what they reward."""

from math import exp

import pytest
import torch
from torch import Tensor

from decomprec import Decomposition, HingeAreaLoss
from decomprec.priors import EdgeAwareSmoothness, volumetric_targets


def decompose(mask_logits: Tensor) -> Decomposition:
    batch, slots, height, width = mask_logits.shape
    return Decomposition(mask_logits, torch.rand(batch, slots, 3, height, width))


def test_hinge_is_its_loops() -> None:
    areas, tags = torch.randn(5, 4).softmax(dim=1), torch.randint(0, 2, (5, 3)).float()
    expected = 0.0
    for b in range(5):
        for j in range(3):
            area = areas[b, j + 1].item()
            expected += max(0.2 - area, area - 0.4, 0.0) if tags[b, j] else area
    assert HingeAreaLoss(0.2, 0.4)(areas, tags).item() == pytest.approx(expected / 15)


def test_hinge_pushes_sizes_into_the_range_and_absent_classes_to_nothing() -> None:
    areas = torch.tensor([[0.1, 0.3, 0.05, 0.5, 0.05]], requires_grad=True)
    HingeAreaLoss(0.1, 0.4)(areas, torch.tensor([[1.0, 1.0, 1.0, 0.0]])).backward()
    assert areas.grad is not None
    assert areas.grad[0].sign().tolist() == [0, 0, -1, 1, 1]


def test_smoothness_is_its_loops() -> None:
    out, images = decompose(torch.randn(2, 3, 4, 5)), torch.rand(2, 3, 4, 5)
    m, image = out.masks.double(), images.double()
    expected = 0.0
    for dy, dx in ((1, 0), (0, 1)):
        total, pixels = 0.0, 0
        for b in range(2):
            for y in range(4 - dy):
                for x in range(5 - dx):
                    edge = sum(abs(image[b, c, y + dy, x + dx] - image[b, c, y, x]).item() for c in range(3)) / 3
                    change = sum(abs(m[b, k, y + dy, x + dx] - m[b, k, y, x]).item() for k in range(3))
                    total += change * exp(-7 * edge)
                    pixels += 1
        expected += total / pixels
    assert EdgeAwareSmoothness(sharpness=7)(out, images, torch.ones(2, 2)).item() == pytest.approx(expected, rel=1e-5)


def test_smoothness_prefers_mask_edges_on_image_edges() -> None:
    images = torch.zeros(1, 3, 8, 8)
    images[..., 4:] = 1
    on_edge, beside = torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8)
    on_edge[:, 1, :, 4:], beside[:, 1, :, 2:] = 5, 5
    smoothness = EdgeAwareSmoothness()
    tags = torch.ones(1, 1)
    assert smoothness(decompose(on_edge), images, tags) < 0.01 * smoothness(decompose(beside), images, tags)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (4, 1)])
def test_smoothness_of_a_line_of_pixels_is_finite(size: tuple[int, int]) -> None:
    penalty = EdgeAwareSmoothness()(decompose(torch.randn(1, 2, *size)), torch.rand(1, 3, *size), torch.ones(1, 1))
    assert penalty.isfinite()


def test_background_takes_what_known_areas_leave() -> None:
    known = 0.3 * torch.rand(6, 3)
    targets = volumetric_targets(known)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(6))
    assert torch.equal(targets[:, 1:], known)
