"""The demo's segmenter trained in float32 and bfloat16, with the same guide: do both end at the same quality?

    uv run python -m benchmarks.quality.bfloat16_curves

Each seed draws weights, order and fills alike for both. Writes the curves and final scores as JSON and draws them.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.files import RESULTS, ROOT, save
from decomprec._files import written_whole
from decomprec.cli.config import parse_settings
from decomprec.data import SyntheticScenes, collate
from decomprec.evaluation import evaluate
from decomprec.training import PRESETS, Preset, train
from decomprec.training.checkpoints import FINISHED

SCENES_SEEDS = {"train": 1, "val": 3}
OPTIONS = {"devices": 1, "enable_progress_bar": False, "log_every_n_steps": 5}
CURVES = {"loss": "Overall loss (Eq. 7), in training", "mean_iou": "Mean IoU with background, by epoch"}

log = logging.getLogger("bfloat16_curves")


WAYS = {"float32": "32-true", "bf16": "bf16-mixed"}


def curves(log_file: Path) -> dict[str, list[list[float]]]:
    """[step, value] of the overall loss in training and of the mean IoU after each epoch."""
    with log_file.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = {"loss": "train/total", "mean_iou": "val/mean_iou"}
    return {
        name: [[int(row["step"]), float(row[column])] for row in rows if row.get(column)]
        for name, column in names.items()
    }


def run_way(
    way: str, preset: Preset, seed: int, scenes: Mapping[str, SyntheticScenes], guide: Path, folder: Path
) -> dict[str, Any]:
    """Train the segmenter with a finished guide, and score it in float32; or read what an earlier call measured."""
    measured = folder / "measured.json"
    if measured.exists():
        known: dict[str, Any] = json.loads(measured.read_text(encoding="utf-8"))
        return known
    log.info("== %s, seed %d", way, seed)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "guide").mkdir(parents=True)
    shutil.copyfile(guide / "guide" / FINISHED, folder / "guide" / FINISHED)
    started = time.perf_counter()
    options = {**OPTIONS, "precision": WAYS[way]}
    trained = train(preset, scenes["train"], scenes["val"], folder, seed=seed, trainer_options=options)
    seconds = time.perf_counter() - started
    (log_file,) = (folder / "segmenter" / "log").glob("*/metrics.csv")
    loader = DataLoader(scenes["val"], batch_size=32, collate_fn=collate)
    scores = evaluate(trained.segmenter.cpu().predict, loader, len(trained.class_names) + 1, use_tags=False)
    found = {"way": way, "seed": seed, "seconds": round(seconds, 1), **curves(log_file)}
    save(found | {"foreground_iou": scores.mean_foreground_iou}, measured)
    return run_way(way, preset, seed, scenes, guide, folder)


def train_guide(preset: Preset, scenes: Mapping[str, SyntheticScenes], folder: Path) -> Path:
    """The guide of all runs, in a separate run folder whose segmenter is not trained."""
    if not (folder / "guide" / FINISHED).exists():
        log.info("== guide")
        alone = preset.override({"segmenter.epochs": 0})
        train(alone, scenes["train"], scenes["val"], folder, resume=folder.exists(), trainer_options=OPTIONS)
    return folder


def draw(runs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Loss and mean IoU over the steps, a line for each seed and a colour for each way."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    colours = dict(zip(WAYS, ("tab:blue", "tab:orange"), strict=True))
    for axis, (name, title) in zip(axes, CURVES.items(), strict=True):
        for run in runs:
            first = run["seed"] == runs[0]["seed"]
            label = run["way"] if first else None
            axis.plot(*zip(*run[name], strict=True), color=colours[run["way"]], lw=0.9, alpha=0.8, label=label)
        axis.set(xlabel="step", title=title)
        axis.legend()
    with written_whole(path) as partial:
        figure.savefig(partial, dpi=110, format="png")
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/precision"), help="folder of all runs, gone on with")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--scenes", type=int, nargs=2, default=[1500, 300], metavar=("TRAIN", "VAL"))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes of the demo's preset")
    parser.add_argument("--json", type=Path, default=RESULTS / "quality" / "precision_curves.json")
    parser.add_argument("--png", type=Path, default=ROOT / "docs" / "assets" / "precision_curves.png")
    args = parser.parse_args(arguments)

    preset = PRESETS["demo"].override(parse_settings(args.set))
    counts = dict(zip(SCENES_SEEDS, args.scenes, strict=True))
    scenes = {
        split: SyntheticScenes(counts[split], size=preset.image_size, seed=seed, masks=split == "val")
        for split, seed in SCENES_SEEDS.items()
    }
    guide = train_guide(preset, scenes, args.out / "guide")
    runs = [
        run_way(way, preset, seed, scenes, guide, args.out / f"{way}_{seed}") for seed in args.seeds for way in WAYS
    ]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    about = {"preset": "demo", "settings": " ".join(args.set) or "as they are", "scenes": args.scenes[0]}
    about |= {"seeds": len(args.seeds), "machine": device, "torch": torch.__version__}
    save({"precision_curves": runs, "run": about}, args.json)
    draw(runs, args.png)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    main()
