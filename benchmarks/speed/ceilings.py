"""What this machine can do at best, measured: the yardstick for the blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

DTYPE = torch.float32  # of every step that is measured


@cache
def copy_bandwidth(device: str, mebibytes: int, least: float) -> float:
    """Bytes read and written each second by a copy of a large tensor."""
    source = torch.rand(mebibytes * 2**18, device=device)  # 4 bytes each
    target = torch.empty_like(source)
    return 2 * source.nbytes / best_seconds(lambda: target.copy_(source), least)


@cache
def matmul_rate(device: str, width: int, dtype: torch.dtype, least: float) -> float:
    """Floating-point operations each second in a product of two square matrices, two for each multiply-add."""
    a, b = (torch.rand(width, width, device=device, dtype=dtype) for _ in range(2))
    return 2 * width**3 / best_seconds(lambda: a @ b, least)


@cache
def convolution_rate(device: str, batch: int, channels: int, size: int, least: float) -> float:
    """Floating-point operations each second in a 3x3 convolution that keeps channels and size."""
    convolution = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False, device=device, dtype=DTYPE)
    images = torch.rand(batch, channels, size, size, device=device, dtype=DTYPE)
    with torch.inference_mode():
        seconds = best_seconds(lambda: convolution(images), least)
    return 2 * 9 * batch * channels**2 * size**2 / seconds


def ceilings(machine: str) -> dict[str, float]:
    """All, by name, at sizes that fit "cuda", "cpu" or the "quick" smoke test."""
    device = "cuda" if machine == "cuda" else "cpu"
    least = 0.01 if machine == "quick" else 1.0
    mebibytes, width, convolution = {
        "cuda": (2048, 8192, (64, 256, 56)),
        "cpu": (256, 2048, (4, 256, 56)),
        "quick": (1, 64, (1, 4, 8)),
    }[machine]
    return {
        "copy": copy_bandwidth(device, mebibytes, least),
        "matmul": matmul_rate(device, width, DTYPE, least),
        "matmul, bf16": matmul_rate(device, width, torch.bfloat16, least),
        "convolution": convolution_rate(device, *convolution, least),
    }


def best_seconds(step: Callable[[], Tensor], least: float) -> float:
    """The shortest of the runs of at least so many seconds in all; the timer waits for the GPU."""
    timer = Timer("step()", globals={"step": step}, num_threads=torch.get_num_threads())
    return min(timer.blocked_autorange(min_run_time=least).times)
