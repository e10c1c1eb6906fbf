"""What a segmenter's decompositions look like over a validation epoch, and when that is a collapse."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics import Metric

from decomprec import functional as DF
from decomprec.decomposition import Decomposition
from decomprec.slots import mask_entropy
from decomprec.training.interruptions import StoppedRunError

# Bounds that no sound run comes near.
_VANISHED, _EVERYTHING, _UNDECIDED = 0.001, 0.999, 0.999
# In fewer images the mean area is chance.
_ENOUGH_IMAGES = 8
# The masks of a network that has hardly been trained are undecided anyway.
_ENOUGH_STEPS = 1000

_LARGER = (
    "raise the lower end of segmenter.area_range or lower segmenter.lambda_mask; "
    "without an area_range, raise segmenter.lambda_mask"
)
_SMALLER = "raise segmenter.lambda_mask or lower the upper end of segmenter.area_range"
_DECIDED = "raise segmenter.lambda_cls or lower segmenter.lambda_mask"
_FINITE = "lower segmenter.learning_rate or train in full precision"


class Diagnostics(Metric):
    """Areas, entropy and the guide's confidence, averaged over images and over processes.

    The confidence is the guide's probability of a present class on its own component Î_k = M_k · X_k on black,
    the accept term of Eq. 6, independent of the loss's view. The adversarial gap is that confidence minus the one
    of a witness that the texture of the image-lets has not been fitted to: a second guide on the same
    components or, without one, the same guide on the image's own pixels behind the same masks, M_k · I.
    Only components of present classes are shown, each twice.

    Args:
        num_classes: K, background included.

    Examples:
        >>> diagnostics = Diagnostics(num_classes=2)
        >>> out = Decomposition(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 3, 4, 4))
        >>> guide = lambda images: 4 * images.mean(dim=(1, 2, 3))[:, None] - 2
        >>> diagnostics.update(out, torch.zeros(1, 3, 4, 4), torch.ones(1, 1), guide)
        >>> values = diagnostics.summary()
        >>> list(values)[:5]
        ['area_smallest', 'area_largest', 'mask_entropy', 'area_present', 'confidence']
        >>> round(values["adversarial_gap"].item(), 4)
        0.3808
    """

    full_state_update = False

    areas: Tensor
    counts: Tensor
    absent_areas: Tensor
    absences: Tensor
    entropy: Tensor
    confidence: Tensor
    witness: Tensor
    judged: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        for name in ("areas", "counts"):
            self.add_state(name, torch.zeros(num_classes), dist_reduce_fx="sum")
        for name in ("absent_areas", "absences", "entropy", "confidence", "witness", "judged"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def update(
        self,
        out: Decomposition,
        images: Tensor,
        tags: Tensor,
        guide: Callable[[Tensor], Tensor] | None = None,
        second_guide: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Add a batch: the decomposition of images (B, 3, H, W) with tags (B, K-1)."""
        present = DF.with_background(out.tags_here(tags)) == 1
        self.areas += self._by_class(out.areas.where(present, 0), out.slots)
        self.counts += self._by_class(present, out.slots)
        self.absent_areas += out.areas.where(~present, 0).sum()
        self.absences += (~present).sum()
        self.entropy += mask_entropy(out.masks).sum() / math.log(present.shape[1])
        if guide is None or not tags.any():
            return
        image, slot = present[:, 1:].nonzero(as_tuple=True)
        masks = out.masks[image, slot + 1].unsqueeze(1)
        components = masks * out.imagelets[image, slot + 1]
        class_index = slot if out.slots is None else out.slots[image, slot + 1] - 1
        self.confidence += _probability(guide, components, class_index).sum()
        if second_guide is None:
            witness = _probability(guide, masks * images[image], class_index)
        else:
            witness = _probability(second_guide, components, class_index)
        self.witness += witness.sum()
        self.judged += len(image)

    def _by_class(self, values: Tensor, slots: Tensor | None) -> Tensor:
        """The sums over the batch of values (B, S) of slots, by class: (K,)."""
        if slots is None:
            return values.sum(dim=0)
        return values.new_zeros(len(values), len(self.areas)).scatter(1, slots, values).sum(dim=0)

    def compute(self) -> dict[str, Tensor]:
        """Means: "areas", "counts", "mask_entropy" and, where there is such a thing, the others.

        The areas (K,) are those of the background in all images and of each class in the images that have it,
        whose numbers are "counts" (K,); "area_present" and "area_absent" are means over every class in the images
        that have it, or do not; the entropy is a share of ln K. "confidence" and "adversarial_gap" need a guide.
        """
        values = {
            "areas": self.areas / self.counts.clamp(min=1),
            "counts": self.counts,
            "mask_entropy": self.entropy / self.counts[0],
        }
        if self.counts[1:].any():
            values["area_present"] = self.areas[1:].sum() / self.counts[1:].sum()
        if self.absences > 0:
            values["area_absent"] = self.absent_areas / self.absences
        if self.judged > 0:
            values["confidence"] = self.confidence / self.judged
            values["adversarial_gap"] = (self.confidence - self.witness) / self.judged
        return values

    def summary(self) -> dict[str, Tensor]:
        """Scalars for the log: those of `compute`, and the smallest and largest area of a slot."""
        values = dict(self.compute())
        areas = values.pop("areas")[values.pop("counts") > 0]
        return {"area_smallest": areas.min(), "area_largest": areas.max(), **values}


def _probability(guide: Callable[[Tensor], Tensor], images: Tensor, class_index: Tensor) -> Tensor:
    return guide(images).float().sigmoid().gather(1, class_index[:, None])


class Finding(NamedTuple):
    """A sign of collapse.

    Attributes:
        kind: the same for the same sign in another epoch.
        text: what is wrong, with its number.
        advice: what to change.
    """

    kind: str
    text: str
    advice: str


def findings(
    values: dict[str, Tensor], class_names: Sequence[str], steps: int, finite_loss: bool = True
) -> list[Finding]:
    """What in the means of `Diagnostics.compute` can only be a collapse.

    A class of fewer than eight images is not judged, nor are undecided masks before step 1000. Where the
    background takes everything, some class has vanished.

    Args:
        values: the means of a validation epoch.
        class_names: of the K-1 classes.
        steps: of training so far.
        finite_loss: whether the validation loss is finite.

    Examples:
        >>> values = {"areas": torch.tensor([0.5, 0.0]), "counts": torch.tensor([9, 8])}
        >>> values["mask_entropy"] = torch.ones(())
        >>> [finding.text for finding in findings(values, ["dog"], steps=100)]
        ["the masks of 'dog' cover 0 % of the images that have one"]
    """
    areas, entropy = values["areas"].tolist(), values["mask_entropy"].item()
    if not finite_loss or not all(math.isfinite(value) for value in (*areas, entropy)):
        return [Finding("not finite", "the loss or the masks are not finite", _FINITE)]
    found = []
    slots = [("the background", "all images"), *((repr(name), "the images that have one") for name in class_names)]
    for slot, ((name, where), area) in enumerate(zip(slots, areas, strict=True)):
        if values["counts"][slot] < _ENOUGH_IMAGES:
            continue
        text = f"the masks of {name} cover {100 * area:.4g} % of {where}"
        if area < _VANISHED:
            found.append(Finding(f"{slot} vanished", text, _SMALLER if slot == 0 else _LARGER))
        elif area > _EVERYTHING and slot > 0:
            found.append(Finding(f"{slot} took everything", text, _SMALLER))
    if entropy > _UNDECIDED and steps >= _ENOUGH_STEPS:
        text = f"the masks are undecided everywhere, with an entropy of {100 * entropy:.4g} % of ln K"
        found.append(Finding("undecided", text, _DECIDED))
    return found


class CollapsedRunError(StoppedRunError):
    """A segmenter's training has collapsed: more training would not help."""


class StopCollapsed(Callback):
    """Stop a segmenter's training once its diagnostics can only mean a collapse.

    It looks at every validation for a class whose masks cover less than 0.1 % or more than
    99.9 % of the images that have one, a background of less than 0.1 %, masks that are undecided everywhere
    after 1000 steps, and losses or masks that are not finite. A class of fewer than eight images is not judged.
    How often each has been found is part of the checkpoint.

    Args:
        class_names: of the K-1 classes, for the message.
        patience: how many validations in a row must find the same, at least 1.

    Raises:
        ValueError: if `patience` is less than 1.

    Examples:
        >>> trainer = L.Trainer(callbacks=[StopCollapsed(["dog"])], logger=False, accelerator="cpu")
    """

    def __init__(self, class_names: Sequence[str], patience: int = 2) -> None:
        if patience < 1:
            raise ValueError(f"Expected `patience` to be at least 1, but got {patience}.")
        self.class_names = tuple(class_names)
        self.patience = patience
        self.epochs: dict[str, list[int]] = {}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare this validation's findings with those before.

        Raises:
            CollapsedRunError: if the same has been found `patience` times in a row.
        """
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        diagnostics = getattr(pl_module, "diagnostics", None)
        if not fitting or not isinstance(diagnostics, Diagnostics):
            return
        # The diagnostics are means over all processes, the loss is this one's.
        finite_loss = trainer.strategy.reduce_boolean_decision(bool(trainer.callback_metrics["val/recon"].isfinite()))
        found = findings(diagnostics.compute(), self.class_names, trainer.global_step, finite_loss)
        self.epochs = {f.kind: [*self.epochs.get(f.kind, []), trainer.current_epoch] for f in found}
        lasting = [f for f in found if len(self.epochs[f.kind]) >= self.patience]
        if lasting:
            said = "; ".join(f"{f.text}, after {_epochs(self.epochs[f.kind])}: {f.advice}" for f in lasting)
            raise CollapsedRunError(f"The segmenter has collapsed: {said}. The last checkpoint is kept.")

    def state_dict(self) -> dict[str, Any]:
        """What has been found in the epochs before."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.epochs = state_dict["epochs"]


def _epochs(numbers: list[int]) -> str:
    *before, last = dict.fromkeys(numbers)
    return f"epochs {', '.join(map(str, before))} and {last}" if before else f"epoch {last}"
