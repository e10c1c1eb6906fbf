import os
import sys
from pathlib import Path

# Before torch is imported, and for the processes that tests start: on tiny networks more threads only wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings
from torch import nn

from decomprec import FrozenGuide

sys.path.insert(0, str(Path(__file__).parent))  # `from support.reference import ...`: tests/ is not a package

settings.register_profile("decomprec", deadline=None, max_examples=25, derandomize=bool(os.environ.get("CI")))
settings.load_profile("decomprec")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def classifier() -> nn.Module:
    """Images of any size to two logits (K = 3), with a BatchNorm and a Dropout that training would wake."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


@pytest.fixture
def guide(classifier: nn.Module) -> FrozenGuide:
    return FrozenGuide(classifier, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16)


@pytest.fixture
def tags() -> torch.Tensor:
    return torch.tensor([[1.0, 0.0], [0.0, 0.0]])
