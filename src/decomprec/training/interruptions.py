"""What ends a training early, said in one sentence that names the last good checkpoint.

torch and Lightning raise plain RuntimeErrors when memory is short, when another process is gone, and when a checkpoint
does not fit, and let a killed worker look like a broken connection. Only their texts, and the frames of their
tracebacks, tell these apart. Everything that goes by such texts is in this module; a new version of either library
may need changes here and nowhere else.
"""

from __future__ import annotations

import errno
import re
import signal
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.memory import is_oom_error

_FULL_OR_READ_ONLY = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

_WORKER = re.compile(r"DataLoader worker .*(killed by signal|exited unexpectedly)")
_LOST_WORKER = "A process that loads images was killed, as systems do when memory is short; try fewer workers."
_SHARED = re.compile(r"shared memory|Bus error|</torch_\d", re.IGNORECASE)
_NO_SHARED = (
    "The shared memory (/dev/shm) does not suffice for the processes that load images; try fewer workers, or give the "
    "container more, for example by docker run --shm-size=8g."
)
_PEER = re.compile(r"closed by peer|reset by peer|broken pipe|timed out|remote process exited", re.IGNORECASE)
_LOST_PEER = "Another of the processes that train together has ended or can't be reached, so this one stops too."

_ONE_VALUE = "Expected more than 1 value per channel when training"  # of torch's BatchNorm

# Warnings of Lightning about what is meant to be so.
_INTENDED = (
    "Checkpoint directory",  # logs may lie there already
    "Found .* module",  # the frozen guide is in eval mode
    "The number of training batches",  # small data sets log less
    "The '.*_dataloader' does not have many workers",
    ".*LeafSpec",  # of Lightning's own making
    "It is recommended to use .*sync_dist",  # what is logged so is equal in all processes
)


class StoppedRunError(RuntimeError):
    """Training can't continue; the message says why in one sentence. Files that it has written stay."""


class NonFiniteError(StoppedRunError):
    """A loss, a gradient or a weight is NaN or infinite."""


@contextmanager
def clear_stops(stage: str, last: Path, out_of_memory: str = "The memory does not suffice.") -> Iterator[None]:
    """Say what stopped a stage, and which checkpoint is kept.

    Args:
        stage: "guide" or "segmenter".
        last: its checkpoint, which need not exist.
        out_of_memory: what to say, and to try, when the memory does not suffice.

    Raises:
        NonFiniteError: with the checkpoint named.
        StoppedRunError: for SIGTERM, on which Lightning stops after the step, for a killed worker or peer, and for a
            lack of memory.
        ValueError: if the checkpoint does not fit, or a batch of one image is too small for BatchNorm.
        OSError: if the folder can't be written to.
        KeyboardInterrupt: for Ctrl-C, which Lightning turns into an exit with code 1.
    """
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            for message in _INTENDED:
                warnings.filterwarnings("ignore", message)
            yield
    except NonFiniteError as error:
        raise NonFiniteError(f"{error} {_kept(stage, last)}") from error
    except SIGTERMException as stop:  # which would exit with code 0
        raise StoppedRunError(f"Stopped by SIGTERM. {_kept(stage, last)}") from stop
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        if threading.current_thread() is threading.main_thread():  # Lightning leaves it ignored until its first step
            signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt(f"Interrupted. {_kept(stage, last)}") from stop
    except ConnectionError as error:  # what the worker was about to hand over went with it
        raise StoppedRunError(f"{_LOST_WORKER} {_kept(stage, last)}") from error
    except ValueError as error:
        if _ONE_VALUE not in str(error):
            raise
        raise ValueError(
            f"Expected the {stage} to see at least 2 images at once, for BatchNorm, but got 1; increase "
            f"{stage}.batch_size, or decrease accumulate. {_kept(stage, last)}"
        ) from error
    except OSError as error:
        where = Path(error.filename or last.parent)
        if error.errno not in _FULL_OR_READ_ONLY and not where.is_relative_to(last.parent.parent):
            raise
        raise OSError(f"Could not write {where}: {error.strerror}. {_kept(stage, last)}") from error
    except (AttributeError, LookupError, MemoryError, RuntimeError, TypeError) as error:
        if said := out_of_memory if _is_out_of_memory(error) else lost_process(error):
            raise StoppedRunError(f"{said} {_kept(stage, last)}") from error
        if _while_restoring(error):
            raise damaged(last) from error
        raise


def lost_process(error: BaseException) -> str | None:
    """Which other process has ended too early, in a sentence, if that is what an error of torch is about.

    Examples:
        >>> lost_process(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."))
        'A process that loads images was killed, as systems do when memory is short; try fewer workers.'
        >>> lost_process(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
        True
    """
    text = str(error)
    if _SHARED.search(text):
        return _NO_SHARED
    if _WORKER.search(text):
        return _LOST_WORKER
    distributed = "gloo" in text.lower() or "nccl" in text.lower() or type(error).__name__.startswith("Dist")
    return _LOST_PEER if distributed and _PEER.search(text) else None


def damaged(path: Any) -> ValueError:
    """The error for a file that is no checkpoint."""
    return ValueError(
        f"Expected {path} to be a checkpoint of a training, but it is damaged or holds something else; "
        "remove it to begin this stage again."
    )


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, on any device, or Python has found no memory."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or is_oom_error(error)


def _while_restoring(error: BaseException) -> bool:
    """Whether Lightning was restoring the content of a checkpoint."""
    return any(
        frame.filename.endswith("checkpoint_connector.py") and "restore" in frame.name
        for frame in traceback.extract_tb(error.__traceback__)
    )


def _kept(stage: str, last: Path) -> str:
    """The checkpoint that a resumed run starts from, in a sentence."""
    if not last.exists():
        return f"There is no checkpoint of the {stage} yet; a resumed run trains it from its start."
    epochs = torch.load(last, mmap=True, weights_only=True)["epoch"] + 1
    return f"The last good checkpoint is {last}, after {epochs} epoch{'s' * (epochs > 1)}; resume to continue from it."
