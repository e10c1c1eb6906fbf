"""Where networks run and in which precision, in Lightning's words."""

from __future__ import annotations

import os

import torch


def torch_device(device: str = "auto") -> str:
    """Torch's name of a device.

    Args:
        device: "auto" is the GPU if there is one; "gpu" is any GPU that torch finds, of CUDA, ROCm or a Mac; "mps" a
            Mac's; or "cpu".

    Raises:
        ValueError: if torch finds no such GPU.

    Examples:
        >>> torch_device("cpu")
        'cpu'
    """
    gpu = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else None
    if device == "cpu" or (device == "auto" and gpu is None):
        return "cpu"
    if gpu is None or (device == "mps" and gpu != "mps"):
        kind = "a GPU of a Mac" if device == "mps" else "a GPU"
        raise ValueError(f"Expected {kind} for `device` {device}, but torch finds none; use cpu.")
    return gpu


def precision_of(device: str, precision: str = "auto") -> str:
    """Lightning's name of the precision that networks compute in.

    Args:
        device: as torch names it.
        precision: a name of Lightning's, which stays; or "auto", which is "bf16-mixed" where the hardware multiplies
            matrices of bfloat16 faster than those of float32, and "32-true" elsewhere.

    Examples:
        >>> precision_of("cpu", "64-true"), precision_of("mps")
        ('64-true', '32-true')
    """
    if precision != "auto":
        return precision
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        can = torch.cpu.get_capabilities()
        fast = device == "cpu" and any(can.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return "bf16-mixed" if fast else "32-true"


def autocast(device: str, precision: str = "auto") -> torch.autocast:
    """The context in which networks are used in a precision of `precision_of`; what is not mixed changes nothing."""
    return torch.autocast(device, torch.bfloat16, enabled=precision_of(device, precision) == "bf16-mixed")


def check_count(device: str, devices: int) -> None:
    """Raise a ValueError if there are fewer GPUs than are asked for.

    Args:
        device: as torch names it; any number of processes can share "cpu".
        devices: of this machine; 0 for all.
    """
    if devices > 1 and device != "cpu" and devices > (found := torch.accelerator.device_count()):
        raise ValueError(f"Expected `devices` to be at most {found}, the GPUs of this machine, but got {devices}.")


def machine_name() -> str:
    """The GPU, or the number of CPU cores."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "Apple GPU" if torch.backends.mps.is_available() else f"{os.cpu_count()} CPU cores"
