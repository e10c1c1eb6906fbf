"""How much of a class is drawn on images that hold its usual company but not the class itself.

    uv run python -m benchmarks.quality.cooccurrence --run runs/quality/ours --train DIR --eval DIR --json FILE

Pairs are those where the company is on at least a tenth of the class's training images. Areas are of the images
that no training saw, without tags.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from benchmarks.quality.measure import Networks
from benchmarks.quality.photographs import evaluation_images, of_half, training_images, transforms
from decomprec._files import written_whole
from decomprec.data import collate
from decomprec.refine import RefinedPredictor, at_scale, pamr
from decomprec.trained_model import load
from decomprec.training import Preset

OFTEN = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="folder that a training left")
    parser.add_argument("--train", type=Path, required=True, metavar="DIR", help="photographs that it was trained on")
    parser.add_argument("--eval", type=Path, required=True, metavar="DIR", help="photographs that it never saw")
    parser.add_argument("--json", type=Path, required=True, help="where the table goes")
    args = parser.parse_args()
    trained, preset = load(args.run), Preset.load(args.run / "preset.yaml")
    names = list(trained.class_names)
    _, transform = transforms(args.train, names, preset)
    scale = preset.segmenter_size / preset.image_size
    networks = Networks("ours", trained.segmenter, trained.guide, {}, scale=scale).to("cpu")
    logits = at_scale(networks.ours.mask_logits, scale)
    predictors = {
        "by the masks alone": RefinedPredictor(logits),
        "guide's tags, PAMR": RefinedPredictor(logits, pamr, networks.classifier),
    }
    images = of_half(evaluation_images(args.eval, names), "all", transform)
    shares: dict[str, list[Tensor]] = {name: [] for name in predictors}
    with torch.inference_mode():
        for batch in tqdm(DataLoader(images, batch_size=8, collate_fn=collate), "drawing", disable=None):
            for name, predict in predictors.items():
                labels = predict(batch["image"])
                of_classes = [(labels == j).float().mean(dim=(1, 2)) for j in range(1, len(names) + 1)]
                shares[name].append(torch.stack(of_classes, dim=1))
    areas = {name: torch.cat(parts) for name, parts in shares.items()}
    tags = training_images(args.train, names, transform).tags
    rows = list(companions(tags, images.tags, areas, names))
    table = {"companions": rows, "images": len(images), "machine": f"{os.cpu_count()} CPU cores"}
    with written_whole(args.json) as partial:
        partial.write_text(json.dumps({**table, "torch": torch.__version__}, indent=2) + "\n", encoding="utf-8")


def companions(
    trained_on: Tensor, tags: Tensor, areas: dict[str, Tensor], names: list[str]
) -> Iterator[dict[str, Any]]:
    """A row for each class and company that are often together.

    Args:
        trained_on: tags (N, K-1) of the training images.
        tags: (M, K-1), of the images that were drawn.
        areas: of each class in them, (M, K-1), by the names of the predictors.
        names: of the K-1 classes.

    Examples:
        >>> seen = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> drawn = {"ours": torch.tensor([[0.5, 0.1], [0.2, 0.0]])}
        >>> rows = companions(seen, torch.tensor([[0.0, 1.0], [0.0, 0.0]]), drawn, ["horse", "person"])
        >>> next(rows)["ours"]
        {'with company': 0.5, 'with neither': 0.20000000298023224}
    """
    for j, k in permutations(range(len(names)), 2):
        together = trained_on[trained_on[:, j] == 1, k].mean().item()
        without = tags[:, j] == 0
        alone, neither = without & (tags[:, k] == 1), without & (tags[:, k] == 0)
        if together >= OFTEN and alone.any() and neither.any():
            yield {
                "class": names[j],
                "company": names[k],
                "together": together,
                "images": [int(alone.sum()), int(neither.sum())],
                **{
                    name: {"with company": area[alone, j].mean().item(), "with neither": area[neither, j].mean().item()}
                    for name, area in areas.items()
                },
            }


if __name__ == "__main__":
    main()
