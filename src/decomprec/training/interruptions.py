"""How a training stops before its end: in one sentence, with the last good checkpoint named."""

from __future__ import annotations

import errno
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.memory import is_oom_error

_FULL_OR_READ_ONLY = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

_WORKER = re.compile(r"DataLoader worker .*(killed by signal|exited unexpectedly)")
_LOST_WORKER = "A process that loads images was killed, as systems do when memory is short; try fewer workers."
_PEER = re.compile(r"closed by peer|reset by peer|broken pipe|timed out|remote process exited", re.IGNORECASE)


class StoppedRunError(RuntimeError):
    """A training can't go on, and says why in one sentence. What it has written stays."""


class NonFiniteError(StoppedRunError):
    """A loss, a gradient or a weight is NaN or infinite."""


@contextmanager
def clear_stops(stage: str, last: Path) -> Iterator[None]:
    """Say what stopped a stage, and what is kept of it.

    Args:
        stage: "guide" or "segmenter".
        last: its checkpoint, which need not exist.

    Raises:
        NonFiniteError: with the checkpoint named.
        StoppedRunError: for SIGTERM, on which Lightning stops after the step, and for a killed worker.
        OSError: if the folder can't be written to.
        KeyboardInterrupt: for Ctrl-C, which Lightning turns into an exit with code 1.
    """
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        yield
    except NonFiniteError as error:
        raise NonFiniteError(f"{error} {kept(stage, last)}") from error
    except SIGTERMException as stop:  # which would exit with code 0
        raise StoppedRunError(f"Stopped by SIGTERM. {kept(stage, last)}") from stop
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        if threading.current_thread() is threading.main_thread():  # Lightning leaves it ignored until its first step
            signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt(f"Interrupted. {kept(stage, last)}") from stop
    except ConnectionError as error:  # what it was about to hand over went with it
        raise StoppedRunError(f"{_LOST_WORKER} {kept(stage, last)}") from error
    except OSError as error:
        where = Path(error.filename or last.parent)
        if error.errno not in _FULL_OR_READ_ONLY and not where.is_relative_to(last.parent.parent):
            raise
        raise OSError(f"Could not write {where}: {error.strerror}. {kept(stage, last)}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, on any device, or Python has found no memory.

    Examples:
        >>> is_out_of_memory(torch.OutOfMemoryError("...")), is_out_of_memory(RuntimeError("..."))
        (True, False)
    """
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or is_oom_error(error)


def lost_process(error: BaseException) -> str | None:
    """Which other process has ended too early, in a sentence, if that is what an error of torch is about.

    Examples:
        >>> lost_process(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."))
        'A process that loads images was killed, as systems do when memory is short; try fewer workers.'
        >>> lost_process(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
        True
    """
    text = str(error)
    if _WORKER.search(text):
        return _LOST_WORKER
    distributed = "gloo" in text.lower() or "nccl" in text.lower() or type(error).__name__.startswith("Dist")
    if distributed and _PEER.search(text):
        return "Another of the processes that train together has ended or can't be reached, so this one stops too."
    return None


def kept(stage: str, last: Path) -> str:
    """What of a stage a resumed run goes on from."""
    if not last.exists():
        return f"There is no checkpoint of the {stage} yet; a resumed run trains it from its start."
    epochs = torch.load(last, mmap=True, weights_only=True)["epoch"] + 1
    return f"The last good checkpoint is {last}, after {epochs} epoch{'s' * (epochs > 1)}; resume to go on from it."
