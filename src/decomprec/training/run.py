"""Both stages, one after the other, in a run folder that can be resumed."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning_utilities.core.imports import RequirementCache
from torch import nn
from torch.utils.data import Dataset

from decomprec.data import TaggedDataModule
from decomprec.models.weights import load_local
from decomprec.training.build import (
    build_classifier,
    build_loss,
    build_segmenter,
    start_from_guide,
)
from decomprec.training.callbacks import SeedEveryEpoch, StopCollapsed
from decomprec.training.modules import GuideModule, SegmenterModule, freeze
from decomprec.training.presets import Preset
from decomprec.training.saved import WEIGHTS, Trained, save_weights

log = logging.getLogger(__name__)

# What Lightning warns of and what is meant to be so here.
_INTENDED = (
    "Checkpoint directory",  # the preset lies there first
    "Found .* module",  # the frozen guide is in eval mode
    "The number of training batches",  # small data sets log less
    "The '.*_dataloader' does not have many workers",
    ".*LeafSpec",  # of Lightning's own making
)


def train(
    preset: Preset,
    train_set: Dataset[dict[str, Any]],
    val_set: Dataset[dict[str, Any]],
    run_dir: str | Path,
    *,
    resume: bool = False,
    seed: int = 0,
    num_workers: int = 0,
    callbacks: list[Callback] | None = None,
    compile: bool = False,
    trainer_options: Mapping[str, Any] | None = None,
) -> Trained:
    """Train the guide, freeze it, and train the segmenter (section 4.3).

    The run folder gets, for each stage, checkpoints after every epoch with `preset.yaml` beside them, a CSV log
    (and TensorBoard's, where it is installed), and at its end the weights as safetensors. Several processes need a
    folder that all of them see, and each takes a batch of its own in every step.

    Args:
        preset: all settings.
        train_set: items with "image" and "tags"; its `class_names` are the K-1 classes.
        val_set: likewise; a "mask" is only used to report the IoU while training.
        run_dir: where everything is written.
        resume: go on where an earlier run in this folder stopped; otherwise the folder must be new.
        seed: of initial weights, data order and everything else that is random.
        num_workers: processes that load pictures.
        callbacks: further Lightning callbacks, for both stages.
        compile: run both networks through `torch.compile`.
        trainer_options: passed to every `lightning.Trainer`, such as accelerator, devices or precision.

    Raises:
        ValueError: if the folder holds a run already and `resume` is False, or its preset is another one.
        CollapsedRunError: if the segmenter collapses; its weights are not written, its last checkpoint stays.
    """
    run_dir = Path(run_dir)
    class_names = tuple(train_set.class_names)  # type: ignore[attr-defined]
    num_classes = len(class_names) + 1
    batch_sizes = [preset.guide.batch_size, preset.segmenter.batch_size]
    data = [TaggedDataModule(train_set, val_set, batch_size, num_workers, seed) for batch_size in batch_sizes]
    # A finished guide needs no file or download that it once started from.
    finished = (run_dir / "guide" / WEIGHTS).exists()
    L.seed_everything(seed, verbose=False)
    classifier = build_classifier(replace(preset.guide, weights=None) if finished else preset.guide, num_classes)
    L.seed_everything(seed, verbose=False)
    segmenter = build_segmenter(preset.segmenter, num_classes, classifier)
    # Wrong settings raise now, not after the guide is trained.
    build_loss(preset.segmenter, copy.deepcopy(classifier))  # which freezes the copy
    freeze(segmenter, preset.segmenter.frozen)
    _check(run_dir, preset, resume)
    fit = partial(
        _fit,
        preset=preset,
        class_names=class_names,
        seed=seed,
        callbacks=callbacks or [],
        compile=compile,
        options=dict(trainer_options or {}),
    )

    guide_module = GuideModule(
        classifier,
        learning_rate=preset.guide.learning_rate,
        occlusion=preset.guide.occlusion,
        one_cycle=preset.guide.one_cycle,
        frozen=preset.guide.frozen,
        weight_decay=preset.guide.weight_decay,
        refit_head=preset.guide.refit_head,
        scales=preset.guide.scales,
    )
    fit(guide_module, classifier, data[0], run_dir / "guide", preset.guide.epochs)

    start_from_guide(segmenter, preset.segmenter, classifier)
    segmenter_module = SegmenterModule(
        segmenter.requires_grad_(True).train(),
        build_loss(preset.segmenter, classifier),
        num_classes,
        learning_rate=preset.segmenter.learning_rate,
        one_cycle=preset.segmenter.one_cycle,
        frozen=preset.segmenter.frozen,
        image_size=preset.segmenter.image_size,
        background_bias=preset.segmenter.background_bias,
    )
    fit(segmenter_module, segmenter, data[1], run_dir / "segmenter", preset.segmenter.epochs)

    return Trained(segmenter.eval(), classifier.eval(), class_names)


def _check(run_dir: Path, preset: Preset, resume: bool) -> None:
    saved = run_dir / "preset.yaml"
    if saved.exists() and not resume:
        raise ValueError(f"Expected a new run folder, but {run_dir} holds a run; resume it or choose another.")
    if saved.exists() and Preset.load(saved) != preset:
        raise ValueError(f"Expected to resume with the preset of {saved}, but got other settings; use that preset.")


class _SavePreset(Callback):
    """Writes the preset when all processes have met: none that is late takes the folder for another run's."""

    def __init__(self, preset: Preset, *folders: Path) -> None:
        self.preset = preset
        self.folders = folders

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        for folder in self.folders if trainer.is_global_zero else ():
            folder.mkdir(parents=True, exist_ok=True)
            self.preset.save(folder / "preset.yaml")


def _fit(
    module: L.LightningModule,
    network: nn.Module,
    data: L.LightningDataModule,
    folder: Path,
    epochs: int,
    *,
    preset: Preset,
    class_names: tuple[str, ...],
    seed: int,
    callbacks: list[Callback],
    compile: bool,
    options: dict[str, Any],
) -> None:
    """Train `network`, or load the weights that a finished stage left."""
    if (folder / WEIGHTS).exists():
        load_local(network, folder / WEIGHTS)
        log.info("the %s is trained already", folder.name)
        return
    last = folder / "last.ckpt"
    loggers: list[Logger] = [CSVLogger(folder, name="log")]
    if RequirementCache("tensorboard"):
        loggers.append(TensorBoardLogger(folder, name="tensorboard"))
    trainer = L.Trainer(
        max_epochs=epochs,
        logger=loggers,
        callbacks=[
            _SavePreset(preset, folder.parent, folder),
            ModelCheckpoint(folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True),
            SeedEveryEpoch(seed),
            StopCollapsed(class_names),
            *callbacks,
        ],
        **{"log_every_n_steps": 10, "num_sanity_val_steps": 0, "enable_model_summary": False, **options},
    )
    ckpt_path = last if last.exists() else None
    log.info("%s %s: %d epochs", "resuming" if ckpt_path else "training", folder.name, epochs)
    with warnings.catch_warnings():
        for message in _INTENDED:
            warnings.filterwarnings("ignore", message)
        if compile:
            network.compile()
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    if trainer.is_global_zero:
        save_weights(network, folder, class_names)
    trainer.strategy.barrier()
    if not trainer.is_global_zero:  # what BatchNorm has recorded can differ
        load_local(network, folder / WEIGHTS)
