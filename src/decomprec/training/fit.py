"""One stage of a run: trained, resumed, or read back if it is finished."""

from __future__ import annotations

import logging
import math
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities.memory import garbage_collection_cuda
from lightning_utilities.core.imports import RequirementCache
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from decomprec._files import remove_partials
from decomprec.data import TaggedDataModule
from decomprec.models.weights import load_local
from decomprec.training.callbacks import SeedEveryEpoch
from decomprec.training.checkpoints import FINISHED, WholeCheckpoints, WholeCSVLogger, damaged, save_finished
from decomprec.training.collapse import StopCollapsed
from decomprec.training.interruptions import StoppedRunError, clear_stops, is_out_of_memory, kept, lost_process
from decomprec.training.nonfinite import StopNonFinite
from decomprec.training.presets import GuideSettings, Preset, SegmenterSettings

log = logging.getLogger(__name__)

# What Lightning warns of and what is meant to be so here.
_INTENDED = (
    "Checkpoint directory",  # the preset lies there first
    "Found .* module",  # the frozen guide is in eval mode
    "The number of training batches",  # small data sets log less
    "The '.*_dataloader' does not have many workers",
    ".*LeafSpec",  # of Lightning's own making
)


def fit_stage(
    module: L.LightningModule,
    network: nn.Module,
    data: TaggedDataModule,
    folder: Path,
    settings: GuideSettings | SegmenterSettings,
    *,
    preset: Preset,
    class_names: tuple[str, ...],
    seed: int,
    callbacks: Sequence[Callback],
    compile: bool,
    options: dict[str, Any],
) -> None:
    """Train `network`, or load the weights that a finished stage left; for the arguments see `train`."""
    if (folder / FINISHED).exists():
        load_local(network, folder / FINISHED)
        log.info("the %s is trained already", folder.name)
        return
    # The layout in which convolutions are fastest; networks are handed on in the usual one.
    convert_conv2d_weight_memory_format(module, torch.channels_last)
    if compile:
        network.compile()
    last = folder / "last.ckpt"
    start = {name: tensor.cpu().clone() for name, tensor in module.state_dict().items()}
    while True:
        with clear_stops(folder.name, last):
            trainer = _trainer(folder, settings.epochs, data.accumulate, preset, class_names, seed, callbacks, options)
            steps = len(data.train_set) // (data.batch_size * trainer.world_size)
            trainer.fit_loop.max_epochs = max(settings.epochs, math.ceil(settings.min_steps / max(1, steps)))
            try:
                _fit(trainer, module, network, data, folder, class_names)
                convert_conv2d_weight_memory_format(module, torch.contiguous_format)
                return
            except (RuntimeError, MemoryError) as error:
                if lost := lost_process(error):
                    raise StoppedRunError(f"{lost} {kept(folder.name, last)}") from error
                if not is_out_of_memory(error):
                    raise
                at_once, alone = data.batch_size // data.accumulate, trainer.world_size == 1
                if settings.accumulate != "auto" or at_once % 2 or not alone:
                    text = f"{_out_of_memory(folder.name, preset, data)} {kept(folder.name, last)}"
                    raise StoppedRunError(text) from error
        # Beyond the handler, nothing holds on to the failed step.
        garbage_collection_cuda()
        log.info("out of memory with %d images at once; going on with %d", at_once, at_once // 2)
        data.accumulate *= 2
        _begin_again(module, start)


def _trainer(
    folder: Path,
    epochs: int,
    accumulate: int,
    preset: Preset,
    class_names: tuple[str, ...],
    seed: int,
    callbacks: Sequence[Callback],
    options: dict[str, Any],
) -> L.Trainer:
    loggers: list[Logger] = [WholeCSVLogger(folder, name="log")]
    if RequirementCache("tensorboard"):
        loggers.append(TensorBoardLogger(folder, name="tensorboard"))
    plugins = options.get("plugins") or []
    defaults = {
        "log_every_n_steps": 10,
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
        "accumulate_grad_batches": accumulate,
    }
    return L.Trainer(
        max_epochs=epochs,
        logger=loggers,
        callbacks=[
            _SavePreset(preset, folder.parent, folder),
            ModelCheckpoint(folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True),
            SeedEveryEpoch(seed),
            StopCollapsed(class_names),
            StopNonFinite(),
            *callbacks,
        ],
        plugins=[WholeCheckpoints(), *(plugins if isinstance(plugins, list) else [plugins])],
        **{**defaults, **{name: value for name, value in options.items() if name != "plugins"}},
    )


def _fit(
    trainer: L.Trainer,
    module: L.LightningModule,
    network: nn.Module,
    data: TaggedDataModule,
    folder: Path,
    class_names: tuple[str, ...],
) -> None:
    ckpt_path = folder / "last.ckpt" if (folder / "last.ckpt").exists() else None
    log.info("%s %s: %d epochs", "resuming" if ckpt_path else "training", folder.name, trainer.max_epochs)
    with warnings.catch_warnings():
        for message in _INTENDED:
            warnings.filterwarnings("ignore", message)
        try:
            trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
        except (AttributeError, LookupError, RuntimeError, TypeError) as error:
            elsewhere = is_out_of_memory(error) or lost_process(error)
            if ckpt_path is None or elsewhere or not _while_restoring(error):
                raise
            raise damaged(ckpt_path) from error
    if trainer.is_global_zero:
        save_finished(network, folder)
    trainer.strategy.barrier()
    if not trainer.is_global_zero:  # what BatchNorm has recorded can differ
        load_local(network, folder / FINISHED)


def _while_restoring(error: BaseException) -> bool:
    """Whether Lightning was at work on the content of a checkpoint."""
    return any(
        frame.filename.endswith("checkpoint_connector.py") for frame in traceback.extract_tb(error.__traceback__)
    )


def _begin_again(module: L.LightningModule, start: dict[str, Tensor]) -> None:
    """Undo what a training that was broken off has done; a checkpoint is loaded after this, if there is one."""
    module.load_state_dict(start)
    module.zero_grad()
    module.train()


def _out_of_memory(stage: str, preset: Preset, data: TaggedDataModule) -> str:
    """What was too much, and what to try: half of it."""
    name, size = "image_size", preset.image_size
    if stage == "segmenter" and preset.segmenter.image_size is not None:
        name, size = "segmenter.image_size", preset.segmenter.image_size
    at_once = data.batch_size // data.accumulate
    smaller = f"{name}={max(16, round(size / 2**0.5 / 16) * 16)}"
    text = f"The memory does not suffice to train the {stage} on {at_once} images of {size} pixels at once"
    if at_once % 2:
        return f"{text}; train anew with {smaller}."
    return (
        f"{text}; resume with {stage}.accumulate={2 * data.accumulate}, which takes each step in parts of "
        f"{at_once // 2}, or train anew with {stage}.batch_size={data.batch_size // 2} or {smaller}."
    )


class _SavePreset(Callback):
    """Writes the preset when all processes have met: none that is late takes the folder for another run's."""

    def __init__(self, preset: Preset, *folders: Path) -> None:
        self.preset = preset
        self.folders = folders

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        for folder in self.folders if trainer.is_global_zero else ():
            folder.mkdir(parents=True, exist_ok=True)
            remove_partials(folder)
            self.preset.save(folder / "preset.yaml")
