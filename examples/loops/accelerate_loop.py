"""The blocks in your own loop, with devices and precision by Hugging Face Accelerate.

    uv run --with accelerate examples/loops/accelerate_loop.py

Prints the total loss of every step.
"""

from typing import Any

import torch
from accelerate import Accelerator
from problem import Objective, Problem, make_problem


def train(problem: Problem, **options: Any) -> list[float]:
    """One pass over the scenes; returns the total loss of every step. The options are the Accelerator's."""
    accelerator = Accelerator(**options)
    objective = Objective(problem.model, problem.loss)
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)  # nothing of the guide
    objective, optimizer, loader = accelerator.prepare(objective, optimizer, problem.loader)
    losses = []
    for batch in loader:
        terms = objective(batch["image"], batch["tags"])
        optimizer.zero_grad()
        accelerator.backward(terms["total"])
        optimizer.step()
        losses.append(terms["total"].item())
    return losses


if __name__ == "__main__":
    for step, total in enumerate(train(make_problem())):
        print(f"step {step}: {total:.6f}")
