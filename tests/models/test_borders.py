"""Convolutions that repeat the border."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
import timm
import torch
from torch import nn

from decomprec.models import TimmEncoder, borders
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


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"dilation": 2, "padding": 2, "groups": 2}, {"padding": 0}])
@torch.no_grad()
def test_a_convolution_sees_the_border_go_on(options: dict[str, Any]) -> None:
    convolution = nn.Conv2d(2, 4, kernel_size=3, **{"padding": 1, **options})
    left, top = convolution.padding[1], convolution.padding[0]
    wider = np.pad(images := torch.rand(1, 2, 6, 7), [(0, 0), (0, 0), (top, top), (left, left)], mode="edge")
    outside = {name: options[name] for name in ("stride", "dilation", "groups") if name in options}
    expected = nn.functional.conv2d(torch.from_numpy(wider), convolution.weight, convolution.bias, **outside)
    network = nn.Sequential(convolution)
    repeat_in_convolutions(network)
    torch.testing.assert_close(network(images), expected)


@torch.no_grad()
def test_bfloat16_stays_bfloat16_at_the_border() -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 3, 3, padding=1))
    repeat_in_convolutions(network)
    with torch.autocast("cpu", torch.bfloat16), mock.patch.object(borders.F, "pad", wraps=nn.functional.pad) as pad:
        network(torch.rand(1, 2, 8, 8))
    seen = [call.args[0].dtype for call in pad.call_args_list]
    assert seen == [torch.bfloat16]


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_in_bfloat16_are_those_of_float64(stride: int, autocast: bool) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(6, 6, kernel_size=3, stride=stride, padding=1, groups=6)
    network = nn.Sequential(convolution)
    repeat_in_convolutions(network)
    images = torch.rand(2, 6, 9, 8).bfloat16()
    near = images.clone().requires_grad_()
    if not autocast:
        network.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = network(near)
    weights = torch.rand(out.shape).bfloat16()
    (out * weights).sum().backward()
    assert (out.dtype, near.grad.dtype) == (torch.bfloat16, torch.bfloat16)
    exact = images.double().requires_grad_()
    (network.double()(exact) * weights.double()).sum().backward()
    torch.testing.assert_close(near.grad.double(), exact.grad, rtol=0.02, atol=0.02)
