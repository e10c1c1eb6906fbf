"""What a resumed run needs: draws that depend on no history, and files that are whole."""

import csv
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from support.tiny import BARE, guide_stage, segmenter_stage
from support.two_processes import scenes
from torch import Tensor
from torch.utils.data import Dataset

from decomprec.data import train_transform
from decomprec.data.datamodule import TaggedDataModule
from decomprec.training import NonFiniteError
from decomprec.training.checkpoints import WholeCheckpoints, WholeCSVLogger


class Drawn(Dataset[dict[str, Any]]):
    """Images whose pixels are drawn from each of the three global generators."""

    masks = False

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict[str, Any]:
        draws = torch.tensor([torch.rand(()).item(), np.random.rand(), random.random()])  # noqa: NPY002  # what users draw from
        return {"image": draws.view(3, 1, 1), "tags": torch.zeros(1), "name": f"{index}"}


def epochs(module: TaggedDataModule, count: int) -> list[list[dict[str, Any]]]:
    loader = module.train_dataloader()
    return [list(loader) for _ in range(count)]


def images(batches: list[dict[str, Any]]) -> dict[str, Tensor]:
    return {n: i for batch in batches for n, i in zip(batch["name"], batch["image"], strict=True)}


def test_what_a_image_draws_depends_on_seed_epoch_and_image_alone() -> None:
    def module(**options: Any) -> TaggedDataModule:
        return TaggedDataModule(Drawn(), Drawn(), **{"batch_size": 2, "seed": 4, **options})

    first, second = map(images, epochs(module(), 2))
    draws = torch.stack([*first.values(), *second.values()])
    assert len(draws.unique()) == draws.numel()  # every image, epoch and generator has another draw
    torch.manual_seed(99)
    for other in (module(num_workers=2), module(batch_size=5), module(batch_size=4, accumulate=2)):
        for here, there in zip((first, second), map(images, epochs(other, 2)), strict=True):
            assert all(torch.equal(image, here[name]) for name, image in there.items())
    assert not any(torch.equal(i, first[n]) for n, i in images(epochs(module(seed=5), 1)[0]).items())

    shared = [module(num_workers=0), module(num_workers=0)]
    for rank, part in enumerate(shared):
        part.trainer = SimpleNamespace(distributed_sampler_kwargs={"num_replicas": 2, "rank": rank})
    shares = [images(epochs(part, 1)[0]) for part in shared]
    assert not shares[0].keys() & shares[1].keys()
    assert all(torch.equal(image, first[name]) for share in shares for name, image in share.items())


def test_loading_disturbs_no_other_draws() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    state, legacy = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002  # what users draw from
    found = [torch.rand(1) for _ in TaggedDataModule(Drawn(), Drawn(), batch_size=4).train_dataloader()]
    assert torch.equal(torch.cat(found), expected[:2])
    assert random.getstate() == state
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002  # what users draw from


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loaded_epoch_comes_next_even_for_workers_that_load_ahead(workers: int) -> None:
    """Lightning sets the sampler's epoch after workers have begun, where a schedule asks for the number of steps."""
    module = TaggedDataModule(Drawn(), Drawn(), batch_size=2, num_workers=workers)
    expected = epochs(module, 3)[2]
    again = TaggedDataModule(Drawn(), Drawn(), batch_size=2, num_workers=workers)
    again.setup("fit")
    again.load_state_dict({"epoch": 2})
    found = epochs(again, 1)[0]
    assert [batch["name"] for batch in found] == [batch["name"] for batch in expected]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(found, expected, strict=True))
    again.setup("fit")  # a new training without a checkpoint
    assert [b["name"] for b in epochs(again, 1)[0]] != [b["name"] for b in expected]


def test_parts_of_a_batch_hold_the_images_of_the_whole() -> None:
    whole = epochs(TaggedDataModule(scenes(26, 1), scenes(2, 2), batch_size=8), 1)[0]
    parts = epochs(TaggedDataModule(scenes(26, 1), scenes(2, 2), batch_size=8, accumulate=4), 1)[0]
    assert [len(part["name"]) for part in parts] == [2] * 12
    names = [name for part in parts for name in part["name"]]
    assert names == [name for batch in whole for name in batch["name"]]
    for accumulate in (3, 0):
        with pytest.raises(ValueError, match=f"Expected `accumulate` to cut the `batch_size` of 8 .* got {accumulate}"):
            TaggedDataModule(scenes(26, 1), scenes(2, 2), batch_size=8, accumulate=accumulate)


@pytest.mark.parametrize("stage", [guide_stage, segmenter_stage])
def test_a_step_in_parts_is_the_step(stage: Any) -> None:
    """No BatchNorm: parts and whole have the same gradient, so Adam goes the same way, in as many steps."""
    ends = []
    for accumulate in (1, 2, 4):
        torch.manual_seed(0)
        module = stage()
        start = {name: tensor.detach().clone() for name, tensor in module.named_parameters()}
        trainer = L.Trainer(
            max_epochs=2,
            accumulate_grad_batches=accumulate,
            precision="64-true",
            num_sanity_val_steps=0,
            **BARE,
        )
        data = scenes(26, 1, transform=train_transform(16))
        trainer.fit(module, TaggedDataModule(data, scenes(3, 2), batch_size=8, accumulate=accumulate))
        assert trainer.global_step == 6
        ends.append(module.state_dict())
    for name, tensor in ends[0].items():
        assert name not in start or not torch.equal(tensor, start[name].double())
        for other in ends[1:]:
            torch.testing.assert_close(other[name], tensor, rtol=0, atol=1e-9)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    counts: dict[str, Any] = {"epoch": 0, "global_step": 1, "loops": {}}
    WholeCheckpoints().save_checkpoint({**counts, "state_dict": {"weight": torch.ones(3)}}, path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            WholeCheckpoints().save_checkpoint({"state_dict": {"weight": torch.zeros(3)}}, path)
    with pytest.raises(NonFiniteError, match="The tensor weight has become NaN or infinite"):
        WholeCheckpoints().save_checkpoint({"state_dict": {"weight": torch.tensor([1, torch.nan])}}, path)
    assert list(tmp_path.iterdir()) == [path]
    assert torch.equal(WholeCheckpoints().load_checkpoint(path)["state_dict"]["weight"], torch.ones(3))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("boom",)


@pytest.mark.parametrize("content", ["cut", "empty", "pickle"])
def test_a_damaged_or_foreign_checkpoint_is_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "bomb": Bomb()} if content == "pickle" else {"state_dict": {}}, path)
    if content != "pickle":
        path.write_bytes(path.read_bytes()[: 300 if content == "cut" else 0])
    with pytest.raises(ValueError, match=r"Expected .*last.ckpt to be a checkpoint .* begin this stage again"):
        WholeCheckpoints().load_checkpoint(path, weights_only=False)
    assert "boom" not in capsys.readouterr().out


def test_a_new_column_never_empties_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = WholeCSVLogger(tmp_path, name="log")
    logger.save()
    (folder,) = tmp_path.glob("log/*")
    assert list(folder.iterdir()) == []
    logger.log_metrics({"train/loss": 3.0}, step=0)
    logger.save()
    before = (folder / "metrics.csv").read_bytes()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("csv.DictWriter.writerows", killed)
        logger.log_metrics({"val/loss": 2.0}, step=1)
        with pytest.raises(KeyboardInterrupt):
            logger.save()
    assert (folder / "metrics.csv").read_bytes() == before
    logger.save()
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"step": "0", "train/loss": "3.0", "val/loss": ""},
        {"step": "1", "train/loss": "", "val/loss": "2.0"},
    ]
    assert [file.name for file in folder.iterdir()] == ["metrics.csv"]
