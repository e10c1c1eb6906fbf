"""How many threads torch computes with, given what other programs are running."""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

SETTINGS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")
"""Environment variables that torch reads when it is imported."""

_MEASURED_FOR = 0.3  # seconds
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """What there is to compute with.

    Args:
        cores: that this process may run on, hyper-threads included.
        physical: physical cores, and so the threads that torch takes by itself.
        quota: cores whose time a container grants; infinite without a limit.
        busy: how many of the cores other programs keep busy.
    """

    cores: int
    physical: int
    quota: float = math.inf
    busy: float = 0.0

    @property
    def granted(self) -> int:
        """Threads to take if no other program is busy."""
        return max(1, min(self.physical, self.cores, math.floor(min(self.quota, self.cores))))

    @property
    def crowded(self) -> bool:
        """Whether these threads, if there are several, would share half a core or more with other programs."""
        return self.granted > 1 and self.granted + self.busy - self.cores >= 0.5


def choose_threads(machine: Machine) -> int:
    """How many threads to compute with.

    Threads wait for each other at the end of every operation; one that shares its core holds up all
    (`benchmarks/speed/contention.py`).

    Args:
        machine: as measured.

    Examples:
        >>> choose_threads(Machine(cores=2, physical=2))
        2
        >>> choose_threads(Machine(cores=2, physical=2, busy=0.9))
        1
        >>> choose_threads(Machine(cores=16, physical=8, busy=3))  # room for all
        8
    """
    if not machine.crowded:
        return machine.granted
    return max(1, min(machine.granted, math.floor(machine.cores - machine.busy + 0.5)))


def describe_threads(machine: Machine) -> str:
    """The choice in one line, with its reason and how to make another.

    Examples:
        >>> describe_threads(Machine(cores=2, physical=2))
        '2 threads on 2 cores'
        >>> describe_threads(Machine(cores=2, physical=2, busy=0.9))
        '1 thread: other programs keep 0.9 of 2 cores busy; OMP_NUM_THREADS=2 overrides'
    """
    threads = choose_threads(machine)
    text = f"{threads} thread{'s' * (threads != 1)}"
    if machine.crowded:
        reason = f"other programs keep {machine.busy:.2g} of {machine.cores} cores busy"
        return f"{text}: {reason}; OMP_NUM_THREADS={machine.granted} overrides"
    if machine.quota < machine.physical:
        reason = f"the container may use {machine.quota:g} of {machine.cores} cores"
        return f"{text}: {reason}; OMP_NUM_THREADS={machine.physical} overrides"
    return f"{text} on {machine.cores} core{'s' * (machine.cores != 1)}"


def threads_environment(machine: Machine) -> dict[str, str]:
    """Environment variables that make torch use the chosen threads; empty where it does so by itself.

    Threads that wait spin by default, which takes the core from others. On a quiet machine sleeping costs more
    (`benchmarks/speed/contention.py`).

    Examples:
        >>> threads_environment(Machine(cores=4, physical=4, busy=1.1))
        {'OMP_NUM_THREADS': '3', 'OMP_WAIT_POLICY': 'passive'}
    """
    threads = choose_threads(machine)
    changes = {} if threads == min(machine.physical, machine.cores) else {"OMP_NUM_THREADS": str(threads)}
    return changes | ({"OMP_WAIT_POLICY": "passive"} if machine.crowded else {})


def set_threads(environment: MutableMapping[str, str] = os.environ) -> str | None:
    """Choose the threads of this process, before torch is imported, unless the user has.

    Args:
        environment: changed in place.

    Returns:
        What was chosen and why; None if one of `SETTINGS` was set.
    """
    if any(name in environment for name in SETTINGS):
        return None
    machine = measure_machine()
    environment.update(threads_environment(machine))
    return describe_threads(machine)


def measure_machine() -> Machine:
    """Watch the cores that this process may use for a third of a second, while it does nothing itself."""
    import psutil

    busy = psutil.cpu_percent(interval=_MEASURED_FOR, percpu=True)
    # psutil has no affinity on macOS.
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(busy))
    # A container may number its cores otherwise than the system whose load it sees.
    loads = [busy[core] for core in mine if core < len(busy)]
    return Machine(
        cores=len(mine),
        physical=min(len(mine), psutil.cpu_count(logical=False) or len(mine)),
        quota=cpu_quota(),
        busy=sum(loads) / 100,
    )


def cpu_quota(cgroups: Path = _CGROUPS) -> float:
    """Cores whose time the control group of this container grants (Linux, both versions); infinite without a limit."""
    try:
        if (cgroups / "cpu.max").exists():
            quota, period = (cgroups / "cpu.max").read_text().split()
        else:
            quota, period = ((cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 else math.inf
    except (OSError, ValueError):  # "max", or no control groups
        return math.inf
