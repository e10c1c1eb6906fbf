"""The main example as a newcomer runs it, with no argument, on the quickstart notebook's smaller problem."""

import csv
import io
import json
import runpy
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from decomprec.data import SyntheticScenes
from decomprec.data.samples import Transform
from decomprec.training import PRESETS

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "dogs_imagenet.py"
SIZE = 48
SMALL = {
    "image_size": SIZE,
    "guide.encoder_options": {"widths": [32, 64]},
    "segmenter.decoder_widths": [32, 16],
    "segmenter.epochs": 3,
}


def two_classes(split: str, *, transform: Transform | None, masks: bool) -> SyntheticScenes:
    draw = partial(SyntheticScenes, num_classes=2, size=SIZE, max_objects=2, masks=masks)
    return draw(800, seed=1) if split == "train" else draw(100, seed=3)


def run(patch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    patch.setattr("sys.argv", [str(EXAMPLE), *map(str, arguments)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("example") / "run"
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setitem(PRESETS, "demo", PRESETS["demo"].override(SMALL))
        patch.setattr("decomprec.experiment.synthetic_scenes", lambda size: two_classes)
        run(patch, "--out", out)
    return out, said.getvalue()


def test_the_demo_really_segments(demo: tuple[Path, str]) -> None:
    """Mean foreground IoU of at least 0.5 on unseen scenes, and above the guide's CAM at CAM's best threshold."""
    rows = json.loads((demo[0] / "results.json").read_text())["rows"]
    for tags in (True, False):
        iou = {row["method"]: row["mean_foreground_iou"] for row in rows if row["tags"] is tags}
        assert iou["decomprec"] >= 0.5
        assert iou["decomprec"] > iou["CAM (best threshold)"]


def test_the_demo_prints_its_table(demo: tuple[Path, str]) -> None:
    assert "| decomprec " in demo[1]
    assert "| CAM (best threshold) " in demo[1]


def test_the_demo_draws_its_figures(demo: tuple[Path, str]) -> None:
    figures = demo[0] / "figures"
    # 100 training scenes in rows of ten pairs, each with 2 pixels around it.
    assert Image.open(figures / "figure2_training.png").size == (10 * (2 * SIZE + 2) + 2, 10 * (SIZE + 2) + 2)
    for name in ("figure3_validation", "panel"):
        low, high = Image.open(figures / f"{name}.png").convert("L").getextrema()
        assert high - low > 200


def test_the_demo_logs_a_falling_loss(demo: tuple[Path, str]) -> None:
    (log,) = (demo[0] / "segmenter").glob("log/*/metrics.csv")
    rows = list(csv.DictReader(log.open()))
    error = [float(row["val/recon"]) for row in rows if row["val/recon"]]
    assert error[-1] < error[0]


def test_a_wrong_folder_ends_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    with pytest.raises(SystemExit, match="nowhere") as stopped:
        run(monkeypatch, "nowhere", "--out", out)
    said = stopped.value.code  # a text is printed to stderr, and the exit status is 1
    assert isinstance(said, str)
    assert len(said.splitlines()) == 1
    assert not out.exists()
