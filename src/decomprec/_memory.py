"""How the process treats memory that it has freed."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for the next allocation; elsewhere, do nothing.

    By default glibc maps each large tensor and unmaps it when it is freed, so every use pays a page fault for
    each 4 kB, which can take longer than the arithmetic (`benchmarks/speed/contention.py`). Up to 1 GB of freed memory
    stays with the process. Results are the same.

    Returns:
        Whether it was done: False without glibc.
    """
    mallopt = _of_glibc("mallopt")
    return mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 1 << 30))


def release_freed_memory() -> bool:
    """Give memory that was freed back to the system, also what `keep_freed_memory` keeps.

    Each thread keeps its own, so what one has freed after a large image would not serve the others.

    Returns:
        Whether any was released: False without glibc.
    """
    malloc_trim = _of_glibc("malloc_trim")
    return malloc_trim is not None and bool(malloc_trim(0))


def _of_glibc(name: str) -> Any:
    """A function of glibc; None with another C library."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None
