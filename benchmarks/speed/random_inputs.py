"""Random images, tags and decompositions of a case's sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.speed.ceilings import DTYPE
from benchmarks.speed.grid import Case
from benchmarks.speed.timing import Machine


def random_images(case: Case, machine: Machine) -> Tensor:
    """(B, 3, H, W), in [0, 1]."""
    return torch.rand(case.batch, 3, case.size, case.size, device=machine.device, dtype=DTYPE)


def two_tags(case: Case, machine: Machine) -> Tensor:
    """Tags (B, K-1) with two classes in every image, or the only one there is."""
    classes = case.num_classes - 1
    first = torch.arange(case.batch, device=machine.device) % classes
    tags = torch.zeros(case.batch, classes, device=machine.device, dtype=DTYPE)
    for index in (first, (first + 1) % classes):
        tags.scatter_(1, index[:, None], 1)
    return tags


def decomposition(case: Case, machine: Machine) -> tuple[Tensor, Tensor]:
    """Leaves that want a gradient: mask logits (B, K, H, W) and image-lets (B, K, 3, H, W) in [0, 1]."""
    shape = (case.batch, case.num_classes, case.size, case.size)
    logits = torch.randn(shape, device=machine.device, dtype=DTYPE).requires_grad_()
    imagelets = torch.rand(shape[0], shape[1], 3, *shape[2:], device=machine.device, dtype=DTYPE).requires_grad_()
    return logits, imagelets
