"""The paper's experiment: learn to draw objects from image tags alone, and compare with CAM of the same guide.

    uv run examples/dogs_imagenet.py                              # synthetic scenes, minutes on 2 CPU cores
    uv run examples/dogs_imagenet.py --data folder DIR            # DIR/train/dog, DIR/train/other, DIR/val/...
    uv run examples/dogs_imagenet.py --data csv TAGS.csv          # columns image, split, tags
    uv run examples/dogs_imagenet.py --data voc VOCdevkit/VOC2012
    uv run examples/dogs_imagenet.py --data coco COCO             # COCO/annotations/instances_train2017.json
    uv run examples/dogs_imagenet.py --data pets ROOT --download
    uv run examples/dogs_imagenet.py --data imagenet ROOT --preset paper

The run folder gets checkpoints, logs, an image of every epoch, figures and results.json.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from decomprec.cli.config import parse_settings
from decomprec.data import load_images
from decomprec.data.loading import FORMATS as ON_DISK
from decomprec.experiment import run_experiment, synthetic_scenes
from decomprec.protocols import LoadData
from decomprec.training import PRESETS, Preset

FORMATS = ("synthetic", *ON_DISK)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", nargs="+", default=["synthetic"], metavar="X", help=f"{', '.join(FORMATS)}; and a path"
    )
    parser.add_argument("--download", action="store_true", help="let --data pets download the images")
    parser.add_argument("--preset", help=f"{', '.join(PRESETS)}, or a YAML file (default: demo, for images robust)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="such as segmenter.epochs=3")
    parser.add_argument("--out", type=Path, default=Path("runs/dogs"), help="run folder")
    parser.add_argument("--resume", action="store_true", help="go on where the run in --out stopped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--workers", type=int, help="processes that load images (default: one for each core with a GPU, else 0)"
    )
    parser.add_argument("--accelerator", default="auto", help="auto, cpu or gpu, as in Lightning")
    parser.add_argument("--precision", default="32-true", help="such as bf16-mixed, as in Lightning")
    parser.add_argument("--compile", action="store_true", help="train through torch.compile")
    return parser.parse_args()


def choose_preset(args: argparse.Namespace) -> Preset:
    preset = Preset.load(args.preset or ("demo" if args.data[0] == "synthetic" else "robust"))
    return preset.override(parse_settings(args.set))


def data_source(args: argparse.Namespace, preset: Preset) -> LoadData:
    """What loads the images of --data."""
    kind, *path = args.data
    if kind not in FORMATS or len(path) != (kind != "synthetic"):
        raise ValueError(
            f"Expected --data to be synthetic, or one of {', '.join(ON_DISK)} and a path; got {args.data}."
        )
    if kind == "synthetic":
        return synthetic_scenes(preset.image_size)
    return load_images(
        path[0],
        kind,
        classes=("dog",) if kind in ("pets", "imagenet") else None,
        seed=args.seed,
        list_file=args.out / "imagenet_dogs.csv",
        download=args.download,
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    args = parse_arguments()
    preset = choose_preset(args)
    run_experiment(
        preset,
        data_source(args, preset),
        args.out,
        data=args.data[0],
        resume=args.resume,
        seed=args.seed,
        workers=args.workers,
        accelerator=args.accelerator,
        precision=args.precision,
        compile=args.compile,
    )


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
