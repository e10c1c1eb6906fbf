"""One table of single changes, judged on the half of the images on which settings are chosen.

    uv run python -m benchmarks.quality.ablation --train DIR --eval DIR --guide runs/quality/ours --json FILE

Each row of `benchmarks.quality.changes.CHANGES` (or of --only) trains a segmenter with the guide of --guide and the
settings of its run, except for the one change. Rows already measured in --out are not run again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.files import save
from benchmarks.quality.changes import CHANGES, Change
from benchmarks.quality.photographs import evaluation_images, of_half, training_images, transforms
from benchmarks.quality.runs import Conditions
from benchmarks.questions.experiments import slug
from decomprec.cli.config import parse_settings
from decomprec.data import collate
from decomprec.evaluation.baselines import ScaledLocaliser
from decomprec.evaluation.metrics import ScoreAccumulator
from decomprec.refine import RefinedPredictor, at_scale, pamr
from decomprec.trained_model import TrainedModel, load
from decomprec.training import CollapsedRunError, Preset
from decomprec.training.checkpoints import FINISHED

log = logging.getLogger("ablation")

BIASES = tuple(step / 5 for step in range(-10, 11))
Batches = list[dict[str, Tensor]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, metavar="DIR", help="photographs with tags to train on")
    parser.add_argument("--eval", type=Path, required=True, metavar="DIR", help="photographs with masks")
    parser.add_argument("--guide", type=Path, required=True, metavar="RUN", help="finished run with guide and preset")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"), help="folder of all runs")
    parser.add_argument("--json", type=Path, required=True, help="where the table goes")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes of all rows' preset")
    names = [change.name for change in CHANGES]
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, default=names, help="rows to run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 0, help="processes that load images")
    parser.add_argument("--precision", default="32-true", help="of training, such as bf16-mixed, as in Lightning")
    args = parser.parse_args(arguments)

    preset, base = Preset.load(args.guide / "preset.yaml").override(parse_settings(args.set)), load(args.guide)
    augmented, plain = transforms(args.train, base.class_names, preset)
    train_set = training_images(args.train, base.class_names, augmented)
    tune = of_half(evaluation_images(args.eval, base.class_names), "tune", plain)
    options = {"precision": args.precision, "enable_progress_bar": False, "limit_val_batches": 2}
    conditions = Conditions(train_set, tune, args.seed, True, args.workers, options)
    batches = list(DataLoader(tune, batch_size=8, collate_fn=collate))
    decide = ScaledLocaliser(base.guide, preset.segmenter_size / preset.image_size, base.segmenter.enlarge)
    with torch.inference_mode():
        decided = [(decide(batch["image"]) > 0).float() for batch in batches]
    right = torch.cat([(d == b["tags"]).float() for d, b in zip(decided, batches, strict=True)]).mean().item()

    rows = []
    for name in args.only:
        rows.append(row(CHANGES[names.index(name)], conditions, preset, args.guide, args.out, batches, decided))
        machine = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
        run = {"all rows": " ".join(args.set) or "as they are", "half": "tune", "images": len(tune)}
        run |= {"guide_accuracy": right, "seed": args.seed}
        save({"ablation": rows, **run, "machine": machine, "torch": torch.__version__}, args.json)


def row(
    change: Change,
    conditions: Conditions,
    preset: Preset,
    guide: Path,
    out: Path,
    batches: Batches,
    decided: list[Tensor],
) -> dict[str, Any]:
    """Train and measure one change, or read what an earlier run measured."""
    folder = out / slug(change.name)
    file = folder / "measured.json"
    if file.exists():
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return known
    log.info("== %s", change.name)
    found: dict[str, Any] = {"name": change.name, "settings": dict(change.settings)}
    weights = folder / "guide" / FINISHED
    if not weights.exists():
        weights.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(guide / "guide" / FINISHED, weights)
    callbacks = [] if change.callback is None else [change.callback()]
    try:
        trained = conditions.run(preset.override(change.settings), folder, callbacks)
        found |= measured(trained, preset, batches, decided)
    except CollapsedRunError as error:
        log.warning("%s", error)
        found["collapsed"] = str(error)
    save(found, file)
    log.info("%s", json.dumps(found))
    return found


def _ready(logits: Tensor, images: Tensor) -> Tensor:
    """The logits of `images`, which are known already."""
    return logits


@torch.inference_mode()
def measured(trained: TrainedModel, preset: Preset, batches: Batches, decided: list[Tensor]) -> dict[str, Any]:
    """Foreground IoU as it is, and at the bias of the background's logit that is best on these very images."""
    slots = len(trained.class_names) + 1
    scale = preset.segmenter_size / preset.image_size
    segmenter = at_scale(trained.segmenter.mask_logits, scale)
    logits = [segmenter(batch["image"]) for batch in batches]

    def scored(bias: float, tags: list[Tensor | None], refine: Any = None) -> dict[str, float | None]:
        scores = ScoreAccumulator(slots, given := tags[0] is batches[0]["tags"])
        for batch, found, known in zip(batches, logits, tags, strict=True):
            labels = RefinedPredictor(partial(_ready, found), refine, background_bias=bias)(batch["image"], known)
            scores.update(labels, batch["mask"], batch["tags"])
        result = scores.compute()
        return {"iou": result.mean_foreground_iou, **({} if given else {"area_where_absent": result.mean_false_area})}

    known: list[Tensor | None] = [batch["tags"] for batch in batches]
    unknown: list[Tensor | None] = [None] * len(batches)
    by_bias = {bias: scored(bias, known) for bias in BIASES}
    bias = max(BIASES, key=lambda bias: by_bias[bias]["iou"] or 0.0)
    return {
        "background_bias": bias,
        "tags, no bias": scored(0.0, known),
        "tags": by_bias[bias],
        "tags, PAMR": scored(bias, known, pamr),
        "guide's tags, PAMR": scored(bias, list(decided), pamr),
        "no tags": scored(bias, unknown),
    }


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    main()
