"""The losses as modules: `functional` with its options bound, and the overall loss of Eq. 7."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from decomprec import functional as DF
from decomprec.checks import check_areas, check_decomposition, check_images, check_tags
from decomprec.decomposition import Decomposition, LossTerms
from decomprec.protocols import ExtraLoss, Guide, MaskTerm, ReconTerm, View
from decomprec.seeds import seed_loss
from decomprec.slots import choose_slots, places_of, slot_weights
from decomprec.views import component_view

_NAMES = {"total", "recon", "mask", "cls", "seeds"}  # in `LossTerms.as_dict`; training makes "total" small


class ReconLoss(nn.Module):
    """Squared error between the reconstruction and the image (Eq. 2): `functional.recon_loss` as a module.

    Examples:
        >>> ReconLoss()(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5)).item()
        0.25
    """

    def forward(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        """The loss of Î against I, both (B, 3, H, W), a scalar."""
        return DF.recon_loss(reconstruction, images)


class MaskLoss(nn.Module):
    """Fit of the mask areas to the tags, or to known areas (Eq. 4): `functional.mask_loss` as a module.

    Examples:
        >>> areas = torch.tensor([[0.5, 0.5]])
        >>> MaskLoss()(areas, torch.tensor([[1.0]]))  # tags: (B, K-1)
        tensor(0.6931)
        >>> MaskLoss()(areas, torch.tensor([[0.7, 0.3]]))  # known areas, background first: (B, K)
        tensor(0.6931)
    """

    def forward(self, areas: Tensor, targets: Tensor) -> Tensor:
        """The loss of areas (B, K) against tags (B, K-1) or normalised areas (B, K), a scalar.

        Raises:
            ValueError: if `targets` has another shape, or values outside [0, 1].
        """
        if areas.ndim != 2:
            raise ValueError(f"Expected `areas` to have shape (B, K), but got {tuple(areas.shape)}.")
        batch, slots = areas.shape
        if tuple(targets.shape) == (batch, slots - 1):
            check_tags(targets, batch, slots, name="targets")
            targets = DF.with_background(targets)
        elif tuple(targets.shape) != (batch, slots):
            raise ValueError(
                f"Expected `targets` to be tags of shape (B, K-1) = {(batch, slots - 1)} or areas of shape "
                f"(B, K) = {(batch, slots)}, but got {tuple(targets.shape)}."
            )
        else:
            check_areas(targets, name="targets")
        return DF.mask_loss(areas, targets)


class ClsLoss(nn.Module):
    """Cross-entropy of the guide on the components: each shows its class and no other (Eq. 6).

    Its main cost is the guide, run forward and backward on B · K images. With `absent_slots` those are B · (1 +
    number present + `absent_slots`), with `share` fewer of the B, for unbiased estimates of the loss and its gradient
    that draw from torch's global generator (see `decomprec.slots.choose_slots`); `chunk` saves memory only.
    Of a decomposition that holds some slots only, all that it holds are shown.

    Args:
        guide: maps images (N, 3, H, W) in [0, 1] to logits (N, K-1); usually a `FrozenGuide`.
        absent: "ignore" leaves an absent class's own component alone (Eq. 6), "reject" refuses its class there.
        view: what the guide is shown of the decomposition; the paper shows the components on black.
        absent_slots: how many absent classes, drawn at random for each image and call, stand for all of its absent
            ones; background and present classes are always shown. None shows every slot. The view is given `Slots`.
        share: of the images, in (0, 1], at least one: these, drawn at random in each call, stand for all.
        chunk: the guide is shown at most this many images at once and runs again in the backward pass,
            which bounds the memory of its activations; None shows all at once.

    Raises:
        ValueError: for another `absent`, an `absent_slots` or `chunk` below 1, or a `share` out of its range.

    Examples:
        >>> guide = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 80))
        >>> out = Decomposition(torch.zeros(2, 81, 8, 8), torch.rand(2, 81, 3, 8, 8))
        >>> images, tags = torch.rand(2, 3, 8, 8), torch.eye(2, 80)
        >>> ClsLoss(guide)(out, images, tags).shape, ClsLoss(guide, absent_slots=1)(out, images, tags).shape
        (torch.Size([]), torch.Size([]))
    """

    def __init__(
        self,
        guide: Guide,
        absent: DF.Absent = "ignore",
        view: View = component_view,
        *,
        absent_slots: int | None = None,
        share: float = 1.0,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        if absent not in ("ignore", "reject"):
            raise ValueError(f"Expected `absent` to be 'ignore' or 'reject', but got {absent!r}.")
        for name, count in (("absent_slots", absent_slots), ("chunk", chunk)):
            if count is not None and count < 1:
                raise ValueError(f"Expected `{name}` to be at least 1, or None for all at once, but got {count}.")
        if not 0 < share <= 1:
            raise ValueError(f"Expected `share` to be above 0 and at most 1, but got {share}.")
        self.guide = guide
        self.absent = absent
        self.view = view
        self.absent_slots = absent_slots
        self.share = share
        # The number of slots depends on the tags, which torch.compile can't follow: one graph break. Not a decorator,
        # for `disable` loads the whole compiler, which an import should not.
        self._draw_slots = _draw_slots if absent_slots is None else torch.compiler.disable(_draw_slots)
        self.chunk = chunk

    def guide_logits(self, out: Decomposition, images: Tensor, num_classes: int | None = None) -> Tensor:
        """The guide's logits on the view of every slot of K = `num_classes`, by default those of `out`: (B, S, K-1)."""
        shown = self.view(out, images)
        logits = self._judge(rearrange(shown, "b k c h w -> (b k) c h w"), num_classes or shown.shape[1])
        return rearrange(logits, "(b k) j -> b k j", b=len(shown))

    def forward(self, out: Decomposition, images: Tensor, tags: Tensor) -> Tensor:
        """The loss of a decomposition of `images` (B, 3, H, W) with `tags` (B, K-1), a scalar."""
        num_classes = _num_classes(out, tags)
        check_tags(tags, batch=images.shape[0], num_classes=num_classes)
        if self.share < 1:
            some = torch.randperm(len(images), device=images.device)[: max(1, round(self.share * len(images)))]
            out, images, tags = out.of_images(some), images[some], tags[some]
        if out.slots is not None:
            logits = self.guide_logits(out, images, num_classes)
            return DF.cls_loss(logits, tags, self.absent, out.slots, slot_weights(tags, out.slots))
        if self.absent_slots is None:
            return DF.cls_loss(self.guide_logits(out, images), tags, self.absent)
        slots, weights, counts = self._draw_slots(tags, self.absent_slots)
        shown = self.view(out.select(slots), images)
        if shown.shape[:2] != slots.shape:
            raise ValueError(
                f"Expected the view to give images (B, S, 3, H, W) of the {slots.shape[1]} slots that it is given, "
                f"but got {tuple(shown.shape)}; leave `absent_slots` None for a view of all slots."
            )
        judged = self._judge(shown.flatten(0, 1)[counts], num_classes)
        logits = judged.new_zeros(slots.numel(), num_classes - 1).index_copy(0, counts, judged)
        return DF.cls_loss(logits.unflatten(0, slots.shape), tags, self.absent, slots, weights)

    def _judge(self, shown: Tensor, num_classes: int) -> Tensor:
        if self.chunk is None:
            logits = self.guide(shown)
        else:
            logits = torch.cat([checkpoint(self.guide, part, use_reentrant=False) for part in shown.split(self.chunk)])
        if tuple(logits.shape) != (len(shown), num_classes - 1):
            raise ValueError(
                f"Expected the guide to give logits of shape (N, K-1) = {(len(shown), num_classes - 1)} for K = "
                f"{num_classes} slots, but got {tuple(logits.shape)}; train it on the classes without the background."
            )
        return logits


def _num_classes(out: Decomposition, tags: Tensor) -> int:
    """K: what a decomposition of some slots doesn't know."""
    return out.mask_logits.shape[1] if out.slots is None else tags.shape[-1] + 1


def _draw_slots(tags: Tensor, absent_slots: int) -> tuple[Tensor, Tensor, Tensor]:
    slots, weights = choose_slots(tags, torch.rand(tags.shape, device=tags.device), absent_slots)
    # Padding is not worth a pass of the guide.
    return slots, weights, weights.flatten().nonzero().squeeze(1)


class DecompositionLoss(nn.Module):
    """The overall loss, L = L_recon + λ_m L_mask + λ_c L_cls (Eq. 7).

    Every term can be replaced by a callable of the same form.

    Args:
        guide: the frozen classifier g; what `ClsLoss` takes. Not needed if `cls_loss` is given.
        lambda_mask: λ_m, not negative.
        lambda_cls: λ_c, not negative. With 0, L_cls is not computed: the guide's passes are most of a step's cost.
        recon_loss: (reconstruction, images) -> scalar.
        mask_loss: (areas, targets) -> scalar.
        cls_loss: (out, images, tags) -> scalar; default `ClsLoss(guide)`.
        extra: further terms by name, each a weight and a callable (out, images, tags) -> scalar.
        lambda_seeds: weight of `decomprec.seeds.seed_loss` where seeds are given, not negative.

    Raises:
        ValueError: if a weight is negative, a name in `extra` is that of another term ("total", "recon", "mask",
            "cls", "seeds"), or both or neither of `guide` and `cls_loss` are given.

    Examples:
        >>> guide = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1))
        >>> out = Decomposition(torch.zeros(2, 2, 8, 8), torch.rand(2, 2, 3, 8, 8))
        >>> terms = DecompositionLoss(guide)(out, torch.rand(2, 3, 8, 8), torch.tensor([[1.0], [0.0]]))
        >>> torch.isclose(terms.total, terms.recon + 1e-3 * terms.mask + 1e-3 * terms.cls).item()
        True
    """

    def __init__(
        self,
        guide: Guide | None = None,
        lambda_mask: float = 1e-3,
        lambda_cls: float = 1e-3,
        *,
        recon_loss: ReconTerm | None = None,
        mask_loss: MaskTerm | None = None,
        cls_loss: ExtraLoss | None = None,
        extra: Mapping[str, tuple[float, ExtraLoss]] | None = None,
        lambda_seeds: float = 0.0,
    ) -> None:
        super().__init__()
        if guide is not None and cls_loss is None:
            cls_loss = ClsLoss(guide)
        elif guide is not None or cls_loss is None:
            raise ValueError(
                "Expected either `guide` or `cls_loss` (which brings its own guide), but got both or neither."
            )
        extra = dict(extra or {})
        if taken := sorted(_NAMES & extra.keys()):
            raise ValueError(f"Expected other names of `extra` terms than those of the loss, but got {taken[0]!r}.")
        weights = [("lambda_mask", lambda_mask), ("lambda_cls", lambda_cls), ("lambda_seeds", lambda_seeds)]
        for name, weight in [*weights, *((name, weight) for name, (weight, _) in extra.items())]:
            if not weight >= 0:
                raise ValueError(f"Expected the weight `{name}` to be at least 0, but got {weight}.")
        self.lambda_mask = lambda_mask
        self.lambda_cls = lambda_cls
        self.lambda_seeds = lambda_seeds
        self.recon_loss = recon_loss or ReconLoss()
        self.mask_loss = mask_loss or MaskLoss()
        self.cls_loss = cls_loss
        self.extra = extra
        # Terms that are modules follow to() with this one.
        self.extra_modules = nn.ModuleList(term for _, term in extra.values() if isinstance(term, nn.Module))

    def forward(
        self,
        out: Decomposition,
        images: Tensor,
        tags: Tensor,
        areas: Tensor | None = None,
        seeds: Tensor | None = None,
        seed_weights: Tensor | None = None,
    ) -> LossTerms:
        """All terms for a decomposition. If it holds some slots only, L_mask and the seeds are about these.

        Args:
            out: the decomposition of `images`.
            images: (B, 3, H, W), in [0, 1].
            tags: (B, K-1), {0, 1}, without the background.
            areas: known normalised areas (B, K), background first, for L_mask to aim at instead of the tags.
            seeds: label maps (B, H, W) of pixels that are known, as `decomprec.seeds.seed_labels` makes them.
            seed_weights: of the slots in `decomprec.seeds.seed_loss`, (K,); None for 1.

        Raises:
            ValueError: if shapes, dtypes or ranges are not these.
        """
        check_images(images)
        check_decomposition(out.mask_logits, out.imagelets, images)
        num_classes = _num_classes(out, tags)
        check_tags(tags, batch=images.shape[0], num_classes=num_classes)
        recon = self.recon_loss(out.reconstruction, images)
        mask = self.mask_loss(out.areas, self._targets(out, tags, areas))
        cls = self.cls_loss(out, images, tags) if self.lambda_cls else recon.new_zeros(())
        total = recon + self.lambda_mask * mask + self.lambda_cls * cls
        extra: dict[str, Tensor] = {}
        for name, (weight, term) in self.extra.items():
            extra[name] = term(out, images, tags)
            total = total + weight * extra[name]
        if seeds is not None and self.lambda_seeds:
            if out.slots is not None:
                seeds = places_of(seeds, out.slots, num_classes)
                seed_weights = None if seed_weights is None else seed_weights[out.slots]
            extra["seeds"] = seed_loss(out.mask_logits, seeds, seed_weights)
            total = total + self.lambda_seeds * extra["seeds"]
        return LossTerms(total=total, recon=recon, mask=mask, cls=cls, extra=extra)

    @staticmethod
    def _targets(out: Decomposition, tags: Tensor, areas: Tensor | None) -> Tensor:
        if areas is None:
            return out.tags_here(tags)
        return areas if out.slots is None else areas.gather(1, out.slots)
