"""A training that stops says why in a sentence, and can be resumed from its last checkpoint."""

import errno
import resource
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from support.tiny import BARE, QUIET, segmenter_stage, tiny
from support.two_processes import scenes
from torch import Tensor

from decomprec.data import SyntheticScenes
from decomprec.data.datamodule import TaggedDataModule
from decomprec.training import GuideModule, NonFiniteError, SegmenterModule, StoppedRunError, train
from decomprec.training.nonfinite import StopNonFinite

pytestmark = pytest.mark.slow

PLAIN: Mapping[str, Any] = {}
SHORT = tiny({"segmenter.epochs": 2})
AFTER_ONE = r"The last good checkpoint is .*segmenter/last.ckpt, after 1 epoch; resume to continue from it\.$"


@pytest.fixture(autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """A shell that starts the tests in the background has told them to ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def sets() -> tuple[SyntheticScenes, SyntheticScenes]:
    return SyntheticScenes(24, 2, size=32, seed=1), SyntheticScenes(4, 2, size=32, seed=2)


def run(
    folder: Path, sets: Any, *callbacks: Callback, settings: Mapping[str, Any] = PLAIN, **options: Any
) -> list[bytes]:
    train(SHORT.override(settings), *sets, folder, callbacks=list(callbacks), trainer_options=QUIET, **options)
    return [(folder / stage / "finished.safetensors").read_bytes() for stage in ("guide", "segmenter")]


@pytest.fixture(scope="module")
def whole(sets: Any, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return run(tmp_path_factory.mktemp("whole") / "run", sets)


class At(Callback):
    """Does something in the second epoch of the segmenter."""

    def __init__(self, do: Any) -> None:
        self.do = do

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if isinstance(pl_module, SegmenterModule) and trainer.current_epoch == 1:
            self.do()


@pytest.fixture
def file_size_limit() -> Iterator[tuple[int, int]]:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_a_disk_that_takes_no_more_leaves_the_last_checkpoint(
    file_size_limit: tuple[int, int], sets: Any, whole: list[bytes], tmp_path: Path
) -> None:
    def fill() -> None:  # as a full disk, but for this process alone: files of more than 4 kB fail half-way
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, file_size_limit[1]))

    with pytest.raises(OSError, match=rf"^Could not write .*segmenter.*: File too large\. {AFTER_ONE}"):
        run(tmp_path / "run", sets, At(fill))
    resource.setrlimit(resource.RLIMIT_FSIZE, file_size_limit)
    assert not list((tmp_path / "run").rglob(".partial-*"))
    assert run(tmp_path / "run", sets, resume=True) == whole


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_to(
    number: int, sets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(number, "Refused", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OSError, match=r"^Could not write .*run: Refused\. There is no checkpoint of the guide yet"):
        run(tmp_path / "run", sets)


def test_errors_of_other_files_stay_as_they_are(sets: Any, tmp_path: Path) -> None:
    def missing() -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file", "/elsewhere/image.jpg")

    with pytest.raises(FileNotFoundError, match=r"image.jpg"):
        run(tmp_path / "run", sets, At(missing))


def test_ctrl_c_ends_cleanly_and_can_be_resumed(sets: Any, whole: list[bytes], tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=rf"^Interrupted\. {AFTER_ONE}"):
        run(tmp_path / "run", sets, At(lambda: signal.raise_signal(signal.SIGINT)))
    assert signal.getsignal(signal.SIGINT) is handler
    assert run(tmp_path / "run", sets, resume=True) == whole


def test_ctrl_c_before_the_first_step_leaves_the_next_one_heard(sets: Any, tmp_path: Path) -> None:
    class AtStart(Callback):
        def on_fit_start(self, *_: Any) -> None:
            signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"^Interrupted\. There is no checkpoint of the guide yet"):
        run(tmp_path / "run", sets, AtStart())
    assert signal.getsignal(signal.SIGINT) is handler


def test_sigterm_ends_in_an_error_and_can_be_resumed(sets: Any, whole: list[bytes], tmp_path: Path) -> None:
    with pytest.raises(StoppedRunError, match=rf"^Stopped by SIGTERM\. {AFTER_ONE}"):
        run(tmp_path / "run", sets, At(lambda: signal.raise_signal(signal.SIGTERM)))
    assert run(tmp_path / "run", sets, resume=True) == whole


def test_another_seed_is_no_way_to_resume(sets: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", sets, At(lambda: signal.raise_signal(signal.SIGINT)))
    with pytest.raises(ValueError, match=r"Expected to resume with the run's `seed` 0, but got 1\."):
        run(tmp_path / "run", sets, resume=True, seed=1)


def little_memory(monkeypatch: pytest.MonkeyPatch, error: Exception, most: int = 4) -> None:
    """The segmenter's third step finds no memory for more images than that: by then the weights have moved."""
    losses = SegmenterModule.losses

    def limited(self: SegmenterModule, batch: dict[str, Any], batch_idx: int = 0) -> dict[str, Tensor]:
        if len(batch["image"]) > most and batch_idx == 2:
            raise error
        return losses(self, batch, batch_idx)

    monkeypatch.setattr(SegmenterModule, "losses", limited)


CPU_ERROR = RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried ...")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("HIP out of memory"), CPU_ERROR, MemoryError()])
def test_out_of_memory_says_what_to_try(
    error: Exception, sets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little_memory(monkeypatch, error)
    sentence = (
        r"^The memory does not suffice to train the segmenter on 8 images of 32 pixels at once; resume with "
        r"accumulate=2, which takes each step in parts of 4, or train again with segmenter.batch_size=4 or "
        r"image_size=16\. There is no checkpoint of the segmenter yet"
    )
    with pytest.raises(StoppedRunError, match=sentence):
        run(tmp_path / "run", sets)


def test_the_advice_works(sets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):  # the guide and an epoch of the segmenter are trained in one part
        run(tmp_path / "whole", sets, At(lambda: signal.raise_signal(signal.SIGINT)))
    little_memory(monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(StoppedRunError):
        run(tmp_path / "run", sets)
    followed = run(tmp_path / "run", sets, resume=True, settings={"accumulate": 2})
    shutil.copytree(tmp_path / "whole" / "guide", tmp_path / "anew" / "guide")
    assert run(tmp_path / "anew", sets, settings={"accumulate": 2}) == followed


def test_what_can_be_tried_with_a_single_image(sets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    little_memory(monkeypatch, torch.OutOfMemoryError("CUDA out of memory"), most=0)
    sentence = r"on 1 images of 32 pixels at once; train again with segmenter.batch_size=4 or image_size=16\."
    with pytest.raises(StoppedRunError, match=sentence):
        run(tmp_path / "run", sets, settings={"accumulate": 8})


def test_other_runtime_errors_are_no_lack_of_memory(sets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    little_memory(monkeypatch, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match=r"^shapes differ$"):
        run(tmp_path / "run", sets)


def test_a_loss_that_is_not_finite_stops_a_run_at_its_last_good_checkpoint(
    sets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = SegmenterModule.losses

    def spoilt(self: SegmenterModule, batch: dict[str, Any], batch_idx: int = 0) -> dict[str, Tensor]:
        terms = losses(self, batch, batch_idx)
        if self.trainer.current_epoch == 1 and "scene_000007" in batch["name"]:
            terms["cls"] = terms["cls"] * torch.nan
            terms["total"] = terms["total"] + terms["cls"]
        return terms

    monkeypatch.setattr(SegmenterModule, "losses", spoilt)
    sentence = rf"^The loss \(total, cls\) is NaN or infinite in epoch 1, step [345], on scene_000007\. .*{AFTER_ONE}"
    with pytest.raises(NonFiniteError, match=sentence):
        run(tmp_path / "run", sets)
    checkpoint = torch.load(tmp_path / "run" / "segmenter" / "last.ckpt", weights_only=True)
    assert all(tensor.isfinite().all() for tensor in checkpoint["state_dict"].values())
    assert not (tmp_path / "run" / "segmenter" / "finished.safetensors").exists()


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", ["term", "gradient"])
def test_no_step_is_made_that_is_not_finite(kind: str, accumulate: int) -> None:
    module = segmenter_stage()
    bad = "scene_000003"
    seen: list[dict[str, Tensor]] = []

    class Look(Callback):
        def on_before_zero_grad(self, trainer: L.Trainer, pl_module: L.LightningModule, _: Any) -> None:
            seen.append({name: p.detach().clone() for name, p in pl_module.segmenter.named_parameters()})

    def spoilt(out: Any, images: Tensor, tags: Tensor) -> Tensor:
        if not any(torch.equal(image, chosen) for image in images):
            return images.new_zeros(())
        # √ at 0 has a finite value and an infinite slope.
        return out.areas.sum() / 0 if kind == "term" else (0 * out.areas.sum()).sqrt()

    data = scenes(16, 1)
    chosen = next(item["image"] for item in data if item["name"] == bad).double()
    module.loss.extra["odd"] = (1.0, spoilt)
    trainer = L.Trainer(
        max_epochs=3,
        precision="64-true",
        accumulate_grad_batches=accumulate,
        callbacks=[StopNonFinite(), Look()],
        **BARE,
    )
    batches = TaggedDataModule(data, scenes(2, 2), batch_size=4, accumulate=accumulate)
    with pytest.raises(NonFiniteError) as caught:
        trainer.fit(module, batches)
    if kind == "term":
        assert str(caught.value).startswith("The loss (total, odd) is NaN or infinite in epoch 0, step ")
        assert f", on {bad}. Lower" in str(caught.value)
    else:
        assert str(caught.value).startswith("The gradient of segmenter.encoder.fine.weight is NaN")
        (names,) = [n for n in _steps(batches) if bad in n]
        assert f", on {', '.join(names)}. Lower" in str(caught.value)
    for name, p in module.segmenter.named_parameters():
        assert torch.equal(p, seen[-1][name])
        assert p.isfinite().all()


def _steps(batches: TaggedDataModule) -> list[list[str]]:
    names = [name for batch in batches.train_dataloader() for name in batch["name"]]
    return [names[i : i + batches.batch_size] for i in range(0, len(names), batches.batch_size)]


def test_an_encoder_of_the_guide_is_watched_too(sets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = GuideModule.losses
    monkeypatch.setattr(GuideModule, "losses", lambda *a: {"loss": losses(*a)["loss"] / 0})
    with pytest.raises(NonFiniteError, match=r"The loss \(loss\) is .* and 3 more\. .* no checkpoint of the guide yet"):
        run(tmp_path / "run", sets)
