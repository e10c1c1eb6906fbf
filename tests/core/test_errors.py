"""Every bad input: one ValueError that names the argument, what was expected and what came."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from decomprec import (
    ClsLoss,
    Decomposition,
    DecompositionLoss,
    DecompositionSegmenter,
    FilledView,
    FrozenGuide,
    HingeAreaLoss,
    MaskLoss,
    ReconLoss,
)
from decomprec import functional as DF
from decomprec.models import PooledClassifier, SmallEncoder, UnetDecoder
from decomprec.priors import volumetric_targets

IMAGES, TAGS = torch.full((2, 3, 8, 8), 0.5), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
OUT = Decomposition(torch.zeros(2, 3, 8, 8), torch.rand(2, 3, 3, 8, 8))


def guide(images: Tensor, classes: int = 2) -> Tensor:
    return images.mean(dim=(-3, -2, -1))[:, None].expand(-1, classes)


def with_value(tensor: Tensor, value: float) -> Tensor:
    changed = tensor.clone()
    changed.view(-1)[0] = value
    return changed


def overall(out: Decomposition = OUT, images: Any = IMAGES, tags: Any = TAGS, **kwargs: Any) -> Any:
    return DecompositionLoss(guide)(out, images, tags, **kwargs)


def check(cases: list[tuple[str, Callable[[], Any], str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("call", "message"), [pytest.param(c, m, id=name) for name, c, m in cases])


BAD_IMAGES: list[tuple[str, Any, str]] = [
    ("no tensor", [[0.5]], "`images` to be a torch.Tensor, but got list"),
    ("no batch", IMAGES[0], r"`images` to have shape \(B, 3, H, W\), but got \(3, 8, 8\)"),
    ("grey", IMAGES[:, :1], r"`images` to have shape \(B, 3, H, W\), but got \(2, 1, 8, 8\)"),
    ("empty batch", IMAGES[:0], r"`images` to hold at least one pixel, but got shape \(0, 3, 8, 8\)"),
    ("no pixel", IMAGES[..., :0], r"`images` to hold at least one pixel, but got shape \(2, 3, 8, 0\)"),
    ("uint8", (255 * IMAGES).byte(), "`images` to be floating point .* but got torch.uint8; divide uint8 by 255"),
    ("0 to 255", 255 * IMAGES, r"`images` to lie in \[0, 1\], but got values from 127.5 to 127.5"),
    ("normalised", with_value(IMAGES, -2.0), r"`images` to lie in \[0, 1\], but got values from -2 to 0.5"),
    ("nan", with_value(IMAGES, float("nan")), r"`images` to lie in \[0, 1\], but got values from nan to nan"),
    ("inf", with_value(IMAGES, float("inf")), r"`images` to lie in \[0, 1\], but got values from 0.5 to inf"),
]


class Untouched(nn.Module):
    """An encoder that must not be reached: errors come before any work."""

    out_channels, strides = (4,), (2,)

    def forward(self, images: Tensor) -> list[Tensor]:
        raise AssertionError("the encoder ran")


@pytest.mark.parametrize(("images", "message"), [pytest.param(i, m, id=name) for name, i, m in BAD_IMAGES])
@pytest.mark.parametrize("call", ["forward", "mask_logits", "predict"])
def test_segmenter_refuses_images(call: str, images: Any, message: str) -> None:
    model = DecompositionSegmenter(3, Untouched())
    with pytest.raises(ValueError, match=message):
        getattr(model, call)(images)


@pytest.mark.parametrize(("images", "message"), [pytest.param(i, m, id=name) for name, i, m in BAD_IMAGES])
def test_loss_refuses_images(images: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        overall(images=images)


BAD_TAGS: list[tuple[str, Any, str]] = [
    ("with background", torch.ones(2, 3), r"`tags` to have shape \(B, K-1\) = \(2, 2\), without .*, but got \(2, 3\)"),
    ("too narrow", torch.ones(2, 1), r"`tags` to have shape \(B, K-1\) = \(2, 2\), .* but got \(2, 1\)"),
    ("other batch", torch.ones(3, 2), r"`tags` to have shape .* but got \(3, 2\)"),
    ("class indices", torch.tensor([1, 2]), r"`tags` to have shape .* but got \(2,\)"),
    ("no tensor", [[1, 0], [0, 0]], "`tags` to have shape .* but got list"),
    ("soft", with_value(TAGS, 0.5), "`tags` to hold only 0 and 1"),
    ("nan", with_value(TAGS, float("nan")), "`tags` to hold only 0 and 1"),
]


@pytest.mark.parametrize(("tags", "message"), [pytest.param(t, m, id=name) for name, t, m in BAD_TAGS])
@pytest.mark.parametrize(
    "call",
    [
        lambda tags: overall(tags=tags),
        lambda tags: ClsLoss(guide)(OUT, IMAGES, tags),
        lambda tags: OUT.labels(tags),
        lambda tags: DecompositionSegmenter(3, Untouched()).predict(IMAGES, tags),
    ],
    ids=["DecompositionLoss", "ClsLoss", "labels", "predict"],
)
def test_tags(call: Callable[[Any], Any], tags: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(tags)


@check(
    [
        (
            "logits of other images",
            lambda: overall(Decomposition(torch.zeros(2, 3, 4, 4), OUT.imagelets)),
            r"`mask_logits` to have shape \(B, K, H, W\) = \(2, K, 8, 8\), but got \(2, 3, 4, 4\)",
        ),
        (
            "image-lets of another K",
            lambda: overall(Decomposition(OUT.mask_logits, torch.rand(2, 2, 3, 8, 8))),
            r"`imagelets` to have shape .* = \(2, 3, 3, 8, 8\), but got \(2, 2, 3, 8, 8\)",
        ),
        (
            "guide of another K",
            lambda: ClsLoss(lambda shown: guide(shown, classes=3))(OUT, IMAGES, TAGS),
            r"guide to give logits of shape \(N, K-1\) = \(6, 2\) for K = 3 slots, but got \(6, 3\)",
        ),
        (
            "areas of another K",
            lambda: overall(areas=torch.rand(2, 4)),
            r"`targets` to be tags .* \(2, 2\) or areas .* \(2, 3\), but got \(2, 4\)",
        ),
        ("areas in per cent", lambda: overall(areas=torch.full((2, 3), 33.0)), r"`targets` to be areas in \[0, 1\]"),
        ("areas without a batch", lambda: MaskLoss()(torch.rand(3), TAGS), r"`areas` to have .* but got \(3,\)"),
        (
            "known areas for a hinge",
            lambda: HingeAreaLoss()(torch.rand(2, 2), torch.rand(2, 2)),
            r"`targets` to have shape \(B, K-1\) = \(2, 1\), .* but got \(2, 2\)",
        ),
        (
            "reconstruction of another size",
            lambda: ReconLoss()(IMAGES[..., :4], IMAGES),
            r"`reconstruction` to have shape \(2, 3, 8, 8\), but got \(2, 3, 8, 4\)",
        ),
        (
            "functions do not broadcast: recon_loss",
            lambda: DF.recon_loss(IMAGES[:1], IMAGES),
            r"`reconstruction` to have shape \(2, 3, 8, 8\), but got \(1, 3, 8, 8\)",
        ),
        (
            "functions do not broadcast: mask_loss",
            lambda: DF.mask_loss(torch.rand(2, 2), torch.ones(2, 1)),
            r"`targets` to have shape \(2, 2\), but got \(2, 1\)",
        ),
        (
            "functions do not broadcast: cls_loss",
            lambda: DF.cls_loss(torch.zeros(2, 3, 2), torch.ones(2, 1)),
            r"`guide_logits` to have shape \(2, 2, 1\), but got \(2, 3, 2\)",
        ),
        (
            "functions do not broadcast: guide_loss",
            lambda: DF.guide_loss(torch.zeros(2, 3), torch.ones(2, 1)),
            r"`tags` to have shape \(2, 3\), but got \(2, 1\)",
        ),
        (
            "parts that do not fit: recompose",
            lambda: DF.recompose(torch.rand(2, 3, 8, 8), torch.rand(2, 1, 3, 8, 8)),
            r"`masks` and `imagelets` .* but got \(2, 3, 8, 8\) and \(2, 1, 3, 8, 8\)",
        ),
        (
            "parts that do not fit: components",
            lambda: DF.components(torch.rand(3, 8, 8), torch.rand(2, 3, 3, 8, 8)),
            r"`masks` and `imagelets` .* but got \(3, 8, 8\) and \(2, 3, 3, 8, 8\)",
        ),
        (
            "unknown absent: cls_loss",
            lambda: DF.cls_loss(torch.zeros(2, 3, 2), TAGS, absent="drop"),
            "`absent` to be 'ignore' or 'reject', but got 'drop'",
        ),
        ("too large together", lambda: volumetric_targets(torch.tensor([[0.7, 0.6]])), "`areas` .* largest sum of 1.3"),
        ("negative area", lambda: volumetric_targets(torch.tensor([[-0.5, 0.6]])), "`areas` .* smallest area of -0.5"),
        ("nan area", lambda: volumetric_targets(torch.tensor([[float("nan")]])), "`areas` .* smallest area of nan"),
    ]
)
def test_values(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@check(
    [
        ("one class", lambda: DecompositionSegmenter(1), "`num_classes` .* at least 2, but got 1"),
        ("half a class", lambda: DecompositionSegmenter(2.5), "`num_classes` .* integer .* but got 2.5"),
        (
            "misspelt encoder",
            lambda: DecompositionSegmenter(2, "resnet5o"),
            r"`encoder` to be 'paper' or a network of timm, but got 'resnet5o'; did you mean one of \[.*resnet50",
        ),
        ("nothing like an encoder", lambda: DecompositionSegmenter(2, "?!"), "but got '\\?!'; see timm.list_models"),
        (
            "network for one size",
            lambda: DecompositionSegmenter(2, "hiera_tiny_224"),
            "takes images of any size, but timm's 'hiera_tiny_224' fails with 64x96 pixels",
        ),
        (
            "option that timm does not take",
            lambda: DecompositionSegmenter(2, "mobilenetv3_small_050", encoder_options={"colour": 1}),
            "encoder options to be plain values .* got colour=1; .*output_stride, pad_type, repeat_borders are taken",
        ),
        (
            "option for an encoder that takes none",
            lambda: DecompositionSegmenter(2, "resnet18", encoder_options={"pad_type": "same"}),
            "an encoder that takes the options {'pad_type': 'same'}, but timm refuses 'resnet18'",
        ),
        (
            "weights for the paper's encoder",
            lambda: DecompositionSegmenter(2, encoder_weights="imagenet"),
            "Expected no `encoder_weights` for this encoder, but got 'imagenet'",
        ),
        (
            "weights for a classifier's module",
            lambda: PooledClassifier(SmallEncoder((4, 8)), 2, encoder_weights="imagenet"),
            "Expected no `encoder_weights` for an encoder that is a module, but got 'imagenet'",
        ),
        (
            "options for a module",
            lambda: DecompositionSegmenter(2, Untouched(), encoder_options={"depth": 3}),
            "Expected no `encoder_options` for this encoder, but got {'depth': 3}",
        ),
        (
            "widths for the paper's decoders",
            lambda: DecompositionSegmenter(2, decoder_widths=(8, 8)),
            "Expected no `decoder_widths` for the paper's decoders",
        ),
        (
            "widths where both decoders are given",
            lambda: DecompositionSegmenter(
                2,
                SmallEncoder((4, 8)),
                decoder_widths=(8, 4),
                mask_decoder=UnetDecoder((4, 8), 2),
                image_decoder=UnetDecoder((4, 8), 6),
            ),
            r"Expected no `decoder_widths` where both decoders are given, but got \(8, 4\)",
        ),
        (
            "a layer for classes in the image decoder",
            lambda: DecompositionSegmenter(
                2, SmallEncoder((4, 8)), image_decoder=UnetDecoder((4, 8), 6, levels=(-2, -1))
            ),
            r"Expected `image_decoder` to have no `levels`, whose layer tells classes apart, but got levels \[-2, -1\]",
        ),
        (
            "images enlarged for the paper's decoders",
            lambda: DecompositionSegmenter(2, enlarge=2),
            "Expected `enlarge` to be 1 for the paper's decoders, which need the finest maps, but got 2",
        ),
        (
            "no widths",
            lambda: UnetDecoder((4, 8), 2, widths=()),
            r"`widths` to be numbers of channels from 1 to 65536, at least one, but got \(\)",
        ),
        (
            "encoder without out_channels",
            lambda: DecompositionSegmenter(2, nn.Identity()),
            "encoder module to have the attribute `out_channels`, but Identity has none",
        ),
        ("mean of two", lambda: FrozenGuide(nn.Identity(), mean=(0, 0)), r"`mean` to have one value .* got \(0, 0\)"),
        ("std of one", lambda: FrozenGuide(nn.Identity(), std=(1,)), r"`std` to have one value .* got \(1,\)"),
        (
            "std of zero",
            lambda: FrozenGuide(nn.Identity(), std=(1, 0, 1)),
            r"`std` to be positive, but got \(1, 0, 1\)",
        ),
        ("unknown content", lambda: FilledView("masks", [guide]), "`content` to be .* but got 'masks'"),
        ("no fill", lambda: FilledView("images", []), "`fills` to hold at least one function, but got none"),
        ("unknown absent", lambda: ClsLoss(guide, absent="drop"), "`absent` to be .* but got 'drop'"),
        ("neither guide nor loss", lambda: DecompositionLoss(), "either `guide` or `cls_loss` .* both or neither"),
        (
            "both guide and loss",
            lambda: DecompositionLoss(guide, cls_loss=ClsLoss(guide)),
            "either `guide` or `cls_loss` .* both or neither",
        ),
        ("negative λ_m", lambda: DecompositionLoss(guide, -1), "weight `lambda_mask` to be at least 0, but got -1"),
        ("nan λ_c", lambda: DecompositionLoss(guide, lambda_cls=float("nan")), "`lambda_cls` to be .* but got nan"),
        *(
            (
                f"extra term {name}",
                lambda name=name: DecompositionLoss(guide, extra={name: (1.0, lambda out, images, tags: images.sum())}),
                f"other names of `extra` terms than those of the loss, but got '{name}'",
            )
            for name in ("total", "recon", "mask", "cls", "seeds")
        ),
        (
            "negative weight next to a term of its name",
            lambda: DecompositionLoss(guide, -1, extra={"lambda_mask": (1.0, lambda out, images, tags: images.sum())}),
            "weight `lambda_mask` to be at least 0, but got -1",
        ),
        (
            "negative weight",
            lambda: DecompositionLoss(guide, extra={"tv": (-1.0, lambda out, images, tags: images.sum())}),
            "weight `tv` to be at least 0, but got -1",
        ),
        ("hinge turned round", lambda: HingeAreaLoss(0.5, 0.1), "`low` <= `high` <= 1, but got low=0.5, high=0.1"),
        ("hinge beyond 1", lambda: HingeAreaLoss(0.5, 1.1), "`high` <= 1, but got low=0.5, high=1.1"),
        (
            "classifier of nothing",
            lambda: PooledClassifier(Untouched(), num_classes=1),
            "`num_classes` .* at least 2, but got 1",
        ),
        (
            "classifier without an encoder",
            lambda: PooledClassifier(nn.Identity(), num_classes=2),
            "to have the attribute `out_channels`, but Identity has none",
        ),
        (
            "resnet18 of nothing",
            lambda: PooledClassifier("resnet18", num_classes=1),
            "`num_classes` .* at least 2, but got 1",
        ),
    ]
)
def test_arguments(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
