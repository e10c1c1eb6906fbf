"""Measuring a trained model: the table with its baselines, diagnostics and verdicts, in one pass over the images."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from decomprec._processes import number_of_processes, rank
from decomprec._tensors import full_precision
from decomprec.data import collate
from decomprec.decomposition import labels_from_logits
from decomprec.evaluation import Results, compare
from decomprec.evaluation.baselines import ScaledLocaliser
from decomprec.evaluation.comparison import DRAWN
from decomprec.evaluation.diagnostics import Diagnostics
from decomprec.evaluation.verdict import Verdict, VerdictAccumulator
from decomprec.evidence import shares_features
from decomprec.models import PooledClassifier
from decomprec.protocols import Localiser
from decomprec.refine import (
    RefinedPredictor,
    guided_filter,
    half_pamr,
    once,
    remembering,
    rescale,
    resize,
)
from decomprec.trained_model import TrainedModel


@dataclass(frozen=True)
class Measured:
    """What is known of a model.

    Attributes:
        results: the table; None without true masks.
        diagnostics: of the decompositions; None without an image decoder.
        verdicts: one for each class.
    """

    results: Results | None
    diagnostics: dict[str, float | None] | None
    verdicts: tuple[Verdict, ...]


class _SharingLocaliser:
    """A guide that judges the features of its segmenter: their encoder sees each image once."""

    def __init__(self, guide: PooledClassifier, features: Callable[[Tensor], list[Tensor]]) -> None:
        self.guide = guide
        self.features = features

    def __call__(self, images: Tensor) -> Tensor:
        return self.guide.judge(self.features(images))

    def activation_maps(self, images: Tensor) -> Tensor:
        return self.guide.scores(self.guide.gather(self.features(images)))


def measure(model: TrainedModel, images: Any, device: str, *, masks: bool, scale: float) -> Measured:
    """Measure a model on a data set. Each process takes a share of the images; all get the same.

    Args:
        model: on `device`.
        images: the data set, of images of any sizes.
        device: of the model.
        masks: whether images have true masks.
        scale: of the size that the segmenter sees relative to that of the images.
    """
    share = Subset(images, range(rank(), len(images), number_of_processes()))
    loader = DataLoader(share, batch_size=1, collate_fn=collate)  # of various shapes
    segmenter = model.segmenter
    seen = once(lambda images: rescale(images, scale))
    features = once(segmenter.features)  # of seen images
    decompose = once(lambda images: segmenter(seen(images), features=features(seen(images))))
    seen_masks = once(lambda images: segmenter.mask_logits(seen(images), features(seen(images))))
    guide: Localiser = ScaledLocaliser(model.guide, scale, segmenter.enlarge)
    if isinstance(model.guide, PooledClassifier) and shares_features(segmenter, model.guide):
        guide = _SharingLocaliser(model.guide, lambda images: features(seen(images)))
    diagnostics = None if model.masks_only else Diagnostics(model.guide)
    verdicts = VerdictAccumulator(model.class_names)

    def described() -> Iterator[dict[str, Any]]:
        for batch in tqdm(loader, "evaluating", disable=True if rank() else None):
            images, tags = batch["image"].to(device), batch["tags"].to(device)
            if diagnostics is not None:
                diagnostics.update(decompose(images), seen(images), tags)
            drawn = labels_from_logits(mask_logits(images), tags)
            verdicts.update(tags, guide(images), drawn)
            yield {**batch, "image": images}

    def mask_logits(images: Tensor) -> Tensor:
        logits = seen_masks(images) if model.masks_only else decompose(images).mask_logits
        return resize(full_precision(logits), images.shape[-2:])

    ours = "evidence" if model.masks_only else "decomprec"
    predictors = {
        ours: RefinedPredictor(mask_logits),
        f"{ours}, guided filter": RefinedPredictor(mask_logits, guided_filter),
        # What `decomprec predict` draws.
        f"{ours}, {DRAWN}": RefinedPredictor(mask_logits, half_pamr, once(guide)),
    }
    results = None
    with torch.inference_mode(), remembering(model.guide.encoder):
        if masks:
            results = compare(predictors, guide, described(), model.class_names, device, distributed=True)
        else:
            deque(described(), maxlen=0)
    verdicts.gather()
    if diagnostics is not None:
        diagnostics.gather()
    return Measured(results, None if diagnostics is None else diagnostics.compute(), verdicts.compute())
