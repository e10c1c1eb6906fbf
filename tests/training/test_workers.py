"""Processes that load images: one is killed, and the start method "spawn"."""

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from benchmarks.robustness.process_faults import WORKER, Kill, survives, together, train_share
from benchmarks.robustness.random_kills import result
from torchvision.io import write_png

from decomprec.data import SyntheticScenes, TaggedFolder, train_transform
from decomprec.data.datamodule import TaggedDataModule
from decomprec.protocols import TaggedDataset
from decomprec.training import StoppedRunError
from decomprec.training.interruptions import clear_stops


def test_a_killed_worker_stops_with_a_sentence_and_can_be_resumed(tmp_path: Path) -> None:
    assert together(train_share, 1, tmp_path / "said", tmp_path / "whole", 1) == [(0, "")]
    survives(tmp_path, 1, 1, Kill("segmenter", 0, worker=True))
    said = (tmp_path / "killed" / "0.txt").read_text()
    assert said.startswith(WORKER) or not said  # it was not needed any more
    assert result(tmp_path / "run") == result(tmp_path / "whole")


def test_a_worker_that_is_killed_while_it_hands_over_is_no_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StoppedRunError, match=WORKER), clear_stops("segmenter", tmp_path / "segmenter" / "last.ckpt"):
        raise ConnectionResetError(104, "Connection reset by peer")


def scenes(folder: Path) -> TaggedDataset:
    return SyntheticScenes(8, 2, size=32, transform=train_transform(16))


def images(folder: Path) -> TaggedDataset:
    for number in range(9):  # the last one is there to validate
        path = folder / ("train" if number < 8 else "val") / ("dog" if number % 2 else "other") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(torch.randint(256, (3, 20, 24), dtype=torch.uint8), str(path))
    return TaggedFolder(folder, split="train", transform=train_transform(16))


@pytest.fixture
def spawning() -> Iterator[None]:
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.parametrize("make", [scenes, images])
def test_workers_that_are_spawned_give_what_the_process_itself_would(
    make: Callable[[Path], TaggedDataset], spawning: None, tmp_path: Path
) -> None:
    data = make(tmp_path)
    alone, spawned = (list(TaggedDataModule(data, data, 4, workers, 3).train_dataloader()) for workers in (0, 1))
    assert len(alone) == 2
    for expected, found in zip(alone, spawned, strict=True):
        assert found["name"] == expected["name"]
        assert all(torch.equal(found[key], expected[key]) for key in ("image", "tags"))
