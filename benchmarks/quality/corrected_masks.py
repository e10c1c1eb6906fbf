"""What do corrected masks of a few training images buy?

    uv run python -m benchmarks.quality.corrected_masks FOLDER... --runs runs/domains --json FILE [--masks 0 5 20 100]

Each FOLDER is a data set with tags and masks. Its base is the run "ours" that `benchmarks.quality.domains` left in
RUNS/NAME-seedN, or is trained there. Images of the half "tune" join the training images, with their tags; some of them,
drawn by the seed, with their masks, as if these had been corrected (all, if there are fewer). The base is trained on
with every number of masks, also with none, and measured on the half "report". What is measured already stays as it is.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.files import save
from benchmarks.quality.measure import Networks
from benchmarks.quality.photographs import evaluation_images, of_half, training_images, transforms
from benchmarks.tables.corrected_masks import corrected_masks_table
from decomprec.cli.config import parse_settings
from decomprec.data import Record, TaggedImages, collate, eval_transform
from decomprec.data.image_io import read_mask
from decomprec.evaluation import evaluate
from decomprec.trained_model import TrainedModel, load
from decomprec.training import Preset, train


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and measure every set with every number of masks, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", type=Path, metavar="FOLDER", help="data sets with tags and masks")
    parser.add_argument("--masks", nargs="+", type=int, default=[0, 5, 20, 100], metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default="robust")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="for the base and what follows")
    parser.add_argument("--epochs", type=int, default=1, help="for which the segmenter is trained on")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--runs", type=Path, default=Path("runs/domains"), help="folder of the base runs")
    parser.add_argument("--out", type=Path, default=Path("runs/corrected_masks"), help="folder of all further runs")
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args(arguments)

    rows: list[dict[str, Any]] = (
        json.loads(args.json.read_text(encoding="utf-8"))["corrected_masks"] if args.json.exists() else []
    )
    for folder in args.sets:
        for row in measured(args, folder, {(row["set"], row["seed"], row["masks"]) for row in rows}):
            rows.append(row)
            save({"corrected_masks": rows}, args.json)
    print(corrected_masks_table([{"corrected_masks": rows}]))


def measured(args: argparse.Namespace, folder: Path, known: set[tuple[str, int, int | None]]) -> Any:
    """The rows of a set that are not known: of the base, and of every number of masks."""
    name = folder.resolve().name
    if all((name, args.seed, count) in known for count in [None, *args.masks]):
        return
    preset = Preset.load(args.preset).override(parse_settings(args.set))
    augmented, plain = transforms(folder, None, preset)
    images = training_images(folder, None, augmented)
    held_out = evaluation_images(folder, images.class_names)
    tune, report = (of_half(held_out, half, plain) for half in ("tune", "report"))
    options = {"precision": args.precision, "devices": 1, "limit_val_batches": 8}
    trained_on = {record.image for record in joined(images, tune, 0, max(args.masks), args.seed).records}
    others = [i for i, record in enumerate(tune.records) if record.image not in trained_on]
    run = partial(train, val_set=tune.select(others or range(len(tune))), seed=args.seed, trainer_options=options)
    base = args.runs / f"{name}-seed{args.seed}" / "ours"
    started = time.monotonic()
    model = load(base) if (base / "model").is_dir() else run(preset, images, run_dir=base, resume=base.is_dir())
    shared = {"set": name, "seed": args.seed, "images": len(images), "report": len(report), "epochs": args.epochs}
    for count in [None, *args.masks]:
        if (name, args.seed, count) in known:
            continue
        used = 0
        if count is not None:
            started = time.monotonic()
            out = args.out / f"{name}-seed{args.seed}-{count}"
            further = preset.override({"segmenter.epochs": args.epochs})
            seen = joined(images, tune, count, max(args.masks), args.seed)
            used = len(seen.label_maps)
            model = run(further, seen, run_dir=out, start=load(base), resume=out.is_dir())
        minutes = round((time.monotonic() - started) / 60, 2)
        found = {"masks": count, "used": used, "iou": scores(model, preset, held_out), "minutes": minutes}
        yield {**shared, **found, **machine()}


def joined(images: TaggedImages, tune: TaggedImages, count: int, most: int, seed: int) -> TaggedImages:
    """The training images and `most` of another half with a mask, `count` of which are known by their masks.

    Fewer are a part of more: every number of masks is of the same training images.
    """
    masked = [record for record in tune.records if record.mask is not None]
    chosen = random.Random(seed).sample(masked, min(most, len(masked)))
    together = TaggedImages([*images.records, *chosen], images.class_names, transform=images.transform)
    known = {len(images) + i: partial(_read, tune, record) for i, record in enumerate(chosen[:count])}
    together.label_maps = known
    return together


def _read(images: TaggedImages, record: Record) -> Tensor:
    assert record.mask is not None
    return images.decode_mask(read_mask(record.mask, record.image), record)


def scores(model: TrainedModel, preset: Preset, held_out: TaggedImages) -> dict[str, float | None]:
    """Mean foreground IoU of what `predict` draws on the half "report", with the tags and without."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scale = preset.segmenter_size / preset.image_size
    networks = Networks("ours", model.segmenter, model.guide, {}, scale=scale).to(device)
    images = of_half(held_out, "report", eval_transform(preset.image_size, crop=False))
    predictor, classes = networks.predictors()[networks.refined], len(images.class_names) + 1
    with torch.inference_mode():
        return {
            name: evaluate(
                predictor, DataLoader(images, batch_size=1, collate_fn=collate), classes, use_tags, device
            ).mean_foreground_iou
            for name, use_tags in (("tags", True), ("no tags", False))
        }


def machine() -> dict[str, str]:
    """What a reader needs to know about the machine."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return {"machine": name, "torch": torch.__version__}


if __name__ == "__main__":
    main()
