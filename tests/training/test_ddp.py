"""Two processes train as one does, but for what can't be the same: docs/guides/several_gpus.md says what."""

import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import two_processes
from support.two_processes import (
    BATCH,
    IMAGES,
    PROCESSES,
    Record,
    guide_stage,
    head_stage,
    run,
    scenes,
    segmenter_stage,
)
from torch import Tensor

from decomprec import Decomposition, MaskLoss
from decomprec.data.datamodule import TaggedDataModule
from decomprec.losses import ClsLoss, ReconLoss
from decomprec.priors import EdgeAwareSmoothness, HingeAreaLoss
from decomprec.seeds import seed_labels, seed_loss

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ddp")
    launcher = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "PL_GLOBAL_SEED")
    env = {name: value for name, value in os.environ.items() if name not in launcher} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, two_processes.__file__, str(folder)]  # Lightning starts the other process
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-5000:]
    return folder


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def together(parts: list[dict[str, Any]]) -> list[set[str]]:
    """The images of each step, of all processes."""
    steps = list(zip(*(part["names"] for part in parts), strict=True))
    assert all(len(set().union(*names)) == BATCH for names in steps)  # no image twice
    return [set().union(*names) for names in steps]


@pytest.mark.parametrize(("stage", "train_stage"), [("guide", guide_stage), ("segmenter", segmenter_stage)])
def test_two_processes_train_as_one_on_the_same_batches(stage: str, train_stage: Any, both: list[Any]) -> None:
    one, parts = train_stage(1, scenes(5, 2, masks=True)), [part[stage] for part in both]
    assert len(one["losses"]) == 2 * (IMAGES // BATCH)
    assert together(parts) == [set(names) for names in one["names"]]
    for expected, *found in zip(one["losses"], *(part["losses"] for part in parts), strict=True):
        assert expected == {name: pytest.approx(sum(f[name] for f in found) / PROCESSES, abs=1e-9) for name in expected}
    for part in parts:
        assert same(part["start"], one["start"])
        assert same(part["end"], parts[0]["end"])
        for name, tensor in part["end"].items():
            torch.testing.assert_close(tensor, one["end"][name], rtol=0, atol=1e-9)
        for name, value in one["metrics"].items():
            if name.startswith("val/"):  # train/... is of this process's share
                torch.testing.assert_close(part["metrics"][name], value, rtol=0, atol=1e-5)


def test_both_take_the_same_further_steps_of_a_frozen_guides_head(both: list[Any]) -> None:
    first, second = (part["head"]["end"] for part in both)
    assert same(first, second)
    expected = head_stage(1)["end"]
    for name in ("norm.running_mean", "norm.running_var", "head.weight", "head.bias", "floor"):
        found, alone = first[f"classifier.{name}"].flatten(), expected[f"classifier.{name}"].flatten()
        # BatchNorm sees half the images at once, and the variance between the halves is missing.
        assert float((found - alone).norm() / alone.norm()) < 0.1, name


def test_a_run_is_the_same_on_both_and_its_guide_that_of_one_process(both: list[Any], tmp_path: Path) -> None:
    first, second = (part["run"] for part in both)
    assert same(first["guide"], second["guide"])
    assert same(first["segmenter"], second["segmenter"])
    alone = Record()
    guide = run(tmp_path / "alone", 1, alone)["guide"]
    for name, tensor in first["guide"].items():
        # BatchNorm sees half the images at once, and the variance between the halves is missing.
        assert float((tensor - guide[name]).float().norm()) <= 0.25 * float(guide[name].float().norm()), name
    for stage, seen in alone.stages.items():
        records = [part["record"][stage] for part in both]
        assert together(records) == [set(names) for names in seen["names"]]
        assert same(records[0]["start"], records[1]["start"])
        assert records[0]["start"].keys() == seen["start"].keys()
        assert not {*records[0]["seeds"]} & {*records[1]["seeds"]}  # absent slots, occlusions and fills differ


def test_a_run_folder_is_written_once_and_refused_by_both(folder: Path, both: list[Any]) -> None:
    for stage in ("guide", "segmenter"):
        weights = load_file(folder / "run" / stage / "finished.safetensors")
        assert same(weights, both[1]["run"][stage])
        assert [path.name for path in (folder / "run" / stage / "log").iterdir()] == ["version_0"]
    assert all("ValueError: Expected a new run folder" in part["again"] for part in both)


def test_a_killed_run_resumes_to_the_same_result(both: list[Any]) -> None:
    for part, stage in product(both, ("guide", "segmenter")):
        assert part[f"killed {stage}"] == "KeyError: 'killed'"
        assert same(part[f"resumed {stage}"]["guide"], part["run"]["guide"])
        assert same(part[f"resumed {stage}"]["segmenter"], part["run"]["segmenter"])


def test_one_process_computes_the_seeds_of_all(folder: Path, both: list[Any]) -> None:
    first, second = (part["seeded"] for part in both)
    assert same(first["segmenter"], second["segmenter"])
    assert first["seeds"].keys() | second["seeds"].keys() <= {f"{i:06d}" for i in range(IMAGES)}
    shared = first["seeds"].keys() & second["seeds"].keys()  # in different epochs
    assert shared
    assert all(torch.equal(first["seeds"][name], second["seeds"][name]) for name in shared)
    assert any((labels < 4).any() for labels in first["seeds"].values())
    assert not list((folder / "seeded").rglob("seeds*"))


def test_both_stop_at_a_collapse_that_neither_sees_alone(both: list[Any]) -> None:
    assert both[0]["collapse"] == both[1]["collapse"]
    assert "masks of the background cover" in both[0]["collapse"]


def test_a_training_set_smaller_than_a_batch_of_all_is_refused() -> None:
    module = TaggedDataModule(scenes(7, 1), scenes(2, 2), batch_size=4)
    assert len(module.train_dataloader()) == 1
    module.trainer = SimpleNamespace(distributed_sampler_kwargs={"num_replicas": 2, "rank": 1})
    with pytest.raises(ValueError, match="the 2 processes to be at most 7"):
        module.train_dataloader()


def sure_where_bright(out: Decomposition, images: Tensor, tags: Tensor) -> Tensor:
    masks = torch.stack([images.mean(dim=1), 1 - images.mean(dim=1)], dim=1)
    return seed_loss(out.mask_logits, seed_labels(masks, confidence=0.6))


def linear_guide(images: Tensor) -> Tensor:
    return 4 * images.mean(dim=(2, 3))[:, :1] - 2


TERMS: dict[str, Any] = {
    "recon": lambda out, images, tags: ReconLoss()(out.reconstruction, images),
    "mask": lambda out, images, tags: MaskLoss()(out.areas, tags),
    "hinge": lambda out, images, tags: HingeAreaLoss(0.1, 0.3)(out.areas, tags),
    "cls": ClsLoss(linear_guide),
    "cls reject": ClsLoss(linear_guide, "reject"),
    "smoothness": EdgeAwareSmoothness(),
    "seeds": sure_where_bright,
}


@pytest.mark.parametrize("name", TERMS)
def test_which_losses_are_means_over_images(name: str) -> None:
    images = torch.rand(4, 3, 8, 8) * torch.tensor([0.1, 0.9, 1, 1]).view(4, 1, 1, 1)
    out = Decomposition(torch.randn(4, 2, 8, 8), torch.rand(4, 2, 3, 8, 8))
    tags = torch.tensor([[1.0], [0.0], [1.0], [1.0]])
    whole = TERMS[name](out, images, tags)
    shares = [
        TERMS[name](Decomposition(out.mask_logits[half], out.imagelets[half]), images[half], tags[half])
        for half in (slice(0, 2), slice(2, 4))
    ]
    is_mean = torch.isclose(whole, sum(shares) / 2, rtol=1e-5).item()
    assert is_mean == (name != "seeds")  # normalised by the numbers of confident pixels and of classes
