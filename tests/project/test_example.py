"""The main example as a newcomer runs it: with no argument, in a separate process."""

import csv
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "dogs_imagenet.py"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, EXAMPLE, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("example") / "run"
    finished = run("--out", out)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return out, finished.stdout


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
    # 100 training scenes in rows of ten pairs of 64 pixels, each with 2 pixels around it.
    assert Image.open(figures / "figure2_training.png").size == (10 * (2 * 64 + 2) + 2, 10 * (64 + 2) + 2)
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
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", [str(EXAMPLE), "nowhere", "--out", str(out)])
        with pytest.raises(SystemExit, match="nowhere") as stopped:
            runpy.run_path(str(EXAMPLE), run_name="__main__")
    said = stopped.value.code  # a text is printed to stderr, and the exit status is 1
    assert isinstance(said, str)
    assert len(said.splitlines()) == 1
    assert not out.exists()
