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
from tqdm import tqdm

from decomprec.data import IGNORE
from decomprec.evaluation.metrics import image_iou
from decomprec.figures import has_masks
from decomprec.report.record import RunRecord
from decomprec.slots import mask_entropy
from decomprec.viz import overlay

SIDE = 192
"""Longest side of an image in the page, in pixels."""

_LOSSLESS = 96  # smaller images are enlarged on the page, where compression would show, and are small files anyway
_AT_ONCE = 16  # images in memory
_LEAST_SHARE = 0.005  # of an image: smaller parts are not named
_COMPONENTS = 3  # shown besides the background's; an image has few classes, a model may have many


@dataclass(frozen=True)
class Score:
    """Scores of one image, whose masks are as `decomprec predict` draws them, without tags.

    Attributes:
        index: in the data set.
        tagged: whether any class is in the image, by its tags.
        iou: mean over the classes in the prediction or the ground truth; None without a ground truth.
        wrong: share of the known pixels whose label is wrong, 0 without a true mask.
        uncertainty: entropy of the masks, averaged over the pixels, divided by ln K.
    """

    index: int
    tagged: bool
    iou: float | None
    wrong: float
    uncertainty: float


@dataclass(frozen=True)
class View:
    """One stop of the slider.

    Attributes:
        kind: "image", "mask", "truth", "components" or "reconstruction".
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
        found: labels of the classes that cover at least 0.5 % of its predicted label map.
        views: image, mask, truth (if known), and what the image decoder makes: components and reconstruction.
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


def measure(record: RunRecord, dataset: Any) -> list[Score]:
    """Score every image of a data set like `decomprec.data.TaggedImages`, in order."""
    masked, slots = has_masks(dataset), len(record.model.classes)
    scores: list[Score] = []
    with tqdm(total=len(dataset), desc="measuring", unit="image") as progress:
        for start in range(0, len(dataset), _AT_ONCE):
            items = [dataset[index] for index in range(start, min(start + _AT_ONCE, len(dataset)))]
            results = record.model([_pixels(item) for item in items])
            for item, result in zip(items, results, strict=True):
                masks, labels = result.masks.cpu()[None], result.label_map[None]
                truth = item["mask"][None] if masked else torch.full_like(labels, IGNORE)
                known = truth != IGNORE
                iou = image_iou(labels, truth, slots).item()
                scores.append(
                    Score(
                        len(scores),
                        bool(item["tags"].any()),
                        None if math.isnan(iou) else iou,
                        wrong=float(((labels != truth) & known).sum() / known.sum().clamp(min=1)),
                        uncertainty=float(mask_entropy(masks) / math.log(slots)),
                    )
                )
            progress.update(len(items))
    return scores


def highlights(scores: Sequence[Score]) -> dict[str, list[Score]]:
    """The best, median and worst images, two of each: of those that have a class and, where any is known, a true mask.

    Examples:
        >>> scores = [Score(i, True, iou=i / 10, wrong=0.1, uncertainty=0.5) for i in range(9)]
        >>> {name: [score.index for score in chosen] for name, chosen in highlights(scores).items()}
        {'best': [8, 7], 'median': [3, 4], 'worst': [0, 1]}
    """
    known = [score for score in scores if score.iou is not None] or scores
    ranked = sorted([score for score in known if score.tagged] or known, key=lowest_iou)
    each = max(1, min(2, len(ranked) // 3))
    middle = (len(ranked) - each) // 2
    best, worst = ranked[::-1][:each], [score for score in ranked[:each] if score is not ranked[-1]]
    median = [score for score in ranked[middle : middle + each] if score not in [*best, *worst]]
    return {name: chosen for name, chosen in (("best", best), ("median", median), ("worst", worst)) if chosen}


def choose(scores: Sequence[Score], most: int) -> list[Score]:
    """Choose at most `most` images to show, worst first.

    Of more images, a sixth each has the lowest IoU, the most wrong pixels and the least certain masks; the rest is
    spread evenly from the worst to the best.

    Examples:
        >>> scores = [Score(i, True, iou=i / 100, wrong=0.1, uncertainty=0.5) for i in range(100)]
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


def draw(record: RunRecord, dataset: Any, score: Score) -> Card:
    """Segment an image and encode all its views as data: URIs."""
    item, model = dataset[score.index], record.model
    pixels = _pixels(item)
    images, result = pixels[None].float() / 255, model(pixels)
    labels = result.label_map
    shares = torch.bincount(labels.flatten(), minlength=len(model.classes)) / labels.numel()

    tags = tuple((item["tags"].nonzero().flatten() + 1).tolist())
    found = tuple(k for k in range(1, len(shares)) if shares[k] >= _LEAST_SHARE)
    views = [("image", "image", images[0]), ("mask", "mask", overlay(images, labels[None])[0])]
    truth = item["mask"] if score.iou is not None else None
    if truth is not None:
        views.append(("truth", "ground truth", overlay(images, truth[None])[0]))
    if not model.masks_only:
        shown = sorted({*tags, *found}, key=lambda k: (k not in tags, -shares[k].item()))[:_COMPONENTS]
        components = model.components(pixels)
        views += [("components", f"component: {model.classes[k]}", components[k]) for k in (0, *sorted(shown))]
        views.append(("reconstruction", "reconstruction", components.sum(dim=0)))
    return Card(
        item["name"],
        score,
        tags,
        found,
        tuple(View(kind, title, data_uri(shown)) for kind, title, shown in views),
        () if truth is None else confusions(labels, truth, model.classes),
        max(pixels.shape[-2:]) <= _LOSSLESS,
    )


def confusions(labels: Tensor, truth: Tensor, class_names: Sequence[str]) -> tuple[str, ...]:
    """The two largest confusions of a label map (H, W) with the ground truth (H, W), as shares of the known pixels.

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
        if share >= _LEAST_SHARE
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


def _pixels(item: dict[str, Any]) -> Tensor:
    """An item's image, uint8, as the model takes it."""
    pixels: Tensor = (255 * item["image"]).round().byte()
    return pixels
