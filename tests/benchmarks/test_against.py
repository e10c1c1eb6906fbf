"""The comparison of two commits: its pure parts, and a process that leaves files like those of a training."""

import json
import sys
import time
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest
from benchmarks.speed.against import METHOD, NAMES, STAGES, git, main, renamed, subset, timed
from benchmarks.tables.pages import render
from PIL import Image

MEBIBYTE = 2**20


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for split, count in (("train", 7), ("val", 5)):
        for name in ("dog", "other"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (8, 8)).save(root / split / name / f"{name}{index}.jpg")
    (root / "val_masks").mkdir()
    for index in range(5):
        Image.new("L", (8, 8)).save(root / "val_masks" / f"dog{index}.png")
    return root


def test_stages_end_with_their_files(tmp_path: Path) -> None:
    run = tmp_path / "run"
    waits = dict(zip(STAGES, (0.3, 0.6, 0.3, 0.6), strict=True))
    script = f"""
import pathlib, time
held = bytearray(200 * {MEBIBYTE})
for files, seconds in {[(files[-1], waits[stage]) for stage, files in STAGES.items()]}:
    time.sleep(seconds)
    file = pathlib.Path({str(run)!r}) / files
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
until = time.process_time() + 0.4
while time.process_time() < until:
    pass
"""
    started = time.monotonic()
    found = timed([sys.executable, "-c", script], tmp_path, tmp_path, run)
    assert 2.2 <= found["seconds"] <= time.monotonic() - started + 0.01
    assert list(found["stages"]) == [*STAGES, "rest"]
    assert sum(found["stages"].values()) == pytest.approx(found["seconds"], abs=0.05)
    assert all(found["stages"][stage] > seconds - 0.2 for stage, seconds in waits.items())  # it looks now and then
    assert found["cpu_seconds"] >= 0.4
    assert found["peak_bytes"] > 200 * MEBIBYTE
    with pytest.raises(RuntimeError, match=r"see .*log\.txt"):
        timed([sys.executable, "-c", "1 / 0"], tmp_path, tmp_path, run)
    assert "ZeroDivisionError" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_a_subset_has_as_many_of_each_class_and_their_masks(data: Path, tmp_path: Path) -> None:
    first, again, other = (
        subset(data, tmp_path / f"{name}", {"train": 6, "val": 3}, seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    names = [sorted(str(f.relative_to(root)) for f in root.rglob("*.*")) for root in (first, again, other)]
    assert names[0] == names[1] != names[2]
    counts = {kind: sum(name.startswith(kind) for name in names[0]) for kind in ("train/dog/", "train/other/")}
    assert counts == {"train/dog/": 3, "train/other/": 3}
    assert sum(name.startswith("val/dog/") for name in names[0]) == 2  # the odd one is of the first class
    masks = {Path(name).stem for name in names[0] if name.startswith("val_masks/")}
    assert masks == {Path(name).stem for name in names[0] if name.startswith("val/dog/")}


def test_a_commit_gets_its_own_names_of_settings() -> None:
    assert renamed(["guide.encoder=small", "guide.epochs=1"], NAMES["8997d52"]) == [
        "guide.model=small",
        "guide.epochs=1",
    ]
    try:
        text = git("show", "8997d52:src/decomprec/training/presets.py")
    except CalledProcessError:
        pytest.skip("the checkout has no history")
    for old in NAMES["8997d52"].values():
        assert f"    {old.removeprefix('guide.')}:" in text


def test_results_are_kept_and_shown(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def pretend(command: list[str], root: Path, folder: Path, run: Path) -> dict[str, Any]:
        calls.append(command)
        run.mkdir()
        before, predicts = root != Path(__file__).parents[2], "predict" in command
        rows = [{"method": METHOD, "tags": tags, "mean_foreground_iou": 0.4 + 0.1 * tags} for tags in (True, False)]
        (run / "results.json").write_text(json.dumps({"rows": rows}), encoding="utf-8")
        seconds, stages = (30.0, {}) if predicts else (100.0, {"guide": 40.0, "segmenter": 50.0, "rest": 10.0})
        factor = 3 if before else 1
        return {
            "seconds": factor * seconds,
            "cpu_seconds": 2 * factor * seconds,
            "peak_bytes": factor * 100 * MEBIBYTE,
            "stages": {stage: factor * value for stage, value in stages.items()},
            "load": [0.5, 2.25],
        }

    monkeypatch.setattr("benchmarks.speed.against.timed", pretend)
    monkeypatch.setattr("benchmarks.speed.against.checkout", lambda commit, folder: folder)
    file = tmp_path / "against.json"
    words = ["HEAD", "--data", data, "--weights", tmp_path / "weights", "--out", tmp_path / "out", "--json", file]
    for _ in range(2):
        main([str(word) for word in [*words, "--seeds", 0, 1, "--parts", "train", "predict", "--set", "image_size=32"]])
    assert len(calls) == 8  # two sides, parts and seeds; nothing was run again
    trainings = [call for call in calls if "train" in call]
    assert all(
        "image_size=32" in call and f"guide.encoder_weights={tmp_path / 'weights'}" in call for call in trainings
    )
    lines = render([file]).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    assert ["train, 14 + 10 images", "segmenter", "150 ± 0 s", "50 ± 0 s", "3.00×"] in cells
    assert ["train, 14 + 10 images", "peak memory", "300 ± 0 MiB", "100 ± 0 MiB", "3.00×"] in cells
    assert ["predict, 10 images", "**total**", "90 ± 0 s", "30 ± 0 s", "3.00×"] in cells
    assert ["train", "1", "0.500", "0.500", "0.400", "0.400"] in cells
    assert "load average: 0.5 to 2.25" in lines[-1]
    assert str(tmp_path) not in file.read_text(encoding="utf-8")
