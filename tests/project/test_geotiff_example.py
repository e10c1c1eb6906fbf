"""The example of GeoTIFFs: labels of every pixel once, at the place of the image, and none where there are no data."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin
from torch import nn

from decomprec.models import DecompositionSegmenter, SmallEncoder
from decomprec.trained_model import TrainedModel

EXAMPLE = Path(__file__).parents[2] / "examples" / "predict_geotiff.py"
PLACE = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_800_000, 0.1, 0.1)}


class Bright(nn.Module):
    """Mask logits that say the second class where the image is bright."""

    def forward(self, images: torch.Tensor, features: list[torch.Tensor] | None = None) -> torch.Tensor:
        bright = 20 * (images.mean(dim=1, keepdim=True) - 0.5)
        return torch.cat([-bright, bright], dim=1)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> TrainedModel:
    segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4))
    monkeypatch.setattr(segmenter, "mask_logits", Bright().forward)
    found = TrainedModel(segmenter, ["roof"], image_size=64)
    monkeypatch.setattr("decomprec.load", lambda source: found)
    return found


def write(path: Path, bands: np.ndarray, **options: Any) -> Path:
    profile = {"driver": "GTiff", "count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    with rasterio.open(path, "w", dtype=bands.dtype, **profile, **PLACE, **options) as file:
        file.write(bands)
    return path


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "run", *map(str, words)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")


def test_labels_lie_where_the_image_lies(tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = np.random.default_rng(0).integers(0, 2, (8, 12)).repeat(25, 0).repeat(25, 1)  # 200 x 300 pixels
    bands = np.full((4, 200, 300), 255, dtype=np.uint8)
    bands[:3] = 40 + 170 * coarse
    bands[:, 150:, :50] = 0  # no data, as the fourth band says
    image = write(tmp_path / "field.tif", bands, photometric="RGB", alpha="YES")
    run(monkeypatch, image, "--out", tmp_path / "labels.tif", "--window", "64", "--overlap", "16", "--tags", "roof")
    with rasterio.open(tmp_path / "labels.tif") as found:
        labels = found.read(1)
        assert (found.crs, found.transform, found.nodata) == (PLACE["crs"], PLACE["transform"], 255)
    expected = coarse.copy()
    expected[150:, :50] = 255
    assert (labels[150:, :50] == 255).all()
    assert (labels != expected).mean() < 0.02  # edges, which the refinement can move


def test_images_of_16_bits_are_refused(tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    image = write(tmp_path / "field.tif", np.zeros((3, 20, 30), dtype=np.uint16))
    with pytest.raises(SystemExit, match=r"field\.tif to have 8 bits"):
        run(monkeypatch, image, "--out", tmp_path / "labels.tif")
    assert not (tmp_path / "labels.tif").exists()
