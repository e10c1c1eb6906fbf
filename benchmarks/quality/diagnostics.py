"""What the guide, and a second one that no segmenter was trained with, see in the components of each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.quality.measure import ELLIPSE_SHARE, SUPERVISED, Networks, further_maps
from decomprec.data import IGNORE
from decomprec.decomposition import Decomposition
from decomprec.evaluation import CamPredictor, Results
from decomprec.evaluation.baselines import CentredEllipse, EveryPixel
from decomprec.evaluation.diagnostics import decomposition_diagnostics
from decomprec.protocols import Predictor, View
from decomprec.training.augment import FILLS
from decomprec.views import FilledView, component_view

TRUE = "true masks"
BLACK, FILLED = "components on black", "filled view"


def diagnose(
    networks: Networks, results: Results, loader: DataLoader[Any], fills: Sequence[str], seed: int, device: str
) -> dict[str, Any]:
    """`decomposition_diagnostics` by each guide: of the segmenters, then of the label maps that rows draw given tags.

    The supervised segmenter has no components: nothing trains its image-lets. No guide had a hand in the true masks:
    what is between the two opinions of those lies between the guides.

    Args:
        networks: with a classifier.
        results: of `measure`, for the thresholds.
        loader: gives images, tags and masks, always in the same order.
        fills: what the filled view draws from, by the names in `FILLS`.
        seed: of these draws, which are the same for all.
        device: where the networks are.
    """
    filled = FilledView("images", [FILLS[name] for name in fills])
    views: dict[str, View] = {BLACK: component_view, FILLED: filled}
    guides = {"guide": networks.classifier, "second guide": networks.second_guide}

    def opinions(model: Callable[[Tensor], Decomposition], view: View) -> dict[str, Any]:
        found = {}
        for name, guide in guides.items():
            if guide is not None:
                torch.manual_seed(seed)
                found[name] = decomposition_diagnostics(model, guide, loader, device, view)
        return found

    found: dict[str, Any] = {}
    for name, segmenter in {networks.name: networks.ours, **networks.others}.items():
        shown = [title for title in views if name != SUPERVISED or title == FILLED]
        found[name] = {title: opinions(segmenter, views[title]) for title in shown}
    for name, labels in _label_maps(networks, results, loader, device).items():
        # Each time that the loader is gone through, so are the label maps.
        model = partial(_split, cycle(labels), len(results.class_names) + 1)
        found[name] = {FILLED: opinions(model, filled)}
    return found


def _split(labels: Iterator[Tensor], slots: int, images: Tensor) -> Decomposition:
    """The decomposition by the next label maps, with the images themselves as image-lets."""
    masks = F.one_hot(next(labels).long(), slots).movedim(-1, 1)
    return Decomposition(masks.to(images.dtype).log(), images[:, None].expand(-1, slots, -1, -1, -1))


def _label_maps(networks: Networks, results: Results, loader: DataLoader[Any], device: str) -> dict[str, list[Tensor]]:
    """What is drawn of each batch: by refined rows, by maps at their best thresholds, without a look, and the truth."""
    assert networks.classifier is not None
    refined = (networks.refined, f"{SUPERVISED}, PAMR", "guide's evidence, PAMR")
    predictors: dict[str, Predictor] = {n: p for n, p in networks.predictors().items() if n in refined}
    maps = {"CAM": networks.classifier.activation_maps, **further_maps(networks.classifier)}
    for row in results.rows:
        name = row.method.removesuffix(" (best threshold)")
        if row.tags and name in maps:
            predictors[name] = CamPredictor(networks.classifier, row.settings["threshold"], maps[name])
    predictors |= {"centred ellipse": CentredEllipse(ELLIPSE_SHARE), "every pixel": EveryPixel()}

    drawn: dict[str, list[Tensor]] = {name: [] for name in (*predictors, TRUE)}
    with torch.inference_mode():
        for batch in loader:
            images, tags, truth = (batch[key].to(device) for key in ("image", "tags", "mask"))
            for name, predict in predictors.items():
                drawn[name].append(predict(images, tags).byte())
            drawn[TRUE].append(truth.masked_fill(truth == IGNORE, 0).byte())
    return drawn
