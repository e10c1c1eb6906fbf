"""Pretrained weights: from a local safetensors file, or a download that says clearly when it can't be had."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn
from torch.overrides import TorchFunctionMode


class Unallocated(TorchFunctionMode):
    """A context in which networks are built without memory for their weights, for `check_fits` only.

    A config of unknown origin may promise a network of any size; this tells its shapes before it takes any memory.

    Examples:
        >>> with Unallocated():
        ...     layer = nn.Linear(10**6, 10**6)
        >>> layer.weight.is_meta
        True
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        # Layers make their weights by `empty`. Not all tensors, as torch.device("meta") does: networks ask for values
        # of some while they are built.
        if func is torch.empty and not options.get("device") and not options.get("dtype"):
            options["device"] = "meta"
        return func(*args, **options)


def load_local(network: nn.Module, path: str | Path) -> None:
    """Load a network's weights in place from a safetensors file; nothing is unpickled.

    The file may end early: of a stage (an `nn.Sequential`), the last blocks that it lacks altogether are
    taken out of the network: no random block follows pretrained ones. It may also hold more than
    the network, such as another classification head.

    Args:
        network: gets the weights.
        path: a `.safetensors` file with the names of the network's own state dict.

    Raises:
        ValueError: if the file is missing or damaged, a shape differs, a weight is not finite, or the file lacks part
            of the network.
    """
    check_fits(network, path)
    own = network.state_dict()
    tensors = {name: tensor for name, tensor in load_file(path).items() if name in own}
    for name, tensor in tensors.items():
        if not tensor.to(own[name].dtype).isfinite().all():
            raise ValueError(f"Expected {name} in {path} to be finite, but got NaN or infinity; the file is damaged.")
    network.load_state_dict(tensors, strict=False)


def check_fits(network: nn.Module, path: str | Path) -> None:
    """Raise as `load_local` does for a file that does not fit, by the names and shapes that its header tells.

    Blocks that the file lacks at the end of a stage are taken out of the network.
    """
    if not Path(path).is_file():
        raise ValueError(f"Expected `weights` to be 'imagenet', None or a .safetensors file, but found no {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            held = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
            shapes = {name: tuple(part.get_shape()) for name, part in held.items()}
            floats = {name: "F" in part.get_dtype() for name, part in held.items()}
    except SafetensorError as error:
        raise ValueError(f"Expected `weights` to be a safetensors file, but {path} is not: {error}.") from error
    _drop_absent_blocks(network, shapes.keys())
    own = network.state_dict()
    lacking = [n for n in own if n not in shapes and not n.endswith("num_batches_tracked")]
    if lacking:
        raise ValueError(
            f"Expected {path} to hold every tensor of {type(network).__name__}, but it lacks {len(lacking)}, "
            f"{lacking[0]} first; do its names belong to this network?"
        )
    for name in own.keys() & shapes.keys():
        if own[name].shape != shapes[name]:
            raise ValueError(
                f"Expected {name} in {path} to have shape {tuple(own[name].shape)}, but got {shapes[name]}."
            )
        if own[name].is_floating_point() != floats[name]:
            raise ValueError(f"Expected {name} in {path} to be {own[name].dtype}, but got {held[name].get_dtype()}.")


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
    """Turn any error of a failed download into one ConnectionError that says what to do instead."""
    try:
        yield
    except TypeError:  # an option that the network doesn't take
        raise
    except Exception as error:  # urllib, httpx and the hub each have their own
        raise ConnectionError(
            f"Could not download the ImageNet weights of {name!r} ({type(error).__name__}); go online once, "
            "give a local .safetensors file as `weights` (of a run: guide.encoder_weights), or use weights=None."
        ) from error
