"""Several processes: four train as one does, a killed one ends the job with a sentence, others can go on."""

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from benchmarks.robustness.process_faults import LOST, Kill, same_guide, steps, survives, together, train_share
from support.several_processes import ALL_EQUAL, VAL, both_stages
from support.two_processes import BATCH, IMAGES

from decomprec.data import SyntheticScenes
from decomprec.data.datamodule import EvenBatches, TaggedDataModule
from decomprec.training.interruptions import lost_process


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    assert together(train_share, 1, folder / "said", folder / "run", 1) == [(0, "")]
    return folder / "run"


def test_four_processes_train_as_one_and_count_each_validation_image_once(tmp_path: Path) -> None:
    assert VAL % 4 == 1
    for processes in (1, 4):
        ends = together(both_stages, processes, tmp_path / f"said {processes}", tmp_path, processes)
        assert ends == [(0, "")] * processes
    (one, *parts) = (torch.load(tmp_path / name) for name in ("1-0.pt", "4-0.pt", "4-1.pt", "4-2.pt", "4-3.pt"))
    for stage, alone in one.items():
        shares: list[dict[str, Any]] = [part[stage] for part in parts]
        assert len(alone["names"]) == 2 * (IMAGES // BATCH)
        for names, *of_each in zip(alone["names"], *(share["names"] for share in shares), strict=True):
            assert sorted(names) == sorted(name for part in of_each for name in part)
        for share in shares:
            for name, tensor in share["end"].items():
                torch.testing.assert_close(tensor, alone["end"][name], rtol=0, atol=1e-9)
            measured = {name for name in alone["metrics"] if name.startswith("val/")} & ALL_EQUAL[stage]
            assert measured == ALL_EQUAL[stage]
            for name in measured:
                torch.testing.assert_close(share["metrics"][name], alone["metrics"][name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("before", "after", "kill"), [(4, 1, Kill("segmenter", 2)), (2, 4, Kill("guide", 0))])
def test_a_killed_process_ends_the_job_and_another_number_goes_on(
    before: int, after: int, kill: Kill, whole: Path, tmp_path: Path
) -> None:
    survives(tmp_path, before, after, kill)
    assert steps(tmp_path / "run") == steps(whole)
    assert same_guide(tmp_path / "run", whole)


def test_the_check_of_the_survivors_sees_a_process_that_says_nothing(tmp_path: Path) -> None:
    ends = together(train_share, 1, tmp_path / "said", tmp_path / "run", 1, False, 0, Kill("guide", 0))
    assert ends == [(-signal.SIGKILL, "")]


def test_steps_of_another_number_of_images_are_refused() -> None:
    sets = SyntheticScenes(16, size=16), SyntheticScenes(3, size=16, seed=1)
    before = TaggedDataModule(*sets, batch_size=8).state_dict()
    module = TaggedDataModule(*sets, batch_size=4)
    with pytest.raises(ValueError, match="steps of 8 images, but got a `batch_size` of 4 in 1 process;"):
        module.load_state_dict(before)
    module.trainer = SimpleNamespace(distributed_sampler_kwargs={"num_replicas": 2, "rank": 0})
    module.load_state_dict(before)


@pytest.mark.parametrize("processes", [2, 3, 4, 8])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("count", [8, 9, 13, 31])
def test_validation_shows_each_image_once_in_as_many_batches(count: int, batch_size: int, processes: int) -> None:
    scenes = SyntheticScenes(count, size=16)
    shares = [list(EvenBatches(scenes, batch_size, processes, rank)) for rank in range(processes)]
    assert sorted(index for share in shares for batch in share for index in batch) == list(range(count))
    assert len({len(share) for share in shares}) == 1
    assert all(0 < len(batch) <= max(2, batch_size) for share in shares for batch in share)


def test_fewer_validation_images_than_processes_are_refused() -> None:
    module = TaggedDataModule(SyntheticScenes(8, size=16), SyntheticScenes(3, size=16, seed=1), batch_size=2)
    module.trainer = SimpleNamespace(distributed_sampler_kwargs={"num_replicas": 4, "rank": 3})
    with pytest.raises(ValueError, match="an image for each of the 4 processes, but got 3"):
        module.val_dataloader()


@pytest.mark.parametrize(
    "text",
    [
        "[/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:46525",
        "NCCL communicator was aborted: remote process exited or there was a network error",
    ],
)
def test_what_torch_says_of_a_lost_peer_is_known(text: str) -> None:
    assert str(lost_process(RuntimeError(text))).startswith(LOST)
