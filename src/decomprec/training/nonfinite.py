"""Stop a training before a step that is not finite, and find the cause."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from decomprec.training.interruptions import NonFiniteError
from decomprec.training.modules import Batch, Stage

_ADVICE = "Lower its learning_rate, or train in full precision."
_MOST_NAMES = 5


class StopNonFinite(Callback):
    """Stop before a step of the optimiser whose loss or gradient is NaN or infinite.

    The weights are then still those of the step before. With a gradient scaler (precision "16-mixed") only the loss is
    looked at: the scaler leaves steps out whose gradient is not finite. All processes that train stop together.

    Examples:
        >>> trainer = L.Trainer(callbacks=[StopNonFinite()], logger=False, accelerator="cpu")
    """

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self._losses: list[Tensor] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget an epoch that was broken off."""
        self._batches.clear()
        self._losses.clear()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the batch: there are several where gradients are accumulated."""
        self._batches.append(batch)

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Remember the loss."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        """Look at the losses and gradients of this step.

        Raises:
            NonFiniteError: which names the terms of the loss, or the parameter, and the images.
        """
        sizes = torch.stack(self._losses)
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            sizes = torch.cat([sizes, nn.utils.get_total_norm(gradients, torch.inf)[None].to(sizes)])
        if not trainer.strategy.reduce_boolean_decision(bool(sizes.isfinite().all())):
            with trainer.precision_plugin.train_step_context():
                what, images = _blame(pl_module, self._batches)
            when = f"in epoch {trainer.current_epoch}, step {trainer.global_step}"
            raise NonFiniteError(f"{what} is NaN or infinite {when}, on {images}. {_ADVICE}")
        self._batches.clear()
        self._losses.clear()


@torch.no_grad()
def _blame(module: L.LightningModule, batches: list[Batch]) -> tuple[str, str]:
    """What is not finite, and on which images: those for which it is so alone, or else all of the step."""
    everyone = [name for batch in batches for name in _names(batch)]
    gradients = [f"The gradient of {n}" for n, p in module.named_parameters() if not _finite(p.grad)]
    if not isinstance(module, Stage):
        return (gradients or ["The loss"])[0], _listed(everyone)
    terms = list(dict.fromkeys(term for batch in batches for term in _not_finite(module, batch)))
    if not terms:
        return (gradients or ["The loss"])[0], _listed(everyone)
    module.eval()  # an image by itself gives no batch statistics
    alone = [name for batch in batches for name, one in _singles(batch) if _not_finite(module, one)]
    return f"The loss ({', '.join(terms)})", _listed(alone or everyone)


def _not_finite(module: Stage, batch: Batch) -> list[str]:
    return [name for name, value in module.losses(batch).items() if not _finite(value)]


def _finite(tensor: Tensor | None) -> bool:
    return tensor is None or bool(tensor.isfinite().all())


def _names(batch: Batch) -> list[str]:
    return list(batch.get("name") or (f"image {i} of the batch" for i in range(len(batch["image"]))))


def _singles(batch: Batch) -> list[tuple[str, Batch]]:
    names = _names(batch)
    return [(name, {key: value[i : i + 1] for key, value in batch.items()}) for i, name in enumerate(names)]


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
