"""The example that trains on a stream, small; a killed run is resumed with the weights of one that was not."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file
from support.tiny import tiny_words

from decomprec import training
from decomprec.data import SyntheticScenes, load_images

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_from_stream.py"
SMALL = ["--images", "16", "--per-shard", "5", "--set", *tiny_words({"image_size": 64, "segmenter.epochs": 2})]


def run(*arguments: str | Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(EXAMPLE), *map(str, arguments)])
        runpy.run_path(str(EXAMPLE), run_name="__main__")


class Killed(Callback):
    """Ends the process's training in the second epoch of the segmenter."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt


def test_a_run_on_a_stream_and_its_resumption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(*SMALL, "--out", tmp_path / "whole")
    shards = tmp_path / "whole" / "shards"
    scenes = SyntheticScenes(16, size=64, seed=1)
    data = load_images(shards)("train", transform=None, masks=False)
    assert len(list(shards.glob("train-*.tar"))) == 4
    assert data.class_names == scenes.class_names
    assert data.tags.tolist() == scenes.tags.tolist()
    assert (data[3]["image"] - scenes[3]["image"]).abs().max() <= 1 / 255

    (tmp_path / "part").mkdir()
    shards.rename(tmp_path / "part" / "shards")  # to train on what is there does not need the stream again
    train = training.train
    with monkeypatch.context() as patch:
        patch.setattr(training, "train", lambda *args, **options: train(*args, callbacks=[Killed()], **options))
        with pytest.raises(KeyboardInterrupt):
            run(*SMALL, "--out", tmp_path / "part")
    run(*SMALL, "--out", tmp_path / "part", "--resume")
    weights = [load_file(tmp_path / name / "run" / "model" / "model.safetensors") for name in ("whole", "part")]
    assert weights[0].keys() == weights[1].keys()
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
