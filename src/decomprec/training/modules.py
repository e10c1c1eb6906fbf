"""Lightning modules: the guide (Eq. 9), then the segmenter (Eq. 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import BinaryAccuracy, MulticlassJaccardIndex

from decomprec import functional as DF
from decomprec.decomposition import Decomposition, labels_from_logits
from decomprec.evidence import EvidenceMasks
from decomprec.guide import Frozen
from decomprec.losses import ClsLoss, DecompositionLoss
from decomprec.models.classifiers import PooledClassifier
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.refine import rescale, resize
from decomprec.slots import choose_slots
from decomprec.training.augment import FILLS, occlude
from decomprec.training.collapse import Diagnostics
from decomprec.training.sample import Sample
from decomprec.training.settings import GuideSettings, SegmenterSettings

Batch = dict[str, Any]

FITTED = 2**18
"""Most images, counted in every epoch anew, that the head of a frozen guide is fitted to: 0.5 GB for 1024 channels."""

_AT_ONCE = 2**14  # images whose logits the fit keeps


class Stage(L.LightningModule):
    """What both stages share: Adam as in section 4.3, its schedule, and an encoder that may be frozen."""

    def __init__(self, encoder: nn.Module | None, learning_rate: float, weight_decay: float, one_cycle: bool) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.one_cycle = one_cycle
        # A tuple: the subclass registers the network that the encoder is part of.
        self._frozen = () if encoder is None else (encoder.requires_grad_(False).eval(),)

    def train(self, mode: bool = True) -> Self:
        """Set the mode. A frozen encoder stays in eval mode, with the statistics of its BatchNorm."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def _parts(self) -> int:
        """How many calls of `training_step` make a step of the optimiser."""
        return self.trainer.accumulate_grad_batches if self._trainer else 1

    def _weight(self, images: int) -> int:
        """The `batch_size` of a logged mean: Lightning truncates the mean of these integers over all processes."""
        return images * (self.trainer.world_size if self._trainer else 1)

    def losses(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """What the training step makes small, and its parts, by their names."""
        raise NotImplementedError

    def configure_optimizers(self) -> Any:
        """Adam, as in section 4.3."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        # Not fused: that one misreads a state whose memory layout differs from its parameter's.
        optimizer = torch.optim.Adam(
            parameters, lr=self.learning_rate, betas=(0.9, 0.999), weight_decay=self.weight_decay
        )
        steps = int(self.trainer.estimated_stepping_batches) if self.one_cycle else 0
        if steps == 0:
            return optimizer
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=self.learning_rate, total_steps=steps, cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class GuideModule(Stage):
    """Stage one: train a classifier on whole images by Eq. 9.

    With `settings.freeze_encoder` the pooled features of the images that are trained on are kept, and the head is
    fitted to them at the end of the last epoch (`fit_head`): all while they are at most `FITTED`, else a random sample
    of so many.

    Args:
        classifier: maps images (B, 3, H, W) in [0, 1] to logits (B, K-1). To freeze its encoder, it must be a
            `PooledClassifier`.
        settings: learning rate, weight decay, frozen encoder, occlusion and scales; the paper's by default.
        one_cycle: warm the learning rate up and down over the run.

    Raises:
        ValueError: if the encoder is to be frozen and the classifier is no `PooledClassifier`.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=2)
        >>> module = GuideModule(classifier, GuideSettings(learning_rate=1e-3))
    """

    def __init__(
        self, classifier: nn.Module, settings: GuideSettings | None = None, *, one_cycle: bool = False
    ) -> None:
        settings = settings or GuideSettings()
        encoder = None
        if settings.freeze_encoder:
            if not isinstance(classifier, PooledClassifier):
                raise ValueError(
                    f"Expected `classifier` to be a PooledClassifier with freeze_encoder, but got a "
                    f"{type(classifier).__name__}."
                )
            encoder = classifier.encoder
        super().__init__(encoder, settings.learning_rate, settings.weight_decay, one_cycle)
        self.settings = settings
        self.classifier = classifier
        self.accuracy = BinaryAccuracy()
        # Pooled features in half precision and tags, 2 C + K - 1 bytes a row: those of this process's steps in the
        # epoch, then those of all whole epochs and processes.
        self._steps, self._seen = Sample(FITTED), Sample(FITTED)
        self._keys = torch.Generator()
        self._fitted = False

    def losses(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """The loss of Eq. 9 of a training batch."""
        images, scales = batch["image"], self.settings.scales
        scale = scales[batch_idx // self._parts() % len(scales)]
        if scale != 1:
            images = rescale(images, scale)
        if self.settings.occlusion:
            images = occlude(images, self.settings.occlusion, list(FILLS.values()))
        if self.settings.freeze_encoder:
            assert isinstance(self.classifier, PooledClassifier)
            features = self.classifier.pool(images)
            keys = torch.rand(len(features), generator=self._keys)
            self._steps.add(features.detach().half().cpu(), batch["tags"].to("cpu", torch.uint8), keys)
            logits = self.classifier.classify(features)
        else:
            logits = self.classifier(images)
        return {"loss": DF.guide_loss(logits, batch["tags"])}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step of Eq. 9."""
        loss = self.losses(batch, batch_idx)["loss"]
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["image"]))
        return loss

    def setup(self, stage: str) -> None:
        """Remember nothing of a training that was broken off, unless a checkpoint is loaded."""
        self._steps.clear()
        self._seen.clear()
        self._fitted = False

    def on_train_epoch_start(self) -> None:
        """Draw the sample by epoch and process: a resumed training draws the same."""
        self._keys.manual_seed(1000 * self.current_epoch + self.global_rank)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """After an epoch, bring together what all processes have seen; after the last, fit the head to all of it.

        Before the validation, which is to judge that head, and the checkpoint, which one process writes.
        """
        if not (self.settings.freeze_encoder and self.trainer.is_last_batch):
            return
        mine = tuple(column.to(self.device) for column in self._steps.rows)
        every = self.all_gather(mine)
        self._seen.add(*(column.reshape(-1, *own.shape[1:]).cpu() for column, own in zip(every, mine, strict=True)))
        self._steps.clear()
        if self.current_epoch + 1 == self.trainer.max_epochs:
            self._fit_head()

    def on_fit_end(self) -> None:
        """Fit the head now if the training ended before its last epoch, as with a limit of time."""
        if self._seen and not self._fitted:
            self._fit_head()

    def _fit_head(self) -> None:
        assert isinstance(self.classifier, PooledClassifier)
        features, tags, _ = (column.to(self.device) for column in self._seen.rows)
        fit_head(self.classifier, features, tags, self.weight_decay)
        self._fitted = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What has been seen so far is part of the checkpoint."""
        checkpoint["seen"] = self._seen.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._seen.load_state_dict(checkpoint["seen"])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and accuracy on whole images."""
        logits = self.classifier(batch["image"])
        self.accuracy.update(logits, batch["tags"].int())
        loss = DF.guide_loss(logits, batch["tags"])
        self.log("val/loss", loss, batch_size=self._weight(len(logits)), sync_dist=True)
        self.log("val/accuracy", self.accuracy, prog_bar=True)


class SegmenterModule(Stage):
    """Stage two: train the segmenter by Eq. 8. Masks in the validation batches are only reported on.

    `seed_weights`, (K,) or None, balance the classes of seeds that are known before the training.

    Args:
        segmenter: maps images to a `Decomposition`.
        loss: the objective, Eq. 7.
        num_classes: K, background included.
        settings: learning rate, frozen encoder and image size; the paper's by default.
        one_cycle: warm the learning rate up and down over the run.
        second_guide: one that the loss does not know, usually a `FrozenGuide`, for the logged adversarial gap.
        evidence: makes the seeds of batches that have none, if the loss has a weight for them.
    """

    def __init__(
        self,
        segmenter: DecompositionSegmenter,
        loss: DecompositionLoss,
        num_classes: int,
        settings: SegmenterSettings | None = None,
        *,
        one_cycle: bool = False,
        second_guide: Callable[[Tensor], Tensor] | None = None,
        evidence: EvidenceMasks | None = None,
    ) -> None:
        settings = settings or SegmenterSettings()
        super().__init__(segmenter.encoder if settings.freeze_encoder else None, settings.learning_rate, 0.0, one_cycle)
        self.settings = settings
        self.segmenter = segmenter
        self.loss = loss
        self.iou = MulticlassJaccardIndex(num_classes, average="macro", ignore_index=255)
        self.second_guide = second_guide
        self._evidence = None if evidence is None else Frozen(evidence)
        self.seed_weights: Tensor | None
        self.register_buffer("seed_weights", None, persistent=False)
        self.diagnostics = Diagnostics(num_classes)

    def losses(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """The terms of Eq. 7 of a training batch by their names, and the "total"."""
        images, tags = self._shown(batch["image"]), batch["tags"]
        seeds = batch.get("seeds")
        if seeds is not None:
            seeds = F.interpolate(seeds[:, None].float(), images.shape[-2:], mode="nearest-exact")[:, 0].long()
        elif self._evidence is not None:
            seeds = self._evidence.module.seeds(images, tags)
        out = self._decompose(images, tags)
        return self.loss(out, images, tags, batch.get("areas"), seeds, self.seed_weights).as_dict()

    def _decompose(self, images: Tensor, tags: Tensor) -> Decomposition:
        if not self.settings.shown_slots_only:
            return self.segmenter(images)
        assert self.settings.absent_slots is not None
        keys = torch.rand(tags.shape, device=tags.device)
        slots, _ = choose_slots(tags, keys, self.settings.absent_slots)
        return self.segmenter(images, slots)

    def _shown(self, images: Tensor) -> Tensor:
        """The images as large as the segmenter is to see them."""
        size = self.settings.image_size
        return images if size is None else rescale(images, size / min(images.shape[-2:]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step of Eq. 8; known areas in the batch, "areas" (B, K), are what L_mask aims at."""
        terms = self.losses(batch, batch_idx)
        for name, value in terms.items():
            self.log(f"train/{name}", value, prog_bar=name in ("total", "cls"), batch_size=len(batch["image"]))
        return terms["total"]

    def on_validation_epoch_start(self) -> None:
        """Start the diagnostics anew; until then a callback can read them."""
        self.diagnostics.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """L_recon, L_mask, diagnostics and, where masks are known, the mean IoU: what is cheap."""
        images, tags = self._shown(batch["image"]), batch["tags"]
        out = self._decompose(images, tags)
        terms = {
            "recon": self.loss.recon_loss(out.reconstruction, images),
            "mask": self.loss.mask_loss(out.areas, out.tags_here(tags)),
        }
        for name, value in terms.items():
            self.log(f"val/{name}", value, batch_size=self._weight(len(images)), sync_dist=True)
        cls_loss = self.loss.cls_loss
        guide = cls_loss.guide if isinstance(cls_loss, ClsLoss) else None
        self.diagnostics.update(out, images, tags, guide, self.second_guide)
        if "mask" in batch:
            logits = out.mask_logits if out.slots is None else self.segmenter.mask_logits(images)
            logits = resize(logits, batch["mask"].shape[-2:])
            self.iou.update(labels_from_logits(logits), batch["mask"])
            self.log("val/mean_iou", self.iou, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        """Log the diagnostics."""
        self.log_dict({f"val/{name}": value for name, value in self.diagnostics.summary().items()})


@torch.enable_grad()
def fit_head(classifier: PooledClassifier, features: Tensor, tags: Tensor, weight_decay: float) -> None:
    """Minimise Eq. 9 over the head alone, by L-BFGS from zero.

    With an L2 penalty the problem is strictly convex in the weights: the result depends on the features and the
    penalty, and neither on a learning rate nor on the number of epochs. A standardising classifier gets the mean and
    variance of the features.

    Args:
        classifier: changed in place.
        features: pooled, as `PooledClassifier.pool` gives them, (N, C).
        tags: (N, K-1), {0, 1}, of any dtype.
        weight_decay: λ of the penalty λ/2 ‖w‖² on the weights, at least 0.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=2, standardise=True)
        >>> features = torch.rand(50, 16)
        >>> fit_head(classifier, features, (features[:, :1] > 0.5).float(), weight_decay=1e-3)
        >>> logits = classifier.eval().head(classifier.norm(features))
        >>> bool(((logits > 0) == (features[:, :1] > 0.5)).float().mean() > 0.9)
        True
    """
    norm, head = classifier.norm, classifier.head
    features = features.to(head.weight)
    if isinstance(norm, nn.modules.batchnorm._BatchNorm):  # Lightning's sync_batchnorm leaves one of another class
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(features.mean(dim=0))
        norm.running_var.copy_(features.var(dim=0, unbiased=False))
        features = (features - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")
    parts = list(zip(features.split(_AT_ONCE), tags.split(_AT_ONCE), strict=True))

    def closure() -> float:
        optimizer.zero_grad()
        penalty = weight_decay / 2 * head.weight.square().sum()
        penalty.backward()
        total = penalty.detach()
        for part, its_tags in parts:
            loss = DF.guide_loss(head(part), its_tags) * (len(part) / len(features))
            loss.backward()
            total = total + loss.detach()
        return total.item()

    optimizer.step(closure)
    optimizer.zero_grad()
