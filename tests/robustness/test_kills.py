"""A training that is killed and resumed ends with the bytes of one that was not."""

import json
import os
import re
import signal
from pathlib import Path

import lightning as L
import pytest
import torch
from benchmarks.robustness.random_kills import finish, in_child, result
from lightning.pytorch.callbacks import Callback

from decomprec.training import GuideModule, SegmenterModule

pytestmark = pytest.mark.slow


class Kill(Callback):
    """Kills its own process in an epoch of a stage."""

    def __init__(self, where: str, stage: type[L.LightningModule], epoch: int) -> None:
        self.where = where
        self.stage = stage
        self.epoch = epoch

    def _kill(self, where: str, trainer: L.Trainer, module: L.LightningModule) -> None:
        if where == self.where and isinstance(module, self.stage) and trainer.current_epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: object) -> None:
        if trainer.global_step % 3 == 1:
            self._kill("step", trainer, pl_module)

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        self._kill("validation", trainer, pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, _: object) -> None:
        if self.where == "write" and isinstance(pl_module, self.stage) and trainer.current_epoch == self.epoch:
            os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # written, but not yet in place

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.where == "end" and isinstance(pl_module, self.stage):
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    finish(folder / "run")
    return folder / "run"


@pytest.mark.parametrize(
    ("where", "stage", "epoch", "workers"),
    [
        ("step", GuideModule, 1, 0),
        ("validation", SegmenterModule, 1, 2),
        ("write", SegmenterModule, 1, 0),
        ("end", GuideModule, 1, 0),
    ],
)
def test_a_killed_training_ends_with_the_same_bytes(
    where: str, stage: type[L.LightningModule], epoch: int, workers: int, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = in_child(run, workers, False, None, Kill(where, stage, epoch))
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    assert not (run / "segmenter" / "finished.safetensors").exists()
    partials = list(run.rglob(".partial-*"))
    assert [partial.name.rpartition("-")[2] for partial in partials] == (["last.ckpt"] if where == "write" else [])
    if stage is SegmenterModule:
        assert torch.load(run / "segmenter" / "last.ckpt", weights_only=True)["epoch"] == epoch - 1

    finish(run, workers, True)
    assert result(run) == result(whole)
    assert not list(run.rglob(".partial-*"))


def test_the_page_holds_what_the_random_kills_gave() -> None:
    root = Path(__file__).parents[2]
    found = json.loads((root / "benchmarks" / "results" / "robustness" / "kills.json").read_text(encoding="utf-8"))
    page = (root / "docs" / "results" / "reliability.md").read_text(encoding="utf-8")
    table = page.partition("<!-- table: robustness/kills.json -->")[2].partition("<!-- end table -->")[0]
    counts = {f"in {phase}".replace("in between", "between"): count for phase, count in found["hit"].items()}
    for name in ("kills", "resumed", "weights equal byte by byte", "logs equal", "half-written files left"):
        counts[name] = found[name]
    assert sum(found["hit"].values()) == found["kills"]
    shown = re.findall(r"^ *\| ([\w -]+?) +\| (\d+) +\|$", table, re.MULTILINE)
    assert counts == {name: int(count) for name, count in shown}
