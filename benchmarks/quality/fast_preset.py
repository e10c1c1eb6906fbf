"""What each saving of the preset `fast` costs: `robust` with one of them at a time, all measured on the same pixels.

    uv run python -m benchmarks.quality.fast_preset --train DIR --eval DIR --json FILE [--set KEY=VALUE ...]

Every row trains guide and segmenter from tags in a separate folder. Masks are refined by PAMR, and those without tags
use the guide's decision. The table is about the half "report", on which nothing is chosen. A row that has
been measured in --out is not run again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.files import save
from benchmarks.quality.photographs import evaluation_images, of_half, training_images, transforms
from benchmarks.quality.runs import Conditions
from benchmarks.questions.experiments import slug
from decomprec.cli.config import parse_settings
from decomprec.data import TaggedImages, collate
from decomprec.evaluation import evaluate, guide_accuracy
from decomprec.evaluation.baselines import ScaledLocaliser
from decomprec.refine import RefinedPredictor, at_scale, pamr
from decomprec.trained_model import TrainedModel
from decomprec.training import PRESETS, Preset

log = logging.getLogger("fast_preset")

ROBUST, FAST = PRESETS["robust"], PRESETS["fast"]
SIZE = ROBUST.image_size


SAVINGS: Mapping[str, Mapping[str, Any]] = {
    "none (`robust`)": {},
    f"images of {FAST.image_size} pixels": {"image_size": FAST.image_size},
    f"guide trained for {FAST.guide.epochs} epochs": {"guide.epochs": FAST.guide.epochs},
    "guide trained at one size": {"guide.scales": FAST.guide.scales},
    f"segmenter trained at {FAST.segmenter.image_size} pixels": {"segmenter.image_size": FAST.segmenter.image_size},
    "all (`fast`)": {
        "image_size": FAST.image_size,
        "guide.epochs": FAST.guide.epochs,
        "guide.scales": FAST.guide.scales,
        "segmenter.image_size": FAST.segmenter.image_size,
    },
}


def parse_arguments(arguments: Sequence[str] | None, about: str | None, out: Path) -> argparse.Namespace:
    """What a benchmark is told that trains one preset after the other."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, metavar="DIR", help="photographs with tags to train on")
    parser.add_argument("--eval", type=Path, required=True, metavar="DIR", help="photographs with masks")
    parser.add_argument("--out", type=Path, default=out, help="folder of all runs")
    parser.add_argument("--json", type=Path, required=True, help="where the table goes")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes of all rows' preset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 0, help="processes that load images")
    parser.add_argument("--precision", default="32-true", help="of training, such as bf16-mixed, as in Lightning")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments, __doc__, Path("runs/fast_preset"))
    rows = []
    for name, changes in SAVINGS.items():
        rows.append(row(name, ROBUST.override({**parse_settings(args.set), **changes}), args))
        save({"savings": rows, "run": described(args)}, args.json)


def described(args: argparse.Namespace) -> dict[str, Any]:
    """What all rows share."""
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    run = {"half": "report", "seed": args.seed, "precision": args.precision, "machine": machine}
    return {**run, "torch": torch.__version__}


def row(name: str, preset: Preset, args: argparse.Namespace, count: int | None = None) -> dict[str, Any]:
    """Train and measure one preset, or read what an earlier run measured.

    Args:
        name: of the row.
        preset: all settings.
        args: of the call.
        count: of the training images, drawn by the seed; None for all.
    """
    folder = args.out / slug(name)
    file = folder / "measured.json"
    if file.exists():
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return known
    log.info("== %s", name)
    augmented, plain = transforms(args.train, None, preset)
    train_set = training_images(args.train, None, augmented)
    if count is not None:
        chosen = torch.randperm(len(train_set), generator=torch.Generator().manual_seed(args.seed))[:count].tolist()
        train_set = TaggedImages([train_set.records[i] for i in chosen], train_set.class_names, transform=augmented)
    held_out = evaluation_images(args.eval, train_set.class_names)
    tune = of_half(held_out, "tune", plain)
    options = {"precision": args.precision, "devices": 1, "enable_progress_bar": False, "limit_val_batches": 2}
    # Minutes would mean nothing if a part of the run had been done before.
    conditions = Conditions(train_set, tune, args.seed, resume=False, workers=args.workers, options=options)
    started, used = time.monotonic(), core_seconds()
    trained = conditions.run(preset, folder)
    minutes = {"minutes": (time.monotonic() - started) / 60, "core_minutes": (core_seconds() - used) / 60}
    report = of_half(held_out, "report", transforms(args.train, None, ROBUST)[1])
    found = {"name": name, "images": len(train_set), **minutes, **measured(trained, preset, report)}
    save(found, file)
    log.info("%s", json.dumps(found))
    return found


def core_seconds() -> float:
    """Processor time of this process and of those that it started and that have ended."""
    users = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(user.ru_utime + user.ru_stime for user in users)


def measured(trained: TrainedModel, preset: Preset, images: TaggedImages) -> dict[str, float]:
    """IoU on images of `SIZE` pixels, which both networks see at the sizes that they were trained at."""
    seen = preset.segmenter_size / SIZE
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for network in (trained.segmenter, trained.guide):
        network.to(device)
    classifier = ScaledLocaliser(trained.guide, seen, trained.segmenter.enlarge)
    predictor = RefinedPredictor(at_scale(trained.segmenter.mask_logits, seen), pamr, classifier)
    loader = DataLoader(images, batch_size=8, collate_fn=collate)
    slots = len(trained.class_names) + 1
    tagged, untagged = (evaluate(predictor, loader, slots, use_tags, device) for use_tags in (True, False))
    return {
        "iou_with_tags": tagged.mean_foreground_iou,
        "iou_without": untagged.mean_foreground_iou,
        "area_where_absent": untagged.mean_false_area,
        "guide_accuracy": guide_accuracy(classifier, loader, device)["mean"],
    }


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    main()
