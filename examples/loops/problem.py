"""What the loops in this folder have in common: tagged scenes, a guide that knows the tags, a segmenter to train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from decomprec import DecompositionLoss, DecompositionSegmenter, FrozenGuide
from decomprec.data import SyntheticScenes, collate
from decomprec.functional import guide_loss
from decomprec.models import PooledClassifier, SmallEncoder

WIDTHS = (16, 32)


@dataclass
class Problem:
    """Batches with "image" and "tags", the segmenter to train, and the objective with the guide in it."""

    loader: DataLoader[dict[str, Any]]
    model: DecompositionSegmenter
    loss: DecompositionLoss


class Objective(nn.Module):
    """Segmenter and loss as one module: what a framework wraps, moves and casts as a whole."""

    def __init__(self, model: nn.Module, loss: DecompositionLoss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, images: Tensor, tags: Tensor) -> dict[str, Tensor]:
        """The terms of Eq. 7 by name, scalars; "total" is the one to minimise."""
        return self.loss(self.model(images), images, tags).as_dict()


def make_problem(seed: int = 0) -> Problem:
    """The same seed gives the same problem, down to the order of the batches."""
    torch.manual_seed(seed)
    scenes = SyntheticScenes(96, num_classes=2, size=32, seed=1)
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(scenes, batch_size=8, shuffle=True, generator=order, collate_fn=collate)
    classifier = PooledClassifier(SmallEncoder(WIDTHS), num_classes=3)
    train_classifier(classifier, loader)
    loss = DecompositionLoss(FrozenGuide(classifier), lambda_mask=0.1, lambda_cls=0.1)
    model = DecompositionSegmenter(num_classes=3, encoder=SmallEncoder(WIDTHS), decoder_widths=WIDTHS[::-1])
    return Problem(loader, model, loss)


def train_classifier(classifier: nn.Module, loader: DataLoader[dict[str, Any]], epochs: int = 3) -> None:
    """Stage one (Eq. 9), kept short."""
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    for _ in range(epochs):
        for batch in loader:
            optimizer.zero_grad()
            guide_loss(classifier(batch["image"]), batch["tags"]).backward()
            optimizer.step()
