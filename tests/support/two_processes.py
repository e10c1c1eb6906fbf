"""What each of two processes does for tests/training/test_ddp.py, which starts this file as a script."""

import os
import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import Dataset

from decomprec import DecompositionLoss, DecompositionSegmenter, FrozenGuide
from decomprec.data import SyntheticScenes, TaggedRows
from decomprec.data.datamodule import TaggedDataModule
from decomprec.models import PooledClassifier, SmallEncoder
from decomprec.training import (
    PRESETS,
    CollapsedRunError,
    GuideModule,
    GuideSettings,
    Preset,
    SegmenterModule,
    SegmenterSettings,
    train,
)
from decomprec.training.collapse import StopCollapsed

PROCESSES = 2
IMAGES, BATCH = 26, 8
QUIET: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
# Only the guide's head is trained: all that depends on how a batch is split is what its BatchNorm sees.
TINY = PRESETS["demo"].override(
    {
        "image_size": 16,
        "guide.encoder_options": {"widths": [4, 8]},
        "guide.freeze_encoder": True,
        "guide.head_steps": 20,
        "guide.occlusion": 0,
        "guide.epochs": 2,
        "guide.weight_decay": 0.01,
        "segmenter.decoder_widths": [8, 4],
        "segmenter.epochs": 2,
        "segmenter.absent_slots": 1,
    }
)


def tiny(batch_size: int) -> Preset:
    return TINY.override({"guide.batch_size": batch_size, "segmenter.batch_size": batch_size})


def scenes(count: int, seed: int, **options: Any) -> SyntheticScenes:
    return SyntheticScenes(count, 3, size=16, seed=seed, **options)


class Plain(nn.Module):
    """An encoder without BatchNorm, which would see its process's share of a batch only."""

    out_channels, strides = (4, 8), (2, 4)

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.coarse = nn.Conv2d(4, 8, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = self.fine(images).tanh()
        return [fine, self.coarse(fine).tanh()]


class PlainDecoder(nn.Module):
    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(4, out_channels, 1), nn.Conv2d(8, out_channels, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        maps = (self.fine(features[0]), self.coarse(features[1]))
        return sum(nn.functional.interpolate(m, scale_factor=s) for m, s in zip(maps, (2, 4), strict=True))


class Record(Callback):
    """What a process sees: images and losses of each step, seeds of each epoch, initial weights."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, Any]] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        start = {name: p.detach().clone() for name, p in pl_module.named_parameters()}
        self.seen = self.stages[type(pl_module).__name__] = {"start": start, "names": [], "losses": [], "seeds": []}

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seen["seeds"].append(torch.initial_seed())

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        self.seen["names"].append(args[2]["name"])
        self.seen["losses"].append({n: v.item() for n, v in trainer.callback_metrics.items() if n.startswith("train/")})


class StopOnce(Callback):
    def __init__(self, stage: type[L.LightningModule]) -> None:
        self.stage = stage

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if isinstance(pl_module, self.stage) and trainer.current_epoch == 1:
            raise KeyError("killed")


def parallel(processes: int) -> dict[str, Any]:
    return {"devices": processes, "strategy": "ddp"} if processes > 1 else {"devices": 1}


def fit(module: L.LightningModule, processes: int, val: Dataset[Any], *callbacks: Callback) -> dict[str, Any]:
    record = Record()
    trainer = L.Trainer(
        max_epochs=2,
        precision="64-true",
        logger=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        callbacks=[record, *callbacks],
        **QUIET,
        **parallel(processes),
    )
    trainer.fit(module, datamodule=TaggedDataModule(scenes(IMAGES, 1), val, BATCH // processes, seed=3))
    (stage,) = record.stages.values()
    return {**stage, "end": module.state_dict(), "metrics": dict(trainer.callback_metrics)}


def guide_stage(processes: int, val: Dataset[Any]) -> dict[str, Any]:
    torch.manual_seed(0)
    return fit(GuideModule(PooledClassifier(Plain(), num_classes=4), GuideSettings(learning_rate=1e-2)), processes, val)


def segmenter_module() -> SegmenterModule:
    segmenter = DecompositionSegmenter(4, Plain(), mask_decoder=PlainDecoder(4), image_decoder=PlainDecoder(12))
    guide = FrozenGuide(PooledClassifier(Plain(), num_classes=4))
    return SegmenterModule(segmenter, DecompositionLoss(guide, 0.1, 0.1), 4, SegmenterSettings(learning_rate=1e-2))


def segmenter_stage(processes: int, val: Dataset[Any]) -> dict[str, Any]:
    torch.manual_seed(0)
    return fit(segmenter_module(), processes, val)


def head_stage(processes: int) -> dict[str, Any]:
    torch.manual_seed(0)
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=4, standardise=True)
    settings = GuideSettings(freeze_encoder=True, weight_decay=0.01, learning_rate=1e-2)
    return fit(GuideModule(classifier, settings), processes, scenes(2, 2))


def collapse() -> str:
    """Five images a process: too few to judge for one, enough for both."""
    segmenter = DecompositionSegmenter(4, Plain(), mask_decoder=PlainDecoder(4), image_decoder=PlainDecoder(12))
    segmenter.mask_decoder.fine.bias.data[0] = -40  # no background anywhere
    module = SegmenterModule(segmenter, DecompositionLoss(FrozenGuide(PooledClassifier(Plain(), 4))), num_classes=4)
    try:
        fit(module, PROCESSES, scenes(10, 2), StopCollapsed(("a", "b", "c"), patience=1))
    except CollapsedRunError as error:
        return str(error)
    return "went on"


def run(folder: Path, processes: int, *callbacks: Callback, resume: bool = False) -> dict[str, Any]:
    sets = scenes(IMAGES, 1), scenes(5, 2, masks=True)
    options = {**QUIET, **parallel(processes)}
    if resume:  # without validation, nothing brings what BatchNorm has recorded together
        options["limit_val_batches"] = 0
    preset = tiny(BATCH // processes)
    trained = train(preset, *sets, folder, callbacks=list(callbacks), resume=resume, trainer_options=options)
    return {"guide": trained.classifier.state_dict(), "segmenter": trained.segmenter.state_dict()}


class SeedsOfImages(Callback):
    """The seeds in the batches that a process is trained on, by image."""

    def __init__(self) -> None:
        self.found: dict[str, Tensor] = {}

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if "seeds" in args[2]:
            self.found |= dict(zip(args[2]["name"], args[2]["seeds"], strict=True))


def seeded_run(folder: Path) -> dict[str, Any]:
    """A run whose seeds one process computes for all."""
    drawn, val = scenes(IMAGES, 1), scenes(5, 2, masks=True)
    names = drawn.class_names
    rows = [
        {
            "image": (255 * item["image"]).round().byte(),
            "tags": [name for name, here in zip(names, item["tags"], strict=True) if here],
        }
        for item in map(drawn.__getitem__, range(IMAGES))
    ]
    preset = tiny(BATCH // PROCESSES).override({"segmenter.seeds": 0.3})
    seeds = SeedsOfImages()
    options = {**QUIET, **parallel(PROCESSES)}
    trained = train(preset, TaggedRows(rows, names=names), val, folder, callbacks=[seeds], trainer_options=options)
    return {"segmenter": trained.segmenter.state_dict(), "seeds": seeds.found}


def attempt(folder: Path, *callbacks: Callback) -> str:
    try:
        run(folder, PROCESSES, *callbacks)
    except (KeyError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "went on"


def work(folder: Path) -> None:
    """All that one of two processes does; the other one starts, from the top, when the first comes to its training."""
    record = Record()
    saved: dict[str, Any] = {"run": run(folder / "run", PROCESSES, record), "record": record.stages}
    saved["again"] = attempt(folder / "run")
    for name, stage in (("guide", GuideModule), ("segmenter", SegmenterModule)):
        saved[f"killed {name}"] = attempt(folder / name, StopOnce(stage))
        saved[f"resumed {name}"] = run(folder / name, PROCESSES, resume=True)
    val = scenes(5, 2, masks=True)
    saved |= {"guide": guide_stage(PROCESSES, val), "segmenter": segmenter_stage(PROCESSES, val)}
    saved |= {"head": head_stage(PROCESSES), "seeded": seeded_run(folder / "seeded"), "collapse": collapse()}
    torch.save(saved, folder / f"{os.environ['LOCAL_RANK']}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    work(Path(sys.argv[1]))
