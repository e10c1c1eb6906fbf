"""`decomprec train --devices 2` is one training: its losses, and its table, are those of one process."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli_run import call, red_square, save
from support.tiny import set_options, tiny_words

BATCH = 8


def words(data: Path, out: Path, batch: int) -> list[str]:
    """A training of which nothing is drawn at random by each process."""
    settings = {
        "guide.freeze_encoder": True,
        "guide.head_steps": 20,
        "guide.occlusion": 0,
        "guide.scales": [1.0],
        "guide.epochs": 2,
        "guide.weight_decay": 0.01,
        "guide.batch_size": batch,
        "segmenter.fills": ["mean"],
        "segmenter.epochs": 2,
        "segmenter.batch_size": batch,
    }
    start = ["train", str(data), "--out", str(out), "--preset", "demo", "--device", "cpu", "--workers", "0"]
    start += ["--precision", "32-true"]  # in which the order of a sum matters little
    return [*start, *set_options(tiny_words(settings))]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Equal training images, as BatchNorm sees the images of its process only; validation images that differ."""
    root = tmp_path_factory.mktemp("two") / "images"
    same, _ = red_square(0, present=True)
    for i in range(24):
        save(root / "train" / ("red" if i % 3 else "other") / f"{i}.png", same[:32, :32])
    for i in range(7):
        image, mask = red_square(100 + i, present=i % 3 > 0)
        save(root / "val" / ("red" if i % 3 else "other") / f"{i}.png", image)
        save(root / "val_masks" / f"{i}.png", np.zeros_like(mask) if i % 3 == 0 else mask)
    return root


@pytest.fixture(scope="module")
def together(images: Path) -> tuple[Path, str]:
    """The run of two processes, which Lightning starts, and what they print."""
    out = images.parent / "together"
    command = [sys.executable, "-m", "decomprec", *words(images, out, BATCH // 2), "--devices", "2"]
    stray = {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env={**os.environ, **stray}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-5000:]
    assert "no launcher: SLURM_NTASKS=4 of the job around it is not for this command" in done.stderr
    return out, done.stdout


def validations(run: Path, stage: str) -> list[dict[str, float]]:
    with (run / stage / "log" / "version_0" / "metrics.csv").open(newline="") as file:
        rows = [{k: float(v) for k, v in row.items() if v and k.startswith("val/")} for row in csv.DictReader(file)]
    return [row for row in rows if row]


def measured(run: Path) -> dict[str, Any]:
    return {
        name: json.loads((run / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("results", "diagnostics", "verdicts")
    }


def close(found: Any, expected: Any) -> bool:
    """Whether values are equal, but for the order in which floating-point numbers are added up."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[k], v) for k, v in expected.items())
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    if isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-9)
    return bool(found == expected)


@pytest.mark.slow
def test_two_processes_print_and_write_once(together: tuple[Path, str]) -> None:
    run, said = together
    assert len(re.findall(r"^\| decomprec +\| yes", said, re.MULTILINE)) == 1
    assert said.count("data: folder") == 1
    assert measured(run)["results"]["run"]["processes"] == 2
    assert [path.name for path in (run / "guide" / "log").iterdir()] == ["version_0"]


@pytest.mark.slow
def test_the_losses_are_those_of_one_process(together: tuple[Path, str], images: Path) -> None:
    alone = images.parent / "alone"
    result = call(*words(images, alone, BATCH))
    assert result.exit_code == 0, result.output
    for stage, losses in (("guide", ["val/loss"]), ("segmenter", ["val/recon", "val/mask", "val/mask_entropy"])):
        expected, found = (validations(run, stage) for run in (alone, together[0]))
        assert len(expected) == len(found) == 2
        for one, two in zip(expected, found, strict=True):
            for name in losses:
                assert two[name] == pytest.approx(one[name], rel=1e-4), (stage, name)


@pytest.mark.slow
def test_one_process_measures_the_same_of_the_same_model(together: tuple[Path, str], images: Path) -> None:
    run, _ = together
    shared = measured(run)
    result = call(*words(images, run, BATCH // 2), "--resume")  # both stages are finished
    assert result.exit_code == 0, result.output
    alone = measured(run)
    for found in (shared, alone):
        found["results"].pop("run")
    assert alone["results"]["rows"][0]["images"] == 7
    assert close(shared, alone)
