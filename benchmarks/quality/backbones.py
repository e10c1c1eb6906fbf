"""Backbones compared by what their frozen features say: which classes an image has, and where.

    uv run python -m benchmarks.quality.backbones --data DIR --json FILE tf_efficientnet_lite2 resnet18=null

Each backbone gets the head that `robust` trains: on the same levels, pooled in the same way, in as many steps, on at
most --images photographs with tags. Then its accuracy and the IoU of its maps are measured, with the tags known. The
threshold of CAM is the best of the scored images, those of evidence are the library's. No segmenter is trained.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from benchmarks.files import save
from benchmarks.quality.photographs import evaluation_images, of_half, training_images
from decomprec.data import collate
from decomprec.data.transforms import eval_transform
from decomprec.evaluation import evaluate, guide_accuracy
from decomprec.evaluation.baselines import best_cam_threshold
from decomprec.evidence import EvidenceMasks
from decomprec.models import PooledClassifier, TimmEncoder
from decomprec.protocols import Predictor
from decomprec.refine import pamr
from decomprec.training import PRESETS
from decomprec.training.head import fit_head


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every backbone and write the JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbones", nargs="+", metavar="NAME[=FILE]", help="of timm; FILE: its weights, or null")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="train, val and val_masks")
    parser.add_argument("--half", choices=("report", "tune", "all"), default="report")
    parser.add_argument("--images", type=int, default=1000, help="to fit the heads to, drawn by the seed")
    parser.add_argument("--size", type=int, default=PRESETS["robust"].image_size, help="short side, in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args(arguments)
    if args.json.suffix != ".json":
        raise ValueError(f"Expected --json to be a .json file, but got {args.json}.")

    transform = eval_transform(args.size)
    train_set = training_images(args.data, None, transform)
    held_out = of_half(evaluation_images(args.data, train_set.class_names), args.half, transform)
    chosen = torch.randperm(len(train_set), generator=torch.Generator().manual_seed(args.seed))[: args.images]
    seen = DataLoader(Subset(train_set, chosen.tolist()), batch_size=8, collate_fn=collate)
    scored = DataLoader(held_out, batch_size=4, collate_fn=collate)
    rows: list[dict[str, Any]] = []
    for backbone in args.backbones:
        name, _, file = backbone.partition("=")
        weights = {"": "imagenet", "null": None}.get(file, file)
        figures = measure(name, weights, len(train_set.class_names) + 1, seen, scored)
        rows.append({"backbone": name, "weights": Path(file).name or "imagenet"} | figures)
        run = {"data": args.data.name, "half": args.half, "images": len(chosen), "size": args.size, "seed": args.seed}
        save({"run": run, "backbones": rows}, args.json)


@torch.no_grad()
def measure(
    name: str, weights: str | None, num_classes: int, seen: DataLoader[Any], scored: DataLoader[Any]
) -> dict[str, Any]:
    """Accuracy, IoU of the maps, and what they take."""
    encoder = with_fine_maps(name, weights)
    guide = PRESETS["robust"].guide
    classifier = PooledClassifier(
        encoder, num_classes, standardise=True, pooling=guide.pooling, levels=guide.levels
    ).eval()
    assert isinstance(classifier.norm, nn.BatchNorm2d)
    classifier.norm.momentum = None
    classifier.norm.train()
    started, batches = time.monotonic(), []
    for batch in tqdm(seen, name, disable=None):
        batches.append((classifier.gather(encoder(batch["image"])), batch["tags"]))
        classifier.classify(batches[-1][0])
    seconds = time.monotonic() - started
    fit_head(classifier, batches, guide, guide.head_steps)
    classifier.requires_grad_(False).eval()

    evidence = {
        "evidence": EvidenceMasks(classifier, steps=0, refine=unrefined),
        "evidence, walk": EvidenceMasks(classifier, refine=unrefined),
        "evidence, walk, PAMR": EvidenceMasks(classifier, refine=pamr),
    }
    _, cam = best_cam_threshold(classifier, scored, num_classes, use_tags=True)
    iou = {"CAM": cam.mean_foreground_iou}
    for row, masks in evidence.items():
        iou[row] = evaluate(labels_by(masks), scored, num_classes, use_tags=True).mean_foreground_iou
    return {
        "stride": encoder.strides[-1],
        "accuracy": guide_accuracy(classifier, scored)["mean"],
        "iou": iou,
        "million_parameters": sum(p.numel() for p in classifier.encoder.parameters()) / 1e6,
        "ms_per_image": 1000 * seconds / sum(len(tags) for _, tags in batches),
    }


def with_fine_maps(name: str, weights: str | None) -> TimmEncoder:
    """The backbone with its last stage at stride 16, if it can."""
    # MobileNet's weights come from Keras.
    options: dict[str, Any] = {"pad_type": "same"} if "mobilenetv1" in name else {}
    try:
        return TimmEncoder(name, weights, repeat_borders=True, output_stride=16, **options)
    except ValueError:
        return TimmEncoder(name, weights, repeat_borders=True, **options)


def labels_by(masks: EvidenceMasks) -> Predictor:
    """A predictor for images whose tags are known."""

    def predict(images: Tensor, tags: Tensor | None = None) -> Tensor:
        assert tags is not None
        return masks(images, tags).argmax(dim=1)

    return predict


def unrefined(images: Tensor, masks: Tensor) -> Tensor:
    """No refinement."""
    return masks


if __name__ == "__main__":
    main()
