"""How many tagged images it takes, and what `fast` saves: both presets on fewer and fewer images.

    uv run python -m benchmarks.quality.training_set_size --train DIR --eval DIR --json FILE [--set KEY=VALUE ...]

The images are drawn by the seed, each set within the next larger one. The masks, as `predict` draws them, are measured
on the half "report", on which nothing is chosen. A row that has been measured in --out is not run again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.files import save
from benchmarks.quality.measure import Networks
from benchmarks.quality.photographs import evaluation_images, of_half, training_images, transforms
from benchmarks.quality.runs import Conditions
from decomprec.cli.config import parse_settings
from decomprec.data import TaggedImages, collate, eval_transform
from decomprec.evaluation import evaluate, guide_accuracy
from decomprec.trained_model import TrainedModel
from decomprec.training import Preset

log = logging.getLogger("training_set_size")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and measure every preset on every number of images, and write the JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, metavar="DIR", help="photographs with tags to train on")
    parser.add_argument("--eval", type=Path, required=True, metavar="DIR", help="photographs with masks")
    parser.add_argument("--presets", nargs="+", default=["fast", "robust"], metavar="NAME")
    parser.add_argument("--images", nargs="+", type=int, default=[100, 400], metavar="N", help="and then all")
    parser.add_argument("--out", type=Path, default=Path("runs/training_set_size"), help="folder of all runs")
    parser.add_argument("--json", type=Path, required=True, help="where the table goes")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes of all presets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that load images")
    parser.add_argument("--precision", default="32-true", help="of training, such as bf16-mixed, as in Lightning")
    args = parser.parse_args(arguments)

    rows = []
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    run = {"half": "report", "seed": args.seed, "precision": args.precision, "machine": machine}
    for count in (*args.images, None):
        for name in args.presets:
            rows.append(row(Preset.load(name).override(parse_settings(args.set)), args, count))
            save({"how_many": rows, "run": {**run, "torch": torch.__version__}}, args.json)


def row(preset: Preset, args: argparse.Namespace, count: int | None) -> dict[str, Any]:
    """Train one preset and measure it, or read what an earlier call measured.

    Args:
        preset: all settings.
        args: of the call.
        count: of the training images, drawn by the seed; None for all.
    """
    folder = args.out / f"{preset.name}_{count or 'all'}"
    file = folder / "measured.json"
    if file.exists():
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return known
    log.info("== %s", folder.name)
    augmented, plain = transforms(args.train, None, preset)
    train_set = training_images(args.train, None, augmented)
    if count is not None:
        chosen = torch.randperm(len(train_set), generator=torch.Generator().manual_seed(args.seed))[:count].tolist()
        train_set = TaggedImages([train_set.records[i] for i in chosen], train_set.class_names, transform=augmented)
    held_out = evaluation_images(args.eval, train_set.class_names)
    options = {"precision": args.precision, "devices": 1, "enable_progress_bar": False, "limit_val_batches": 2}
    # Minutes would mean nothing if a part of the run had been done before.
    conditions = Conditions(
        train_set, of_half(held_out, "tune", plain), args.seed, resume=False, workers=args.workers, options=options
    )
    started, used = time.monotonic(), core_seconds()
    trained = conditions.run(preset, folder)
    minutes = {"minutes": (time.monotonic() - started) / 60, "core_minutes": (core_seconds() - used) / 60}
    report = of_half(held_out, "report", eval_transform(Preset.load("robust").image_size, crop=False))
    found = {"preset": preset.name, "images": len(train_set), **minutes, **measured(trained, report)}
    save(found, file)
    log.info("%s", json.dumps(found))
    return found


def core_seconds() -> float:
    """Processor time of this process and of those that it started and that have ended."""
    users = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(user.ru_utime + user.ru_stime for user in users)


def measured(trained: TrainedModel, images: TaggedImages) -> dict[str, float | None]:
    """IoU on images of `robust`'s size, which the networks see at the size that they were trained at."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scale = trained.image_size / Preset.load("robust").image_size
    networks = Networks("ours", trained.segmenter, trained.guide, {}, scale=scale).to(device)
    predictor, classes = networks.predictors()[networks.refined], len(trained.class_names) + 1
    loader = DataLoader(images, batch_size=1, collate_fn=collate)  # of various shapes
    assert networks.guide is not None
    with torch.inference_mode():
        tagged, untagged = (evaluate(predictor, loader, classes, use_tags, device) for use_tags in (True, False))
        return {
            "guide_accuracy": guide_accuracy(networks.guide, loader, device)["mean"],
            "iou_with_tags": tagged.mean_foreground_iou,
            "iou_without": untagged.mean_foreground_iou,
            "area_where_absent": untagged.mean_false_area,
        }


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    main()
