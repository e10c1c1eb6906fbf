"""Lines in the log about how data are read, each said once."""

import logging
import sys
from functools import cache

from torch.utils.data import get_worker_info
from tqdm import tqdm

log = logging.getLogger(__name__)

_said: set[str] = set()


@cache
def say(text: str) -> None:
    """Log a sentence about a data set, once in a process: each split of a data set is made more than once."""
    log.info(text)


def say_once(kind: str, message: str, *args: object) -> None:
    """Log a warning about unusual files, unless one of its kind was logged before.

    Of the processes that load images for a DataLoader, only the first logs.

    Args:
        kind: what the message is about, without the file's name.
        message: as for `logging.Logger.warning`.
        *args: as for `logging.Logger.warning`.
    """
    worker = get_worker_info()
    if kind in _said or (worker is not None and worker.id > 0):
        return
    _said.add(kind)
    with tqdm.external_write_mode(sys.stderr):
        log.warning(message, *args)
