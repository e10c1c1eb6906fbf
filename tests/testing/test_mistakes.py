"""Mistakes in custom components, one each, and the sentence that names it."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decomprec import ClsLoss
from decomprec import testing as check

pytestmark = pytest.mark.slow

# Parts are made while the file is collected. Training mode changes one random guide in a hundred too little.
torch.manual_seed(0)

Cases = dict[str, tuple[Any, str]]
NOT_FINITE = "but got nan or inf; look for a logarithm, root or division of 0."
NO_ROOT = "but got nan or inf; look for a root, norm or logarithm of 0."
IN_PLACE = "as given, but it changes values in place; work on a copy."
DEPENDS = (
    "judge each image by itself, but it depends on the other images of the batch; put it into eval mode, or reduce "
    "over no batch dimension."
)
WAKES = (
    "give the same in training and evaluation mode, but `train()` wakes its dropout or batch normalisation; "
    "{} FrozenGuide."
)
RAISED = "but it raised RuntimeError: <reason>;"
DTYPES = f"under bfloat16 autocast, {RAISED} bring its tensors to one dtype."


def mistakes(cases: Cases) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("part", "rest"), [pytest.param(*case, id=name) for name, case in cases.items()])


def assert_refused(sentence: str, call: Callable[[], None]) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence).replace('<reason>', '.+')}$"):
        call()


class Guide(nn.Module):
    """A frozen guide that fits, unless `logits(head, mean colours)` spoils it."""

    def __init__(self, logits: Callable[..., Any] = lambda head, x: head(x), outputs: int = 2) -> None:
        super().__init__()
        self.head = nn.Linear(3, outputs)
        self.logits = logits
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Any:
        return self.logits(self.head, images.mean(dim=(-2, -1)))


def pooled(*layers: nn.Module, outputs: int = 2) -> nn.Module:
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, outputs))
    return network.eval().requires_grad_(False)


def mixed(x: Tensor) -> Tensor:
    """Values of a layer's dtype, which under autocast is another, on a full-precision tensor."""
    return torch.lerp(torch.zeros_like(x, dtype=torch.float32), x, 0.5)


ONE_EACH = "give one logit per class without the background, also for a single class or image."
FREEZE = "would be trained; freeze it with FrozenGuide."
LINEAR = "give logits before sigmoid or softmax, but got those of {}Backward0; the loss takes the sigmoid itself."
NONE = "pass a gradient to `images`, but none arrives; don't run it under torch.no_grad, and detach nothing."


@mistakes(
    {
        "name": ("resnet18", "be callable, but got str."),
        "background": (
            Guide(outputs=3),
            "give logits of shape (N, K-1) = (3, 2), but got (3, 3); leave the background out.",
        ),
        "no class dimension": (
            Guide(lambda head, x: head(x)[:, 0]),
            f"give logits of shape (N, K-1) = (3, 2), but got (3,); {ONE_EACH}",
        ),
        "squeezed": (
            Guide(lambda head, x: head(x).squeeze()),
            f"give logits of shape (N, K-1) = (1, 2), but got (2,); {ONE_EACH}",
        ),
        "features too": (
            Guide(lambda head, x: (head(x), x)),
            f"give logits (N, K-1) as one tensor, but got tuple; {ONE_EACH}",
        ),
        "decisions": (
            Guide(lambda head, x: (head(x) > 0).long()),
            "give logits in floating point, but got torch.int64; integers carry no gradient.",
        ),
        "nan": (Guide(lambda head, x: head(0 * x).sub(9).log()), f"give finite logits, {NOT_FINITE}"),
        "not frozen": (Guide().requires_grad_(), f"be frozen, but its parameter `head.weight` {FREEZE}"),
        "not frozen in a function": (
            partial(lambda guide, x: guide(x), Guide().requires_grad_()),
            f"be frozen, but a parameter that it uses {FREEZE}",
        ),
        "probabilities": (Guide(lambda head, x: head(x).sigmoid()), LINEAR.format("Sigmoid")),
        "softmax": (Guide(lambda head, x: head(x).log_softmax(1)), LINEAR.format("LogSoftmax")),
        "no gradient": (Guide(lambda head, x: head(x).detach()), NONE),
        "rounded": (Guide(lambda head, x: head(x.round())), NONE),
        "infinite gradient": (
            lambda x: Guide()(x) + x.sub(x).flatten(1).sum(1, keepdim=True).sqrt(),
            f"give a finite gradient to `images`, {NO_ROOT}",
        ),
        "in place": (lambda x: Guide()(x.sub_(0.5)), f"leave `images` {IN_PLACE}"),
        "batch normalisation": (pooled(nn.BatchNorm2d(3)), WAKES.format("freeze it with")),
        "dropout": (pooled(nn.Dropout(0.5)), WAKES.format("freeze it with")),
        "batch normalisation in a function": (
            partial(lambda norm, x: Guide()(norm(x)), nn.BatchNorm2d(3).requires_grad_(False)),
            DEPENDS,
        ),
        "mean of the batch": (Guide(lambda head, x: head(2 * x - x.mean(0))), DEPENDS),
        "autocast": (
            Guide(lambda head, x: mixed(head(x))),
            f"take `images` of shape (3, 3, 64, 64) {DTYPES}",
        ),
        "own contrast": (
            lambda x: Guide()(x / x.std(dim=(1, 2, 3), keepdim=True)),
            f"give finite logits of a black image, {NOT_FINITE}",
        ),
        "root of a black image": (
            lambda x: Guide()(x) + x.square().sum((1, 2, 3)).sqrt()[:, None],
            f"give a finite gradient to `images`, {NO_ROOT}",
        ),
        "one size": (
            nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)).requires_grad_(False),
            f"take `images` of shape (3, 3, 64, 64), {RAISED} name the `sizes` that it takes.",
        ),
    }
)
def test_guide(part: Any, rest: str) -> None:
    assert_refused(f"Expected the guide to {rest}", lambda: check.check_guide(part, num_classes=3))


def test_guide_that_wakes_is_left_asleep() -> None:
    guide = pooled(nn.BatchNorm2d(3))
    with pytest.raises(ValueError, match=r"`train\(\)` wakes"):
        check.check_guide(guide, num_classes=3)
    assert not any(module.training for module in guide.modules())
    assert torch.equal(guide.get_buffer("0.running_mean"), torch.zeros(3))


IN_ORDER = "give one image per slot, in their order."


@mistakes(
    {
        "channels last": (
            lambda out, images: out.components.movedim(2, -1),
            f"give images of shape (B, K, 3, H, W) = (3, 4, 3, 16, 16), but got (3, 4, 16, 16, 3); {IN_ORDER}",
        ),
        "one image": (
            lambda out, images: out.reconstruction,
            f"give images of shape (B, K, 3, H, W) = (3, 4, 3, 16, 16), but got (3, 3, 16, 16); {IN_ORDER}",
        ),
        "list": (
            lambda out, images: list(out.components.unbind(1)),
            f"give images (B, K, 3, H, W) as one tensor, but got list; {IN_ORDER}",
        ),
        "range": (
            lambda out, images: 0 * out.components + 2,
            "give images in [0, 1], but got values from 2 to 2; leave mean and standard deviation to the guide.",
        ),
        "argmax": (
            lambda out, images: F.one_hot(out.labels(), 4).movedim(-1, 1)[:, :, None] * images[:, None],
            "pass a gradient to `mask_logits` or `imagelets`, but none arrives; don't show an argmax or detached parts "
            "only.",
        ),
        "division by an empty mask": (
            lambda out, images: out.components / out.masks.amax((-2, -1), keepdim=True)[:, :, None],
            f"give finite images, {NOT_FINITE}",
        ),
        "root of an empty mask": (
            lambda out, images: out.components.sqrt(),
            f"give a finite gradient to `mask_logits` or `imagelets`, {NO_ROOT}",
        ),
        "masks in place": (
            lambda out, images: out.masks.mul_(0.5)[:, :, None] * out.imagelets,
            f"leave `out` {IN_PLACE}",
        ),
        "images in place": (
            lambda out, images: out.masks[:, :, None] * images.clamp_(max=0.9)[:, None],
            f"leave `images` {IN_PLACE}",
        ),
        "not frozen": (
            lambda out, images: out.components * nn.Parameter(torch.tensor(0.5)),
            "be frozen, but a parameter that it uses would be trained; wrap what it uses in Frozen.",
        ),
        "other arguments": (
            lambda out: out.components,
            "take `out` of shape (3, 4, 3, 16, 16) and `images` of shape (3, 3, 16, 16), but it raised TypeError: "
            "<reason>; it is called as (out, images).",
        ),
        "autocast": (
            lambda out, images: mixed(F.conv2d(out.components.flatten(0, 1), torch.eye(3)[..., None, None])).view(
                out.imagelets.shape
            ),
            f"take `out` of shape (1, 4, 3, 16, 24) and `images` of shape (1, 3, 16, 24) {DTYPES}",
        ),
    }
)
def test_view(part: Any, rest: str) -> None:
    assert_refused(f"Expected the view to {rest}", lambda: check.check_view(part))


@mistakes(
    {
        "all slots": (
            lambda out, images: out.mask_logits.softmax(dim=1)[:, :, None] * images[:, None],
            "take `out` of shape (3, 2, 3, 16, 16) and `images` of shape (3, 3, 16, 16), but it raised AttributeError: "
            "<reason>; use `masks`, `imagelets` and `components` only.",
        ),
        "known number of slots": (
            lambda out, images: out.components[:, [0, 1, 1, 1][: out.masks.shape[1] ** 2 // 4]],
            f"give images of shape (B, S, 3, H, W) = (3, 2, 3, 16, 16), but got (3, 1, 3, 16, 16); {IN_ORDER}",
        ),
    }
)
def test_view_of_some_slots(part: Any, rest: str) -> None:
    check.check_view(part)
    assert_refused(f"Expected the view to {rest}", lambda: check.check_view(part, some_slots=True))


@mistakes(
    {
        "grey": (
            lambda images: images.mean(dim=1, keepdim=True),
            "give images of shape (B, 3, H, W) = (3, 3, 16, 16), but got (3, 1, 16, 16); use `expand_as(images)`.",
        ),
        "range": (
            lambda images: 0 * images - 1,
            "give images in [0, 1], but got values from -1 to -1; leave mean and standard deviation to the guide.",
        ),
        "nan": (lambda images: images / 0, f"give finite images, {NOT_FINITE}"),
        "double": (
            lambda images: images.double(),
            "keep the images' dtype, but got torch.float64; do `.to(images.dtype)`.",
        ),
        "half under autocast": (
            lambda images: F.conv2d(images, torch.eye(3)[..., None, None]),
            "keep the images' dtype under bfloat16 autocast, but got torch.bfloat16; do `.to(images.dtype)`.",
        ),
        "bytes": (
            lambda images: (255 * images).byte(),
            "give images in floating point, but got torch.uint8; integers carry no gradient.",
        ),
        "in place": (lambda images: images.zero_(), f"leave `images` {IN_PLACE}"),
        "not frozen": (
            nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sigmoid()),
            "be frozen, but its parameter `0.weight` would be trained; wrap what it uses in Frozen.",
        ),
    }
)
def test_fill(part: Any, rest: str) -> None:
    assert_refused(f"Expected the fill to {rest}", lambda: check.check_fill(part))


SCALAR = "give a scalar, but got shape {}; average it with `.mean()`."
KEEP = "but none arrives; don't detach, round or take the argmax on the way."
TRAINED = "would be trained; wrap its network in Frozen or FrozenGuide."


class Perceptual(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        return F.mse_loss(self.network(reconstruction), self.network(images))


@mistakes(
    {
        "per image": (lambda x, images: (x - images).square().mean((1, 2, 3)), SCALAR.format("(3,)")),
        "per pixel": (lambda x, images: (x - images).abs(), SCALAR.format("(3, 3, 64, 64)")),
        "number": (
            lambda x, images: F.mse_loss(x, images).item(),
            "give a scalar tensor, but got float; return it without `.item()`.",
        ),
        "root": (
            lambda x, images: F.mse_loss(x, images).sqrt(),
            f"give a finite gradient to `reconstruction`, {NO_ROOT}",
        ),
        "similarity": (
            lambda x, images: 1 - F.mse_loss(x, images) / F.mse_loss(1 + images.flip(-1), images),
            "be smaller for the image itself than for another, but got 1 and 0.<reason>; give a distance, not a "
            "similarity.",
        ),
        "detached": (lambda x, images: F.mse_loss(x.detach(), images), f"pass a gradient to `reconstruction`, {KEEP}"),
        "in place": (lambda x, images: x.sub_(images).square().mean(), f"leave `reconstruction` {IN_PLACE}"),
        "not frozen": (Perceptual(nn.Conv2d(3, 4, 1)), f"be frozen, but its parameter `network.weight` {TRAINED}"),
        "batch normalisation": (
            Perceptual(nn.BatchNorm2d(3).eval().requires_grad_(False)),
            WAKES.format("wrap its network in Frozen or"),
        ),
        "autocast": (
            lambda x, images: F.mse_loss(mixed(x), mixed(images)),
            "take `reconstruction` of shape (1, 3, 64, 96) and `images` of shape (1, 3, 64, 96) " + DTYPES,
        ),
    }
)
def test_recon_loss(part: Any, rest: str) -> None:
    assert_refused(f"Expected the recon loss to {rest}", lambda: check.check_recon_loss(part))


ORDER = (
    "be smaller where tagged classes have the area than where absent ones do, but got {}; slot 0 is the background, "
    "and tag j is slot j+1."
)


@mistakes(
    {
        "background last": (lambda areas, tags: (areas[:, :-1] - tags).square().mean(), ORDER.format("0.06 and 0.06")),
        "sign": (lambda areas, tags: -(areas[:, 1:] - tags).abs().mean(), ORDER.format("-0.2333 and -0.4333")),
        "blind to tags": (lambda areas, tags: areas[:, 1:].square().mean(), ORDER.format("0.03 and 0.03")),
        "tags with the background": (
            lambda areas, tags: (areas - tags).square().mean(),
            "take `areas` of shape (3, 4) and `targets` of shape (3, 3), "
            f"{RAISED} `areas[:, 1:]` are those of the tags.",
        ),
        "logarithm of 0": (
            lambda areas, tags: -(tags * areas[:, 1:].log()).mean(),
            f"give finite values, {NOT_FINITE}",
        ),
        "root of 0": (
            lambda areas, tags: (areas[:, 1:].sqrt() - tags).square().mean(),
            f"give a finite gradient to `areas`, {NO_ROOT}",
        ),
        "mean over present classes": (
            lambda areas, tags: (areas[:, 1:] - tags).square().sum() / tags.sum(),
            f"give finite values for images without a tag, {NOT_FINITE}",
        ),
        "mean over absent classes": (
            lambda areas, tags: (areas[:, 1:] - tags).square().sum() / (1 - tags).sum(),
            f"give finite values for images with all tags, {NOT_FINITE}",
        ),
        "per image": (lambda areas, tags: (areas[:, 1:] - tags).square().mean(dim=1), SCALAR.format("(3,)")),
        "step": (
            lambda areas, tags: ((areas[:, 1:] > 0.1).float() - tags).abs().mean(),
            f"pass a gradient to `areas`, {KEEP}",
        ),
        "rounded": (
            lambda areas, tags: ((10 * areas[:, 1:]).round() / 10 - tags).square().mean(),
            f"pass a gradient to `areas`, {KEEP}",
        ),
        "in place": (lambda areas, tags: (areas.mul_(2)[:, 1:] - tags).square().mean(), f"leave `areas` {IN_PLACE}"),
    }
)
def test_mask_loss(part: Any, rest: str) -> None:
    assert_refused(f"Expected the mask loss to {rest}", lambda: check.check_mask_loss(part))


OUT = "take `out` of shape ({0}, 4, 3, 64, {1}) and `images` of shape ({0}, 3, 64, {1}) and `tags` of shape ({0}, 3)"


@mistakes(
    {
        "per image": (lambda out, images, tags: out.areas.mean(dim=1), SCALAR.format("(3,)")),
        "number": (
            lambda out, images, tags: 0.0,
            "give a scalar tensor, but got float; return it without `.item()`.",
        ),
        "argmax": (
            lambda out, images, tags: (out.labels() > 0).float().mean(),
            f"pass a gradient to `mask_logits` or `imagelets`, {KEEP}",
        ),
        "mean over present classes": (
            lambda out, images, tags: (out.areas[:, 1:] * tags).sum() / tags.sum(),
            f"give finite values for images without a tag, {NOT_FINITE}",
        ),
        "logarithm of an empty mask": (
            lambda out, images, tags: -(out.masks * out.masks.log()).sum(dim=1).mean(),
            f"give finite values for an empty mask, {NOT_FINITE}",
        ),
        "root of an empty mask": (
            lambda out, images, tags: out.masks.sqrt().mean(),
            f"give a finite gradient to `mask_logits` or `imagelets`, {NO_ROOT}",
        ),
        "in place": (lambda out, images, tags: out.masks.clamp_(max=0.5).mean(), f"leave `out` {IN_PLACE}"),
        "guide not frozen": (
            ClsLoss(Guide(outputs=3).requires_grad_()),
            f"be frozen, but its parameter `guide.head.weight` {TRAINED}",
        ),
        "guide that wakes": (
            ClsLoss(pooled(nn.BatchNorm2d(3), outputs=3)),
            WAKES.format("wrap its network in Frozen or"),
        ),
        "other classes": (
            ClsLoss(Guide(outputs=2)),
            OUT.format(3, 64) + ", but it raised ValueError: Expected the guide to give logits of shape (N, K-1) = "
            "(12, 3) for K = 4 slots, but got (12, 2); train it on the classes without the background; name the "
            "`num_classes` and `sizes` that it takes.",
        ),
        "autocast": (
            lambda out, images, tags: torch.lerp(images, out.reconstruction.bfloat16(), 0.5).mean(),
            OUT.format(3, 64) + f", {RAISED} name the `num_classes` and `sizes` that it takes.",
        ),
        "image-lets in half precision": (
            lambda out, images, tags: torch.lerp(images, out.imagelets[:, 0], 0.5).mean(),
            OUT.format(1, 96) + f" {DTYPES}",
        ),
    }
)
def test_extra_loss(part: Any, rest: str) -> None:
    assert_refused(f"Expected the loss to {rest}", lambda: check.check_extra_loss(part))


class Encoder(nn.Module):
    """Feature maps at strides 2 and 4, unless something spoils them."""

    def __init__(
        self,
        give: Callable[..., Any] = lambda fine, coarse: [fine, coarse],
        out_channels: Any = (4, 8),
        strides: Any = (2, 4),
        prepare: Callable[[Tensor], Tensor] = lambda images: images,
    ) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 2, 2), nn.Conv2d(4, 8, 2, 2)
        self.give, self.out_channels, self.strides, self.prepare = give, out_channels, strides, prepare

    def forward(self, images: Tensor) -> Any:
        fine = self.fine(self.prepare(images))
        return self.give(fine, self.coarse(fine))


class WithoutStrides(Encoder):
    def __init__(self) -> None:
        super().__init__()
        del self.strides


ORDER = "; correct `strides`, and give the maps from fine to coarse."


@mistakes(
    {
        "function": (
            lambda images: [images],
            "be an nn.Module, whose parameters are trained, but got function; make it one.",
        ),
        "coarse to fine": (
            Encoder(lambda fine, coarse: [coarse, fine], (8, 4)),
            f"give feature map 0 at `strides[0]` = 2: (4, 4), but got (2, 2) for images of (8, 8){ORDER}",
        ),
        "strides 4 and 4": (
            Encoder(strides=(4, 4)),
            "have `strides` from fine to coarse, the first of them 2, but got (4, 4); add a finer feature map, or sort "
            "them.",
        ),
        "strides 2 and 8": (
            Encoder(lambda fine, coarse: [fine, F.avg_pool2d(coarse, 2)]),
            f"give feature map 1 at `strides[1]` = 4: (2, 2), but got (1, 1) for images of (8, 8){ORDER}",
        ),
        "one size": (
            Encoder(prepare=lambda images: images[..., :8, :8]),
            f"give feature map 0 at `strides[0]` = 2: (4, 6), but got (4, 4) for images of (8, 12){ORDER}",
        ),
        "coarsest only": (
            Encoder(lambda fine, coarse: coarse),
            "give a list of feature maps, but got Tensor; put even a single one into a list.",
        ),
        "number of maps": (
            Encoder(out_channels=(3, 4, 8), strides=(2, 4, 8)),
            "give as many feature maps as `out_channels` says, but got 2, and `out_channels` = (3, 4, 8); leave the "
            "image itself out.",
        ),
        "channels": (
            Encoder(out_channels=(4, 4)),
            "give feature map 1 with `out_channels[1]` = 4 channels, but got 8; correct `out_channels`, or put the "
            "channels second.",
        ),
        "one number of channels": (
            Encoder(out_channels=8),
            "have `out_channels`, the channels of each feature map, but got 8; give a tuple of integers.",
        ),
        "strides of no integers": (
            Encoder(strides=(2.0, 4.0)),
            "have `strides`, the stride of each feature map, but got (2.0, 4.0), and `out_channels` = (4, 8); give a "
            "tuple of integers.",
        ),
        "one stride": (
            Encoder(strides=(4,)),
            "have `strides`, the stride of each feature map, but got (4,), and `out_channels` = (4, 8); give a tuple "
            "of integers.",
        ),
        "strides that do not fit": (
            Encoder(strides=(2, 5)),
            "have `strides` of which the last is a multiple of all others, but got (2, 5); no image size fits all of "
            "them.",
        ),
        "tokens": (
            Encoder(lambda fine, coarse: [fine.flatten(2), coarse.flatten(2)]),
            "give feature map 0 of shape (B, C, h, w), but got (3, 4, 16); keep batch, height and width as dimensions.",
        ),
        "no gradient": (
            Encoder(lambda fine, coarse: [fine.detach(), coarse.detach()]),
            "pass a gradient to `images`, but none arrives; freeze parameters with `requires_grad_(False)`, not "
            "torch.no_grad, to let a guide use it.",
        ),
        "in place": (Encoder(prepare=lambda images: images.sub_(0.5)), f"leave `images` {IN_PLACE}"),
        "contrast of the batch": (Encoder(prepare=lambda images: images / images.std()), DEPENDS),
        "contrast of black": (
            Encoder(prepare=lambda images: images / images.std((1, 2, 3), keepdim=True)),
            f"give finite feature map 0, {NOT_FINITE}",
        ),
        "autocast": (
            Encoder(lambda fine, coarse: [mixed(fine), coarse]),
            f"take `images` of shape (3, 3, 8, 8) {DTYPES}",
        ),
    }
)
def test_encoder(part: Any, rest: str) -> None:
    assert_refused(f"Expected the encoder to {rest}", lambda: check.check_encoder(part))


def test_encoder_without_strides() -> None:
    message = (
        "Expected an encoder module to have the attribute `strides`, but WithoutStrides has none; see "
        "DecompositionSegmenter."
    )
    assert_refused(message, lambda: check.check_encoder(WithoutStrides()))


class Decoder(nn.Module):
    """Three maps of the coarsest features, unless `enlarge` spoils them."""

    def __init__(self, give: Callable[[Tensor], Tensor], prepare: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.head = nn.Conv2d(8, 3, 1)
        self.give, self.prepare = give, prepare

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.give(self.head(self.prepare(features[-1])))


def enlarge(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=4)


MAPS = "it gives K channels for masks, 3K for image-lets, at the images' height and width."


@mistakes(
    {
        "function": (
            lambda features: features,
            "be an nn.Module, whose parameters are trained, but got function; make it one.",
        ),
        "coarse": (
            Decoder(lambda maps: maps),
            f"give maps of shape (B, C, H, W) = (3, 3, 8, 8), but got (3, 3, 2, 2); {MAPS}",
        ),
        "channels": (
            Decoder(lambda maps: enlarge(maps)[:, 1:]),
            f"give maps of shape (B, C, H, W) = (3, 3, 8, 8), but got (3, 2, 8, 8); {MAPS}",
        ),
        "masks": (
            Decoder(lambda maps: enlarge(maps).softmax(dim=1)),
            "give maps before sigmoid or softmax, but got those of SoftmaxBackward0; the segmenter takes softmax and "
            "sigmoid itself.",
        ),
        "in place": (Decoder(enlarge, prepare=F.relu_), f"leave `features` {IN_PLACE}"),
        "detached": (
            Decoder(enlarge, prepare=torch.detach),
            "pass a gradient to `features[0]` or `features[1]`, but none arrives; don't run it under torch.no_grad, "
            "and detach nothing.",
        ),
        "autocast": (
            Decoder(lambda maps: enlarge(mixed(maps))),
            f"take `features` of shape (1, 4, 4, 6) {DTYPES}",
        ),
    }
)
def test_decoder(part: Any, rest: str) -> None:
    check.check_decoder(Decoder(enlarge), Encoder(), 3)
    assert_refused(f"Expected the decoder to {rest}", lambda: check.check_decoder(part, Encoder(), 3))


KEEP_ALL = "keep all classes, the height and the width."


@mistakes(
    {
        "labels": (
            lambda images, masks: masks.argmax(dim=1),
            f"give masks of shape (B, K, H, W) = (3, 4, 64, 64), but got (3, 64, 64); {KEEP_ALL}",
        ),
        "foreground": (
            lambda images, masks: masks[:, 1:],
            f"give masks of shape (B, K, H, W) = (3, 4, 64, 64), but got (3, 3, 64, 64); {KEEP_ALL}",
        ),
        "logits": (
            lambda images, masks: 0 * masks - 2,
            "give masks in [0, 1], but got values from -2 to -2; give probabilities, not logits.",
        ),
        "sum": (
            lambda images, masks: 0 * masks + 0.5,
            "give masks that sum to 1 over the classes, but got sums from 2 to 2; divide by the sum over `dim=1`.",
        ),
        "part of the sum": (
            lambda images, masks: masks / 2,
            "give masks that sum to 1 over the classes, but got sums from 0.5 to 0.5; divide by the sum over `dim=1`.",
        ),
        "in place": (lambda images, masks: masks.mul_(0.5), f"leave `masks` {IN_PLACE}"),
        "mean of the batch": (lambda images, masks: masks.mean(dim=0, keepdim=True).expand_as(masks), DEPENDS),
        "black image": (
            lambda images, masks: (masks * images.mean(1, keepdim=True)) / images.mean(1, keepdim=True),
            f"give finite masks, {NOT_FINITE}",
        ),
    }
)
def test_refinement(part: Any, rest: str) -> None:
    assert_refused(f"Expected the refinement to {rest}", lambda: check.check_refinement(part))


class Images:
    """A data set of two classes that fits, unless attributes or the items' values spoil it."""

    class_names: Any = ("dog", "cat")

    def __init__(self, count: int = 3, *, attributes: dict[str, Any] | None = None, **item: Any) -> None:
        self.tags: Any = torch.tensor([[1.0, 0.0]] * count)
        self.count, self.item = count, item
        vars(self).update(attributes or {})

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        item = {"image": torch.rand(3, 4, 6), "tags": self.tags[index], "name": f"{index}", **self.item}
        return {key: value for key, value in item.items() if value is not None}


class Growing(Images):
    def __len__(self) -> int:
        self.count += 1
        return self.count


class Endless(Images):
    def __len__(self) -> int:
        raise TypeError("no end")


class Pairs(Images):
    def __getitem__(self, index: int) -> Any:
        return torch.rand(3, 4, 6), self.tags[index]


class LastMissing(Images):
    def __getitem__(self, index: int) -> Any:
        if index == len(self) - 1:
            raise FileNotFoundError("no file 99.jpg.")
        return super().__getitem__(index)


def changed(**attributes: Any) -> Images:
    return Images(attributes=attributes)


IMAGE = "the image of item 0 to be float32 of shape (3, H, W), but got"
MASK = "the mask of item 0 to be int64 of shape (H, W) = (4, 6), but got"
TOGETHER = "transform image and mask together, with one label per pixel."
RANGE = "leave mean and standard deviation to the guide, and divide 8-bit values by 255."
ONE_TAG = "give one for each of `class_names`, none for the background."


@mistakes(
    {
        "list": ([{}], "the data set to have `class_names`, but list has none; see TaggedDataset."),
        "no length": (Endless(), "the data set to have a length, but it raised TypeError: no end; give it `__len__`."),
        "growing": (
            Growing(),
            "the data set to hold the same images at every call, at least one, but got 4, then 5.",
        ),
        "empty": (
            Images(0),
            "the data set to hold the same images at every call, at least one, but got 0, then 0.",
        ),
        "one name": (changed(class_names="dog"), "`class_names` to be a sequence of names, but got 'dog'."),
        "numbers": (changed(class_names=(1, 2)), "`class_names` to be a sequence of names, but got (1, 2)."),
        "twice": (
            changed(class_names=("dog", "dog")),
            "`class_names` to be distinct names, at least one, but got ['dog', 'dog'].",
        ),
        "background": (
            changed(class_names=("Background", "dog")),
            "`class_names` to leave the background out, but got ['Background', 'dog']; label 0 is for it.",
        ),
        "more names than tags": (
            changed(class_names=("dog", "cat", "cow")),
            f"the data set's `tags` to be a float tensor of shape (3, 3), but got (3, 2); {ONE_TAG}",
        ),
        "tags in a list": (
            changed(tags=[[1, 0]] * 3),
            "the data set's `tags` to be a float tensor of shape (3, 2), but got list; use `torch.tensor(..., "
            "dtype=torch.float32)`.",
        ),
        "integer tags": (
            changed(tags=torch.ones(3, 2, dtype=torch.int64)),
            "the data set's `tags` to be a float tensor of shape (3, 2), but got torch.int64; do `.float()`.",
        ),
        "soft tags": (
            changed(tags=torch.full((3, 2), 0.5)),
            "the data set's `tags` to hold only 0 and 1, but got [0.5].",
        ),
        "pairs": (Pairs(), 'item 0 to be a dict, but got tuple; give {"image": ..., "tags": ..., "name": ...}.'),
        "unreadable": (LastMissing(30), "item 29 to be read, but it raised FileNotFoundError: no file 99.jpg."),
        "no name": (
            Images(name=None),
            "item 0 to hold 'image', 'tags' and 'name', but ['name'] is missing; see TaggedDataset.",
        ),
        "name of no string": (Images(name=7), "the name of item 0 to be a string, but got int."),
        "array": (Images(image=np.zeros((4, 6, 3))), f"{IMAGE} ndarray; turn it into a tensor."),
        "channels last": (Images(image=torch.zeros(4, 6, 3)), f"{IMAGE} (4, 6, 3); put the channels first."),
        "grey": (Images(image=torch.zeros(1, 4, 6)), f"{IMAGE} (1, 4, 6); convert it to RGB."),
        "bytes": (Images(image=torch.zeros(3, 4, 6).byte()), f"{IMAGE} torch.uint8; divide by 255."),
        "double": (Images(image=torch.zeros(3, 4, 6).double()), f"{IMAGE} torch.float64; do `.float()`."),
        "0 to 255": (
            Images(image=torch.full((3, 4, 6), 255.0)),
            f"the image of item 0 to lie in [0, 1], but got values from 255 to 255; {RANGE}",
        ),
        "normalised": (
            Images(image=torch.full((3, 4, 6), -2.0)),
            f"the image of item 0 to lie in [0, 1], but got values from -2 to -2; {RANGE}",
        ),
        "nan": (
            Images(image=torch.full((3, 4, 6), torch.nan)),
            f"the image of item 0 to lie in [0, 1], but got values from nan to nan; {RANGE}",
        ),
        "tags with the background": (
            Images(tags=torch.tensor([1.0, 1.0, 0.0])),
            f"the tags of item 0 to be a float tensor of shape (2,), but got (3,); {ONE_TAG}",
        ),
        "other tags": (
            Images(tags=torch.tensor([0.0, 1.0])),
            "the tags of item 0 to be row 0 of the data set's `tags`, but got [0.0, 1.0] instead of [1.0, 0.0]; keep "
            "both in one order.",
        ),
        "mask in an array": (Images(mask=np.zeros((4, 6))), f"{MASK} ndarray; turn it into a tensor."),
        "mask of one channel": (Images(mask=torch.zeros(1, 4, 6).long()), f"{MASK} (1, 4, 6); {TOGETHER}"),
        "mask of another size": (Images(mask=torch.zeros(6, 4).long()), f"{MASK} (6, 4); {TOGETHER}"),
        "mask of bytes": (Images(mask=torch.zeros(4, 6).byte()), f"{MASK} torch.uint8; do `.long()`."),
        "label too high": (
            Images(mask=torch.tensor([[0, 1, 3, 254, 255, -1]] * 4)),
            "the mask of item 0 to hold 0 to 2, or 255 for ignore, but got [-1, 3, 254]; tag j is label j+1.",
        ),
        "labels that are not tagged": (
            Images(mask=torch.tensor([[0, 2, 2, 2, 255, 0]] * 4)),
            "the mask of item 0 to show a class of its tags ['dog'], but got ['cat']; tag j is label j+1.",
        ),
    }
)
def test_dataset(part: Any, rest: str) -> None:
    assert_refused(f"Expected {rest}", lambda: check.check_dataset(part))


def test_datasets_that_fit() -> None:
    check.check_dataset(Images())
    check.check_dataset(Images(mask=torch.tensor([[0, 1, 2, 255, 0, 0]] * 4)))
    check.check_dataset(changed(tags=torch.zeros(3, 2), class_names=["dog", "cat"]))
    # Not all items are read, but always the last one.
    with pytest.raises(ValueError, match="item 99 to be read"):
        check.check_dataset(LastMissing(100), max_items=2)
