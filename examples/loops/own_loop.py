"""The blocks in a plain PyTorch loop.

    uv run examples/loops/own_loop.py

Prints the total loss of every step.
"""

import torch
from problem import Problem, make_problem


def train(problem: Problem, device: str = "cpu") -> list[float]:
    """One pass over the scenes; returns the total loss of every step."""
    model, loss = problem.model.to(device), problem.loss.to(device)  # the guide moves with the loss
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for batch in problem.loader:
        images, tags = batch["image"].to(device), batch["tags"].to(device)
        terms = loss(model(images), images, tags)
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        losses.append(terms.total.item())
    return losses


if __name__ == "__main__":
    for step, total in enumerate(train(make_problem(), "cuda" if torch.cuda.is_available() else "cpu")):
        print(f"step {step}: {total:.6f}")
