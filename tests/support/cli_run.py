"""What the tests of the command line share: calls, images of red squares, and a run that has learnt them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from decomprec.cli import app

TINY = [
    "image_size=32",
    "guide.encoder_options={widths: [4, 8]}",
    "guide.learning_rate=0.01",
    "guide.batch_size=4",
    "guide.epochs=4",
    "segmenter.decoder_widths=[8, 4]",
    "segmenter.learning_rate=0.01",
    "segmenter.batch_size=2",
    "segmenter.epochs=1",
]
SETTINGS = [word for setting in TINY for word in ("--set", setting)]


def call(*words: str | Path) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def sentence(*words: str | Path) -> str:
    """The one sentence that a failing call writes on stderr."""
    result = call(*words)
    assert result.exit_code == 1, result.output
    (line,) = (line for line in result.stderr.splitlines() if line and not line.startswith("evaluating:"))  # the bar
    assert line.startswith("error: ")
    assert "Traceback" not in result.output
    return line.removeprefix("error: ")


def save(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as file:
        return np.array(file)


def red_square(seed: int, present: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A noisy image (36, 48, 3), perhaps with a red square, and its mask with a rim of 255."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 120, (36, 48, 3), dtype=np.uint8)
    mask = np.zeros((36, 48), dtype=np.uint8)
    if present:
        top, left = rng.integers(0, 16), rng.integers(0, 24)
        image[top : top + 18, left : left + 18, 0] = 255
        mask[top : top + 18, left : left + 18] = 255
        mask[top + 1 : top + 17, left + 1 : left + 17] = 1
    return image, mask


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.getbasetemp() / "cli" / "images"
    if root.is_dir():  # drawn for another file of tests
        return root
    for split, count, first in (("train", 96, 0), ("val", 8, 100)):
        for i in range(count):
            image, mask = red_square(first + i, present=i % 4 > 0)
            save(root / split / ("red" if i % 4 else "other") / f"{i}.png", image)
            if split == "val":
                save(root / "val_masks" / f"{i}.png", mask)
    return root


@pytest.fixture(scope="session")
def run(data: Path) -> Path:
    out = data.parent / "run"
    if out.is_dir():
        return out
    result = call("train", data, "--out", out, "--preset", "demo", *SETTINGS, "--workers", "0", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "| decomprec " in result.stdout
    return out


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "segmenter" / "weights.safetensors")
