"""The blocks in your own loop, with devices and precision by Lightning Fabric.

    uv run examples/loops/fabric_loop.py

Prints the total loss of every step.
"""

from typing import Any

import torch
from lightning.fabric import Fabric
from problem import Objective, Problem, make_problem


def train(problem: Problem, **options: Any) -> list[float]:
    """One pass over the scenes; returns the total loss of every step. The options are Fabric's."""
    fabric = Fabric(**options)
    fabric.launch()
    objective = Objective(problem.model, problem.loss)
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)  # nothing of the guide
    objective, optimizer = fabric.setup(objective, optimizer)
    losses = []
    batches: Any = fabric.setup_dataloaders(problem.loader)
    for batch in batches:
        terms = objective(batch["image"], batch["tags"])
        optimizer.zero_grad()
        fabric.backward(terms["total"])
        optimizer.step()
        losses.append(terms["total"].item())
    return losses


if __name__ == "__main__":
    for step, total in enumerate(train(make_problem())):
        print(f"step {step}: {total:.6f}")
