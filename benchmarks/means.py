"""Single changes of the method, which `benchmarks.ablation` judges: settings, or parts that a callback puts in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from torch import Tensor

from decomprec.decomposition import Decomposition
from decomprec.losses import ExtraLoss
from decomprec.training import SegmenterModule


@dataclass(frozen=True)
class Change:
    """One row of the table.

    Attributes:
        name: of the row.
        settings: of the preset.
        callback: made anew for each run.
    """

    name: str
    settings: tuple[str, ...] = ()
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


class WithoutReconstruction(Callback):
    """Leave L_recon out."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if isinstance(pl_module, SegmenterModule):
            pl_module.loss.recon_loss = lambda reconstruction, images: reconstruction.new_zeros(())


class AverageSegmenter(EMAWeightAveraging):
    """An exponential moving average of the weights, over the last ten steps or so."""

    def __init__(self) -> None:
        super().__init__(decay=0.9)


CHANGES = (
    Change("nothing"),
    Change("no start from evidence", ("segmenter.evidence=false",)),
    Change("no seeds", ("segmenter.seeds=0",)),
    Change("neither evidence nor seeds", ("segmenter.evidence=false", "segmenter.seeds=0")),
    Change("no L_cls", ("segmenter.lambda_cls=0",)),
    Change("no L_mask", ("segmenter.lambda_mask=0",)),
    Change("no L_recon", callback=WithoutReconstruction),
    Change("guide sees components on black (Î_k)", ("segmenter.content=components", "segmenter.fills=[]")),
    Change("guide sees stopped image-lets on the fills", ("segmenter.content=stopped",)),
    Change("guide sees image-lets on the fills", ("segmenter.content=imagelets",)),
    Change("one fill: the mean colour", ("segmenter.fills=[mean]",)),
    Change("absent classes ignored (Eq. 6)", ("segmenter.absent=ignore",)),
    Change("area prior: tags (Eq. 4)", ("segmenter.prior=tags",)),
    Change("area prior annealed", callback=AnnealedPrior),
    Change("no smoothness", ("segmenter.smoothness=0",)),
    Change("entropy, weight 0.03", ("segmenter.entropy=0.03",)),
    Change("reconstruction of each slot too", callback=lambda: AddTerm(lambda _: per_slot_reconstruction, 1.0)),
    Change("reconstruction of features too", callback=lambda: AddTerm(FeatureReconstruction, 0.1)),
    Change("scale and flip consistency", callback=lambda: AddTerm(ScaleConsistency, 0.3)),
    Change("moving average of the weights", callback=AverageSegmenter),
    Change("constant learning rate", ("segmenter.one_cycle=false",)),
    Change("encoder trained too", ("segmenter.frozen=[]",)),
)
