"""Logs to other tools, each tried where its package is installed: one run for each stage."""

import sqlite3
from pathlib import Path

import pytest
from support.tiny import QUIET, tiny

from decomprec.data import SyntheticScenes
from decomprec.training import train


def trained(folder: Path, logger: str) -> Path:
    scenes = SyntheticScenes(16, num_classes=2, size=32)
    train(tiny(), scenes, scenes, folder / "run", loggers=[logger], trainer_options=QUIET)
    return folder / "run"


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
