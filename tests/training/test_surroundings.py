"""Little shared memory, and batches of one image."""

import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.tiny import tiny
from torch import nn

from decomprec.data import SyntheticScenes
from decomprec.data.shared_memory import fitting_workers
from decomprec.training import train
from decomprec.training.interruptions import StoppedRunError, clear_stops


@pytest.mark.parametrize(("free", "expected"), [(0, 0), (29, 0), (30, 1), (63, 2), (200, 4)])
def test_only_processes_that_fit_load_images(
    free: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Three batches of 10 MiB each."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free << 20))
    with caplog.at_level(logging.WARNING):
        assert fitting_workers(4, 10 << 20, tmp_path) == expected
    assert [f"has {free} MB free: {expected} instead of 4 processes" in text for text in caplog.messages] == (
        [True] if expected < 4 else []
    )
    assert fitting_workers(4, 10 << 20, tmp_path / "nowhere") == 4
    assert fitting_workers(0, 10 << 20, tmp_path) == 0


@pytest.mark.parametrize(
    "text",
    [
        "Caught RuntimeError in DataLoader worker process 0.\nunable to write to file </torch_1_2_0>: No space (28)",
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
        "shared memory. Please try to raise your shared memory limit.",
        "unable to allocate shared memory(shm) for file </torch_9_1_2>: Resource temporarily unavailable (11)",
    ],
)
def test_no_shared_memory_is_said_in_one_sentence(text: str, tmp_path: Path) -> None:
    message = r"^The shared memory \(/dev/shm\) does not suffice .* try fewer workers, or .* --shm-size=8g\. "
    with pytest.raises(StoppedRunError, match=message), clear_stops("guide", tmp_path / "last.ckpt"):
        raise RuntimeError(text)


@pytest.mark.parametrize("changes", [{"guide.batch_size": 1}, {"guide.batch_size": 4, "accumulate": 4}])
def test_a_batch_of_one_will_do_for_the_guide_whose_batch_norm_sees_pixels(
    changes: dict[str, int], tmp_path: Path
) -> None:
    preset = tiny({"segmenter.seeds": 0.3, "segmenter.batch_size": 4, **changes})
    model = train(preset, SyntheticScenes(8, size=32), SyntheticScenes(2, size=32, seed=1), tmp_path / "run")
    assert all(tensor.isfinite().all() for tensor in model.classifier.state_dict().values())


def test_batch_norm_of_custom_parts_says_the_cure_too(tmp_path: Path) -> None:
    message = (
        r"^Expected the segmenter to see at least 2 images at once, for BatchNorm, .* increase segmenter\.batch_size"
    )
    with pytest.raises(ValueError, match=message), clear_stops("segmenter", tmp_path / "last.ckpt"):
        nn.BatchNorm2d(3)(torch.zeros(1, 3, 1, 1))
