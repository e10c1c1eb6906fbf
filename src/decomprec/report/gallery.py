"""Validation images of the report: scores and decompositions."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from decomprec import functional as DF
from decomprec.data import IGNORE, collate
from decomprec.evaluation.metrics import image_iou
from decomprec.refine import RefinedPredictor, at_scale, resize
from decomprec.report.record import RunRecord
from decomprec.viz import overlay

SIDE = 192
"""Longest side of an image in the page, in pixels."""

_LOSSLESS = 96  # smaller images are enlarged on the page, where compression would show, and are small files anyway
_COMPONENTS = 3  # shown besides the background's; an image has few classes, a model may have many


@dataclass(frozen=True)
class Score:
    """Scores of one image, predicted without tags.

    Attributes:
        index: in the data set.
        iou: mean over the classes in the prediction or the truth; None without a true mask.
        wrong: share of the known pixels whose label is wrong, 0 without a true mask.
        uncertainty: entropy of the masks, averaged over the pixels, divided by ln K.
    """

    index: int
    iou: float | None
    wrong: float
    uncertainty: float


@dataclass(frozen=True)
class View:
    """One stop of the slider.

    Attributes:
        kind: "photograph", "mask", "truth", "components" or "reconstruction".
        title: caption.
        uri: the image as a data: URI.
    """

    kind: str
    title: str
    uri: str


@dataclass(frozen=True)
class Card:
    """A validation image of the page.

    Attributes:
        name: of the image.
        score: of the image.
        tags: labels of its classes.
        found: labels of the classes in its predicted label map.
        views: photograph, mask, truth (if known), components and reconstruction.
        problems: the largest confusions, in words.
        pixelated: whether the image is small and should be enlarged without interpolation.
    """

    name: str
    score: Score
    tags: tuple[int, ...]
    found: tuple[int, ...]
    views: tuple[View, ...]
    problems: tuple[str, ...]
    pixelated: bool


def measure(record: RunRecord, dataset: Any, device: str) -> list[Score]:
    """Score every image of a data set like `decomprec.data.TaggedImages`, in order."""
    predict, masked = _predictor(record, device), has_masks(dataset)
    slots = len(record.model.class_names) + 1
    scores: list[Score] = []
    loader = DataLoader(dataset, batch_size=1, collate_fn=collate)  # of various shapes
    for batch in tqdm(loader, "measuring"):
        masks = predict.masks(batch["image"].to(device)).cpu()
        entropy = DF.mask_entropy(masks) / math.log(slots)
        labels = masks.argmax(dim=1)
        truth = batch["mask"] if masked else torch.full_like(labels, IGNORE)
        known = truth != IGNORE
        wrong = ((labels != truth) & known).sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp(min=1)
        ious = [None if math.isnan(iou) else iou for iou in image_iou(labels, truth, slots).tolist()]
        for numbers in zip(ious, wrong.tolist(), entropy.tolist(), strict=True):
            scores.append(Score(len(scores), *numbers))
    return scores


def choose(scores: Sequence[Score], most: int) -> list[Score]:
    """Choose at most `most` images to show, worst first.

    Of more images, a sixth each has the lowest IoU, the most wrong pixels and the least certain masks; the rest is
    spread evenly from the worst to the best.

    Examples:
        >>> scores = [Score(i, iou=i / 100, wrong=0.1, uncertainty=0.5) for i in range(100)]
        >>> [score.index for score in choose(scores, most=6)]
        [0, 1, 2, 3, 51, 99]
    """
    ordered = sorted(scores, key=lowest_iou)
    if len(ordered) <= most:
        return ordered
    chosen: set[Score] = set()
    for key in (lowest_iou, most_wrong, least_certain):
        chosen.update([score for score in sorted(ordered, key=key) if score not in chosen][: most // 6])
    rest = [score for score in ordered if score not in chosen]
    count = most - len(chosen)
    chosen.update(rest[round(i * (len(rest) - 1) / max(count - 1, 1))] for i in range(count))
    return sorted(chosen, key=lowest_iou)


def lowest_iou(score: Score) -> tuple[float, float]:
    """Sort key: lowest IoU first, then images without a true mask, least certain first."""
    return (math.inf if score.iou is None else score.iou, -score.uncertainty)


def most_wrong(score: Score) -> float:
    """Sort key: most wrong pixels first."""
    return -score.wrong


def least_certain(score: Score) -> float:
    """Sort key: least certain first."""
    return -score.uncertainty


def has_masks(dataset: Any) -> bool:
    """Whether any true mask is known; `TaggedImages` fills missing ones with 255."""
    records = getattr(dataset, "records", None)
    return records is None or any(record.mask for record in records)


@torch.inference_mode()
def draw(record: RunRecord, dataset: Any, score: Score, device: str) -> Card:
    """Decompose an image and encode all its views as data: URIs."""
    item = dataset[score.index]
    class_names = ("background", *record.model.class_names)
    images = item["image"][None]
    labels = _predictor(record, device)(images.to(device)).cpu()
    size = [max(1, round(record.scale * side)) for side in images.shape[-2:]]
    seen = resize(images, size).clamp(0, 1)
    out = record.model.segmenter(seen.to(device))

    tags = tuple((item["tags"].nonzero().flatten() + 1).tolist())
    found = tuple(k for k in labels.unique().tolist() if k)
    shown = sorted({*tags, *found}, key=lambda k: (k not in tags, -out.areas[0, k].item()))[:_COMPONENTS]
    views = [("photograph", "photograph", images[0]), ("mask", "mask", overlay(images, labels)[0])]
    truth = item["mask"][None] if score.iou is not None else None
    if truth is not None:
        views.append(("truth", "truth", overlay(images, truth)[0]))
    views += [("components", f"component: {class_names[k]}", out.components[0, k]) for k in (0, *sorted(shown))]
    views.append(("reconstruction", "reconstruction", out.reconstruction[0]))
    return Card(
        item["name"],
        score,
        tags,
        found,
        tuple(View(kind, title, data_uri(pixels)) for kind, title, pixels in views),
        () if truth is None else confusions(labels[0], truth[0], class_names),
        max(images.shape[-2:]) <= _LOSSLESS,
    )


def confusions(labels: Tensor, truth: Tensor, class_names: Sequence[str]) -> tuple[str, ...]:
    """The two largest confusions of a label map (H, W) with the truth (H, W), as shares of the known pixels.

    Args:
        labels: integers in 0 to K-1.
        truth: integers in 0 to K-1, or 255.
        class_names: of all K labels, background first.

    Examples:
        >>> confusions(torch.tensor([[0, 1, 0, 0]]), torch.tensor([[1, 1, 0, 255]]), ["background", "dog"])
        ('33 % of the image: dog drawn as background',)
    """
    known = truth != IGNORE
    pairs = truth[known] * len(class_names) + labels[known]
    counts = torch.bincount(pairs, minlength=len(class_names) ** 2).view(len(class_names), -1).fill_diagonal_(0)
    shares, places = (counts.flatten() / known.sum()).topk(2)
    return tuple(
        f"{100 * share:.0f} % of the image: {class_names[pair // len(class_names)]} drawn as "
        f"{class_names[pair % len(class_names)]}"
        for share, pair in zip(shares.tolist(), places.tolist(), strict=True)
        if share >= 0.005
    )


def data_uri(shown: Tensor) -> str:
    """Encode an image (3, H, W) in [0, 1] as a data: URI of a WebP of at most 192 x 192 pixels.

    Examples:
        >>> data_uri(torch.zeros(3, 4, 4))[:23]
        'data:image/webp;base64,'
    """
    pixels = rearrange(shown.detach().cpu().float().clamp(0, 1), "c h w -> h w c")
    image = Image.fromarray((255 * pixels).round().byte().numpy())
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=max(image.size) <= _LOSSLESS, quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _predictor(record: RunRecord, device: str) -> RefinedPredictor:
    """The predictor of the row "decomprec" in the table: no refinement, images at the segmenter's training size."""
    segmenter = record.model.segmenter.to(device)
    return RefinedPredictor(at_scale(segmenter.mask_logits, record.scale))
