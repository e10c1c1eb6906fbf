"""Lightning callbacks of the reference trainer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from decomprec.training.modules import Batch, SegmenterModule
from decomprec.training.stops import StoppedRunError
from decomprec.training.watch import findings
from decomprec.viz import panel, save_image


class SeedEveryEpoch(Callback):
    """Seed each epoch from its number, so that a resumed run draws what an uninterrupted one would have.

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
        """Go on from a checkpoint.

        Raises:
            ValueError: if the seed was another one.
        """
        if state_dict["seed"] != self.seed:
            raise ValueError(f"Expected to resume with the run's `seed` {state_dict['seed']}, but got {self.seed}.")


class PanelEveryEpoch(Callback):
    """Draw the decomposition of the same few pictures after every epoch, to watch the model learn.

    Args:
        batch: pictures as of `TaggedImages`, stacked: "image", "tags" and perhaps "mask".
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
        images: Tensor = self.batch["image"].to(pl_module.device)
        out = pl_module.segmenter(images)
        figure = panel(images, out, self.class_names, tags=self.batch["tags"], truth=self.batch.get("mask"))
        save_image(figure, self.folder / f"epoch_{trainer.current_epoch:03d}.png")


class CollapsedRunError(StoppedRunError):
    """A segmenter's training has collapsed: to go on would be wasted."""


class StopCollapsed(Callback):
    """Stop a segmenter's training once its diagnostics can only mean a collapse.

    It looks at the validation after every epoch for a class whose masks cover less than 0.1 % or more than
    99.9 % of the pictures that have one, a background of less than 0.1 %, masks that are undecided everywhere
    after 1000 steps, and losses or masks that are not finite. A class of fewer than eight pictures is not judged.
    How often each has been found is part of the checkpoint.

    Args:
        class_names: of the K-1 classes, for the message.
        patience: how many validations in a row must find the same, at least 1.

    Raises:
        ValueError: if `patience` is less than 1.

    Examples:
        >>> trainer = L.Trainer(callbacks=[StopCollapsed(["dog"])], logger=False, accelerator="cpu")
    """

    def __init__(self, class_names: Sequence[str], patience: int = 2) -> None:
        if patience < 1:
            raise ValueError(f"Expected `patience` to be at least 1, but got {patience}.")
        self.class_names = tuple(class_names)
        self.patience = patience
        self.epochs: dict[str, list[int]] = {}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare this validation's findings with those before.

        Raises:
            CollapsedRunError: if the same has been found `patience` times in a row.
        """
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if not fitting or not isinstance(pl_module, SegmenterModule):
            return
        # The diagnostics are means over all processes, the loss is this one's.
        finite_loss = trainer.strategy.reduce_boolean_decision(bool(trainer.callback_metrics["val/total"].isfinite()))
        found = findings(pl_module.diagnostics.compute(), self.class_names, trainer.global_step, finite_loss)
        self.epochs = {f.kind: [*self.epochs.get(f.kind, []), trainer.current_epoch] for f in found}
        lasting = [f for f in found if len(self.epochs[f.kind]) >= self.patience]
        if lasting:
            said = "; ".join(f"{f.text}, after {_epochs(self.epochs[f.kind])}: {f.advice}" for f in lasting)
            raise CollapsedRunError(f"The segmenter has collapsed: {said}. The last checkpoint is kept.")

    def state_dict(self) -> dict[str, Any]:
        """What has been found in the epochs before."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.epochs = state_dict["epochs"]


def _epochs(numbers: list[int]) -> str:
    *before, last = dict.fromkeys(numbers)
    return f"epochs {', '.join(map(str, before))} and {last}" if before else f"epoch {last}"
