"""Convolutions that repeat the border."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from decomprec.models import TimmEncoder
from decomprec.models.borders import repeat_in_convolutions


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "mobilenetv3_small_100"])
@torch.no_grad()
def test_a_plain_image_has_the_same_features_everywhere(name: str) -> None:
    encoder = TimmEncoder(name, repeat_borders=True).eval()
    for features in encoder(torch.full((1, 3, 96, 64), 0.3)):
        torch.testing.assert_close(features, features[..., :1, :1].expand_as(features), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "options"), [("resnet18", {}), ("tf_efficientnet_lite0", {"output_stride": 16})])
@torch.no_grad()
def test_far_from_the_border_nothing_changes(name: str, options: dict[str, int]) -> None:
    network = timm.create_model(name, features_only=True, out_indices=(0, 1), **options).eval()
    image = torch.rand(1, 3, 128, 128)
    before = [features[..., 12:-12, 12:-12] for features in network(image)]
    names = list(network.state_dict())
    repeat_in_convolutions(network)
    assert list(network.state_dict()) == names
    for old, new in zip(before, network(image), strict=True):
        torch.testing.assert_close(new[..., 12:-12, 12:-12], old)


@torch.no_grad()
def test_a_convolution_sees_the_border_go_on() -> None:
    convolution = nn.Conv2d(2, 3, kernel_size=3, padding=1)
    wider = nn.functional.pad(images := torch.rand(1, 2, 6, 7), (1, 1, 1, 1), mode="replicate")
    expected = nn.functional.conv2d(wider, convolution.weight, convolution.bias)
    repeat_in_convolutions(convolution)
    torch.testing.assert_close(convolution(images), expected)
