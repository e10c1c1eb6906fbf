"""Train a preset for as long as there is time: how fast it goes, and how good the masks are.

    python -m benchmarks.gpu.timed_training --preset paper --seconds 120 --json paper.json

The file is written again every few seconds, and next to it, as .png, a panel of masks after every epoch.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from benchmarks.files import save
from decomprec._devices import machine_name, torch_device
from decomprec.data import SyntheticScenes, load_images
from decomprec.data.detect import detect_format
from decomprec.data.samples import Transform
from decomprec.experiment import run_experiment
from decomprec.protocols import LoadData
from decomprec.training import PRESETS, GuideModule, Preset, StoppedRunError

SCENES = {"train": (1000, 1), "val": (100, 3)}
"""How many scenes each split has, and the seed that draws them: larger ones than those of the demo take longer."""
TINY_SCENES = {"train": (24, 1), "val": (4, 3)}
TINY = {
    "image_size": 32,
    "guide.epochs": 1,
    "guide.batch_size": 8,
    "segmenter.epochs": 1,
    "segmenter.batch_size": 8,
    "segmenter.image_size": None,
    "segmenter.min_steps": 0,
}
TINY_NETWORKS = {
    "guide.encoder": "small",
    "guide.encoder_options": {"widths": [4, 8]},
    "guide.levels": [-1],
    "segmenter.encoder": "guide",
    "segmenter.decoder_widths": [8, 4],
    "segmenter.enlarge": 1,
}
STAGE_SHARE = 0.35
"""Of the seconds, for each of the two stages; the rest is for starting, drawing and measuring."""
_WRITE_EVERY = 3.0  # seconds


def chosen(name: str, tiny: bool) -> Preset:
    """A preset that needs no download, as `paper` starts from random weights, and takes each batch at once."""
    preset = PRESETS[name].override({"accumulate": 1})
    if tiny:
        return preset.override({**TINY, **TINY_NETWORKS, "guide.encoder_weights": None})
    return preset.override({"guide.encoder_weights": None} if name == "paper" else {})


def scenes(size: int, tiny: bool) -> LoadData:
    """Scenes of `size` pixels, drawn once for each split."""

    @cache
    def drawn(split: str) -> SyntheticScenes:
        count, seed = (TINY_SCENES if tiny else SCENES)[split]
        return SyntheticScenes(count, size=size, seed=seed, masks=split == "val")

    def load(split: str, *, transform: Transform | None, masks: bool) -> Any:
        return drawn(split)

    return load


class Pace(Callback):
    """Counts the steps of each stage and the time that they take, and writes both with the latest validation.

    Args:
        found: gets the counts.
        file: JSON that is written every few seconds.
        panels: folder in which an image appears after every epoch; the latest is copied next to `file`.
    """

    def __init__(self, found: dict[str, Any], file: Path, panels: Path) -> None:
        self.found = found
        self.file = file
        self.panels = panels
        self._last: float | None = None
        self._written = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the row of a stage."""
        name = "guide" if isinstance(pl_module, GuideModule) else "segmenter"
        self.row: dict[str, Any] = {"steps": 0, "images": 0, "timed images": 0, "timed seconds": 0.0, "val": {}}
        self.found["stages"][name] = self.row

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave out the first step of an epoch, for which the loaders start."""
        self._last = None

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Count a step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now, images = time.monotonic(), len(args[2]["image"])
        self.row["steps"] = trainer.global_step
        self.row["images"] += images
        if self._last is not None:
            self.row["timed images"] += images
            self.row["timed seconds"] += now - self._last
            self.row["images_per_s"] = round(self.row["timed images"] / self.row["timed seconds"], 1)
        if now - self._written > _WRITE_EVERY:
            self._write()
        self._last = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the latest validation and image."""
        metrics = {name: round(value.item(), 4) for name, value in trainer.callback_metrics.items() if "val/" in name}
        self.row["val"] = {name: value for name, value in metrics.items() if value == value}  # no NaN in JSON
        self._write()
        if images := sorted(self.panels.glob("*.png")):
            shutil.copyfile(images[-1], self.file.with_suffix(".png"))

    def _write(self) -> None:
        save({"timed_training": self.found}, self.file)
        self._written = time.monotonic()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", required=True, choices=("paper", "robust"))
    parser.add_argument("--seconds", type=float, required=True, help="for all of it")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the results go")
    parser.add_argument("--data", type=Path, metavar="DIR", help="tagged images (default: drawn scenes)")
    parser.add_argument("--precision", default="bf16-mixed", help="of training, as in Lightning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="tiny networks on a few scenes")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    preset = chosen(args.preset, args.tiny)
    data = detect_format(args.data) if args.data else "synthetic"
    load = load_images(args.data, data) if args.data else scenes(preset.image_size, args.tiny)
    found: dict[str, Any] = {"run": {"machine": machine_name(), "torch": torch.__version__}, "stages": {}, "rows": []}
    found["run"] |= {"preset": args.preset, "data": data, "seed": args.seed, "precision": args.precision}
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        run_experiment(
            preset,
            load,
            run_dir,
            data=data,
            seed=args.seed,
            callbacks=[Pace(found, args.json, run_dir / "progress")],
            trainer_options={
                "accelerator": "cpu" if torch_device() == "cpu" else "gpu",
                "precision": args.precision,
                "max_time": {"seconds": max(1, round(STAGE_SHARE * args.seconds))},
            },
        )
        results = run_dir / "results.json"
        found["rows"] = json.loads(results.read_text(encoding="utf-8"))["rows"] if results.is_file() else []
        save({"timed_training": found}, args.json)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, StoppedRunError) as error:
        sys.exit(f"error: {error}")
