"""What surrounds a command: consoles of any encoding, jobs of several processes, and the folders it is given."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from pathlib import Path

_RANKS = (
    *(f"{prefix}{name}" for prefix in ("", "LOCAL_", "GROUP_", "ROLE_", "NODE_") for name in ("RANK", "WORLD_SIZE")),
    *("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"),
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NPROCS"),
    *("PMI_RANK", "PMI_SIZE", "PMIX_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    *(f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE", "NODE_RANK")),
    *("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_LOCAL_RANK", "FLUX_TASK_RANK", "FLUX_JOB_SIZE"),
)
"""Environment variables by which launchers tell a process its place among others, and Lightning finds it."""

_SIZES = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "JSM_NAMESPACE_SIZE", "FLUX_JOB_SIZE")


def forget_ranks(environment: MutableMapping[str, str]) -> str | None:
    """Remove the ranks that a launcher, or the job around it, has given this process: a command is one process.

    Args:
        environment: changed in place.

    Returns:
        What was there, in a line, if it was of several processes.

    Examples:
        >>> environment = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "HOME": "/root"}
        >>> forget_ranks(environment)
        'one process: SLURM_NTASKS=4 of the job around it is not for this command'
        >>> environment
        {'HOME': '/root'}
    """
    found = {name: environment.pop(name) for name in _RANKS if name in environment}
    several = [f"{name}={found[name]}" for name in _SIZES if found.get(name, "1") != "1"]
    return f"one process: {several[0]} of the job around it is not for this command" if several else None


def print_any_text() -> None:
    """Let stdout and stderr write what their encoding lacks, and names that are no text, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def check_apart(data: Path, out: Path) -> None:
    """Refuse a folder of results that is the folder of the images, is inside it or contains it.

    Results in the folder of the images would be taken for images by the next call.

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
