"""Baselines: two that ignore the pixels, and localisation maps of the same guide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from decomprec._modes import in_eval_mode
from decomprec.evaluation.metrics import (
    Loader,
    ScoreAccumulator,
    SegmentationScores,
    check_truth,
    count_of_each,
    has_truth,
    masked_batches,
    true_rows,
)
from decomprec.protocols import Localiser
from decomprec.refine import once, rescale

THRESHOLDS = tuple(step / 20 for step in range(1, 20))
"""0.05 to 0.95 in steps of 0.05."""

Maps = Callable[[Tensor], Tensor]
"""Maps images (B, 3, H, W) to localisation maps (B, K-1, h, w) of any resolution and scale."""


class EveryPixel:
    """Gives every pixel the image's class; several classes get equal vertical stripes, in order.

    Args:
        classifier: predicts the classes (probability above 0.5) if no tags are given.

    Examples:
        >>> EveryPixel()(torch.rand(1, 3, 1, 4), torch.tensor([[1.0, 0.0, 1.0]]))
        tensor([[[1, 1, 3, 3]]])
    """

    def __init__(self, classifier: Callable[[Tensor], Tensor] | None = None) -> None:
        self.classifier = classifier

    def __call__(self, images: Tensor, tags: Tensor | None = None) -> Tensor:
        """Label maps (B, H, W) of images (B, 3, H, W).

        Raises:
            ValueError: if there are neither tags nor a classifier.
        """
        return _stripes(candidate_classes(images, tags, self.classifier), *images.shape[-2:])


class CentredEllipse:
    """Draws an ellipse with the image's proportions at its centre; several classes split it into stripes.

    Args:
        share: of the image that the ellipse covers, up to π/4, where it touches the borders.
        classifier: predicts the classes (probability above 0.5) if no tags are given.

    Raises:
        ValueError: if the share is out of range.

    Examples:
        >>> CentredEllipse(share=0.5)(torch.rand(1, 3, 4, 4), torch.tensor([[1.0]]))
        tensor([[[0, 1, 1, 0],
                 [1, 1, 1, 1],
                 [1, 1, 1, 1],
                 [0, 1, 1, 0]]])
    """

    def __init__(self, share: float, classifier: Callable[[Tensor], Tensor] | None = None) -> None:
        if not 0 < share <= math.pi / 4:
            raise ValueError(f"Expected `share` to be above 0 and at most π/4, but got {share!r}.")
        self.share = share
        self.everywhere = EveryPixel(classifier)

    def __call__(self, images: Tensor, tags: Tensor | None = None) -> Tensor:
        """Label maps (B, H, W) of images (B, 3, H, W).

        Raises:
            ValueError: if there are neither tags nor a classifier.
        """
        y, x = ((torch.arange(size) + 0.5) / size - 0.5 for size in images.shape[-2:])
        # In the unit square the ellipse is a circle of area πr² = share.
        inside = y[:, None] ** 2 + x**2 <= self.share / math.pi
        return self.everywhere(images, tags) * inside.to(images.device)


class ScaledLocaliser:
    """A localiser that sees images as the encoder of a segmenter does: rescaled, and then enlarged.

    Predictors that show it the same images one after the other have them rescaled once.

    Args:
        localiser: sees the rescaled images.
        scale: of the height and width of the images that the segmenter sees, above 0.
        enlarge: as in `DecompositionSegmenter`.

    Examples:
        >>> from decomprec.models import PooledClassifier, SmallEncoder
        >>> guide = ScaledLocaliser(PooledClassifier(SmallEncoder((4, 8)), num_classes=3).eval(), scale=0.75, enlarge=2)
        >>> guide(torch.rand(1, 3, 16, 16)).shape, guide.activation_maps(torch.rand(1, 3, 16, 16)).shape
        (torch.Size([1, 2]), torch.Size([1, 2, 6, 6]))
    """

    def __init__(self, localiser: Localiser, scale: float, enlarge: int) -> None:
        self.localiser = localiser
        self.seen = once(lambda images: rescale(rescale(images, scale), enlarge))

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, K-1) of images (B, 3, H, W)."""
        return self.localiser(self.seen(images))

    def activation_maps(self, images: Tensor) -> Tensor:
        """Class activation maps (B, K-1, h, w)."""
        return self.localiser.activation_maps(self.seen(images))


class CamPredictor:
    """Class activation maps of a classifier, or other localisation maps, cut at a threshold.

    Maps are enlarged bilinearly, clamped to positive values and divided by their maximum over the image. A pixel gets
    the candidate class with the highest map, or the background if that is below the threshold. Candidates are the tags
    or, without tags, the classes that the classifier predicts (probability above 0.5).

    Args:
        classifier: returns logits and maps. A module runs in eval mode.
        threshold: above 0, at most 1.
        maps: maps images to localisation maps (B, K-1, h, w), in place of `classifier.activation_maps`.

    Raises:
        ValueError: if the threshold is out of range.

    Examples:
        >>> from decomprec.models import PooledClassifier, SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3)
        >>> CamPredictor(classifier, threshold=0.3)(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 16, 16])
    """

    def __init__(self, classifier: Localiser, threshold: float, maps: Maps | None = None) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"Expected `threshold` to be above 0 and at most 1, but got {threshold!r}.")
        self.classifier = classifier
        self.threshold = threshold
        self.maps = maps or classifier.activation_maps

    def __call__(self, images: Tensor, tags: Tensor | None = None) -> Tensor:
        """Label maps (B, H, W) of images (B, 3, H, W).

        Raises:
            ValueError: if the number of maps differs from that of the classes.
        """
        candidates = candidate_classes(images, tags, self.classifier)
        return _cut(*_strongest(normalised_maps(self.classifier, self.maps, images), candidates), self.threshold)


@torch.inference_mode()
def best_cam_threshold(
    classifier: Localiser,
    loader: Loader,
    num_classes: int,
    use_tags: bool,
    thresholds: Sequence[float] = THRESHOLDS,
    device: torch.device | str = "cpu",
    maps: Maps | None = None,
) -> tuple[float, SegmentationScores]:
    """Find the threshold with CAM's highest mean foreground IoU; return it and the scores.

    The threshold is chosen with the masks of the scored data: this is the best case of the baseline, not a fair result.
    For a fair one, pass the threshold to a `CamPredictor` and score it on other data.

    Args:
        classifier: returns logits and maps. A module runs in eval mode.
        loader: yields batches with "image", "tags" and "mask"; read once.
        num_classes: K, background included.
        use_tags: whether the candidates are the tags.
        thresholds: candidates, above 0 and at most 1; the first wins a tie.
        device: to which batches are moved.
        maps: maps images to localisation maps (B, K-1, h, w), in place of `classifier.activation_maps`.

    Raises:
        ValueError: if `thresholds` is empty or out of range, a batch lacks the mask, shapes or labels don't fit, or
            `loader` is empty.

    Examples:
        >>> from decomprec.models import PooledClassifier, SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=2)
        >>> batch = {"image": torch.rand(1, 3, 8, 8), "tags": torch.ones(1, 1), "mask": torch.ones(1, 8, 8).long()}
        >>> threshold, scores = best_cam_threshold(classifier, [batch], num_classes=2, use_tags=True)
        >>> 0 < threshold < 1, scores.images
        (True, 1)
    """
    maps = maps or classifier.activation_maps
    sweep = CamSweep(num_classes, use_tags, thresholds)
    for images, tags, truth, _ in masked_batches(loader, device):
        candidates = candidate_classes(images, tags if use_tags else None, classifier)
        sweep.update(normalised_maps(classifier, maps, images), candidates, truth, tags)
    return sweep.best()


class CamSweep:
    """Accumulates the scores of localisation maps, such as CAM, at every threshold.

    Args:
        num_classes: K, background included.
        use_tags: whether the candidates are the tags.
        thresholds: above 0 and at most 1.

    Raises:
        ValueError: if `thresholds` is empty or out of range.

    Examples:
        >>> sweep = CamSweep(num_classes=2, use_tags=True, thresholds=(0.2, 0.6))
        >>> maps, truth = torch.tensor([[[[0.1, 0.5, 1.0]]]]), torch.tensor([[[0, 0, 1]]])
        >>> sweep.update(maps, torch.tensor([[True]]), truth, tags=torch.ones(1, 1))
        >>> sweep.best()[0]
        0.6
    """

    def __init__(self, num_classes: int, use_tags: bool, thresholds: Sequence[float] = THRESHOLDS) -> None:
        if not thresholds or not all(0 < threshold <= 1 for threshold in thresholds):
            raise ValueError(f"Expected `thresholds` to be above 0 and at most 1, but got {thresholds!r}.")
        self.num_classes = num_classes
        self.accumulators = {threshold: ScoreAccumulator(num_classes, use_tags) for threshold in thresholds}

    def update(self, maps: Tensor, candidates: Tensor, truth: Tensor, tags: Tensor) -> None:
        """Add `normalised_maps` (B, K-1, H, W), candidates (B, K-1) bool, truth (B, H, W) and tags (B, K-1)."""
        strength, classes = _strongest(maps, candidates)
        check_truth(truth, classes.shape, tags, self.num_classes)
        known = has_truth(truth)
        # A pixel has its class up to some threshold: counted by how many it reaches, all are scored in one pass.
        ordered = sorted(self.accumulators)
        reached = torch.bucketize(strength, torch.tensor(ordered, dtype=maps.dtype, device=maps.device), right=True)
        steps, slots = len(ordered) + 1, self.num_classes
        place = classes * steps + reached
        drawn = count_of_each(place, slots * steps).unflatten(1, (slots, steps)).cpu()
        pairs = (true_rows(truth, slots) * (slots * steps) + place)[None]
        confusion = count_of_each(pairs, (slots + 1) * slots * steps).view(slots + 1, slots, steps)[:-1].cpu()
        for passed, threshold in enumerate(ordered, start=1):
            kept = confusion[..., passed:].sum(dim=-1)
            kept[:, 0] = confusion.sum(dim=(1, 2)) - kept[:, 1:].sum(dim=1)
            shares = drawn[:, 1:, passed:].sum(dim=-1).double() / classes[0].numel()
            self.accumulators[threshold].add(kept, shares, tags, known)

    def merge(self, other: CamSweep) -> None:
        """Add the images of another sweep over the same thresholds."""
        for threshold, accumulator in self.accumulators.items():
            accumulator.merge(other.accumulators[threshold])

    def best(self) -> tuple[float, SegmentationScores]:
        """The first threshold with the highest mean foreground IoU, and the scores."""
        scores = [(threshold, accumulator.compute()) for threshold, accumulator in self.accumulators.items()]
        return max(scores, key=lambda pair: -1 if math.isnan(q := pair[1].mean_foreground_iou) else q)


def candidate_classes(images: Tensor, tags: Tensor | None, classifier: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Classes that may occur, (B, K-1) bool: the tags or, without tags, the classifier's predictions.

    Examples:
        >>> candidate_classes(torch.rand(1, 3, 8, 8), None, lambda images: torch.tensor([[-1.0, 2.0]]))
        tensor([[False,  True]])
    """
    if tags is not None:
        return tags == 1
    if classifier is None:
        raise ValueError("Expected `tags` or a classifier that predicts them, but got neither.")
    with torch.inference_mode(), in_eval_mode(classifier):
        return classifier(images) > 0


def normalised_maps(classifier: Localiser, maps: Maps, images: Tensor) -> Tensor:
    """The maps of images after `normalise_maps`, computed with the classifier in eval mode.

    Examples:
        >>> from decomprec.models import PooledClassifier, SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3)
        >>> normalised_maps(classifier, classifier.activation_maps, torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 2, 16, 16])
    """
    with torch.inference_mode(), in_eval_mode(classifier):
        return normalise_maps(maps(images), images.shape[-2:])


def normalise_maps(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resize maps (B, K-1, h, w) to `size` (H, W), clamp them to positive values, and scale each to a maximum of 1.

    Examples:
        >>> normalise_maps(torch.tensor([[[[-1.0, 1.0, 4.0]]]]), size=(1, 3))
        tensor([[[[0.0000, 0.2500, 1.0000]]]])
    """
    maps = F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False).relu()
    highest = maps.amax(dim=(-2, -1), keepdim=True)
    return maps / torch.where(highest > 0, highest, 1)


def _stripes(candidates: Tensor, height: int, width: int) -> Tensor:
    """Equal vertical stripes of the candidate classes, in order; only background without candidates."""
    first = candidates.long().argsort(dim=1, descending=True, stable=True) + 1
    count = candidates.sum(dim=1, keepdim=True)
    column = torch.arange(width, device=candidates.device)
    stripe = torch.where(count > 0, column * count // width, 0)
    labels = first.gather(1, stripe) * (count > 0)
    return labels[:, None, :].repeat(1, height, 1)


def _strongest(maps: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """The highest activation among the candidates, and its class, both (B, H, W)."""
    if maps.shape[:2] != candidates.shape:
        raise ValueError(
            f"Expected `maps` to give one map for each of the classes, (B, K-1) = {tuple(candidates.shape)}, "
            f"but got {tuple(maps.shape[:2])}."
        )
    strength, index = (maps * rearrange(candidates, "b j -> b j 1 1")).max(dim=1)
    return strength, index + 1


def _cut(strength: Tensor, classes: Tensor, threshold: float) -> Tensor:
    return torch.where(strength < threshold, 0, classes)
