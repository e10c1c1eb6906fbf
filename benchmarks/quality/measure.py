"""What `benchmarks.quality.comparison` measures of trained networks: the rows and the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.utils import make_grid
from tqdm import tqdm

from benchmarks.quality.gradcam import gradcam_maps
from benchmarks.tables.domains import EVIDENCE, SUPERVISED
from decomprec.data import TaggedImages, collate
from decomprec.evaluation import Results, compare, evaluate
from decomprec.evaluation.baselines import CentredEllipse, EveryPixel, Maps, ScaledLocaliser, normalised_maps
from decomprec.evaluation.comparison import Row
from decomprec.evidence import EvidenceMasks
from decomprec.models import DecompositionSegmenter, PooledClassifier
from decomprec.protocols import Localiser, Predictor
from decomprec.refine import (
    RefinedPredictor,
    at_scale,
    half_pamr,
    once,
    pamr,
    remembering,
)
from decomprec.viz import overlay, save_image

ELLIPSE_SHARE = 0.5


@dataclass(frozen=True)
class Networks:
    """All that is compared, in eval mode and on one device.

    Attributes:
        name: of our model's rows.
        ours: our model.
        others: further segmenters, by the names of their rows.
        classifier: the guide, if there is one.
        second_guide: one that no segmenter was trained with.
        scale: at which our model sees the images: the size that it was trained at, over theirs.
    """

    name: str
    ours: DecompositionSegmenter
    classifier: PooledClassifier | None
    others: Mapping[str, DecompositionSegmenter]
    second_guide: PooledClassifier | None = None
    scale: float = 1.0

    def to(self, device: str) -> Networks:
        """Move and freeze them all."""
        for network in (self.ours, self.classifier, *self.others.values(), self.second_guide):
            if network is not None:
                network.to(device).eval().requires_grad_(False)
        return self

    @property
    def refined(self) -> str:
        """Name of the row whose images are drawn."""
        return f"{self.name}, PAMR"

    @cached_property
    def guide(self) -> ScaledLocaliser | None:
        """The classifier, to which images are shown as large as our model's encoder sees them: one, so only once."""
        if self.classifier is None:
            return None
        return ScaledLocaliser(self.classifier, self.scale, self.ours.enlarge)

    def predictors(self) -> dict[str, Predictor]:
        """The segmenters' rows."""
        plain = once(at_scale(self.ours.mask_logits, self.scale))
        guide = self.guide
        classifier = guide and once(guide)
        others = {name: once(other.mask_logits) for name, other in self.others.items()}
        guided = {} if classifier is None else {f"{self.name}, guide's tags": RefinedPredictor(plain, None, classifier)}
        return {
            self.name: RefinedPredictor(plain),
            **guided,
            self.refined: RefinedPredictor(plain, half_pamr, classifier),
            **{name: RefinedPredictor(other) for name, other in others.items()},
            **{
                f"{name}, PAMR": RefinedPredictor(o, half_pamr, classifier)
                for name, o in others.items()
                if name == SUPERVISED
            },
            **({} if self.classifier is None or guide is None else evidence_row(self.classifier, guide)),
        }


def evidence_row(classifier: PooledClassifier, guide: Localiser) -> dict[str, Predictor]:
    """What a classifier's evidence gives without a segmenter, as the seeds are made. No row without its statistics.

    The guide is the classifier that decides without tags.
    """
    if isinstance(classifier.norm, nn.Identity):
        return {}
    masks = EvidenceMasks(classifier).eval()

    def predict(images: Tensor, tags: Tensor | None = None) -> Tensor:
        return masks(images, (guide(images) > 0).float() if tags is None else tags).argmax(dim=1)

    return {EVIDENCE: predict}


def measure(networks: Networks, loader: DataLoader[Any], class_names: Sequence[str], device: str) -> Results:
    """The table: segmenters, the guide's maps at their best thresholds, and what looks at no pixel.

    The IoU of every image is recorded for our model's rows.
    """
    batches, predictors = tqdm(loader, "evaluating", disable=None), networks.predictors()
    guide = networks.guide
    if guide is None or networks.classifier is None:
        return _without_classifier(predictors, loader, class_names, device)
    maps = further_maps(networks.classifier, guide)
    with remembering(networks.classifier.encoder):
        results = compare(predictors, guide, batches, class_names, device, ELLIPSE_SHARE, maps, per_image=True)
    brief = [
        replace(row, scores=replace(row.scores, per_image=None))
        if row.method.removesuffix(", PAMR") in networks.others
        else row
        for row in results.rows
    ]
    return replace(results, rows=tuple(brief))


def further_maps(classifier: PooledClassifier, guide: ScaledLocaliser) -> dict[str, Maps]:
    """Maps of the guide beside CAM, by the names of their rows. The guide shows the classifier images rescaled."""
    plus_plus, layer = (gradcam_maps(classifier, method) for method in ("grad-cam++", "layer-cam"))

    def refined_cam(images: Tensor) -> Tensor:
        return pamr(images, normalised_maps(guide, guide.activation_maps, images))

    return {
        "Grad-CAM++": lambda images: plus_plus(guide.seen(images)),
        "LayerCAM": lambda images: layer(guide.seen(images)),
        "CAM + PAMR": refined_cam,
    }


def _without_classifier(
    predictors: Mapping[str, Predictor], loader: DataLoader[Any], class_names: Sequence[str], device: str
) -> Results:
    """Without a classifier there are no maps, and the baselines can't do without tags."""
    blind: dict[str, Predictor] = {"centred ellipse": CentredEllipse(ELLIPSE_SHARE), "every pixel": EveryPixel()}
    rows = [
        Row(name, use_tags, evaluate(predictor, loader, len(class_names) + 1, use_tags, device, name in predictors))
        for use_tags in (True, False)
        for name, predictor in {**predictors, **(blind if use_tags else {})}.items()
    ]
    guide: dict[str, Any] = {"per_class": [], "mean": None, "exact_match": None, "images": rows[0].scores.images}
    return Results(tuple(rows), tuple(class_names), guide)


def ranked(per_image: Sequence[tuple[str, float]], count: int = 10) -> dict[str, list[str]]:
    """Names of the best, the median and the worst images, each from better to worse; NaN is left out.

    Examples:
        >>> ranked([("a", 0.1), ("b", 0.9), ("c", 0.5), ("d", float("nan"))], count=1)
        {'best': ['b'], 'median': ['c'], 'worst': ['a']}
    """
    known = sorted((pair for pair in per_image if pair[1] == pair[1]), key=lambda pair: -pair[1])
    names = [name for name, _ in known]
    middle = max((len(names) - count) // 2, 0)
    return {"best": names[:count], "median": names[middle : middle + count], "worst": names[-count:]}


def draw_ranked(networks: Networks, results: Results, dataset: TaggedImages, folder: Path, device: str) -> None:
    """Draw the best, median and worst masks given the tags: image, prediction and truth side by side."""
    index = {record.name: i for i, record in enumerate(dataset.records) if record.tags}
    (row,) = (row for row in results.rows if row.method == networks.refined and row.tags)
    predict = networks.predictors()[networks.refined]
    for title, names in ranked([pair for pair in row.scores.per_image or () if pair[0] in index]).items():
        if not names:
            continue
        cells = []
        for name in names:
            batch = collate([dataset[index[name]]])
            images = batch["image"]
            labels = predict(images.to(device), batch["tags"].to(device)).cpu()
            cells.append(torch.cat([images, overlay(images, labels), overlay(images, batch["mask"])], dim=-1)[0])
        height, width = (max(cell.shape[dim] for cell in cells) for dim in (1, 2))
        padded = [F.pad(cell, (0, width - cell.shape[2], 0, height - cell.shape[1]), value=1) for cell in cells]
        save_image(make_grid(padded, nrow=2, padding=4, pad_value=1), folder / f"{title}.png")
