"""What `benchmarks.questions.experiments` measures of trained networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.questions.data import Context, Scenes, chosen, context_scenes
from decomprec.data import SyntheticScenes, collate
from decomprec.evaluation import Results
from decomprec.trained_model import TrainedModel

OURS, CAM = "decomprec", "CAM (best threshold)"

Figures = dict[str, float]


@torch.inference_mode()
def context_figures(trained: TrainedModel, scenes: SyntheticScenes, with_both: Scenes, without: Scenes) -> Figures:
    """What the first class gets of the band's pixels, and its own IoU.

    Args:
        trained: the networks.
        scenes: others, to draw the band alone in: those without the first class.
        with_both: scenes in which the band comes with the class as in training.
        without: the same scenes without any band.
    """
    predict, lacks = trained.segmenter.predict, [not tags[0] for tags in scenes.tags]
    alone, bare = (chosen(context_scenes(scenes, Context(without=p), seed=0), lacks) for p in (1.0, 0.0))
    with_class = chosen(with_both, [bool(item["tags"][0]) for item in with_both.items])
    band = torch.stack([item["context"] for item in alone.items])

    def first(these: Scenes) -> torch.Tensor:
        """Where the first class is predicted, (N, H, W)."""
        return torch.cat([predict(batch["image"]) == 1 for batch in batches(these)])

    def iou(these: Scenes) -> float:
        truth, found = torch.stack([item["mask"] for item in these.items]) == 1, first(these)
        return ((truth & found).sum() / (truth | found).sum()).item()

    guide = torch.cat([trained.guide(batch["image"])[:, 0] > 0 for batch in batches(alone)])
    beside = torch.stack([item["context"] for item in with_class.items])
    return {
        "IoU of the class": iou(with_both),
        "IoU of the class, bands removed": iou(without),
        "class on the band alone": first(alone)[band].float().mean().item(),
        "class on the same pixels without the band": first(bare)[band].float().mean().item(),
        "class on the band beside it": first(with_class)[beside].float().mean().item(),
        "guide sees the class in the band alone": guide.float().mean().item(),
    }


def batches(scenes: Dataset[dict[str, Any]]) -> DataLoader[Any]:
    return DataLoader(scenes, batch_size=32, collate_fn=collate)


def figures(results: Results, num_classes: int) -> Figures:
    """What the table shows of a variant: means over the first `num_classes` classes."""
    rows = {(row.method, row.tags): row.scores for row in results.rows}

    def mean(values: Sequence[float]) -> float:
        return torch.tensor(values[:num_classes]).nanmean().item()

    return {
        "guide accuracy": mean(results.guide["per_class"]),
        "IoU, tags": mean(rows[OURS, True].iou[1:]),
        "CAM, tags": mean(rows[CAM, True].iou[1:]),
        "IoU, no tags": mean(rows[OURS, False].iou[1:]),
        "CAM, no tags": mean(rows[CAM, False].iou[1:]),
        "area where absent": mean(rows[OURS, False].false_area or ()),
    }
