"""The ceiling of the table: a segmenter of the same architecture, trained as long on masks."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from decomprec.data import TaggedImages, collate
from decomprec.data.datamodule import EpochShuffle
from decomprec.models import DecompositionSegmenter, PooledClassifier
from decomprec.models.weights import load_local
from decomprec.seeds import class_weights, seed_loss
from decomprec.training import Preset
from decomprec.training.build import build_segmenter, start_from_guide
from decomprec.training.callbacks import SeedEveryEpoch
from decomprec.training.checkpoints import FINISHED, save_finished

log = logging.getLogger(__name__)

# What Lightning warns of and what is meant to be so here.
_INTENDED = (
    "Checkpoint directory",  # the log lies there first
    "You defined a `validation_step`",  # nothing is chosen by it
    "The number of training batches",  # small data sets log less
    ".*LeafSpec",  # of Lightning's own making
)


class SupervisedModule(L.LightningModule):
    """Trains the mask branch of a segmenter on masks as on seeds, by Adam with one cycle of the learning rate.

    Args:
        segmenter: maps images to a `Decomposition`.
        learning_rate: the cycle's highest.
        weights: of the slots, shape (K,).
    """

    def __init__(self, segmenter: DecompositionSegmenter, learning_rate: float, weights: Tensor) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.learning_rate = learning_rate
        self.weights = weights

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = seed_loss(self.segmenter.mask_logits(batch["image"]), batch["mask"], self.weights)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["image"]))
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, steps, cycle_momentum=False)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train_supervised(
    preset: Preset,
    classifier: PooledClassifier,
    images: TaggedImages,
    images_seen: int,
    folder: Path,
    seed: int,
    workers: int,
    trainer_options: Mapping[str, Any],
) -> DecompositionSegmenter:
    """A segmenter like the preset's, trained on masks, or the one that a finished training left in the folder.

    Args:
        preset: gives architecture, batch size and learning rate.
        classifier: the guide, from whose encoder it starts where the preset's segmenter does.
        images: with masks.
        images_seen: how many images it should see, repeats counted.
        folder: for checkpoints, log and weights.
        seed: of initial weights and order.
        workers: processes that load images.
        trainer_options: passed to `lightning.Trainer`.
    """
    if (folder / FINISHED).exists():
        preset = preset.override({"segmenter.encoder_weights": None})
    L.seed_everything(seed, verbose=False)
    segmenter = build_segmenter(preset, len(images.class_names) + 1, classifier)
    start_from_guide(preset, segmenter, classifier)
    loader = shuffled(images, min(preset.segmenter.batch_size, len(images)), seed, workers)
    epochs = max(round(images_seen / len(images)), 1)
    weights = class_weights(pixel_counts(images))
    module = SupervisedModule(segmenter, preset.segmenter.learning_rate, weights)
    fit(module, segmenter, loader, folder, epochs, images.class_names, seed, trainer_options)
    return segmenter


def pixel_counts(images: TaggedImages) -> Tensor:
    """Pixels of the background and each class in all masks, shape (K,)."""
    length = len(images.class_names) + 1
    masks = (images[i]["mask"] for i in range(len(images)))
    return torch.stack([torch.bincount(mask[mask < length], minlength=length) for mask in masks]).sum(dim=0)


def shuffled(images: TaggedImages, batch_size: int, seed: int, workers: int) -> DataLoader[dict[str, Any]]:
    """Batches in an order that depends on seed and epoch alone, as `TaggedDataModule` has them, but with masks."""
    return DataLoader(
        images,
        batch_size,
        sampler=EpochShuffle(images, seed),
        generator=torch.Generator().manual_seed(seed),
        drop_last=True,
        num_workers=workers,
        collate_fn=collate,
    )


def fit(
    module: L.LightningModule,
    network: nn.Module,
    loader: DataLoader[dict[str, Any]],
    folder: Path,
    epochs: int,
    class_names: tuple[str, ...],
    seed: int,
    trainer_options: Mapping[str, Any],
) -> None:
    """Train `network` by `module`, go on from the folder's last checkpoint, or load what it finished with."""
    if (folder / FINISHED).exists():
        log.info("%s is trained already", folder.name)
        load_local(network, folder / FINISHED)
        return
    last = folder / "last.ckpt"
    log.info("%s: %d epochs of %d batches", folder.name, epochs, len(loader))
    checkpoint = ModelCheckpoint(folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True)
    trainer = L.Trainer(
        max_epochs=epochs,
        logger=CSVLogger(folder, name="log"),
        callbacks=[checkpoint, SeedEveryEpoch(seed)],
        **{"log_every_n_steps": 10, "enable_model_summary": False, "limit_val_batches": 0, **trainer_options},
    )
    ckpt_path = last if last.exists() else None
    with warnings.catch_warnings():
        for message in _INTENDED:
            warnings.filterwarnings("ignore", message)
        trainer.fit(module, loader, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    save_finished(network, folder)
