"""How many processes can load images, by the memory that they share with the one that trains."""

import logging
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

_SHM = Path("/dev/shm")
_BATCHES = 3  # that a process has in shared memory: two loaded ahead, and the one that is trained on


def fitting_workers(workers: int, batch_bytes: int, shm: Path = _SHM) -> int:
    """Return how many of the processes that are to load images fit into the shared memory, and log if not all do.

    Containers have little of it, 64 MB with Docker, and a process that finds none left is killed.

    Args:
        workers: processes that are wanted.
        batch_bytes: size of a batch.
        shm: where the shared memory is mounted; elsewhere than on Linux there is no such folder, and all fit.

    Examples:
        >>> fitting_workers(2, 10**18), fitting_workers(2, 10**18, Path("/nowhere"))
        (0, 2)
    """
    if not workers or not shm.is_dir():
        return workers
    usage = shutil.disk_usage(shm)
    fitting = min(workers, usage.free // (_BATCHES * batch_bytes))
    if fitting < workers:
        log.warning(
            "%s has %d MB free: %d instead of %d processes load images; a container gets more by, for example, "
            "docker run --shm-size=8g",
            shm,
            usage.free >> 20,
            fitting,
            workers,
        )
    return fitting
