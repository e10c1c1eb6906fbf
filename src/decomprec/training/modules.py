"""Lightning modules: the guide (Eq. 9), then the segmenter (Eq. 8)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics.classification import BinaryAccuracy, MulticlassJaccardIndex

from decomprec import functional as DF
from decomprec.decomposition import Decomposition, labels_from_logits
from decomprec.evidence import EvidenceMasks
from decomprec.guide import Frozen
from decomprec.losses import ClsLoss, DecompositionLoss
from decomprec.models.classifiers import PooledClassifier
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.refine import rescale, rescale_to, resize, resize_labels
from decomprec.slots import choose_slots
from decomprec.training.augment import FILLS, occlude
from decomprec.training.collapse import Diagnostics
from decomprec.training.head import KeptFeatures, fit_head
from decomprec.training.settings import GuideSettings, SegmenterSettings

Batch = dict[str, Any]

_MOST_KEPT = 2**30  # bytes of features on disk, of each process


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

    With `settings.freeze_encoder` the head alone is trained, and few images give it few steps. It then takes
    further ones at the end of every epoch, `settings.head_steps` in all, on the features of that epoch, which are kept
    until then (`train_head`): they cost little without the encoder.

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
        self._kept = KeptFeatures(_MOST_KEPT)
        if encoder is not None and isinstance(classifier.norm, nn.modules.batchnorm._BatchNorm):
            classifier.norm.momentum = None  # plain means, as the features stay the same

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
            with torch.no_grad():
                features = self.classifier.gather(self.classifier.encoder(images))
            # The first ones, as many as there is room for, are a sample: the images are shuffled.
            self._kept.append(features, batch["tags"])
            logits = self.classifier.classify(features)
        else:
            logits = self.classifier(images)
        return {"loss": DF.guide_loss(logits, batch["tags"])}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step of Eq. 9."""
        loss = self.losses(batch, batch_idx)["loss"]
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["image"]))
        return loss

    def on_train_epoch_start(self) -> None:
        """Make room for the features of this epoch."""
        self._kept.clear()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """After an epoch's last batch, fit the head: before the validation, which judges it, and the checkpoint."""
        if not (self._kept and self.trainer.is_last_batch):
            return
        classifier = self.classifier
        assert isinstance(classifier, PooledClassifier)
        for statistic in classifier.norm.buffers():
            if statistic.is_floating_point():
                statistic.copy_(self._mean(statistic))
        steps = math.ceil(self.settings.head_steps / (self.trainer.max_epochs or 1)) - (batch_idx + 1)
        fit_head(classifier, self._kept, self.settings, max(0, steps), seed=self.current_epoch, mean=self._mean)
        classifier.norm.train()
        self._kept.clear()

    def _mean(self, tensor: Tensor) -> Tensor:
        """The mean over all processes."""
        mean = self.trainer.strategy.reduce(tensor, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and accuracy on whole images."""
        logits = self.classifier(rescale(batch["image"], self.settings.scales[0]))
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
            seeds = resize_labels(seeds, images.shape[-2:]).long()
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
        return images if size is None else rescale_to(images, size)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step of Eq. 8; known areas in the batch, "areas" (B, K), are what L_mask aims at."""
        terms = self.losses(batch, batch_idx)
        for name, value in terms.items():
            self.log(f"train/{name}", value, prog_bar=name in ("total", "cls"), batch_size=len(batch["image"]))
        return terms["total"]

    def on_validation_epoch_start(self) -> None:
        """Reset the diagnostics; until then a callback can read them."""
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
