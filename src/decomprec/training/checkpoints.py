"""Checkpoints and logs that are written whole, and that hold finite numbers only."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from safetensors.torch import save
from torch import Tensor, nn

from decomprec._files import write_bytes, written_whole
from decomprec.training.interruptions import NonFiniteError, damaged

FINISHED = "finished.safetensors"
"""The weights of a stage that has ended."""


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, moved into place in their own folder.

    Lightning's own way writes to the system's temporary folder and moves from there, which copies over the last good
    checkpoint where the two are on different disks.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint whole.

        Raises:
            NonFiniteError: if it holds weights that are not finite; nothing is written then.
            OSError: if it can't be written; the one before stays.
        """
        check_finite(checkpoint["state_dict"])
        buffer = io.BytesIO()  # torch.save to a full disk hides what the system says
        torch.save(checkpoint, buffer)
        write_bytes(path, buffer.getbuffer())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Read a checkpoint; nothing but tensors and plain values.

        Raises:
            ValueError: if the file is damaged, or holds anything else.
        """
        try:
            checkpoint: dict[str, Any] = torch.load(path, map_location or "cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # a spoilt pickle can bring its reader to any
            raise damaged(path) from error
        if not _is_checkpoint(checkpoint):
            raise damaged(path)
        return checkpoint


class WholeCSVLogger(CSVLogger):
    """Lightning's CSV log, written whole.

    Lightning appends rows in place, and rewrites the file for a new column. A kill could leave half a row or an empty
    file: the curves of a resumed run would not be those of an undisturbed one, and `decomprec report` would refuse it.
    """

    @rank_zero_only
    def save(self) -> None:
        """Add what has been logged since the last call."""
        writer = self.experiment
        if not writer.metrics:
            return
        file, columns = writer.metrics_file_path, list(writer.metrics_keys)
        with written_whole(file) as partial:
            if Path(file).exists():
                shutil.copyfile(file, partial)
            writer.metrics_file_path = str(partial)
            try:
                super().save()
            except BaseException:
                writer.metrics_keys = columns  # those of the file that stays
                raise
            finally:
                writer.metrics_file_path = file


def _is_checkpoint(checkpoint: Any) -> bool:
    """Whether it has what is needed before anything is restored; Lightning counts with what it finds in "loops"."""
    return (
        isinstance(checkpoint, dict)
        and all(type(checkpoint.get(name)) is int for name in ("epoch", "global_step"))
        and all(isinstance(checkpoint.get(name), dict) for name in ("state_dict", "loops"))
        and _holds_counts(checkpoint["loops"])
    )


def _holds_counts(values: Any) -> bool:
    if isinstance(values, dict):
        return all(map(_holds_counts, values.values()))
    return values is None or (isinstance(values, int) and 0 <= values < 2**63)


def check_finite(tensors: dict[str, Tensor]) -> None:
    """Raise a NonFiniteError that names the first tensor with NaN or infinity, if there is one."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise NonFiniteError(f"The tensor {name} has become NaN or infinite; it was not written.")


def save_finished(network: nn.Module, folder: Path) -> None:
    """Write the last checkpoint of a stage that has ended: its network's weights.

    Raises:
        NonFiniteError: if a weight is not finite; nothing is written then.
    """
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    check_finite(tensors)
    write_bytes(folder / FINISHED, save(tensors))
