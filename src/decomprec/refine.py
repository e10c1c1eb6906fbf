"""From soft masks to label maps: tags, test-time augmentation, and masks that follow the image's edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import TypeVar

import torch
import torch.nn.functional as F
from kornia.filters import guided_blur
from torch import Tensor, nn

from decomprec import functional as DF
from decomprec.checks import check_images, check_tags
from decomprec.protocols import Refinement

T = TypeVar("T")


def guided_filter(images: Tensor, masks: Tensor, radius: int = 4, eps: float = 1e-3) -> Tensor:
    """Make masks follow the edges of their images (He et al., Guided Image Filtering, 2010).

    In every window a mask is fitted as a linear function of the image's colours: it can change only where
    the colours do.

    Args:
        images: (B, 3, H, W), in [0, 1].
        masks: (B, K, H, W), summing to one over K.
        radius: of the window, in pixels, at least 1.
        eps: how much colour variance counts as flat; larger is smoother.

    Returns:
        Masks (B, K, H, W) in [0, 1], summing to one over K.

    Raises:
        ValueError: if a shape or range is not this.

    Examples:
        >>> masks = torch.rand(1, 3, 16, 16).softmax(dim=1)
        >>> refined = guided_filter(torch.rand(1, 3, 16, 16), masks)
        >>> torch.allclose(refined.sum(dim=1), torch.ones(1, 16, 16), atol=1e-4)
        True
    """
    _check_maps(images, masks, "masks", "K")
    if radius < 1 or eps <= 0:
        raise ValueError(f"Expected `radius` of at least 1 and `eps` above 0, but got {radius} and {eps}.")
    size = 2 * radius + 1
    filtered = guided_blur(images, masks, kernel_size=(size, size), eps=eps).clamp(0, 1)
    return filtered / filtered.sum(dim=1, keepdim=True).clamp(min=torch.finfo(filtered.dtype).eps)


def pamr(images: Tensor, maps: Tensor, iterations: int = 10, dilations: Sequence[int] = (1, 2, 4, 8, 12, 24)) -> Tensor:
    """Pixel-adaptive mask refinement (Araslanov & Roth, Single-Stage Semantic Segmentation from Image Labels, 2020).

    Every pixel i takes, again and again, the mean of its 8 neighbours j at each dilation, weighted by how much
    they look like it:

        maps_i <- Σ_j α_ij maps_j,    α_i = softmax_j( -mean_c |I_ic - I_jc| / (0.1 σ_ic) )

    σ_ic is the standard deviation of channel c over the pixel and these neighbours. The paper divides by σ²;
    dividing by 0.1 σ instead makes the weights independent of the image's contrast.

    Args:
        images: (B, 3, H, W), in [0, 1]; beyond the border, the border's pixels are repeated.
        maps: (B, C, H, W), floating point: masks, class activation maps or others, each refined by itself.
        iterations: at least 1; a map spreads by up to the largest dilation in each.
        dilations: distances to the neighbours in pixels, each at least 1.

    Returns:
        Maps (B, C, H, W) of the same dtype, linear in `maps` and never beyond their range; masks that sum to one
        still do.

    Raises:
        ValueError: if a shape, dtype or range is not this.

    Examples:
        >>> images = torch.zeros(1, 3, 16, 16)
        >>> images[..., 8:] = 1
        >>> maps = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)  # a soft edge where the image has a sharp one
        >>> pamr(images, maps, dilations=(1, 2, 4))[0, 0, 8, 6:10].round(decimals=2)
        tensor([0.1900, 0.1900, 0.8100, 0.8100])
    """
    _check_maps(images, maps, "maps", "C")
    if not maps.is_floating_point():
        raise ValueError(f"Expected `maps` to be floating point, but got {maps.dtype}; do `maps.float()`.")
    if iterations < 1:
        raise ValueError(f"Expected `iterations` of at least 1, but got {iterations}.")
    if not dilations or min(dilations) < 1:
        raise ValueError(f"Expected `dilations` to be distances of at least 1, but got {tuple(dilations)}.")
    dtype = torch.promote_types(torch.promote_types(images.dtype, maps.dtype), torch.float32)
    # One image's weights fit into a CPU's cache, a batch's do not.
    size = 1 if images.device.type == "cpu" else len(images)
    refined = []
    for image, part in zip(images.to(dtype).split(size), maps.to(dtype).split(size), strict=True):
        weights = _affinities(image, dilations)
        for _ in range(iterations):
            mixed = torch.zeros_like(part)
            for weight, neighbour in zip(weights, _neighbours(part, dilations), strict=True):
                mixed.addcmul_(weight, neighbour)
            part = mixed
        refined.append(part)
    return torch.cat(refined).to(maps.dtype)


def half_pamr(images: Tensor, maps: Tensor) -> Tensor:
    """The mean of maps and what `pamr` makes of them: what `predict` draws.

    The edges of large things follow the image. Thin things, whose pixels PAMR mixes with all that surrounds them, keep
    half of their weight.

    Args:
        images: (B, 3, H, W), in [0, 1].
        maps: (B, C, H, W), floating point.

    Returns:
        Maps (B, C, H, W) of the same dtype; masks that sum to one still do.

    Raises:
        ValueError: if a shape, dtype or range is not this.

    Examples:
        >>> images = torch.zeros(1, 3, 16, 16)  # on which everything spreads
        >>> maps = (torch.arange(16) == 8).float().expand(1, 1, 16, 16)  # a thin line
        >>> half_pamr(images, maps)[0, 0, 8, 8] >= 0.5
        tensor(True)
    """
    return (maps + pamr(images, maps)) / 2


def at_scale(mask_logits: Callable[[Tensor], Tensor], scale: float) -> Callable[[Tensor], Tensor]:
    """Show a network rescaled images, and bring its logits back to the images' size.

    Args:
        mask_logits: maps images (B, 3, H, W) of any size to logits (B, K, H, W).
        scale: of the images' height and width, above 0.

    Returns:
        A function of the same form as `mask_logits`.

    Examples:
        >>> seen = []
        >>> logits = at_scale(lambda images: seen.append(images.shape[2:]) or images[:, :2], 0.5)
        >>> logits(torch.rand(1, 3, 32, 48)).shape, seen
        (torch.Size([1, 2, 32, 48]), [torch.Size([16, 24])])
    """
    return lambda images: resize(mask_logits(rescale(images, scale)), images.shape[-2:])


def multi_scale(
    mask_logits: Callable[[Tensor], Tensor], scales: Sequence[float] = (0.75, 1.0, 1.25), flip: bool = True
) -> Callable[[Tensor], Tensor]:
    """Average the masks of rescaled and mirrored copies of the images (test-time augmentation).

    Args:
        mask_logits: maps images (B, 3, H, W) of any size to logits (B, K, H, W), such as `segmenter.mask_logits`.
        scales: of the copies' height and width, each above 0.
        flip: add the mirror image of every copy.

    Returns:
        A function of the same form as `mask_logits`. It gives the logarithm of the mean of the masks, each brought
        back to the images' size, so it can stand wherever `mask_logits` can.

    Raises:
        ValueError: if a scale is not this or, when called, if the images are not in [0, 1].

    Examples:
        >>> from decomprec import DecompositionSegmenter
        >>> averaged = multi_scale(DecompositionSegmenter(num_classes=3).eval().mask_logits, scales=(0.5, 1.0))
        >>> averaged(torch.rand(1, 3, 32, 48)).shape
        torch.Size([1, 3, 32, 48])
    """
    _check_scales(scales)

    def averaged(images: Tensor) -> Tensor:
        views = _views(images, scales)
        return mean_masks(mask_logits, views, flip, size=images.shape[-2:]).log()

    return averaged


def mean_masks(
    mask_logits: Callable[[Tensor], Tensor], views: Sequence[Tensor], flip: bool, size: Sequence[int] | None = None
) -> Tensor:
    """Mean of the masks of several views of the same images.

    Args:
        mask_logits: maps images (B, 3, H, W) of any size to logits (B, K, H, W).
        views: the images at several sizes, each (B, 3, h, w) in [0, 1].
        flip: add the mirror image of every view.
        size: height and width of the result; None is those of the last view.

    Returns:
        (B, K, H, W), float32 or float64, in (0, 1], kept from 0 by the smallest normal number.

    Examples:
        >>> views = [torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 16, 16)]
        >>> mean_masks(lambda images: images[:, :2], views, flip=True).shape
        torch.Size([1, 2, 16, 16])
    """
    height, width = views[-1].shape[-2:] if size is None else size
    masks: list[Tensor] = []
    for view in views:
        for mirrored in (False, True)[: 1 + flip]:
            logits = mask_logits(view.flip(-1) if mirrored else view)
            mask = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=1)
            masks.append(resize(mask.flip(-1) if mirrored else mask, (height, width)))
    mean = torch.stack(masks).mean(dim=0)
    return mean.clamp(min=torch.finfo(mean.dtype).tiny)


def multi_scale_tags(
    classifier: Callable[[Tensor], Tensor], scales: Sequence[float] = (1.0, 1.4)
) -> Callable[[Tensor], Tensor]:
    """Average a classifier's logits over copies of the images at several scales (test-time augmentation).

    Every second copy is mirrored. On the dogs, the default decides as well as with a mirror image of both copies, which
    takes twice as long.

    Args:
        classifier: maps images (B, 3, H, W) of any size to logits (B, K-1).
        scales: of the copies' height and width, each above 0.

    Returns:
        A function of the same form as `classifier`.

    Raises:
        ValueError: if a scale is not this or, when called, if the images are not in [0, 1].

    Examples:
        >>> from decomprec.models import PooledClassifier, SmallEncoder
        >>> decide = multi_scale_tags(PooledClassifier(SmallEncoder((4, 8)), num_classes=3).eval())
        >>> decide(torch.rand(1, 3, 32, 48)).shape
        torch.Size([1, 2])
    """
    _check_scales(scales)

    def averaged(images: Tensor) -> Tensor:
        views = [view.flip(-1) if i % 2 else view for i, view in enumerate(_views(images, scales))]
        return torch.stack([classifier(view) for view in views]).mean(dim=0)

    return averaged


class RefinedPredictor:
    """Label maps of images: their masks, without the classes that are absent, refined.

    Args:
        mask_logits: maps images (B, 3, H, W) to logits (B, K, H, W), such as `segmenter.mask_logits` or
            `multi_scale` of it; a module should be in eval mode.
        refine: maps images and masks (B, K, H, W) to masks, such as `guided_filter`, `pamr` or a
            `functools.partial` of them.
        classifier: maps images to logits (B, K-1) of the classes without the background. A class whose logit is
            not above 0 counts as absent wherever tags are not given.
        background_bias: added to the background's logit; above 0, less is drawn. At ln 1.5 = 0.41 a single class must
            reach 0.6 instead of 0.5.

    Examples:
        >>> from decomprec import DecompositionSegmenter
        >>> predict = RefinedPredictor(DecompositionSegmenter(num_classes=3).eval().mask_logits, guided_filter)
        >>> predict(torch.rand(1, 3, 20, 30), tags=torch.tensor([[0.0, 1.0]])).shape
        torch.Size([1, 20, 30])
    """

    def __init__(
        self,
        mask_logits: Callable[[Tensor], Tensor],
        refine: Refinement | None = None,
        classifier: Callable[[Tensor], Tensor] | None = None,
        background_bias: float = 0.0,
    ) -> None:
        self.mask_logits = mask_logits
        self.refine = refine
        self.classifier = classifier
        self.background_bias = background_bias

    @torch.no_grad()
    def __call__(self, images: Tensor, tags: Tensor | None = None) -> Tensor:
        """Label maps (B, H, W) of images in [0, 1]; with `tags` (B, K-1), absent classes cannot win.

        Raises:
            ValueError: if the tags, or the classifier's decisions, do not fit the classes of the masks.
        """
        return self.masks(images, tags).argmax(dim=1)

    @torch.no_grad()
    def masks(self, images: Tensor, tags: Tensor | None = None) -> Tensor:
        """The refined masks (B, K, H, W) themselves, zero for absent classes.

        An image without any class is all background, and is not refined.
        """
        logits = self._logits(images)
        return self._masks(images, logits, self._present(images, logits, tags))

    @torch.no_grad()
    def with_and_without_tags(self, images: Tensor, tags: Tensor) -> tuple[Tensor, Tensor]:
        """Both `self(images, tags)` and `self(images)`: images with the same classes are refined once."""
        logits = self._logits(images)
        given = self._present(images, logits, tags)
        decided = self._present(images, logits, None)
        labels = self._masks(images, logits, given).argmax(dim=1)
        differ = (given != decided).any(dim=1)
        if not differ.any():
            return labels, labels
        others = self._masks(images[differ], logits[differ], decided[differ]).argmax(dim=1)
        return labels, labels.index_put((differ.nonzero()[:, 0],), others)

    def _logits(self, images: Tensor) -> Tensor:
        logits = self.mask_logits(images)
        if self.background_bias:
            logits = torch.cat([logits[:, :1] + self.background_bias, logits[:, 1:]], dim=1)
        return logits

    def _present(self, images: Tensor, logits: Tensor, tags: Tensor | None) -> Tensor:
        """Which classes compete, (B, K-1) bool: the tags, what the classifier finds, or all."""
        batch, slots = logits.shape[:2]
        if tags is not None:
            check_tags(tags, batch=batch, num_classes=slots)
            return tags == 1
        if self.classifier is None:
            return torch.ones(batch, slots - 1, dtype=torch.bool, device=logits.device)
        found = self.classifier(images) > 0
        check_tags(found.float(), batch=batch, num_classes=slots, name="classifier(images) > 0")
        return found

    def _masks(self, images: Tensor, logits: Tensor, present: Tensor) -> Tensor:
        shown = present.any(dim=1)
        if not shown.all():
            masks = torch.zeros_like(logits)
            masks[:, 0] = 1
            if shown.any():
                masks[shown] = self._masks(images[shown], logits[shown], present[shown])
            return masks
        tags = present.to(logits.dtype)
        masks = DF.mask_absent(logits, tags).softmax(dim=1)
        if self.refine is not None:
            masks = self.refine(images, masks)
        # A refinement could revive an absent class.
        return DF.mask_absent(masks, tags, 0)


def once(function: Callable[[Tensor], T]) -> Callable[[Tensor], T]:
    """Remember the last result of a function of images: predictors that share a network ask it once a batch.

    The result is given again for the same tensor, not for an equal one. So don't change a tensor in place between the
    calls, nor the function's weights. The last images and their result stay in memory with the function.

    Args:
        function: of images, such as `segmenter.mask_logits` or a guide.

    Examples:
        >>> asked = []
        >>> logits = once(lambda images: asked.append(1) or images[:, :2])
        >>> images = torch.rand(1, 3, 16, 16)
        >>> logits(images) is logits(images), len(asked)
        (True, 1)
    """
    last: list[tuple[Tensor, T]] = []

    def remembered(images: Tensor) -> T:
        if not last or last[0][0] is not images:
            last[:] = [(images, function(images))]
        return last[0][1]

    return remembered


@contextmanager
def remembering(network: nn.Module) -> Iterator[None]:
    """Let a network remember its last result for the length of a block, see `once`: for the trunk of several heads.

    Examples:
        >>> from decomprec.models import PooledClassifier, SmallEncoder
        >>> classifier, images = PooledClassifier(SmallEncoder((4, 8)), num_classes=3).eval(), torch.rand(1, 3, 16, 16)
        >>> with remembering(classifier.encoder):  # it sees the images once
        ...     logits, maps = classifier(images), classifier.activation_maps(images)
    """
    network.forward = once(network.forward)
    try:
        yield
    finally:
        del network.forward


def resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resize images or masks (B, C, H, W) to `size` (height, width), bilinearly and with antialiasing.

    Rounding can take the values slightly beyond their range; clamp them where that matters. Half precision is resized
    in float32: on a CPU torch has no antialiasing in bfloat16.

    Examples:
        >>> resize(torch.tensor([[[[0.0, 1.0, 1.0, 1.0]]]]), (1, 2))
        tensor([[[[0.5714, 1.0000]]]])
    """
    if images.shape[-2:] == tuple(size):
        return images
    wide = images.to(torch.promote_types(images.dtype, torch.float32))
    return F.interpolate(wide, size=tuple(size), mode="bilinear", antialias=True, align_corners=False).to(images.dtype)


def rescale(images: Tensor, scale: float) -> Tensor:
    """Images (B, C, H, W) in [0, 1] at `scale` times their height and width, see `resize`.

    Examples:
        >>> rescale(torch.rand(1, 3, 16, 24), 0.5).shape
        torch.Size([1, 3, 8, 12])
    """
    resized = resize(images, [max(1, round(scale * side)) for side in images.shape[-2:]])
    return images if resized is images else resized.clamp(0, 1)


def _check_scales(scales: Sequence[float]) -> None:
    if not scales or min(scales) <= 0:
        raise ValueError(f"Expected `scales` to be numbers above 0, but got {tuple(scales)}.")


def _views(images: Tensor, scales: Sequence[float]) -> list[Tensor]:
    """The images at several scales of their height and width."""
    check_images(images)
    return [rescale(images, scale) for scale in scales]


def _check_maps(images: Tensor, maps: Tensor, name: str, channels: str) -> None:
    check_images(images)
    if maps.ndim != 4 or (maps.shape[0], *maps.shape[2:]) != (images.shape[0], *images.shape[2:]):
        raise ValueError(
            f"Expected `{name}` to have shape (B, {channels}, H, W) for images of shape {tuple(images.shape)}, "
            f"but got {tuple(maps.shape)}."
        )


def _neighbours(maps: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """The 8 shifted copies of the maps at each dilation, as views of one padded copy."""
    height, width = maps.shape[-2:]
    pad = max(dilations)
    padded = F.pad(maps, (pad, pad, pad, pad), mode="replicate")
    for dilation, down, right in product(dilations, (-1, 0, 1), (-1, 0, 1)):
        if down or right:
            y, x = pad + dilation * down, pad + dilation * right
            yield padded[..., y : y + height, x : x + width]


def _affinities(images: Tensor, dilations: Sequence[int]) -> Tensor:
    """The weights α of `pamr`, (neighbours, B, 1, H, W), summing to one over the neighbours."""
    total, squares = torch.zeros_like(images), torch.zeros_like(images)
    for neighbour in _neighbours(images, dilations):
        difference = neighbour - images
        total += difference
        squares.addcmul_(difference, difference)
    count = 8 * len(dilations) + 1  # with the pixel itself, whose difference is 0
    sigma = (squares / count - (total / count) ** 2).clamp(min=1e-8).sqrt()
    scale = 1 / (0.1 * sigma * images.shape[1])
    scores = [-((n - images).abs_() * scale).sum(dim=1, keepdim=True) for n in _neighbours(images, dilations)]
    return torch.stack(scores).softmax(dim=0)
