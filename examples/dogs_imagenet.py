"""The paper's experiment: learn to draw objects from image tags alone, and compare with CAM of the same guide.

    uv run examples/dogs_imagenet.py                              # synthetic scenes, minutes on 2 CPU cores
    uv run examples/dogs_imagenet.py --data folder DIR            # DIR/train/dog, DIR/train/other, DIR/val/...
    uv run examples/dogs_imagenet.py --data csv TAGS.csv          # columns image, split, tags
    uv run examples/dogs_imagenet.py --data voc VOCdevkit/VOC2012
    uv run examples/dogs_imagenet.py --data pets ROOT --download
    uv run examples/dogs_imagenet.py --data imagenet ROOT --preset paper

The run folder gets checkpoints, logs, a picture of every epoch, figures and results.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from decomprec import FrozenGuide
from decomprec.data import (
    OxfordPets,
    SyntheticScenes,
    TaggedCSV,
    TaggedFolder,
    Transform,
    VOCDevkit,
    collate,
    draw_imagenet_dogs,
    eval_transform,
    imagenet_train_folder,
    train_transform,
)
from decomprec.evaluation import compare, decomposition_diagnostics
from decomprec.files import written_whole
from decomprec.refine import RefinedPredictor, guided_filter, multi_scale, pamr
from decomprec.training import PRESETS, PanelEveryEpoch, Preset, Trained, train
from decomprec.viz import figure_pairs, panel, save_image

KINDS = ("synthetic", "folder", "csv", "voc", "pets", "imagenet")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["synthetic"], metavar="X", help=f"{', '.join(KINDS)}; and a path")
    parser.add_argument("--download", action="store_true", help="let --data pets download the pictures")
    parser.add_argument("--preset", help=f"{', '.join(PRESETS)}, or a YAML file (default: demo, for pictures robust)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="such as segmenter.epochs=3")
    parser.add_argument("--out", type=Path, default=Path("runs/dogs"), help="run folder")
    parser.add_argument("--resume", action="store_true", help="go on where the run in --out stopped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="processes that load pictures (default: one for each core)")
    parser.add_argument("--accelerator", default="auto", help="auto, cpu or gpu, as in Lightning")
    parser.add_argument("--precision", default="32-true", help="such as bf16-mixed, as in Lightning")
    parser.add_argument("--compile", action="store_true", help="train through torch.compile")
    return parser.parse_args()


def choose_preset(args: argparse.Namespace) -> Preset:
    name = args.preset or ("demo" if args.data[0] == "synthetic" else "robust")
    if name not in PRESETS and not Path(name).is_file():
        raise ValueError(f"Expected --preset to be one of {', '.join(PRESETS)} or a YAML file, but got {name!r}.")
    preset = PRESETS[name] if name in PRESETS else Preset.load(name)
    return preset.with_values(args.set)


def load_data(args: argparse.Namespace, preset: Preset, split: str, transform: Transform, masks: bool) -> Any:
    """A data set of images and tags; `split` is "train" or "val"."""
    kind, *path = args.data
    if kind not in KINDS or len(path) != (kind != "synthetic"):
        raise ValueError(
            f"Expected --data to be synthetic, or one of {', '.join(KINDS[1:])} and a path; got {args.data}."
        )
    options: dict[str, Any] = {"transform": transform, "masks": masks}
    if kind == "synthetic":
        # Scenes are varied as they are: no augmentation.
        num_images, seed = (3000, 1) if split == "train" else (400, 3)
        return SyntheticScenes(num_images, size=preset.image_size, seed=seed, masks=masks)
    root = Path(path[0])
    if kind == "folder":
        return TaggedFolder(root, split, **options)
    if kind == "csv":
        return TaggedCSV(root, split=split, **options)
    if kind == "voc":
        return VOCDevkit(root, split, **options)
    if kind == "pets":
        return OxfordPets(root, split, classes=("dog",), download=args.download, **options)
    drawn = draw_imagenet_dogs(root, args.out / "imagenet_dogs.csv", seed=args.seed)
    return TaggedCSV(drawn, images=imagenet_train_folder(root), split=split, classes=("dog",), **options)


def pick(dataset: Dataset[Any], with_class: int, without: int) -> dict[str, Any]:
    """A batch of up to `with_class` pictures that have a class, then up to `without` that have none."""
    present = dataset.tags.any(dim=1)  # type: ignore[attr-defined]
    order = torch.randperm(len(present), generator=torch.Generator().manual_seed(0))
    chosen = order[present[order]][:with_class].tolist() + order[~present[order]][:without].tolist()
    return collate([dataset[i] for i in chosen])


def describe_run(args: argparse.Namespace, preset: Preset, minutes: float) -> dict[str, Any]:
    """What a reader of results.json needs to know about the run, without the folders of this machine."""
    settings = [f"{key}={value.rsplit('/', 1)[-1]}" for key, value in (s.split("=", 1) for s in args.set)]
    return {
        "data": args.data[0],
        "preset": preset.name,
        "settings": " ".join(settings) or "as they are",
        "image_size": preset.image_size,
        "seed": args.seed,
        "precision": args.precision,
        "minutes": round(minutes, 1),
        "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores",
        "torch": torch.__version__,
    }


def draw_figures(run_dir: Path, trained: Trained, seen: Dataset[Any], unseen: Dataset[Any], device: str) -> None:
    """Figures 2 and 3, and a panel of five decompositions with the guide's opinion of each component."""
    segmenter, guide = trained.segmenter, FrozenGuide(trained.classifier)
    for title, dataset in (("figure2_training", seen), ("figure3_validation", unseen)):
        batch = pick(dataset, 50, 50)
        labels = torch.cat([segmenter.predict(images.to(device)) for images in batch["image"].split(8)])
        save_image(figure_pairs(batch["image"], labels.cpu()), run_dir / "figures" / f"{title}.png")

    batch = pick(unseen, 4, 1)
    with torch.inference_mode():
        out = segmenter(batch["image"].to(device))
        opinion = guide(out.components.flatten(0, 1)).sigmoid().unflatten(0, out.components.shape[:2])
    names = unseen.class_names  # type: ignore[attr-defined]
    figure = panel(batch["image"], out, names, batch["tags"], batch["mask"], opinion)
    save_image(figure, run_dir / "figures" / "panel.png")


def measure(
    run_dir: Path, trained: Trained, unseen: Dataset[Any], run: dict[str, Any], device: str, scale: float
) -> None:
    """The table of results beside the baselines, and what the decompositions are like inside."""
    loader = DataLoader(unseen, batch_size=8, collate_fn=collate)
    diagnostics = decomposition_diagnostics(trained.segmenter, trained.classifier, loader, device)
    with written_whole(run_dir / "diagnostics.json") as partial:
        partial.write_text(json.dumps(diagnostics, indent=2) + "\n", encoding="utf-8")
    records = getattr(unseen, "records", None)
    if records is not None and not any(record.mask for record in records):
        print("no masks: look at the figures, and at the areas of present and absent classes in diagnostics.json")
        return
    names = unseen.class_names  # type: ignore[attr-defined]
    # Pictures are shown at the size that the segmenter was trained at.
    logits = multi_scale(trained.segmenter.mask_logits, (scale,), flip=False)
    predictors = {
        "decomprec": RefinedPredictor(logits),
        "decomprec, guided filter": RefinedPredictor(logits, guided_filter),
        "decomprec, PAMR, guide's tags": RefinedPredictor(logits, pamr, trained.classifier),
    }
    results = compare(predictors, trained.classifier, tqdm(loader, "evaluating"), names, device)
    dataclasses.replace(results, run=run).save(run_dir / "results.json")
    print(f"\n{results.table()}\n\nguide accuracy {results.guide['mean']:.3f} on {results.guide['images']} images")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    args = parse_arguments()
    started = time.monotonic()
    preset = choose_preset(args)
    evaluated = eval_transform(preset.image_size)
    seen = load_data(args, preset, "train", evaluated, masks=False)
    unseen = load_data(args, preset, "val", evaluated, masks=True)
    augmented = train_transform(preset.image_size)
    train_set = load_data(args, preset, "train", augmented, masks=False) if preset.augment else seen
    workers = args.workers if args.workers is not None else 0 if args.data[0] == "synthetic" else os.cpu_count() or 0
    watched = pick(unseen, 4, 4)
    trained = train(
        preset,
        train_set,
        unseen,
        args.out,
        resume=args.resume,
        seed=args.seed,
        num_workers=workers,
        callbacks=[PanelEveryEpoch(watched, unseen.class_names, args.out / "progress")],
        compile=args.compile,
        trainer_options={"accelerator": args.accelerator, "precision": args.precision},
    )
    device = "cuda" if torch.cuda.is_available() and args.accelerator != "cpu" else "cpu"
    trained.segmenter.to(device)
    trained.classifier.to(device)
    draw_figures(args.out, trained, seen, unseen, device)
    minutes = (time.monotonic() - started) / 60
    scale = (preset.segmenter.image_size or preset.image_size) / preset.image_size
    measure(args.out, trained, unseen, describe_run(args, preset, minutes), device, scale)
    print(f"figures, checkpoints and results: {args.out}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
