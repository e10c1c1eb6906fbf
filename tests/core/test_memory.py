"""Freed memory stays with the process where glibc allocates it."""

import platform
import subprocess
import sys

import pytest

from decomprec._memory import keep_freed_memory, release_freed_memory

FAULTS = """
import resource, sys, torch
from decomprec._memory import keep_freed_memory, release_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.set_num_threads(1)
for _ in range(10):
    torch.ones(1 << 24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(word: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, word], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    """20 tensors of 64 MB: with pages of 4 kB to 2 MB these are 640 faults or more, unless the memory is kept."""
    default = faults("default")
    assert default >= 20 * 64 / 2
    assert faults("keep") < default / 10


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert keep_freed_memory() is False
    assert release_freed_memory() is False
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())  # a library without mallopt
    assert keep_freed_memory() is False
    assert release_freed_memory() is False
