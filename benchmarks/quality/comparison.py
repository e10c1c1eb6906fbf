"""The table of results on photographs: train from tags, compare on masks that neither training nor choices saw.

    uv run python -m benchmarks.quality.comparison --train DIR --eval DIR       # train everything, then the table
    uv run python -m benchmarks.quality.comparison --model FOLDER --eval DIR    # a saved model alone, on any images

A DIR has train/CLASS/*.jpg, val/CLASS/*.jpg and val_masks/*.png, or tags.csv (columns image, split, classes),
images, masks and classes.txt. The images with masks are split in halves by their names: choices are made on
"tune", where the supervised ceiling trains too, and the table is about "report".
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.quality.diagnostics import diagnose
from benchmarks.quality.measure import Networks, draw_ranked, measure
from benchmarks.quality.photographs import evaluation_images, of_half, training_images, transforms
from benchmarks.quality.runs import Conditions, run_papers_recipe, train_second_guide
from benchmarks.quality.supervised import train_supervised
from benchmarks.tables.domains import SUPERVISED
from decomprec._files import written_whole
from decomprec.cli.config import parse_settings
from decomprec.data import TaggedImages, collate, eval_transform
from decomprec.data.samples import Transform
from decomprec.evaluation import Results, guide_accuracy
from decomprec.models import DecompositionSegmenter
from decomprec.trained_model import load
from decomprec.training import PRESETS, Preset, StoppedRunError
from decomprec.training.progress import planned_images

log = logging.getLogger("quality")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, metavar="DIR", help="photographs with tags to train on")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="evaluate this saved model instead of training")
    parser.add_argument("--eval", type=Path, required=True, metavar="DIR", help="photographs with masks")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="to train (default: all)")
    parser.add_argument("--half", choices=("report", "tune", "all"), default="report", help="what the table is about")
    parser.add_argument("--preset", default="robust", help=f"for --train: {', '.join(PRESETS)}, or a YAML file")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="such as segmenter.epochs=3")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/quality"), help="folder of all runs")
    parser.add_argument("--json", type=Path, help="where the results go (default: results.json in --out)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 0, help="processes that load images")
    parser.add_argument("--precision", default="32-true", help="of training, such as bf16-mixed, as in Lightning")
    parser.add_argument("--resume", action="store_true", help="go on where the runs in --out stopped")
    for part in ("paper", "supervised", "second-guide", "diagnostics"):
        parser.add_argument(f"--no-{part}", action="store_true", help="leave this part out")
    args = parser.parse_args(arguments)
    if (args.train is None) == (args.model is None):
        raise ValueError("Expected either --train with photographs or --model with a saved model; give one of them.")
    return args


def train_all(
    args: argparse.Namespace, preset: Preset, train_set: TaggedImages, held_out: TaggedImages, plain: Transform
) -> tuple[Networks, dict[str, str]]:
    """Every network of the table, and the messages of runs that collapsed."""
    # Nothing is chosen by the validation while training: a few batches show whether a run collapses.
    shown = sys.stderr.isatty()
    options = {"precision": args.precision, "devices": 1, "enable_progress_bar": shown, "limit_val_batches": 8}
    tune = of_half(held_out, "tune", plain)
    conditions = Conditions(train_set, tune, args.seed, args.resume, args.workers, options)
    others: dict[str, DecompositionSegmenter] = {}
    collapsed: dict[str, str] = {}

    with stage("ours", args.out):
        ours = conditions.run(preset, args.out / "ours")
    if not args.no_paper:
        with stage("paper's recipe", args.out):
            recipe, message = run_papers_recipe(conditions, preset, args.out / "ours", args.out / "paper")
        others["paper's recipe"] = recipe.segmenter
        collapsed |= {"paper's recipe": message} if message else {}
    if not args.no_supervised and args.half == "report":
        with stage("supervised", args.out):
            masked = of_half(held_out, "tune", train_set.transform)
            seen = planned_images(preset, len(train_set), len(tune))["segmenter"]
            others[SUPERVISED] = train_supervised(
                preset, ours.guide, masked, seen, args.out / "supervised", args.seed, args.workers, options
            )
    second = None
    if not args.no_second_guide:
        with stage("second guide", args.out):
            second = train_second_guide(conditions, preset, args.out / "second_guide")
    scale = preset.segmenter_size / preset.image_size
    return Networks("ours", ours.segmenter, ours.classifier, others, second, scale), collapsed


@contextmanager
def stage(name: str, out: Path) -> Iterator[None]:
    """Say what is trained, and add its minutes to those of earlier tries in `minutes.json`."""
    log.info("== %s", name)
    started = time.monotonic()
    try:
        yield
    finally:
        if out.is_dir():  # wrong settings leave no folder
            minutes = minutes_of_stages(out)
            minutes[name] = round(minutes.get(name, 0) + (time.monotonic() - started) / 60, 2)
            with written_whole(out / "minutes.json") as partial:
                partial.write_text(json.dumps(minutes), encoding="utf-8")


def minutes_of_stages(out: Path) -> dict[str, float]:
    file = out / "minutes.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def describe_run(args: argparse.Namespace, command: Sequence[str], image_size: int, images: int) -> dict[str, Any]:
    """What a reader of the results needs to know about the run, without the folders of this machine."""
    return {
        "command": " ".join(
            ["python -m benchmarks.quality.comparison", *(shlex.quote(without_folders(c)) for c in command)]
        ),
        "half": f"{args.half}, {images} images",
        "image_size": image_size,
        "seed": args.seed,
        "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores",
        "torch": torch.__version__,
    }


def without_folders(argument: str) -> str:
    """An argument with paths cut to their last part.

    Examples:
        >>> without_folders("../data/dogs/"), without_folders("guide.encoder_weights=/models/trunk.safetensors")
        ('dogs', 'guide.encoder_weights=trunk.safetensors')
    """
    return re.sub(r"[^=]*/", "", argument.rstrip("/"))


def save(results: Results, more: Mapping[str, Any], path: Path) -> None:
    """Write the results and what else is known of them as JSON, with each image's IoU on a separate line."""
    text = json.dumps({**results.to_dict(), **more}, indent=2, allow_nan=False)
    text = re.sub(r'\[\s+("(?:[^"\\]|\\.)*"),\s+([-+.\deE]+|null)\s+\]', r"[\1, \2]", text)
    with written_whole(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train or load, compare on the reported half, describe, draw and write."""
    args = parse_arguments(arguments)
    preset = Preset.load(args.preset).override(parse_settings(args.set))
    device = "cuda" if torch.cuda.is_available() else "cpu"

    if args.model:
        model = load(args.model)
        class_names, image_size = model.class_names, model.image_size
    else:
        image_size = preset.image_size
        augmented, plain = transforms(args.train, args.classes, preset)
        train_set = training_images(args.train, args.classes, augmented)
        class_names = train_set.class_names
    held_out = evaluation_images(args.eval, class_names)
    images = of_half(held_out, args.half, eval_transform(image_size, crop=False))
    loader = DataLoader(images, batch_size=1, num_workers=args.workers, collate_fn=collate)

    more: dict[str, Any] = {}
    if args.model:
        networks = Networks(args.model.resolve().name, model.segmenter, model.classifier, {}).to(device)
    else:
        networks, collapsed = train_all(args, preset, train_set, held_out, plain)
        networks.to(device)
        more = {
            "preset": preset.without_folders().model_dump(mode="json"),
            "minutes": minutes_of_stages(args.out),
            "collapsed": collapsed,
            "trained_on": {"tags": len(train_set), "masks": len(of_half(held_out, "tune", None))},
        }

    log.info("== table: the half %r, %d of %d images", args.half, len(images), len(held_out))
    results = measure(networks, loader, class_names, device)
    print(f"\n{results.table()}\n", flush=True)
    if args.train and not args.no_diagnostics:
        log.info("== opinions of the guides")
        fills = preset.segmenter.fills or ("mean", "noise", "blur")
        more["diagnostics"] = diagnose(networks, results, loader, fills, args.seed, device)
        if networks.second_guide is not None:
            more["second_guide_accuracy"] = guide_accuracy(networks.second_guide, loader, device)
    draw_ranked(networks, results, images, args.out / "figures", device)
    command = sys.argv[1:] if arguments is None else arguments
    results = replace(results, run=describe_run(args, command, image_size, len(images)))
    file = args.json or args.out / "results.json"
    save(results, more, file)
    log.info("results: %s, images: %s", file, args.out / "figures")


def run(arguments: Sequence[str] | None = None) -> None:
    """`main`, with wrong arguments and stopped runs as one sentence."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        main(arguments)
    except (ValueError, OSError, StoppedRunError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    run()
