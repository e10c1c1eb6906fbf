"""Train an ordinary U-Net on our masks: tags -> masks -> pseudo labels -> smp.Unet.

    uv run examples/train_on_pseudo_labels.py                      # trains a small model of ours first
    uv run examples/train_on_pseudo_labels.py --run runs/demo      # starts from the run of `decomprec demo`
    uv run examples/train_on_pseudo_labels.py --source coco        # the U-Net reads COCO's JSON, not label PNGs

On synthetic scenes. Masks are drawn for training scenes, whose tags are known, and written as a data set (images/,
masks/, tags.csv, annotations.json). The U-Net sees nothing else. Both are then measured on unseen scenes, without tags.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from decomprec._files import write_text
from decomprec.cli.config import parse_settings
from decomprec.data import CocoInstances, SyntheticScenes, TaggedCSV, collate
from decomprec.evaluation import SegmentationScores, evaluate
from decomprec.labelling import export_labels
from decomprec.refine import RefinedPredictor, pamr
from decomprec.trained_model import TrainedModel, load
from decomprec.training import PRESETS, train
from decomprec.viz import save_image, save_label_map

SIZE = 64  # of the scenes, in pixels
TRAIN_SEED, UNSEEN_SEED = 1, 3  # those of `decomprec demo`
SETTINGS = {"guide.epochs": 8, "guide.batch_size": 16}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="run folder of synthetic scenes (default: train OUT/run)")
    parser.add_argument("--out", type=Path, default=Path("runs/pseudo_labels"), help="folder of all that is written")
    parser.add_argument("--source", choices=("png", "coco"), default="png", help="which masks the U-Net learns from")
    parser.add_argument("--scenes", type=int, default=600, help="training scenes")
    parser.add_argument("--unseen", type=int, default=200, help="scenes to measure on")
    parser.add_argument("--classes", type=int, default=2, help="in the scenes; those of --run, if it is given")
    parser.add_argument("--epochs", type=int, default=6, help="of the U-Net")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="such as segmenter.epochs=3")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the scores")
    return parser.parse_args()


def train_ours(args: argparse.Namespace) -> TrainedModel:
    """A small model, from the tags of the training scenes; a finished one in OUT/run is read back."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    preset = PRESETS["demo"].override({**SETTINGS, **parse_settings(args.set)})
    scenes = SyntheticScenes(args.scenes, args.classes, SIZE, TRAIN_SEED)
    unseen = SyntheticScenes(min(args.unseen, 50), args.classes, SIZE, UNSEEN_SEED)
    options = {"accelerator": "cpu"}
    return train(preset, scenes, unseen, args.out / "run", resume=True, seed=args.seed, trainer_options=options)


def write_pseudo_labels(trained: TrainedModel, scenes: SyntheticScenes, out: Path) -> None:
    """A data set of images, tags and our masks, as label PNGs and as a COCO file."""
    draw = RefinedPredictor(trained.segmenter.mask_logits, pamr)
    images = {}
    rows = ["image,tags"]
    for i in tqdm(range(len(scenes)), "drawing masks", unit="scene"):
        item = scenes[i]
        name = f"{item['name']}.png"
        labels = draw(item["image"][None], item["tags"][None])[0]
        save_image(item["image"], out / "images" / name)
        save_label_map(labels, out / "masks" / name)
        images[item["name"]] = out / "images" / name
        present = [class_name for class_name, tag in zip(scenes.class_names, item["tags"], strict=True) if tag]
        rows.append(f"{name},{';'.join(present)}")
    write_text(out / "masks" / "classes.txt", "\n".join(["background", *scenes.class_names]))
    export_labels(out / "masks", images, "coco", out / "annotations.json")
    write_text(out / "tags.csv", "\n".join(rows) + "\n")


def read_pseudo_labels(source: str, folder: Path, classes: tuple[str, ...]) -> Dataset[dict[str, Any]]:
    if source == "coco":
        return CocoInstances(folder / "annotations.json", classes=classes, masks=True)
    return TaggedCSV(folder / "tags.csv", classes=classes, masks=True)


def train_unet(data: Dataset[dict[str, Any]], num_classes: int, epochs: int, seed: int) -> nn.Module:
    """What one would write for true masks, too."""
    torch.manual_seed(seed)
    unet: nn.Module = smp.Unet(
        "resnet18", encoder_depth=3, encoder_weights=None, decoder_channels=(64, 32, 16), classes=num_classes
    )
    loader = DataLoader(data, batch_size=16, shuffle=True, drop_last=True, collate_fn=collate)
    optimiser = torch.optim.AdamW(unet.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=epochs * len(loader))
    for _ in tqdm(range(epochs), "training smp.Unet", unit="epoch"):
        for batch in loader:
            images, masks = batch["image"], batch["mask"]
            if torch.rand(()) < 0.5:
                images, masks = images.flip(-1), masks.flip(-1)
            loss = nn.functional.cross_entropy(unet(images), masks, ignore_index=255)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return unet.eval()


def score_all(args: argparse.Namespace, trained: TrainedModel, unet: nn.Module) -> dict[str, SegmentationScores]:
    def of_unet(images: Tensor, tags: Tensor | None = None) -> Tensor:
        return unet(images).argmax(dim=1)

    def score(predictor: Any, count: int, seed: int, use_tags: bool) -> SegmentationScores:
        scenes = SyntheticScenes(count, len(trained.class_names), SIZE, seed, masks=True)
        loader = DataLoader(scenes, batch_size=32, collate_fn=collate)
        return evaluate(predictor, loader, len(trained.class_names) + 1, use_tags)

    logits, classifier = trained.segmenter.mask_logits, trained.guide
    told, untold = RefinedPredictor(logits, pamr), RefinedPredictor(logits, pamr, classifier)
    return {
        "pseudo labels, on their own scenes": score(told, args.scenes, TRAIN_SEED, True),
        "decomprec": score(RefinedPredictor(logits), args.unseen, UNSEEN_SEED, False),
        "decomprec, PAMR, guide's tags": score(untold, args.unseen, UNSEEN_SEED, False),
        "smp.Unet on the pseudo labels": score(of_unet, args.unseen, UNSEEN_SEED, False),
    }


def main() -> None:
    args = parse_arguments()
    started = time.monotonic()
    trained = train_ours(args) if args.run is None else load(args.run)
    scenes = SyntheticScenes(args.scenes, len(trained.class_names), SIZE, TRAIN_SEED)
    if scenes.class_names != trained.class_names:
        raise ValueError(f"Expected --run to be of synthetic scenes, but its classes are {trained.class_names}.")
    labels = args.out / "labels"
    write_pseudo_labels(trained, scenes, labels)
    pseudo = read_pseudo_labels(args.source, labels, scenes.class_names)
    unet = train_unet(pseudo, len(scenes.class_names) + 1, args.epochs, args.seed)

    scores = score_all(args, trained, unet)
    print(f"\n| {'masks':<34} | foreground IoU | area where absent |\n| {'-' * 34} | {'-' * 14} | {'-' * 17} |")
    for method, result in scores.items():
        area = "-" if result.mean_false_area is None else f"{result.mean_false_area:.3f}"
        print(f"| {method:<34} | {result.mean_foreground_iou:<14.3f} | {area:<17} |")
    before, after = (scores[name].mean_foreground_iou for name in list(scores)[-2:])
    print(f"\nthe U-Net gains {after - before:+.3f} IoU on unseen scenes; {time.monotonic() - started:.0f} s in all")
    if args.json is not None:
        run = {"data": "synthetic", "settings": " ".join(args.set) or "as they are", "source": args.source}
        run |= {key: getattr(args, key) for key in ("scenes", "unseen", "epochs", "seed")}
        content = {
            "run": {**run, "image_size": SIZE, "torch": torch.__version__},
            "class_names": trained.class_names,
            "pseudo_labels": [{"method": method, **result.to_dict()} for method, result in scores.items()],
        }
        write_text(args.json, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
