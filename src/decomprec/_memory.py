"""How the process treats memory that it has freed."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for the next allocation; elsewhere, do nothing.

    By default glibc maps each large tensor anew and unmaps it when it is freed, so every use pays a page fault for
    each 4 kB, which can take longer than the arithmetic (`benchmarks/speed/contention.py`). Up to 1 GB of freed memory
    stays with the process. Results are the same.

    Returns:
        Whether it was done: False without glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 1 << 30))
