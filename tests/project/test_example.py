"""The main example without arguments, at tiny sizes. The notebook shows that the preset learns."""

import csv
import io
import json
import runpy
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from PIL import Image
from support.tiny import tiny
from torch.utils.data import DataLoader

from decomprec.data import SyntheticScenes, collate
from decomprec.data.samples import Transform
from decomprec.evaluation import evaluate
from decomprec.evaluation.baselines import best_cam_threshold
from decomprec.trained_model import load
from decomprec.training import PRESETS

EXAMPLE = Path(__file__).parents[2] / "examples" / "dogs_imagenet.py"
SIZE = 32


def two_classes(split: str, *, transform: Transform | None, masks: bool) -> SyntheticScenes:
    return SyntheticScenes(100, num_classes=2, size=SIZE, seed=1 if split == "train" else 3, masks=masks)


def run(patch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    patch.setattr("sys.argv", [str(EXAMPLE), *map(str, arguments)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("example") / "run"
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setitem(PRESETS, "demo", tiny({"image_size": SIZE, "segmenter.epochs": 2}))
        patch.setattr("decomprec.experiment.synthetic_scenes", lambda size: two_classes)
        run(patch, "--out", out)
    return out, said.getvalue()


def test_the_demo_measures_the_model_that_it_writes(demo: tuple[Path, str]) -> None:
    model = load(demo[0])
    loader = DataLoader(two_classes("val", transform=None, masks=True), batch_size=8, collate_fn=collate)
    rows = json.loads((demo[0] / "results.json").read_text())["rows"]
    for tags in (True, False):
        found = {row["method"]: row["mean_foreground_iou"] for row in rows if row["tags"] is tags}
        ours = evaluate(model.segmenter.predict, loader, 3, tags)
        _, cam = best_cam_threshold(model.guide, loader, 3, tags)
        assert found["decomprec"] == pytest.approx(ours.mean_foreground_iou, abs=1e-6)
        assert found["CAM (best threshold)"] == pytest.approx(cam.mean_foreground_iou, abs=1e-6)


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
