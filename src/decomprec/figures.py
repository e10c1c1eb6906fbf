"""The figures of a run: its masks on validation images, Figures 2 and 3, and a panel of decompositions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from decomprec import functional as DF
from decomprec.data import collate
from decomprec.data.tags import tag_table
from decomprec.decomposition import Decomposition
from decomprec.guide import FrozenGuide
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.refine import rescale_to, resize_labels
from decomprec.slots import places_of
from decomprec.trained_model import TrainedModel
from decomprec.viz import contact_sheet, figure_pairs, overlay, panel, save_image

PREDICTIONS = "predictions.png"
"""The masks that a newcomer looks at first."""

_MOST_SHOWN = 20  # classes in a panel, which has two columns for each


def has_masks(dataset: Any) -> bool:
    """Whether any true mask is known; `TaggedImages` fills missing ones with 255."""
    records = getattr(dataset, "records", None)
    return records is None or any(record.mask for record in records)


def pick(dataset: Any, with_class: int, without: int) -> dict[str, Any]:
    """A batch of up to `with_class` images that have a class, then up to `without` that have none."""
    present = tag_table(dataset).sizes() > 0
    order = torch.randperm(len(present), generator=torch.Generator().manual_seed(0))
    chosen = order[present[order]][:with_class].tolist() + order[~present[order]][:without].tolist()
    return collate([dataset[i] for i in chosen])


def as_seen(batch: dict[str, Any], size: int) -> dict[str, Any]:
    """A batch with its images, and masks if there are any, as large as a segmenter sees them.

    Args:
        batch: with "image" (B, 3, H, W) and perhaps "mask" (B, H, W), int64.
        size: side of a square with as many pixels.

    Examples:
        >>> batch = {"image": torch.rand(2, 3, 20, 5), "mask": torch.zeros(2, 20, 5).long()}
        >>> [tensor.shape for tensor in as_seen(batch, 30).values()]
        [torch.Size([2, 3, 60, 15]), torch.Size([2, 60, 15])]
    """
    images = rescale_to(batch["image"], size)
    masks = {"mask": resize_labels(batch["mask"], images.shape[-2:])} if "mask" in batch else {}
    return {**batch, "image": images, **masks}


def predictions(model: TrainedModel, unseen: Any) -> Tensor:
    """Up to twelve validation images, each next to its masks as `predict` draws them and, if known, the true ones.

    Args:
        model: draws the masks.
        unseen: validation images of one size, like `decomprec.data.TaggedImages`.

    Returns:
        One image (3, H', W'), in [0, 1].
    """
    batch = pick(unseen, 9, 3)
    images = (255 * batch["image"]).round().byte()
    shown = [images, torch.stack([pil_to_tensor(result.overlay()) for result in model(list(images))])]
    if has_masks(unseen):
        shown.append((255 * overlay(batch["image"], batch["mask"])).round().byte())
    return contact_sheet([cell for row in zip(*shown, strict=True) for cell in row], columns=6, cell=192)


def draw_figures(folder: Path, model: TrainedModel, seen: Any, unseen: Any) -> None:
    """Write predictions.png, Figures 2 and 3, and a panel of five decompositions with the guide's opinions.

    Args:
        folder: gets the figures.
        model: whose masks are drawn; one without an image decoder gets no panel.
        seen: training images of one size.
        unseen: validation images of one size.
    """
    save_image(predictions(model, unseen), folder / PREDICTIONS)
    segmenter, device, size = model.segmenter, model.device, model.image_size
    for title, dataset in (("figure2_training", seen), ("figure3_validation", unseen)):
        images = as_seen(pick(dataset, 50, 50), size)["image"]
        labels = torch.cat([segmenter.predict(part.to(device)) for part in images.split(4)])
        save_image(figure_pairs(images, labels.cpu()), folder / f"{title}.png")

    if model.masks_only:
        return
    batch = as_seen(pick(unseen, 4, 1), size)
    batch["image"] = batch["image"].to(device)
    save_image(draw_panel(segmenter, batch, unseen.class_names, FrozenGuide(model.guide)), folder / "panel.png")


@torch.no_grad()
def draw_panel(
    segmenter: DecompositionSegmenter,
    batch: dict[str, Any],
    class_names: Sequence[str],
    guide: Callable[[Tensor], Tensor] | None = None,
) -> Figure:
    """The panel of a batch: of all classes or, of more than 20, those that its images have, at most 20.

    Args:
        segmenter: decomposes the images, on their device.
        batch: collated items of a data set: "image", "tags" and, if known, "mask".
        class_names: of the K-1 classes.
        guide: gives the probability of its class that each component is labelled with.
    """
    images, tags, truth = batch["image"], batch["tags"], batch.get("mask")
    slots = torch.arange(len(class_names) + 1)
    if len(class_names) > _MOST_SHOWN:
        slots = DF.with_background(tags).any(dim=0).nonzero()[: _MOST_SHOWN + 1, 0]
        truth = None if truth is None else places_of(truth, slots.expand(len(tags), -1), len(class_names) + 1) % 256
    part = slots.expand(len(images), -1).to(images.device)
    found = segmenter(images) if len(slots) > len(class_names) else segmenter(images, part)
    out = Decomposition(found.mask_logits, found.imagelets)  # the panel counts the slots that it shows
    shown = slots[1:] - 1
    opinion = None
    if guide is not None:
        opinion = guide(out.components.flatten(0, 1)).sigmoid().unflatten(0, out.components.shape[:2])
        opinion = opinion[..., shown.to(images.device)]
    return panel(images, out, [class_names[j] for j in shown], tags[:, shown], truth, opinion)
