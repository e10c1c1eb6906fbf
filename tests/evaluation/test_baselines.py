import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from decomprec.evaluation import CamPredictor, evaluate
from decomprec.evaluation.baselines import CentredEllipse, EveryPixel, best_cam_threshold, normalise_maps
from decomprec.models import PooledClassifier, SmallEncoder


class KnownMaps(nn.Module):
    """A classifier that says what it was told."""

    def __init__(self, maps, logits):
        super().__init__()
        self.maps, self.logits = torch.tensor(maps), torch.tensor(logits)

    def forward(self, images):
        assert not self.training
        return self.logits

    def activation_maps(self, images):
        assert not self.training
        return self.maps


def test_every_pixel_shares_the_image_among_the_tags():
    tags = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    labels = EveryPixel()(torch.rand(4, 3, 5, 7), tags)
    assert labels.shape == (4, 5, 7)
    assert labels.dtype == torch.int64
    assert (labels == labels[:, :1]).all()
    assert labels[:, 0].tolist() == [[1, 1, 1, 3, 3, 4, 4], [0] * 7, [2] * 7, [1, 1, 2, 2, 3, 3, 4]]


def test_without_tags_the_classifier_decides():
    classifier = KnownMaps([[[[0.0]], [[0.0]]]], [[-0.1, 0.1]])
    assert (EveryPixel(classifier)(torch.rand(1, 3, 4, 4)) == 2).all()
    assert CentredEllipse(0.5, classifier)(torch.rand(1, 3, 4, 4)).unique().tolist() == [0, 2]
    assert classifier.training
    with pytest.raises(ValueError, match="Expected `tags` or a classifier"):
        EveryPixel()(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, math.pi / 4])
@pytest.mark.parametrize("size", [(200, 200), (120, 300)])
def test_ellipse_covers_its_share_in_the_middle_with_the_images_proportions(share, size):
    inside = CentredEllipse(share)(torch.rand(1, 3, *size), torch.ones(1, 1))[0] == 1
    assert inside.float().mean().item() == pytest.approx(share, abs=0.005)
    assert torch.equal(inside, inside.flip(0))
    assert torch.equal(inside, inside.flip(1))
    height = inside.any(dim=1).sum() / size[0]
    width = inside.any(dim=0).sum() / size[1]
    assert height.item() == pytest.approx(width.item(), abs=0.02)
    corner_to_corner = inside.sum() / (height * size[0] * width * size[1])
    assert corner_to_corner.item() == pytest.approx(math.pi / 4, abs=0.02)


@pytest.mark.parametrize("share", [0.0, -1.0, 0.8])
def test_ellipse_that_does_not_fit_raises(share):
    with pytest.raises(ValueError, match="Expected `share`"):
        CentredEllipse(share)


@pytest.mark.parametrize("threshold", [0.0, 1.1, math.nan])
def test_cam_threshold_out_of_range_raises(threshold):
    classifier = KnownMaps([[[[0.0]]]], [[1.0]])
    with pytest.raises(ValueError, match="Expected `threshold`"):
        CamPredictor(classifier, threshold)
    with pytest.raises(ValueError, match="Expected `thresholds`"):
        best_cam_threshold(classifier, [], 2, use_tags=True, thresholds=[0.5, threshold])


def test_cam_of_known_maps():
    # Normalised: class 1 is [1, .5, 0, .1], class 2 is [0, .25, 1, .2], class 3 is negative everywhere.
    maps = [[[[10.0, 5.0, -3.0, 1.0]], [[0.0, 1.0, 4.0, 0.8]], [[-5.0, -1.0, -1.0, -1.0]]]]
    classifier = KnownMaps(maps, [[1.0, -1.0, 1.0]])
    images = torch.rand(1, 3, 1, 4)
    everything, second = torch.ones(1, 3), torch.tensor([[0.0, 1.0, 0.0]])
    assert CamPredictor(classifier, 0.15)(images, everything).tolist() == [[[1, 1, 2, 2]]]
    assert CamPredictor(classifier, 0.3)(images, everything).tolist() == [[[1, 1, 2, 0]]]
    assert CamPredictor(classifier, 0.6)(images, everything).tolist() == [[[1, 0, 2, 0]]]
    assert CamPredictor(classifier, 0.2)(images, second).tolist() == [[[0, 2, 2, 2]]]
    assert CamPredictor(classifier, 0.01)(images, torch.zeros(1, 3)).tolist() == [[[0, 0, 0, 0]]]
    # Without tags the classifier names classes 1 and 3.
    assert CamPredictor(classifier, 0.05)(images).tolist() == [[[1, 1, 0, 1]]]


def test_other_maps_stand_in_for_those_of_the_classifier():
    classifier = KnownMaps([[[[1.0, 0.0]], [[0.0, 1.0]]]], [[-1.0, 1.0]])
    other = CamPredictor(classifier, 0.5, maps=lambda images: torch.tensor([[[[0.0, 8.0]], [[8.0, 3.0]]]]))
    images = torch.rand(1, 3, 1, 2)
    assert other(images, torch.ones(1, 2)).tolist() == [[[2, 1]]]
    assert other(images).tolist() == [[[2, 0]]]
    with pytest.raises(ValueError, match="one map for each of the classes"):
        other(images, torch.ones(1, 3))


def test_normalised_maps_are_those_of_plain_loops():
    maps = torch.randn(2, 3, 3, 4)
    maps[1, 2] = -1
    large = F.interpolate(maps, size=(7, 9), mode="bilinear", align_corners=False).flatten(0, 1)
    for found, expected in zip(normalise_maps(maps, (7, 9)).flatten(0, 1), large.tolist(), strict=True):
        highest = max(0.0, *(value for row in expected for value in row))
        plain = [[max(0.0, value) / (highest or 1) for value in row] for row in expected]
        torch.testing.assert_close(found, torch.tensor(plain))


def test_cam_is_enlarged_bilinearly():
    classifier = KnownMaps([[[[0.0, 1.0]]]], [[1.0]])
    # Half-pixel centres: the 8 columns hold 0, 0, 1/8, 3/8, 5/8, 7/8, 1, 1 of the way from left to right.
    labels = CamPredictor(classifier, 0.4)(torch.rand(1, 3, 2, 8), torch.ones(1, 1))
    assert labels.tolist() == [[[0, 0, 0, 0, 1, 1, 1, 1]] * 2]
    labels = CamPredictor(classifier, 0.7)(torch.rand(1, 3, 2, 8), torch.ones(1, 1))
    assert labels.tolist() == [[[0, 0, 0, 0, 0, 1, 1, 1]] * 2]


@pytest.mark.parametrize("use_tags", [True, False])
def test_sweep_is_each_threshold_evaluated_alone(use_tags):
    generator = torch.Generator().manual_seed(5)
    torch.manual_seed(5)
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=4)
    classifier.head.weight.data.mul_(5)
    data = [
        {
            "image": torch.rand(batch, 3, 16, 12, generator=generator),
            "tags": torch.randint(2, (batch, 3), generator=generator).float(),
            "mask": torch.randint(4, (batch, 16, 12), generator=generator),
        }
        for batch in (3, 2)
    ]
    thresholds = [0.1, 0.35, 0.6, 0.85]
    alone = {t: evaluate(CamPredictor(classifier, t), data, 4, use_tags) for t in thresholds}
    assert len({s.mean_foreground_iou for s in alone.values()}) == len(thresholds)
    expected = max(thresholds, key=lambda t: alone[t].mean_foreground_iou)
    passes = iter(data)  # can be gone through only once
    threshold, scores = best_cam_threshold(classifier, passes, 4, use_tags, thresholds)
    assert threshold == expected
    assert scores.to_dict() == alone[expected].to_dict()
    assert classifier.training
