"""Logs to other tools: one run for each stage.

W&B and MLflow bring many packages, so only a job of .github/workflows/ci.yml installs them; elsewhere their tests are
skipped.
"""

import csv
import sqlite3
from pathlib import Path

import pytest
from support.tiny import QUIET, tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from decomprec.data import SyntheticScenes
from decomprec.training import train


def trained(folder: Path, logger: str) -> Path:
    scenes = SyntheticScenes(16, num_classes=2, size=32)
    train(tiny(), scenes, scenes, folder / "run", loggers=[logger], trainer_options=QUIET)
    return folder / "run"


def test_tensorboard_gets_the_values_of_the_csv_log(tmp_path: Path) -> None:
    run = trained(tmp_path, "tensorboard")
    for stage in ("guide", "segmenter"):
        (events,) = (run / stage / "tensorboard").rglob("events.out.tfevents.*")
        log = EventAccumulator(str(events)).Reload()
        (file,) = (run / stage / "log").rglob("metrics.csv")
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert rows
        for name in set(rows[0]) - {"epoch", "step"}:
            expected = [float(row[name]) for row in rows if row[name]]
            assert [event.value for event in log.Scalars(name)] == pytest.approx(expected, rel=1e-5), name


def test_each_stage_is_a_run_of_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = trained(tmp_path, "wandb")
    assert [len(list((run / stage).rglob("*.wandb"))) for stage in ("guide", "segmenter")] == [1, 1]


def test_each_stage_is_a_run_of_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    trained(tmp_path, "mlflow")
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        runs = store.execute("select name, status from runs order by start_time").fetchall()
    assert runs == [("run guide", "FINISHED"), ("run segmenter", "FINISHED")]
