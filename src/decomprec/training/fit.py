"""One stage of a run: trained, resumed, or read back if it is finished."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning_utilities.core.imports import RequirementCache
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from decomprec._files import remove_partials
from decomprec._memory import release_freed_memory
from decomprec.data.datamodule import TaggedDataModule
from decomprec.models.weights import load_local
from decomprec.training.callbacks import SeedEveryEpoch
from decomprec.training.checkpoints import FINISHED, WholeCheckpoints, WholeCSVLogger, save_finished
from decomprec.training.collapse import StopCollapsed
from decomprec.training.interruptions import clear_stops
from decomprec.training.nonfinite import StopNonFinite
from decomprec.training.presets import Preset
from decomprec.training.progress import epochs_between_validations

log = logging.getLogger(__name__)


class _Wandb(WandbLogger):
    """Ends its run with the stage, or the next stage would be logged to the same run."""

    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)


def _mlflow(folder: Path) -> Logger:
    """Logs where MLflow itself would: Lightning's default, a folder of files, is refused by MLflow 3."""
    address = import_module("mlflow").get_tracking_uri()
    return MLFlowLogger("decomprec", run_name=_title(folder), tracking_uri=address)


def _title(folder: Path) -> str:
    """The names of a run and its stage."""
    return f"{folder.parent.name} {folder.name}"


LOGGERS: dict[str, Callable[[Path], Logger]] = {
    "tensorboard": lambda folder: TensorBoardLogger(folder, name="tensorboard"),
    "wandb": lambda folder: _Wandb(name=_title(folder), save_dir=folder, project="decomprec"),
    "mlflow": _mlflow,
}
"""Logs besides the CSV file, which is always written: of a stage's folder within the run's."""


def fit_stage(
    module: L.LightningModule,
    network: nn.Module,
    data: TaggedDataModule,
    folder: Path,
    *,
    epochs: int,
    min_steps: int = 0,
    preset: Preset,
    class_names: Sequence[str],
    seed: int,
    callbacks: Sequence[Callback],
    compile: bool,
    loggers: Sequence[str],
    options: Mapping[str, Any],
) -> None:
    """Train `network` within `module`, or load the weights that a finished stage left.

    Args:
        module: the Lightning module of the stage.
        network: the part of it whose weights are written.
        data: images of the stage.
        folder: of the stage, within the run's.
        epochs: passes over the training images.
        min_steps: steps that are made at least, in more epochs.
        preset: all settings of the run, which are written to its folder.
        class_names: of the K-1 classes.
        seed: as for `train`.
        callbacks: as for `train`.
        compile: as for `train`.
        loggers: as for `train`.
        options: as for `train`.
    """
    weights, last = folder / FINISHED, folder / "last.ckpt"
    if weights.exists():
        _check_seed(last, seed)
        load_local(network, weights)
        log.info("the %s is trained already", folder.name)
        return
    # The layout in which convolutions are fastest; networks are handed on in the usual one.
    convert_conv2d_weight_memory_format(module, torch.channels_last)
    if compile:
        network.compile()
    with clear_stops(folder.name, last, _out_of_memory(folder.name, preset)):
        trainer = _trainer(
            preset, epochs, folder, [SeedEveryEpoch(seed), StopCollapsed(class_names), *callbacks], loggers, options
        )
        steps = len(data.train_set) // (data.batch_size * trainer.world_size)
        trainer.fit_loop.max_epochs = max(epochs, math.ceil(min_steps / max(1, steps)))
        if "check_val_every_n_epoch" not in options:
            trainer.check_val_every_n_epoch = epochs_between_validations(
                trainer.fit_loop.max_epochs, len(data.train_set), len(data.validated)
            )
        start = last if last.exists() else None
        log.info("%s %s: %d epochs", "resuming" if start else "training", folder.name, trainer.max_epochs)
        trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True if start else None)
        if trainer.is_global_zero:
            save_finished(network, folder)
        trainer.strategy.barrier()
        if not trainer.is_global_zero:  # what BatchNorm has recorded can differ
            load_local(network, weights)
    convert_conv2d_weight_memory_format(module, torch.contiguous_format)
    release_freed_memory()  # what comes next takes other sizes


def _check_seed(last: Path, seed: int) -> None:
    """Raise a ValueError if a finished stage has a checkpoint, and its seed was another one."""
    states = WholeCheckpoints().load_checkpoint(last).get("callbacks", {}) if last.exists() else {}
    callback = SeedEveryEpoch(seed)
    if callback.state_key in states:
        callback.load_state_dict(states[callback.state_key])


def check_loggers(names: Sequence[str]) -> None:
    """Raise a ValueError if a logger is unknown, or its package is not installed."""
    for name in names:
        if name not in LOGGERS:
            raise ValueError(f"Expected `loggers` to be among {', '.join(LOGGERS)}, but got {name!r}.")
        if not RequirementCache(name):
            raise ValueError(f"Expected {name} to be installed for its log, but it is not; do pip install {name}.")


def _trainer(
    preset: Preset,
    epochs: int,
    folder: Path,
    callbacks: Sequence[Callback],
    loggers: Sequence[str],
    options: Mapping[str, Any],
) -> L.Trainer:
    plugins = options.get("plugins") or []
    defaults = {
        "log_every_n_steps": 10,
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
        "accumulate_grad_batches": preset.accumulate,
    }
    return L.Trainer(
        max_epochs=epochs,
        logger=[WholeCSVLogger(folder, name="log"), *(LOGGERS[name](folder) for name in loggers)],
        callbacks=[
            _SavePreset(preset, folder.parent),
            ModelCheckpoint(folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True),
            StopNonFinite(),
            *callbacks,
        ],
        plugins=[WholeCheckpoints(), *(plugins if isinstance(plugins, list) else [plugins])],
        **{**defaults, **{name: value for name, value in options.items() if name != "plugins"}},
    )


def _out_of_memory(stage: str, preset: Preset) -> str:
    """What was too much, and what to try."""
    name, size, settings = "image_size", preset.image_size, getattr(preset, stage)
    if stage == "segmenter" and settings.image_size is not None:
        name, size = "segmenter.image_size", settings.image_size
    at_once = settings.batch_size // preset.accumulate
    smaller = [f"{name}={max(16, round(size / 2**0.5 / 16) * 16)}"]
    if settings.batch_size >= (4 if stage == "guide" else 2):  # BatchNorm needs 2
        smaller.insert(0, f"{stage}.batch_size={settings.batch_size // 2}")
    resume = ""
    if parts := preset.next_accumulate:
        resume = (
            f"resume with accumulate={parts}, which takes each step in parts of {settings.batch_size // parts}, or "
        )
    return (
        f"The memory does not suffice to train the {stage} on {at_once} images of {size} pixels at once; "
        f"{resume}train again with {' or '.join(smaller)}."
    )


class _SavePreset(Callback):
    """Writes the preset when all processes have met: none that is late takes the folder for another run's."""

    def __init__(self, preset: Preset, folder: Path) -> None:
        self.preset = preset
        self.folder = folder

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write it, and remove what a killed process had begun to write."""
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_partials(self.folder)
            self.preset.save(self.folder / "preset.yaml")
