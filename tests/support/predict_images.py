"""What the tests of `predict` share: a model of random weights, and images of several shapes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from decomprec.cli import app
from decomprec.models import DecompositionSegmenter, PooledClassifier, SmallEncoder
from decomprec.trained_model import TrainedModel

SHAPES = {
    "a.png": (36, 48),
    "b.jpg": (48, 36),
    "c.png": (36, 48),
    "d.jpg": (30, 30),
    "e.jpg": (48, 36),
    "f.png": (72, 96),
}


def call(*words: str | Path) -> Any:
    return CliRunner().invoke(app, [*map(str, words), "--device", "cpu"])


def pixels(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    return np.array(coarse.resize((width, height)))


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as file:
        return np.array(file)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes; random weights, but for a classifier that sees both everywhere."""
    torch.manual_seed(0)
    segmenter = DecompositionSegmenter(3, SmallEncoder((8, 16)), decoder_widths=(16, 8)).eval()
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3).eval()
    torch.nn.init.constant_(classifier.head.bias, 9.0)
    torch.nn.init.normal_(segmenter.mask_decoder.get_submodule("head.0").weight, std=30.0)
    folder = tmp_path_factory.mktemp("model")
    TrainedModel(segmenter, ["cat", "dog"], 32, classifier).save_pretrained(folder, half=False)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several of each shape, in turns; one is stored lying and shown upright."""
    folder = tmp_path_factory.mktemp("images")
    exif = Image.Exif()
    exif[0x0112] = 6
    for seed, (name, (height, width)) in enumerate(SHAPES.items()):
        turned = name == "e.jpg"
        stored = Image.fromarray(pixels(seed, *((width, height) if turned else (height, width))))
        stored.save(folder / name, **({"exif": exif} if turned else {}))
    return folder
