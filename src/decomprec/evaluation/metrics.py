"""Scores of label maps and of a classifier's tags over a data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from decomprec._modes import in_eval_mode
from decomprec.checks import check_tags
from decomprec.data.samples import IGNORE
from decomprec.protocols import Predictor

Loader = Iterable[Mapping[str, Any]]
"""Yields batches with "image" (B, 3, H, W), "tags" (B, K-1) and, for segmentation scores, "mask" (B, H, W)."""


@dataclass(frozen=True)
class SegmentationScores:
    """Scores of label maps over a data set. Undefined numbers are NaN.

    Attributes:
        iou: intersection over union of each of the K classes, background first, over all pixels of the data set that
            are not 255. NaN for a class in neither the predictions nor the ground truth.
        false_area: for each of the K-1 classes, its mean predicted share of the images whose tags lack it, in [0, 1];
            NaN without such images. None if the predictor was given the tags, where it is 0 by design.
        images: number of images whose truth is known somewhere: with a mask.
        images_with: number of these that are tagged with each of the K-1 classes.
        per_image: name and IoU of every image, in order: the mean over the classes in its prediction or truth. None if
            not requested.
        images_without_mask: number of other images, in which every pixel is 255. They count for `false_area` only.

    Examples:
        >>> scores = SegmentationScores(iou=(0.9, 0.5, math.nan), false_area=None, images=4, images_with=(3, 0))
        >>> scores.mean_iou, scores.mean_foreground_iou, scores.mean_false_area
        (0.7, 0.5, None)
        >>> scores.to_dict()["iou"]
        [0.9, 0.5, None]
    """

    iou: tuple[float, ...]
    false_area: tuple[float, ...] | None
    images: int
    images_with: tuple[int, ...]
    per_image: tuple[tuple[str, float], ...] | None = None
    images_without_mask: int = 0

    @property
    def mean_iou(self) -> float:
        """Mean over the classes with a defined IoU, background included."""
        return nan_mean(self.iou)

    @property
    def mean_foreground_iou(self) -> float:
        """Mean over the classes with a defined IoU, without the background."""
        return nan_mean(self.iou[1:])

    @property
    def mean_false_area(self) -> float | None:
        """Mean of `false_area` over the classes that are absent from some image."""
        return None if self.false_area is None else nan_mean(self.false_area)

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values, None for NaN."""
        return {
            "iou": [finite(x) for x in self.iou],
            "mean_iou": finite(self.mean_iou),
            "mean_foreground_iou": finite(self.mean_foreground_iou),
            "false_area": None if self.false_area is None else [finite(x) for x in self.false_area],
            "mean_false_area": finite(self.mean_false_area),
            "images": self.images,
            "images_with": list(self.images_with),
            "images_without_mask": self.images_without_mask,
            "per_image": None if self.per_image is None else [[name, finite(iou)] for name, iou in self.per_image],
        }


class ScoreAccumulator:
    """Accumulates label maps batch by batch; `compute` returns the scores of all of them.

    Args:
        num_classes: K, background included.
        use_tags: whether the predictor was given the tags.

    Examples:
        >>> accumulator = ScoreAccumulator(num_classes=2, use_tags=False)
        >>> truth = torch.tensor([[[0, 1, 1, 255]]])
        >>> accumulator.update(torch.tensor([[[0, 0, 1, 1]]]), truth, tags=torch.tensor([[1.0]]))
        >>> accumulator.compute().iou
        (0.5, 0.5)
    """

    def __init__(self, num_classes: int, use_tags: bool) -> None:
        self.num_classes = num_classes
        self.use_tags = use_tags
        self._confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self._images = 0
        self._without_mask = 0
        self._absent = torch.zeros(num_classes - 1, dtype=torch.int64)
        self._images_with = torch.zeros(num_classes - 1, dtype=torch.int64)
        self._false_area = torch.zeros(num_classes - 1, dtype=torch.float64)
        self._per_image: list[tuple[str, float]] = []

    def update(self, labels: Tensor, truth: Tensor, tags: Tensor, names: Sequence[str] | None = None) -> None:
        """Add label maps and truth, both (B, H, W), tags (B, K-1) and, for the IoU of each image, the B names.

        Raises:
            ValueError: if shapes differ, or a label is no class (255 is allowed in the ground truth).
        """
        check_truth(truth, labels.shape, tags, self.num_classes)
        _check_labels(labels, self.num_classes, "predicted labels")
        counts = _count_pixels(labels, truth, self.num_classes).cpu()  # a Mac's GPU has no float64
        shares = counts.sum(dim=1)[:, 1:].double() / labels[0].numel()
        self.add(counts[:, :-1].sum(dim=0), shares, tags, has_truth(truth))
        if names is not None:
            self._per_image += zip(names, _iou(counts[:, :-1]).nanmean(dim=1).tolist(), strict=True)

    def add(self, confusion: Tensor, shares: Tensor, tags: Tensor, known: Tensor) -> None:
        """Add B images whose pixels are already counted.

        Args:
            confusion: number of known pixels of all B images by their true class and their label, (K, K), on the CPU.
            shares: of each class in each predicted label map, (B, K-1), float64, on the CPU.
            tags: (B, K-1).
            known: whether any pixel of an image is known, (B,) bool, see `has_truth`.
        """
        present, known = tags.cpu() == 1, known.cpu()
        self._confusion += confusion
        self._images += int(known.sum())
        self._without_mask += int((~known).sum())
        self._absent += (~present).sum(dim=0)
        self._images_with += present[known].sum(dim=0)
        self._false_area += (shares * ~present).sum(dim=0)

    def merge(self, other: ScoreAccumulator) -> None:
        """Add the images of another accumulator of the same kind."""
        self._confusion += other._confusion
        self._images += other._images
        self._without_mask += other._without_mask
        self._absent += other._absent
        self._images_with += other._images_with
        self._false_area += other._false_area
        self._per_image += other._per_image

    def compute(self) -> SegmentationScores:
        """The scores of all label maps so far.

        Raises:
            ValueError: if there are none.
        """
        if self._images + self._without_mask == 0:
            raise ValueError("Expected `loader` to yield at least one image, but got none.")
        false_area = self._false_area / self._absent  # 0 / 0 is NaN
        return SegmentationScores(
            iou=tuple(_iou(self._confusion).tolist()),
            false_area=None if self.use_tags else tuple(false_area.tolist()),
            images=self._images,
            images_with=tuple(self._images_with.tolist()),
            per_image=tuple(self._per_image) if self._per_image else None,
            images_without_mask=self._without_mask,
        )


def image_iou(labels: Tensor, truth: Tensor, num_classes: int) -> Tensor:
    """Intersection over union of each image, averaged over the classes in its prediction or truth.

    Args:
        labels: predictions (B, H, W), integers in 0 to K-1.
        truth: (B, H, W), integers in 0 to K-1, or 255 to leave a pixel out.
        num_classes: K, background included.

    Returns:
        (B,), float64, on the CPU; NaN for an image without a pixel that counts.

    Examples:
        >>> image_iou(torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[0, 1, 1, 255]]]), num_classes=2)
        tensor([0.5000], dtype=torch.float64)
    """
    return _iou(_count_pixels(labels, truth, num_classes)[:, :-1]).nanmean(dim=1)


def has_truth(truth: Tensor) -> Tensor:
    """Whether any pixel of each label map (B, H, W) is known: (B,) bool.

    Examples:
        >>> has_truth(torch.tensor([[[0, 255]], [[255, 255]]]))
        tensor([ True, False])
    """
    return (truth != IGNORE).flatten(1).any(dim=1)


def true_rows(truth: Tensor, num_classes: int) -> Tensor:
    """The true classes (B, H, W) as rows of a table of counts, int64: 255 is row K, after the classes."""
    return torch.where(truth == IGNORE, num_classes, truth.long())


def count_of_each(values: Tensor, count: int) -> Tensor:
    """How often 0 to `count` - 1 occur in each of B tensors of integers (B, ...): (B, count).

    Examples:
        >>> count_of_each(torch.tensor([[0, 2, 2], [1, 1, 1]]), count=3)
        tensor([[1, 0, 2],
                [0, 3, 0]])
    """
    first = count * torch.arange(len(values), device=values.device).view(-1, *[1] * (values.ndim - 1))
    return torch.bincount((values + first).flatten(), minlength=count * len(values)).view(-1, count)


def _count_pixels(labels: Tensor, truth: Tensor, num_classes: int) -> Tensor:
    """Pixels of each image by their true class, the unknown ones last, and their label, (B, K+1, K)."""
    pairs = true_rows(truth, num_classes).mul_(num_classes).add_(labels)
    return count_of_each(pairs, (num_classes + 1) * num_classes).unflatten(1, (num_classes + 1, num_classes))


def _iou(confusion: Tensor) -> Tensor:
    """Intersection over union of each class, (..., K), float64, by pixels (..., K, K) of every class and label."""
    confusion = confusion.cpu()
    both = confusion.diagonal(dim1=-2, dim2=-1)
    either = confusion.sum(dim=-1) + confusion.sum(dim=-2) - both
    return both.double() / either  # 0 / 0 is NaN


@torch.inference_mode()
def evaluate(
    predictor: Predictor,
    loader: Loader,
    num_classes: int,
    use_tags: bool,
    device: torch.device | str = "cpu",
    per_image: bool = False,
) -> SegmentationScores:
    """Score a predictor on a data set with masks.

    Args:
        predictor: maps images and tags (or None) to label maps on `device`, such as `model.predict`.
        loader: yields batches with "image", "tags" and "mask".
        num_classes: K, background included.
        use_tags: whether the predictor gets the tags.
        device: to which batches are moved.
        per_image: record the IoU of every image under its "name" in the batch.

    Raises:
        ValueError: if a batch lacks the mask or a required name, shapes or labels don't fit, or `loader` is empty.

    Examples:
        >>> batch = {"image": torch.rand(1, 3, 2, 2), "tags": torch.ones(1, 1), "mask": torch.eye(2).long()[None]}
        >>> scores = evaluate(lambda images, tags: images[:, 0].gt(2).long(), [batch], num_classes=2, use_tags=False)
        >>> scores.iou
        (0.5, 0.0)
    """
    accumulator = ScoreAccumulator(num_classes, use_tags)
    for images, tags, truth, names in masked_batches(loader, device, per_image):
        accumulator.update(predictor(images, tags if use_tags else None), truth, tags, names)
    return accumulator.compute()


@torch.inference_mode()
def guide_accuracy(
    classifier: Callable[[Tensor], Tensor], loader: Loader, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Accuracy of a classifier's tags at a probability of 0.5.

    Args:
        classifier: maps images (B, 3, H, W) on `device` to logits (B, K-1). A module runs in eval mode.
        loader: yields batches with "image" and "tags".
        device: to which batches are moved.

    Returns:
        "per_class" (a list), "mean" over classes, "exact_match" (share of images with every class right) and "images"
        (their number).

    Raises:
        ValueError: if `loader` is empty.

    Examples:
        >>> batch = {"image": torch.zeros(2, 3, 8, 8), "tags": torch.tensor([[1.0, 0.0], [1.0, 1.0]])}
        >>> guide_accuracy(lambda images: torch.ones(len(images), 2), [batch])
        {'per_class': [1.0, 0.5], 'mean': 0.75, 'exact_match': 0.5, 'images': 2}
    """
    right = []
    with in_eval_mode(classifier):
        for batch in loader:
            found = classifier(batch["image"].to(device)) > 0
            right.append(found.cpu() == (batch["tags"].cpu() == 1))
    return accuracy(right)


def accuracy(right: Sequence[Tensor]) -> dict[str, Any]:
    """The result of `guide_accuracy`, from batches (B, K-1) of whether each decision was right."""
    if not right:
        raise ValueError("Expected `loader` to yield at least one image, but got none.")
    decisions = torch.cat(list(right)).double()
    return {
        "per_class": decisions.mean(dim=0).tolist(),
        "mean": decisions.mean().item(),
        "exact_match": decisions.prod(dim=1).mean().item(),
        "images": len(decisions),
    }


def masked_batches(
    loader: Loader, device: torch.device | str, named: bool = False
) -> Iterator[tuple[Tensor, Tensor, Tensor, Sequence[str] | None]]:
    """Images, tags and masks of every batch on `device`, and its names if `named`."""
    for batch in loader:
        if "mask" not in batch:
            raise ValueError(f"Expected batches with a 'mask', but got only {sorted(batch)}; load with masks=True.")
        if named and "name" not in batch:
            raise ValueError(f"Expected batches with a 'name' for `per_image`, but got only {sorted(batch)}.")
        tensors = batch["image"].to(device), batch["tags"].to(device), batch["mask"].to(device)
        yield *tensors, batch["name"] if named else None


def nan_mean(values: Sequence[float]) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    known = [x for x in values if not math.isnan(x)]
    return math.fsum(known) / len(known) if known else math.nan


def finite(value: float | None) -> float | None:
    """The value, or None for NaN, which JSON lacks."""
    return None if value is None or math.isnan(value) else value


def check_truth(truth: Tensor, shape: Sequence[int], tags: Tensor, num_classes: int) -> None:
    """Raise a ValueError unless truth (B, H, W) and tags (B, K-1) fit label maps of a shape, and the classes."""
    if truth.shape != tuple(shape):
        raise ValueError(
            f"Expected predicted labels to have the shape of the ground truth, {tuple(truth.shape)}, "
            f"but got {tuple(shape)}; resize images and masks to the same size."
        )
    _check_labels(truth.masked_fill(truth == IGNORE, 0), num_classes, "the ground truth")
    check_tags(tags, batch=len(truth), num_classes=num_classes)


def _check_labels(labels: Tensor, num_classes: int, name: str) -> None:
    if labels.is_floating_point():
        raise ValueError(f"Expected {name} to be integers, but got {labels.dtype}.")
    if not labels.numel():
        return
    lowest, highest = (int(label) for label in labels.aminmax())
    if lowest < 0 or highest >= num_classes:
        raise ValueError(f"Expected {name} to lie in 0 to {num_classes - 1}, but got {lowest} to {highest}.")
