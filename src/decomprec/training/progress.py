"""Progress of a whole run: how much of it is done, and how long the rest will take."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, ProgressBar
from tqdm import tqdm

from decomprec.training.modules import Batch, GuideModule
from decomprec.training.presets import Preset

log = logging.getLogger(__name__)

GUESSED_COSTS = {
    "guide": 1.0,
    "guide validation": 0.5,
    "segmenter": 3.0,
    "segmenter validation": 1.5,
    "table": 4.0,
}
"""Time per image of each kind of work relative to a training image of the guide, until it is measured.

Measured with `robust` on two CPU cores. Other presets differ: what has begun is measured at once.
"""

_KEPT = 0.98  # of what has been measured, at each further batch: about the last 50 batches count
_BAR_EVERY, _LINE_EVERY = 0.5, 60.0  # seconds


def epochs_between_validations(epochs: int, train_images: int, validated: int) -> int:
    """Number of epochs from one validation to the next.

    A validation should see an eighth as many images as were trained on since the last one. If it sees more, more epochs
    pass before it, but a run of ten epochs or more has at least five validations.

    Args:
        epochs: of the stage.
        train_images: of an epoch.
        validated: images in a validation.

    Examples:
        >>> epochs_between_validations(10, 332, 64), epochs_between_validations(67, 60, 64)
        (2, 9)
        >>> epochs_between_validations(10, 3000, 375), epochs_between_validations(4, 16, 8)
        (1, 1)
    """
    return max(1, min(round(8 * validated / max(1, train_images)), epochs // 5))


def planned_images(
    preset: Preset, train_images: int, val_images: int, processes: int = 1, table_images: int = 0
) -> dict[str, int]:
    """Images of each kind of work in a whole run.

    Args:
        preset: epochs and batch sizes.
        train_images: size of the training set.
        val_images: size of the validation set, see `epochs_between_validations`.
        processes: that train together.
        table_images: that are measured after the training.

    Examples:
        >>> from decomprec.training import PRESETS
        >>> planned_images(PRESETS["demo"].override({"guide.batch_size": 32, "segmenter.batch_size": 16}), 100, 10)
        {'guide': 576, 'guide validation': 60, 'segmenter': 192, 'segmenter validation': 20, 'table': 0}
    """
    plan = {}
    for name, stage in (("guide", preset.guide), ("segmenter", preset.segmenter)):
        at_once = stage.batch_size * processes
        steps = train_images // at_once
        epochs = stage.epochs
        if name == "segmenter":
            epochs = max(epochs, math.ceil(preset.segmenter.min_steps / max(1, steps)))
        plan[name] = epochs * steps * at_once
        plan[f"{name} validation"] = epochs // epochs_between_validations(epochs, train_images, val_images) * val_images
    return {**plan, "table": table_images}


def seconds_per_image(
    measured: Mapping[str, tuple[float, float]], guessed: Mapping[str, float] = GUESSED_COSTS
) -> dict[str, float]:
    """Time per image of each kind of work: as measured or, if it has not begun, from the guess and what is measured.

    Args:
        measured: images and the seconds that they took, by kind.
        guessed: relative times per image of all kinds.

    Examples:
        >>> seconds_per_image({"guide": (100, 2.0)}, {"guide": 1, "segmenter": 7})
        {'guide': 0.02, 'segmenter': 0.14}
    """
    seconds = sum(spent for _, spent in measured.values())
    units = sum(images * guessed[kind] for kind, (images, _) in measured.items())
    unit = seconds / units if units else 1.0
    return {
        kind: measured[kind][1] / measured[kind][0] if kind in measured else cost * unit
        for kind, cost in guessed.items()
    }


def share_and_seconds_left(
    planned: Mapping[str, int], done: Mapping[str, int], costs: Mapping[str, float]
) -> tuple[float, float]:
    """Share of a run that is done, from 0 to 1, and the seconds that the rest will take.

    Args:
        planned: images of each kind of work.
        done: those that have been seen; kinds that have not begun may be missing.
        costs: seconds per image.

    Examples:
        >>> share_and_seconds_left({"guide": 100, "segmenter": 50}, {"guide": 50}, {"guide": 1, "segmenter": 2})
        (0.25, 150)
    """
    left = sum(max(0, images - done.get(kind, 0)) * costs[kind] for kind, images in planned.items())
    spent = sum(min(images, done.get(kind, 0)) * costs[kind] for kind, images in planned.items())
    return (spent / (spent + left) if spent + left else 1.0), left


def duration(seconds: float) -> str:
    """A duration in words, as exact as an estimate is.

    Examples:
        >>> [duration(seconds) for seconds in (3, 44, 200, 5000)]
        ['10 s', '50 s', '4 min', '1 h 24 min']
    """
    if seconds <= 50:
        return f"{10 * max(1, math.ceil(seconds / 10))} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class RunProgress(ProgressBar):
    """A bar for the whole run, which both stages move on: share done, epoch, loss and time left.

    Without a terminal or notebook, a line is logged every minute and every tenth of the run. A resumed run starts
    where the earlier one stopped.

    Args:
        preset: all settings of the run.
        train_images: size of the training set.
        val_images: size of the validation set.
        table_images: that are measured after the training.
        guide_only: no segmenter is trained.
    """

    def __init__(
        self, preset: Preset, train_images: int, val_images: int, table_images: int = 0, *, guide_only: bool = False
    ) -> None:
        super().__init__()
        if guide_only:
            preset = preset.override({"segmenter.epochs": 0, "segmenter.min_steps": 0})
        self.preset = preset
        self.train_images = train_images
        self.val_images = val_images
        self.table_images = table_images
        self.planned: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.measured: dict[str, tuple[float, float]] = {}
        self._begun: set[str] = set()
        self._enabled = True
        self._stage = ""
        self._clock = 0.0
        self._shown = (-math.inf, 0.0)  # when, and which share
        self._bar: Any = None

    def disable(self) -> None:
        """Show nothing, as in all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show the bar again."""
        self._enabled = True

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Bring the numbers in line with the epoch, which may be a resumed one."""
        if not self._enabled:
            return
        self._stage = "guide" if isinstance(pl_module, GuideModule) else "segmenter"
        if not self.planned:
            self.planned = planned_images(
                self.preset, self.train_images, self.val_images, trainer.world_size, self.table_images
            )
        if self._stage == "segmenter":  # the guide may have been trained by an earlier call
            self.done |= {kind: images for kind, images in self.planned.items() if kind.startswith("guide")}
        # What the trainer says holds for options that limit its batches, too.
        settings = self.preset.guide if self._stage == "guide" else self.preset.segmenter
        at_once = settings.batch_size // self.preset.accumulate * trainer.world_size
        validation = min(self.val_images, int(sum(trainer.num_val_batches)) * at_once)
        for kind, images in (
            (self._stage, int(trainer.num_training_batches) * at_once),
            (f"{self._stage} validation", validation),
        ):
            every = (trainer.check_val_every_n_epoch or 1) if kind != self._stage else 1
            self.planned[kind] = images * ((trainer.max_epochs or 0) // every)
            self.done[kind] = images * (trainer.current_epoch // every)
        self._clock = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count a training batch."""
        self._count(trainer, self._stage, batch)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._clock = time.monotonic()

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a validation batch."""
        if not trainer.sanity_checking:
            self._count(trainer, f"{self._stage} validation", batch)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._clock = time.monotonic()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the last state of the stage."""
        if self._enabled and self.planned:
            self._show(trainer, *self._estimate())
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Start a new line for the message of an exception."""
        self._close()

    def _count(self, trainer: L.Trainer, kind: str, batch: Batch) -> None:
        if not self._enabled:
            return
        now = time.monotonic()
        images = len(batch["image"]) * trainer.world_size
        self.done[kind] = self.done.get(kind, 0) + images
        if kind in self._begun:  # the first batch is slow: memory, caches, perhaps a compiler
            before, spent = self.measured.get(kind, (0.0, 0.0))
            self.measured[kind] = (_KEPT * before + images, _KEPT * spent + now - self._clock)
        self._begun.add(kind)
        self._clock = now
        when, shown = self._shown
        if not self.measured or now - when < _BAR_EVERY:
            return
        share, left = self._estimate()
        if _has_bar() or now - when >= _LINE_EVERY or share - shown >= 0.1:
            self._show(trainer, share, left)

    def _estimate(self) -> tuple[float, float]:
        return share_and_seconds_left(self.planned, self.done, seconds_per_image(self.measured))

    def _show(self, trainer: L.Trainer, share: float, left: float) -> None:
        self._shown = time.monotonic(), share
        metrics = trainer.progress_bar_metrics
        loss = metrics.get("train/loss", metrics.get("train/total"))
        max_epochs = trainer.max_epochs or 0
        details = f"epoch {min(trainer.current_epoch + 1, max_epochs)}/{max_epochs}"
        if isinstance(loss, float):
            details += f", loss {loss:.2g}"
        rest = f"{duration(left)} left of the run" if self.measured and left else "done"
        title = f"training the {self._stage}"
        if not _has_bar():
            log.info("%s: %.0f%% | %s | %s", title, 100 * share, details, rest)
            return
        if self._bar is None:
            form = "{desc}: {percentage:.0f}% |{bar:20}| {postfix[0]}"
            self._bar = tqdm(total=1.0, desc=title, bar_format=form, postfix=[""], dynamic_ncols=True)
        self._bar.n = share
        self._bar.postfix = [f"{details} | {rest}"]
        self._bar.refresh()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def with_progress(callbacks: Sequence[Callback], options: Mapping[str, Any], progress: RunProgress) -> list[Callback]:
    """The callbacks of a run, and `progress`, unless they hold a bar already or the options ask for none."""
    wanted = options.get("enable_progress_bar", True) and not any(isinstance(c, ProgressBar) for c in callbacks)
    return [*callbacks, progress] if wanted else [*callbacks]


def _has_bar() -> bool:
    """Whether there is a terminal or a notebook that can draw one."""
    shell: Any = sys.modules.get("IPython")  # not imported for it
    return sys.stderr.isatty() or getattr(shell and shell.get_ipython(), "kernel", None) is not None
