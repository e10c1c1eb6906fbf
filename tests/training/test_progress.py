"""The estimate, by hand, and what a run says about itself."""

import io
import logging
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import TQDMProgressBar
from support.tiny import tiny
from support.two_processes import scenes

from decomprec.training import progress, train
from decomprec.training.progress import (
    RunProgress,
    duration,
    planned_images,
    seconds_per_image,
    share_and_seconds_left,
    with_progress,
)

PRESET = tiny({"guide.epochs": 2, "segmenter.epochs": 1, "segmenter.batch_size": 4})


def test_planned_images() -> None:
    """26 images: 3 steps of 8 for the guide, 6 of 4 for the segmenter; 5 validation images an epoch."""
    plan = planned_images(PRESET, 26, 5, table_images=5)
    assert plan == {
        "guide": 2 * 24,
        "guide validation": 2 * 5,
        "segmenter": 24,
        "segmenter validation": 5,
        "table": 5,
    }
    longer = PRESET.override({"segmenter.min_steps": 13})  # in three epochs of 6 steps
    assert planned_images(longer, 26, 5)["segmenter"] == 3 * 24
    assert planned_images(longer, 26, 5)["segmenter validation"] == 3 * 5
    both = planned_images(PRESET, 26, 5, processes=2)
    assert (both["guide"], both["segmenter"]) == (2 * 16, 24)
    assert planned_images(PRESET.override({"guide.epochs": 0}), 26, 5)["guide"] == 0


def test_seconds_per_image() -> None:
    guessed = {"a": 1.0, "b": 2.0, "c": 10.0}
    assert seconds_per_image({}, guessed) == guessed  # relative: enough for a share
    assert seconds_per_image({"a": (10, 5.0)}, guessed) == {"a": 0.5, "b": 1.0, "c": 5.0}
    # 30 units in 5 + 25 seconds: a unit takes one.
    measured = {"a": (10, 5.0), "b": (10, 25.0)}
    assert seconds_per_image(measured, guessed) == {"a": 0.5, "b": 2.5, "c": 10.0}


def test_share_and_seconds_left() -> None:
    planned, costs = {"a": 10, "b": 20}, {"a": 1.0, "b": 2.0}
    assert share_and_seconds_left(planned, {}, costs) == (0, 50)
    assert share_and_seconds_left(planned, {"a": 10}, costs) == (10 / 50, 40)
    assert share_and_seconds_left(planned, {"a": 12, "b": 15}, costs) == (40 / 50, 10)  # more than planned
    assert share_and_seconds_left(planned, planned, costs) == (1, 0)
    assert share_and_seconds_left({}, {}, costs) == (1, 0)


def test_durations_round_up() -> None:
    words = [duration(seconds) for seconds in (0, 10, 10.1, 50, 51, 61, 3541, 7261)]
    assert words == ["10 s", "10 s", "20 s", "50 s", "1 min", "2 min", "1 h 0 min", "2 h 2 min"]


def lines_of_a_run(folder: Path, caplog: pytest.LogCaptureFixture, **options: Any) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="decomprec.training.progress"):
        data = scenes(26, 1), scenes(5, 2)
        train(PRESET, *data, folder, trainer_options={"accelerator": "cpu", **options.pop("trainer", {})}, **options)
    return [record.message for record in caplog.records if record.name == "decomprec.training.progress"]


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each batch, and costs that are not measured, so the shares are known."""
    monkeypatch.setattr(progress, "_BAR_EVERY", -1.0)
    monkeypatch.setattr(progress, "_LINE_EVERY", -1.0)
    costs = {"guide": 1.0, "guide validation": 0.5, "segmenter": 7.0, "segmenter validation": 7.0, "table": 15.0}
    monkeypatch.setattr(progress, "seconds_per_image", lambda _: costs)


def shares(lines: list[str], stage: str) -> list[int]:
    start = f"training the {stage}: "
    return [int(line.removeprefix(start).split("%")[0]) for line in lines if line.startswith(start)]


def test_a_run_and_a_resumed_one(tmp_path: Path, every_step: None, caplog: pytest.LogCaptureFixture) -> None:
    """The guide is 48 + 10/2 of the 53 + 24 · 7 + 5 · 7 = 256 units."""
    lines = lines_of_a_run(tmp_path, caplog)
    assert lines[0].startswith("training the guide: 6% | epoch 1/2, loss ")  # 16 of 256: the first is not timed
    assert lines[0].endswith(" left of the run")
    guide, segmenter = shares(lines, "guide"), shares(lines, "segmenter")
    assert guide == sorted(guide)
    assert guide[-1] == round(100 * 53 / 256)
    assert segmenter[0] == round(100 * (53 + 4 * 7) / 256)
    assert segmenter == sorted(segmenter)
    assert lines[-1].startswith("training the segmenter: 100% | epoch 1/1, loss ")
    assert lines[-1].endswith("| done")

    for name in ("finished.safetensors", "last.ckpt"):
        (tmp_path / "segmenter" / name).unlink()
    resumed = lines_of_a_run(tmp_path, caplog, resume=True)
    assert not shares(resumed, "guide")
    # Nothing is measured yet at its first batch.
    assert shares(resumed, "segmenter")[0] == round(100 * (53 + 8 * 7) / 256)
    assert shares(resumed, "segmenter")[-1] == 100


def test_a_stage_resumes_at_its_epoch(tmp_path: Path, every_step: None, caplog: pytest.LogCaptureFixture) -> None:
    class Stop(TQDMProgressBar):
        """Also a bar of the user, which is left alone."""

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            super().on_train_epoch_start(trainer, pl_module)
            if trainer.current_epoch == 1:
                raise KeyError("stopped")

    with pytest.raises(KeyError, match="stopped"):
        lines_of_a_run(tmp_path, caplog, callbacks=[Stop()])
    assert not [record for record in caplog.records if record.name == "decomprec.training.progress"]
    # One epoch of the guide, 24 + 5/2 units, then two batches of 8, one of them timed.
    assert shares(lines_of_a_run(tmp_path, caplog, resume=True), "guide")[0] == round(100 * (26.5 + 16) / 256)


def test_batches_that_options_leave_out(tmp_path: Path, every_step: None, caplog: pytest.LogCaptureFixture) -> None:
    lines = lines_of_a_run(tmp_path, caplog, trainer={"limit_train_batches": 2, "limit_val_batches": 1})
    assert lines[-1].startswith("training the segmenter: 100% | ")


def test_no_bar_where_none_is_wanted(tmp_path: Path, every_step: None, caplog: pytest.LogCaptureFixture) -> None:
    assert lines_of_a_run(tmp_path, caplog, trainer={"enable_progress_bar": False}) == []
    bar, own = RunProgress(PRESET, 26, 5), TQDMProgressBar()
    assert with_progress([], {}, bar) == [bar]
    assert with_progress([own], {}, bar) == [own]
    assert with_progress([], {"enable_progress_bar": False}, bar) == []


def test_other_processes_say_nothing(tmp_path: Path, every_step: None, caplog: pytest.LogCaptureFixture) -> None:
    class Other(RunProgress):
        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            super().setup(trainer, pl_module, stage)
            self.disable()  # as Lightning's base class does in them

    assert lines_of_a_run(tmp_path, caplog, callbacks=[Other(PRESET, 26, 5)]) == []


def test_a_terminal_gets_a_bar(
    tmp_path: Path, every_step: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert lines_of_a_run(tmp_path, caplog) == []
    drawn = [state.strip() for state in terminal.getvalue().replace("\n", "\r").split("\r")]
    assert any(state.startswith("training the guide: 21% |") and "| epoch 2/2, loss " in state for state in drawn)
    last = next(state for state in reversed(drawn) if state)
    assert last.startswith("training the segmenter: 100% |")
    assert last.endswith("| done")
