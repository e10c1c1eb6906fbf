"""The prepared run on a GPU, at tiny sizes on the CPU: each stage ends in its time, and what it finds is written."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.expression import Expression
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import timed_training
from benchmarks.speed.grid import cases
from benchmarks.tables.pages import fill

MACHINE = {"machine": "a GPU", "cores": 2, "torch": "2", "cuda": None}


def words_after(stage: gpu.Stage, option: str) -> str:
    return stage.command[stage.command.index(option) + 1]


def selected(stages: dict[str, gpu.Stage], machine: str) -> dict[str, list[str]]:
    """The rows of the benchmarks that each stage selects."""
    rows = {}
    for name, stage in stages.items():
        if name.startswith("speed_"):
            matches = Expression.compile(words_after(stage, "-k"))
            step = re.sub("_compiled$", "", name.removeprefix("speed_"))
            found = [case.id for case in cases(step, machine)]
            rows[name] = [i for i in found if matches.evaluate(lambda word, i=i, **_: word.lower() in i.lower())]
    return rows


def test_the_tiny_stages_select_rows_of_the_smoke_test() -> None:
    stages = {stage.name: stage for stage in gpu.plan(Path("out"), None, tiny=True)}
    assert {name: len(found) for name, found in selected(stages, "quick").items()} == {
        "speed_recompose": 6,
        "speed_train_step": 7,
        "speed_train_step_compiled": 1,
    }


def test_the_stages_fit_into_nine_minutes_and_select_rows() -> None:
    stages = {stage.name: stage for stage in gpu.plan(Path("out"), None, tiny=False)}
    assert next(iter(stages)) == "tests"
    assert sum(stage.seconds for name, stage in stages.items() if "robust" not in name) <= 9 * 60
    rows = selected(stages, "cuda")
    assert {name: len(found) for name, found in rows.items()} == {
        "speed_recompose": 3 * 3,
        "speed_train_step": 2 * 7,
        "speed_train_step_compiled": 2,
    }
    assert "paper-K21-batch64-loop" in rows["speed_train_step"]  # with which the others are compared


def test_a_stage_that_hangs_or_fails_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [
        gpu.Stage("fails", 60, ("json.tool", str(tmp_path / "nowhere.json"))),
        gpu.Stage("hangs", 1, ("http.server", "0", "--bind", "127.0.0.1")),
        gpu.Stage("works", 60, ("this",)),
    ]
    monkeypatch.setattr(gpu, "plan", lambda *_: stages)
    monkeypatch.setattr(gpu, "about", lambda: MACHINE)
    with pytest.raises(SystemExit, match=r"not finished: fails \(exit code \d\), hangs \(out of time\); "):
        gpu.main(["--out", str(tmp_path / "gpu"), "--seconds", "100"])
    rows = json.loads((tmp_path / "gpu" / gpu.STAGES).read_text(encoding="utf-8"))["gpu_stages"]
    assert [row["stage"] for row in rows] == ["fails", "hangs", "works"]
    assert "nowhere.json" in rows[0]["said"]
    assert [row["end"] for row in rows[1:]] == ["out of time", 0]
    with pytest.raises(SystemExit, match=r"fails \(no time left\), hangs \(no time left\), works \(no time left\)"):
        gpu.main(["--out", str(tmp_path / "gpu"), "--seconds", "1"])
    page = "<!-- table: stages.json -->\n<!-- end table -->"
    assert fill(page, tmp_path / "gpu").count("no time left") == 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    words: list[Any] = [
        "--preset",
        "robust",
        "--seconds",
        60,
        "--seed",
        1,
        "--json",
        folder / "train_robust_seed1.json",
    ]
    timed_training.main([*map(str, words), "--tiny"])
    return folder


def test_a_training_says_how_fast_and_how_good_it_was(trained: Path) -> None:
    found = json.loads((trained / "train_robust_seed1.json").read_text(encoding="utf-8"))["timed_training"]
    images, _ = timed_training.TINY_SCENES["train"]
    for stage in ("guide", "segmenter"):
        row = found["stages"][stage]
        assert (row["steps"], row["images"]) == (images // 8, images)
        assert row["timed images"] == images - 8  # the first step waits for loaders and compilers
        assert row["images_per_s"] > 0
        assert any(name.startswith("val/") for name in row["val"])
    assert {row["method"] for row in found["rows"]} >= {"decomprec", "every pixel"}
    assert (trained / "train_robust_seed1.png").read_bytes().startswith(b"\x89PNG")
    table = fill("<!-- table: train_*.json -->\n<!-- end table -->", trained)
    assert "| robust, seed 1, bf16-mixed | 3 " in table
