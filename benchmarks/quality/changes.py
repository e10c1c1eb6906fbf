"""Single changes of the method for `benchmarks.quality.ablation`: settings, or parts that a callback inserts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from torch import Tensor, nn

from decomprec.decomposition import Decomposition, Slots
from decomprec.functional import guide_loss
from decomprec.losses import ClsLoss
from decomprec.models import PooledClassifier
from decomprec.priors import EdgeAwareSmoothness
from decomprec.protocols import ExtraLoss, View
from decomprec.refine import resize
from decomprec.training import SegmenterModule
from decomprec.views import blur_fill, mean_fill, noise_fill


@dataclass(frozen=True)
class Change:
    """One row of the table.

    Attributes:
        name: of the row.
        settings: of the preset.
        callback: made anew for each run.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    callback: Callable[[], Callback] | None = None


class AddTerm(Callback):
    """Add a term to the segmenter's loss.

    Args:
        build: makes it from the module.
        weight: of the term.
    """

    def __init__(self, build: Callable[[SegmenterModule], ExtraLoss], weight: float) -> None:
        self.build = build
        self.weight = weight

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if isinstance(pl_module, SegmenterModule):
            pl_module.loss.extra["added"] = (self.weight, self.build(pl_module))


def per_slot_reconstruction(out: Decomposition, images: Tensor, tags: Tensor) -> Tensor:
    """Σ_k M_k |X_k - I|²: each image-let must look like the image where its mask is, not only their blend.

    Examples:
        >>> images = torch.rand(1, 3, 4, 4)
        >>> same = Decomposition(torch.randn(1, 2, 4, 4), images[:, None].expand(1, 2, 3, 4, 4))
        >>> per_slot_reconstruction(same, images, torch.ones(1, 1)).item()
        0.0
    """
    errors = (out.imagelets.float() - images[:, None].float()).square().mean(dim=2)
    return (out.masks.float() * errors).sum(dim=1).mean()


def mask_entropy(out: Decomposition, images: Tensor, tags: Tensor) -> Tensor:
    """Mean entropy of the masks in nats per pixel: small where every pixel has decided for one class.

    Examples:
        >>> undecided = Decomposition(torch.zeros(1, 2, 4, 4), torch.rand(1, 2, 3, 4, 4))
        >>> mask_entropy(undecided, torch.rand(1, 3, 4, 4), torch.ones(1, 1))  # ln 2
        tensor(0.6931)
    """
    return torch.distributions.Categorical(logits=out.mask_logits.float().movedim(1, -1)).entropy().mean()


class FeatureReconstruction:
    """Squared distance of the reconstruction's features from the image's, over the features' mean square.

    Args:
        module: whose segmenter has a frozen encoder.
    """

    def __init__(self, module: SegmenterModule) -> None:
        self.encoder = module.segmenter.encoder

    def __call__(self, out: Decomposition, images: Tensor, tags: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.encoder(images)[-1].float()
        found = self.encoder(out.reconstruction)[-1].float()
        return (found - wanted).square().mean() / wanted.square().mean().clamp(min=1e-6)


class ScaleConsistency:
    """L1 distance of the masks from those of the mirrored and reduced image, as in SEAM (Wang et al., 2020).

    Args:
        module: whose segmenter it is about.
        scale: of the reduced image.
    """

    def __init__(self, module: SegmenterModule, scale: float = 0.6) -> None:
        self.mask_logits = module.segmenter.mask_logits
        self.scale = scale

    def __call__(self, out: Decomposition, images: Tensor, tags: Tensor) -> Tensor:
        view = F.interpolate(images, scale_factor=self.scale, mode="bilinear", antialias=True).clamp(0, 1).flip(-1)
        masks = self.mask_logits(view).float().softmax(dim=1).flip(-1)
        masks = F.interpolate(masks, size=images.shape[-2:], mode="bilinear", align_corners=False)
        return (masks - out.masks.float()).abs().mean()


class AnnealedPrior(Callback):
    """λ_m from zero to its value over the whole training."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if isinstance(pl_module, SegmenterModule):
            self.final = pl_module.loss.lambda_mask

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, idx: int) -> None:
        if isinstance(pl_module, SegmenterModule):
            pl_module.loss.lambda_mask = self.final * trainer.global_step / trainer.estimated_stepping_batches


class NoLoss(nn.Module):
    """Nothing, in the place of L_recon."""

    def forward(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        return reconstruction.new_zeros(())


class WithoutReconstruction(Callback):
    """Leave L_recon out."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if isinstance(pl_module, SegmenterModule):
            pl_module.loss.recon_loss = NoLoss()


class AverageSegmenter(EMAWeightAveraging):
    """An exponential moving average of the weights, over the last ten steps or so."""

    def __init__(self) -> None:
        super().__init__(decay=0.9)


class OtherBackgrounds:
    """One call in four, what stands outside a slot's mask is the background of the batch's next image.

    Where that image's own background mask is low, its mean colour stands in for its objects.

    Args:
        view: of the other calls.
    """

    def __init__(self, view: View) -> None:
        self.view = view

    def __call__(self, out: Decomposition | Slots, images: Tensor) -> Tensor:
        if torch.rand(()) >= 0.25:
            return self.view(out, images)
        empty = torch.lerp(mean_fill(images), images, out.masks[:, :1].detach().to(images.dtype))
        return torch.lerp(empty.roll(1, dims=0)[:, None], images[:, None], out.masks[:, :, None].to(images.dtype))


class ShowOtherBackgrounds(Callback):
    """Put `OtherBackgrounds` around the view of L_cls."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        cls_loss = _cls_loss(pl_module)
        cls_loss.view = OtherBackgrounds(cls_loss.view)


class MaskedOut:
    """-log(1 - g_k((1 - M_k) I + M_k fill)) for one present class k of each image: nothing of it is left outside.

    Args:
        module: whose guide judges.
    """

    def __init__(self, module: SegmenterModule) -> None:
        self.guide = _cls_loss(module).guide

    def __call__(self, out: Decomposition, images: Tensor, tags: Tensor) -> Tensor:
        with_class = tags.any(dim=1).nonzero().squeeze(1)
        if len(with_class) == 0:
            return images.new_zeros(())
        images, tags = images[with_class], tags[with_class]
        chosen = (torch.rand_like(tags) + tags).argmax(dim=1, keepdim=True)
        masks = out.masks[with_class[:, None], chosen + 1].to(images.dtype)
        fill = (mean_fill, noise_fill, blur_fill)[int(torch.randint(3, ()))](images)
        logits = self.guide(torch.lerp(images, fill, masks)).float()
        return F.softplus(logits.gather(1, chosen)).mean()


class GuideAlongside(Callback):
    """The guide's head goes on learning beside the segmenter: whole images, and what it is shown of one of their slots.

    Args:
        learning_rate: of Adam.
    """

    def __init__(self, learning_rate: float = 1e-3) -> None:
        self.learning_rate = learning_rate

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        guide: Any = _cls_loss(pl_module).guide
        self.classifier: PooledClassifier = guide.module
        self.optimizer = torch.optim.Adam(self.classifier.head.parameters(), self.learning_rate)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: dict[str, Tensor], idx: int
    ) -> None:
        assert isinstance(pl_module, SegmenterModule)
        size = pl_module.settings.image_size or batch["image"].shape[-1]
        images, tags = resize(batch["image"], [size, size]).clamp(0, 1), batch["tags"]
        chosen = (torch.rand_like(tags) + tags).argmax(dim=1, keepdim=True)
        present = tags.gather(1, chosen)
        # A present class, or the background where there is none.
        slots = torch.where(present.bool(), chosen + 1, 0)
        wanted = torch.zeros_like(tags).scatter(1, chosen, present)
        with torch.no_grad():
            shown = _cls_loss(pl_module).view(pl_module.segmenter(images).select(slots), images)[:, 0]
            features = self.classifier.gather(self.classifier.encoder(torch.cat([images, shown]))).float()
        self.classifier.head.requires_grad_(True)
        with torch.enable_grad():
            loss = guide_loss(self.classifier.classify(features), torch.cat([tags, wanted]))
            self.optimizer.zero_grad()
            loss.backward()
        self.optimizer.step()
        self.classifier.head.requires_grad_(False)


def _cls_loss(module: L.LightningModule) -> ClsLoss:
    assert isinstance(module, SegmenterModule)
    assert isinstance(module.loss.cls_loss, ClsLoss)
    return module.loss.cls_loss


CHANGES = (
    Change("nothing"),
    Change("no seeds", {"segmenter.seeds": 0}),
    Change("no seeds, λ_m = 0.3", {"segmenter.seeds": 0, "segmenter.lambda_mask": 0.3}),
    Change("no L_cls", {"segmenter.lambda_cls": 0}),
    Change("λ_c = 0.1", {"segmenter.lambda_cls": 0.1}),
    Change("edge-aware smoothness", callback=lambda: AddTerm(lambda _: EdgeAwareSmoothness(), 0.3)),
    Change("no L_mask", {"segmenter.lambda_mask": 0}),
    Change("no L_recon", callback=WithoutReconstruction),
    Change("guide sees components on black (Î_k)", {"segmenter.content": "imagelets", "segmenter.fills": []}),
    Change("guide sees stopped image-lets on the fills", {"segmenter.content": "stopped"}),
    Change("guide sees image-lets on the fills", {"segmenter.content": "imagelets"}),
    Change("one fill: the mean colour", {"segmenter.fills": ["mean"]}),
    Change("another image's background as a fill too", callback=ShowOtherBackgrounds),
    Change("absent classes ignored (Eq. 6)", {"segmenter.absent": "ignore"}),
    Change("nothing of a class outside its mask", callback=lambda: AddTerm(MaskedOut, 0.1)),
    Change("guide's head trained alongside", callback=GuideAlongside),
    Change("λ_m = 0.3", {"segmenter.lambda_mask": 0.3}),
    Change("area prior: tags (Eq. 4)", {"segmenter.area_range": None}),
    Change("area prior annealed", callback=AnnealedPrior),
    Change("entropy, weight 0.03", callback=lambda: AddTerm(lambda _: mask_entropy, 0.03)),
    Change("reconstruction of each slot too", callback=lambda: AddTerm(lambda _: per_slot_reconstruction, 1.0)),
    Change("reconstruction of features too", callback=lambda: AddTerm(FeatureReconstruction, 0.1)),
    Change("scale and flip consistency", callback=lambda: AddTerm(ScaleConsistency, 0.3)),
    Change("moving average of the weights", callback=AverageSegmenter),
    Change("constant learning rate", {"one_cycle": False}),
    Change("encoder trained too", {"segmenter.freeze_encoder": False}),
    Change("trained at the images' own size", {"segmenter.image_size": None}),
    Change(
        "encoder from scratch",
        {
            "segmenter.encoder": "mobilenetv1_100",
            "segmenter.encoder_options": {"output_stride": 16},
            "segmenter.freeze_encoder": False,
        },
    ),
)
