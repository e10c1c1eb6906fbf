"""What surrounds a command: consoles of any encoding, jobs of several processes, and the folders it is given."""

from __future__ import annotations

import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

_TORCHRUN = (
    *(f"{prefix}{name}" for prefix in ("", "LOCAL_", "GROUP_", "ROLE_") for name in ("RANK", "WORLD_SIZE")),
    *("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"),
)
_SRUN = (
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NPROCS"),
    *("MASTER_ADDR", "MASTER_PORT"),
)
_LIGHTNING = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_KEPT = {"torchrun": _TORCHRUN, "srun": _SRUN, "Lightning": _LIGHTNING}
"""Environment variables that each launcher needs for its processes to meet."""

_OTHERS = (
    *("NODE_WORLD_SIZE", "PMI_RANK", "PMI_SIZE", "PMIX_RANK", "MPI_LOCALRANKID"),
    *("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    *(f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE", "NODE_RANK")),
    *("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_LOCAL_RANK", "FLUX_TASK_RANK", "FLUX_JOB_SIZE"),
)
_RANKS = tuple(dict.fromkeys((*_TORCHRUN, *_SRUN, *_LIGHTNING, *_OTHERS)))
"""Environment variables by which launchers tell a process its place among others, and Lightning finds it."""

_SIZES = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "JSM_NAMESPACE_SIZE", "FLUX_JOB_SIZE")


def settle_ranks(environment: MutableMapping[str, str], devices: int = 1, nodes: int = 1) -> str | None:
    """Keep the ranks of the launcher that has started the processes of this command, and remove all others.

    A command of one process is part of no job, even if environment variables describe one.

    Args:
        environment: changed in place.
        devices: processes of each machine; 0 is as many as the launcher has started.
        nodes: machines.

    Returns:
        What was removed, in a line, if it was of several processes.

    Raises:
        ValueError: if a launcher has started another number of processes, or several machines have none.

    Examples:
        >>> environment = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "HOME": "/root"}
        >>> settle_ranks(environment)
        'one process: SLURM_NTASKS=4 of the job around it is not for this command'
        >>> environment
        {'HOME': '/root'}
        >>> environment = {"LOCAL_RANK": "1", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        >>> settle_ranks(environment, devices=2), environment["RANK"]
        (None, '1')
    """
    launcher, started = _launcher_of(environment)
    several = devices * nodes != 1
    kept: tuple[str, ...] = ()
    if several and launcher:
        _check_number(launcher, started, devices, nodes)
        kept = _KEPT[launcher]
        if launcher == "srun":  # Lightning needs the one, which --ntasks leaves out, and passes over jobs named so
            environment["SLURM_NTASKS_PER_NODE"] = str(started // nodes)
            if environment.get("SLURM_JOB_NAME") in ("bash", "interactive"):
                del environment["SLURM_JOB_NAME"]
    elif nodes > 1:
        if not {"MASTER_ADDR", "NODE_RANK"} <= environment.keys():
            raise ValueError(
                f"Expected a launcher to start the processes of {nodes} `nodes`, but found none; use torchrun or srun, "
                "or set MASTER_ADDR, MASTER_PORT and NODE_RANK on each machine."
            )
        kept = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
    found = {name: environment.pop(name) for name in _RANKS if name in environment and name not in kept}
    sizes = [f"{name}={found[name]}" for name in _SIZES if found.get(name, "1") != "1"]
    if kept or not sizes:
        return None
    what = "no launcher" if several else "one process"
    return f"{what}: {sizes[0]} of the job around it is not for this command"


def is_first(environment: Mapping[str, str]) -> bool:
    """Whether a process, by the ranks that `settle_ranks` has kept, is the first, which prints and writes for all."""
    ranks = (environment.get(name, "0") for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))
    return all(rank == "0" for rank in ranks)


def launched(environment: Mapping[str, str]) -> int:
    """How many processes the launcher that `settle_ranks` has kept has started; 0 without one."""
    return int(environment.get("WORLD_SIZE", environment.get("SLURM_NTASKS", "0")))


def _launcher_of(environment: Mapping[str, str]) -> tuple[str | None, int]:
    """Which launcher has started this process, and how many with it; None for one process, or a job's batch script."""
    sizes = {
        "torchrun": "WORLD_SIZE" if {"RANK", "LOCAL_RANK"} <= environment.keys() else "",
        "srun": "SLURM_STEP_NUM_TASKS",  # which a batch script has not
        "Lightning": "WORLD_SIZE" if "LOCAL_RANK" in environment else "",
    }
    for launcher, name in sizes.items():
        size = environment.get(name, "1")
        if size.isdigit() and int(size) > 1:
            return launcher, int(size)
    return None, 1


def _check_number(launcher: str, started: int, devices: int, nodes: int) -> None:
    if started == devices * nodes or (devices == 0 and started % nodes == 0):
        return
    wanted = f"{devices} `devices` on {nodes} machine{'s' * (nodes > 1)}" if devices else f"{nodes} `nodes`"
    raise ValueError(
        f"Expected {launcher} to start the processes of {wanted}, but it has started {started}; choose `devices` times "
        f"`nodes` to be {started}, or another number for {launcher}."
    )


def print_any_text() -> None:
    """Let stdout and stderr write what their encoding lacks, and names that are no text, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def check_apart(data: Path, out: Path) -> None:
    """Refuse a folder of results that is the folder of the images, is inside it or contains it.

    The next call would read results in the folder of the images as images.

    Args:
        data: a folder, or a file next to images.
        out: folder of the results. It may lie next to, or below, a file that lists the images.

    Raises:
        ValueError: if they are not apart.

    Examples:
        >>> check_apart(Path("images"), Path("images/run"))
        Traceback (most recent call last):
        ValueError: Expected --out to be apart from the images in images, but got images/run, which lies in it; ...
    """
    listed = data.is_file()
    images, results = (data.parent if listed else data).resolve(), out.resolve()
    if images == results:
        relation = "which is the same folder"
    elif results.is_relative_to(images) and not listed:
        relation = "which lies in it"
    elif images.is_relative_to(results):
        relation = "which holds it"
    else:
        return
    raise ValueError(
        f"Expected --out to be apart from the images in {data.parent if listed else data}, but got {out}, {relation}; "
        "choose another folder, such as runs/mine."
    )
