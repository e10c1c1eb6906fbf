"""Lightning callbacks of the reference trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from decomprec.figures import draw_panel
from decomprec.training.modules import Batch, SegmenterModule
from decomprec.viz import save_image


class SeedEveryEpoch(Callback):
    """Seed each epoch from its number: a resumed run draws the same numbers as an uninterrupted one.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Seed Python, NumPy and torch, each process differently."""
        L.seed_everything(self.seed + 1000 * trainer.current_epoch + trainer.global_rank, verbose=False)

    def state_dict(self) -> dict[str, Any]:
        """The seed."""
        return {"seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint.

        Raises:
            ValueError: if the seed was another one.
        """
        if state_dict["seed"] != self.seed:
            raise ValueError(f"Expected to resume with the run's `seed` {state_dict['seed']}, but got {self.seed}.")


class ValidationPanels(Callback):
    """Draw the decomposition of the same few images after every validation, to watch the model learn.

    Args:
        batch: collated items of a data set: "image", "tags" and, if known, "mask".
        class_names: of the K-1 classes.
        folder: gets `epoch_000.png`, `epoch_001.png`, ...
    """

    def __init__(self, batch: Batch, class_names: tuple[str, ...], folder: str | Path) -> None:
        self.batch = batch
        self.class_names = class_names
        self.folder = Path(folder)

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the panel of this epoch."""
        if not trainer.is_global_zero or not isinstance(pl_module, SegmenterModule):
            return
        batch = {**self.batch, "image": self.batch["image"].to(pl_module.device)}
        figure = draw_panel(pl_module.segmenter, batch, self.class_names)
        save_image(figure, self.folder / f"epoch_{trainer.current_epoch:03d}.png")
