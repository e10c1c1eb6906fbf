"""What the guide, and a second one that no segmenter was trained with, see in the components of each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.quality.measure import ELLIPSE_SHARE, Networks, further_maps
from benchmarks.tables.domains import SUPERVISED
from decomprec.data import IGNORE
from decomprec.decomposition import Decomposition
from decomprec.evaluation import CamPredictor, Results
from decomprec.evaluation.baselines import CentredEllipse, EveryPixel
from decomprec.evaluation.diagnostics import Diagnostics
from decomprec.models import DecompositionSegmenter
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
        loader: gives images, tags and masks; read once.
        fills: what the filled view draws from, by the names in `FILLS`.
        seed: of the first batch's draws, and one more for each further batch; the draws are the same for all rows.
        device: where the networks are.
    """
    views: dict[str, View] = {
        BLACK: component_view,
        FILLED: FilledView("images", [FILLS[name] for name in fills]),
    }
    guides = {"guide": networks.classifier, "second guide": networks.second_guide}
    segmenters = {networks.name: networks.ours, **networks.others}
    predictors = _predictors(networks, results)
    opinions: dict[str, dict[str, dict[str, Diagnostics]]] = {
        name: {
            title: {asked: Diagnostics(guide, views[title]) for asked, guide in guides.items() if guide is not None}
            for title in ([BLACK, FILLED] if name in segmenters and name != SUPERVISED else [FILLED])
        }
        for name in (*segmenters, *predictors, TRUE)
    }
    with torch.inference_mode():
        for index, batch in enumerate(loader):
            images, tags, truth = (batch[key].to(device) for key in ("image", "tags", "mask"))
            for name, out in _decompositions(segmenters, predictors, images, tags, truth):
                for diagnostics in (each for by_guide in opinions[name].values() for each in by_guide.values()):
                    torch.manual_seed(seed + index)
                    diagnostics.update(out, images, tags)
    return {
        name: {title: {asked: each.compute() for asked, each in by_guide.items()} for title, by_guide in shown.items()}
        for name, shown in opinions.items()
    }


def _decompositions(
    segmenters: Mapping[str, DecompositionSegmenter],
    predictors: Mapping[str, Predictor],
    images: Tensor,
    tags: Tensor,
    truth: Tensor,
) -> Iterator[tuple[str, Decomposition]]:
    """What each row makes of a batch, by its name; label maps have the images themselves as image-lets."""
    for name, segmenter in segmenters.items():
        yield name, segmenter(images)
    for name, predict in predictors.items():
        yield name, _split(predict(images, tags), tags.shape[1] + 1, images)
    yield TRUE, _split(truth.masked_fill(truth == IGNORE, 0), tags.shape[1] + 1, images)


def _split(labels: Tensor, slots: int, images: Tensor) -> Decomposition:
    masks = F.one_hot(labels.long(), slots).movedim(-1, 1)
    return Decomposition(masks.to(images.dtype).log(), images[:, None].expand(-1, slots, -1, -1, -1))


def _predictors(networks: Networks, results: Results) -> dict[str, Predictor]:
    """The rows of label maps: refined masks, maps at their best thresholds, and what is drawn without a look."""
    guide = networks.guide
    assert networks.classifier is not None
    assert guide is not None
    refined = (networks.refined, f"{SUPERVISED}, PAMR", "guide's evidence, PAMR")
    predictors: dict[str, Predictor] = {n: p for n, p in networks.predictors().items() if n in refined}
    maps = {"CAM": guide.activation_maps, **further_maps(networks.classifier, guide)}
    for row in results.rows:
        name = row.method.removesuffix(" (best threshold)")
        if row.tags and name in maps:
            predictors[name] = CamPredictor(guide, row.settings["threshold"], maps[name])
    return predictors | {"centred ellipse": CentredEllipse(ELLIPSE_SHARE), "every pixel": EveryPixel()}
