"""Pretrained weights: from a local safetensors file, or a download that says clearly when it can't be had."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn


def load_local(network: nn.Module, path: str | Path) -> None:
    """Load a trunk's weights in place from a safetensors file; nothing is unpickled.

    The file may end early: of a stage (an `nn.Sequential`), the last blocks that it lacks altogether are
    taken out of the network, so that no random block stands behind pretrained ones. It may also hold more than
    the network, such as another classification head.

    Args:
        network: gets the weights.
        path: a `.safetensors` file with the names of the network's own state dict.

    Raises:
        ValueError: if the file is missing or damaged, a shape differs, or the file lacks part of the network.
    """
    if not Path(path).is_file():
        raise ValueError(f"Expected `weights` to be 'imagenet', None or a .safetensors file, but found no {path}.")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"Expected `weights` to be a safetensors file, but {path} is not: {error}.") from error
    _drop_absent_blocks(network, tensors.keys())
    own = network.state_dict()
    lacking = [n for n in own if n not in tensors and not n.endswith("num_batches_tracked")]
    if lacking:
        raise ValueError(
            f"Expected {path} to hold every tensor of {type(network).__name__}, but it lacks {len(lacking)}, "
            f"{lacking[0]} first; do its names belong to this network?"
        )
    for name in own.keys() & tensors.keys():
        if own[name].shape != tensors[name].shape:
            raise ValueError(
                f"Expected {name} in {path} to have shape {tuple(own[name].shape)}, "
                f"but got {tuple(tensors[name].shape)}."
            )
    network.load_state_dict(tensors, strict=False)


def _drop_absent_blocks(network: nn.Module, held: Collection[str]) -> None:
    for prefix, stage in list(network.named_modules()):
        if not isinstance(stage, nn.Sequential):
            continue
        while len(stage) > 1:
            start = f"{prefix}.{len(stage) - 1}.".lstrip(".")  # no prefix if the network is a Sequential itself
            if not stage[-1].state_dict() or any(name.startswith(start) for name in held):
                break
            del stage[-1]


@contextmanager
def clear_download_error(name: str) -> Iterator[None]:
    """Turn whatever a failed download raises into one ConnectionError that says what to do instead."""
    try:
        yield
    except TypeError:  # an option that the network doesn't take
        raise
    except Exception as error:  # urllib, httpx and the hub each have their own
        raise ConnectionError(
            f"Could not download the ImageNet weights of {name!r} ({type(error).__name__}); go online once, "
            "give a local .safetensors file as `weights` (of a run: --set guide.weights=FILE), or use weights=None."
        ) from error
