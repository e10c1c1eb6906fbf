"""Scenes for `benchmarks.questions.experiments`: with known areas, and with a context that keeps a class company."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from decomprec.data import SyntheticScenes
from decomprec.priors import volumetric_targets
from decomprec.training import PRESETS, Preset

TRAIN, VAL, TEST, ALONE, EXTRA = range(1, 6)  # seeds of the scenes, in every variant the same
NEGATIVES = (0.1, 0.3)  # further images of the context alone, as share of the training scenes
# Two minutes for a guide and a segmenter on one busy core, instead of ten.
SMALLER = {
    "guide.epochs": 8,
    "guide.encoder_options": {"widths": [16, 32, 64]},
    "segmenter.decoder_widths": [32, 16, 16],
    "segmenter.batch_size": 8,
}
CONTEXT_NAME = "green band"
_GREEN, _YELLOW = (0.15, 0.70, 0.25), (0.95, 0.85, 0.10)


@dataclass(frozen=True)
class Size:
    """How many scenes there are, and how they are.

    Attributes:
        train: scenes to train on.
        test: scenes to measure on.
        pixels: height and width.
        settings: of the preset, for all variants.
        precision: of training, as in Lightning.
    """

    train: int
    test: int
    pixels: int
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    precision: str = "32-true"

    @cache  # noqa: B019  (a handful of sizes in a process)
    def scenes(self, series: int, num_classes: int = 4) -> SyntheticScenes:
        """Scenes with masks; training gets none of those."""
        count = {TRAIN: self.train, VAL: 64}.get(series, self.test)
        if series == EXTRA:  # one scene in five has no object
            count = round(8 * max(NEGATIVES) * self.train)
        return SyntheticScenes(count, num_classes, self.pixels, seed=series, masks=True)

    def preset(self, settings: Mapping[str, Any]) -> Preset:
        """The preset with all changes."""
        return PRESETS["demo"].override({"image_size": self.pixels, **self.settings, **settings})


class Scenes(Dataset[dict[str, Any]]):
    """Items that lie ready, such as those of `SyntheticScenes` with something added.

    Args:
        items: as of `decomprec.data.samples.make_item`, perhaps with more keys.
        class_names: of the K-1 classes.
    """

    def __init__(self, items: Sequence[dict[str, Any]], class_names: Sequence[str]) -> None:
        self.items = list(items)
        self.class_names = tuple(class_names)
        self.tags = torch.stack([item["tags"] for item in self.items])
        self.masks = "mask" in self.items[0]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


def plain(scenes: SyntheticScenes | Scenes) -> Scenes:
    """The scenes with tags alone, as training may see them.

    Examples:
        >>> sorted(plain(SyntheticScenes(1, size=16, masks=True))[0])
        ['image', 'name', 'tags']
    """
    kept = ("image", "tags", "name")
    return Scenes([{key: scenes[i][key] for key in kept} for i in range(len(scenes))], scenes.class_names)


def class_areas(label_map: Tensor, num_classes: int) -> Tensor:
    """Share of the image of each foreground class, (K-1,), of a label map (H, W).

    Args:
        label_map: integers from 0, the background, to `num_classes`.
        num_classes: foreground classes, K-1.

    Examples:
        >>> class_areas(torch.tensor([[0, 2], [2, 1]]), num_classes=2)
        tensor([0.2500, 0.5000])
    """
    return torch.bincount(label_map.flatten(), minlength=num_classes + 1)[1:] / label_map.numel()


def exact_areas(scenes: SyntheticScenes | Scenes) -> Tensor:
    """`class_areas` of all scenes, (N, K-1); they need masks."""
    return torch.stack([class_areas(scenes[i]["mask"], len(scenes.class_names)) for i in range(len(scenes))])


def noisy_areas(areas: Tensor, relative: float, seed: int) -> Tensor:
    """Areas (N, K-1), each times its own factor drawn evenly from 1 ± `relative`.

    Where they then sum to more than one, they are divided by their sum. An absent class stays at zero.

    Examples:
        >>> noisy_areas(torch.tensor([[0.2, 0.0]]), relative=0.0, seed=0)
        tensor([[0.2000, 0.0000]])
    """
    generator = torch.Generator().manual_seed(seed)
    noisy = areas * (1 + relative * (2 * torch.rand(areas.shape, generator=generator) - 1))
    return noisy / noisy.sum(dim=1, keepdim=True).clamp(min=1)


def mean_areas(areas: Tensor) -> Tensor:
    """Each present class's mean area over the images that have it, in place of the image's area; areas (N, K-1).

    Where they then sum to more than one, they are divided by their sum.

    Examples:
        >>> mean_areas(torch.tensor([[0.2, 0.5], [0.4, 0.0], [0.0, 0.0]]))
        tensor([[0.3000, 0.5000],
                [0.3000, 0.0000],
                [0.0000, 0.0000]])
    """
    present = (areas > 0).float()
    known = present * (areas.sum(dim=0) / present.sum(dim=0).clamp(min=1))
    return known / known.sum(dim=1, keepdim=True).clamp(min=1)


def with_areas(scenes: SyntheticScenes | Scenes, areas: Tensor) -> Scenes:
    """Scenes with tags and "areas" (K,), which `SegmenterModule` hands to L_mask; areas (N, K-1)."""
    targets = volumetric_targets(areas)
    items = [{**item, "areas": target} for item, target in zip(plain(scenes).items, targets, strict=True)]
    return Scenes(items, scenes.class_names)


@dataclass(frozen=True)
class Context:
    """How often the context stands in an image.

    Attributes:
        with_class: probability in images with the first class.
        without: probability in all others.
        tagged: whether it is a class, the last one.
    """

    with_class: float = 0.9
    without: float = 0.05
    tagged: bool = False


def draw_context(rng: np.random.Generator, image: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Draw a green band with a yellow middle line across the image, behind all objects.

    It runs at any angle through the middle of the first class's pixels or, without that class, of a random place.

    Args:
        rng: source of everything random.
        image: (size, size, 3), drawn on.
        labels: (size, size), the label map.

    Returns:
        The band's visible pixels, (size, size).
    """
    size = len(image)
    y, x = (np.indices((size, size)) + 0.5) / size
    places = np.argwhere(labels == 1)
    centre = (places.mean(axis=0) + 0.5) / size if len(places) else rng.uniform(0.2, 0.8, 2)
    angle, half_width = rng.uniform(0, np.pi), rng.uniform(0.08, 0.12)
    distance = np.abs((y - centre[0]) * np.cos(angle) - (x - centre[1]) * np.sin(angle))
    visible = (distance < half_width) & (labels == 0)
    fill = np.where((distance < 0.02)[..., None], _YELLOW, _GREEN) + 0.03 * rng.standard_normal((size, size, 1))
    image[visible] = np.rint(fill.clip(0, 1) * 255).astype(np.uint8)[visible]
    return np.asarray(visible)


def context_scenes(scenes: SyntheticScenes, context: Context, seed: int) -> Scenes:
    """Scenes with masks in which the context has been drawn, or not, by chance.

    Args:
        scenes: with masks.
        context: how often.
        seed: of the chances and of the bands.

    Returns:
        Items with "mask" and "context", the band's visible pixels (H, W), bool. The band is background in the
        mask, unless it is a class.
    """
    items = []
    for index in range(len(scenes)):
        item, rng = dict(scenes[index]), np.random.default_rng([seed, index])
        image = np.rint(item["image"].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        labels = item["mask"].numpy().astype(np.uint8)
        chance = context.with_class if item["tags"][0] else context.without
        visible = draw_context(rng, image, labels) if rng.random() < chance else np.zeros_like(labels, dtype=bool)
        item["image"] = torch.from_numpy(image).permute(2, 0, 1).float() / 255
        item["context"] = torch.from_numpy(visible)
        if context.tagged:
            item["tags"] = torch.cat([item["tags"], torch.tensor([float(visible.any())])])
            item["mask"] = item["mask"].masked_fill(item["context"], len(item["tags"]))
        items.append(item)
    return Scenes(items, (*scenes.class_names, CONTEXT_NAME) if context.tagged else scenes.class_names)


def chosen(scenes: Scenes, keep: Sequence[bool], limit: int | None = None) -> Scenes:
    """The scenes to keep, at most `limit` of them."""
    return Scenes([item for item, kept in zip(scenes.items, keep, strict=True) if kept][:limit], scenes.class_names)


def joined(first: Scenes, second: Scenes) -> Scenes:
    """Both, the second's scenes last."""
    return Scenes([*first.items, *second.items], first.class_names)
