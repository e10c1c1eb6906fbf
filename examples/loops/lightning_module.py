"""The blocks in your own LightningModule, under your own Trainer.

    uv run examples/loops/lightning_module.py

Prints the total loss of every step.
"""

from typing import Any

import lightning as L
import torch
from problem import Problem, make_problem
from torch import Tensor


class OwnModule(L.LightningModule):
    """A step is a line; the Trainer moves the guide, and the optimiser never sees it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.model = problem.model
        self.loss = problem.loss
        self.losses: list[float] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """One step of Eq. 8."""
        terms = self.loss(self.model(batch["image"]), batch["image"], batch["tags"])
        self.log_dict({f"train/{name}": value for name, value in terms.as_dict().items()})
        self.losses.append(terms.total.item())
        return terms.total

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Over the segmenter alone: `self.parameters()` has nothing of the guide."""
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def train(problem: Problem, **options: Any) -> list[float]:
    """One pass over the scenes; returns the total loss of every step. The options are the Trainer's."""
    module = OwnModule(problem)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    L.Trainer(max_epochs=1, **quiet, **options).fit(module, problem.loader)
    return module.losses


if __name__ == "__main__":
    for step, total in enumerate(train(make_problem())):
        print(f"step {step}: {total:.6f}")
