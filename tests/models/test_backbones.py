"""Each family of timm's networks as a guide and as the segmenter's encoder, with random weights."""

import copy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from decomprec import DecompositionSegmenter
from decomprec.export import export_masks
from decomprec.models import PooledClassifier, TimmEncoder
from decomprec.testing import check_encoder
from decomprec.trained_model import TrainedModel, load


class Family(NamedTuple):
    """A network with the strides and the patch size that its paper gives it."""

    name: str
    strides: tuple[int, ...]
    patch: int = 1
    options: dict[str, Any] = {}  # noqa: RUF012  # never changed


PYRAMID, PATCHES = (2, 4, 8, 16, 32), (2, 4, 8, 16, 16, 16, 16)
FAMILIES = {
    "resnet": Family("resnet18", PYRAMID),
    "mobilenet v1": Family("mobilenetv1_100", PYRAMID),
    "mobilenet v3": Family("mobilenetv3_small_050", PYRAMID),
    "efficientnet": Family("tf_efficientnet_lite0", PYRAMID),
    "efficientnet at 16": Family("tf_efficientnet_lite0", (2, 4, 8, 16, 16), options={"output_stride": 16}),
    "convnext": Family("convnext_atto", PYRAMID, patch=4),
    "swin": Family("swin_tiny_patch4_window7_224", PYRAMID, patch=4),
    "vit": Family("vit_tiny_patch16_224", PATCHES, patch=16),
    "dinov2": Family("vit_small_patch14_dinov2", (2, 7, 14, 14, 14, 14), patch=14),
    "dinov3": Family("vit_small_patch16_dinov3", PATCHES, patch=16),
}
ANY_SIZE = {"swin": {"strict_img_size": False}, "vit": {"dynamic_img_size": True}, "dinov2": {"dynamic_img_size": True}}
CHANNELS_LAST = ("swin",)
QUICK = ("efficientnet at 16", "vit")

families = pytest.mark.parametrize("family", FAMILIES)
# What costs seconds is tried on all families where slow tests are.
few_quickly = pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)


@cache
def encoder_of(family: str) -> TimmEncoder:
    torch.manual_seed(0)
    return TimmEncoder(FAMILIES[family].name, **FAMILIES[family].options).eval()


@cache
def segmenter_of(family: str) -> DecompositionSegmenter:
    return DecompositionSegmenter(2, encoder_of(family), decoder_widths=(8,)).eval()


def of_timm(family: str, encoder: TimmEncoder) -> Any:
    """timm's own network with the encoder's weights; only its classifier is another."""
    name, options = FAMILIES[family].name, FAMILIES[family].options
    network = timm.create_model(name, **options, **ANY_SIZE.get(family, {})).eval()
    absent, unexpected = network.load_state_dict(encoder.network.state_dict(), strict=False)
    assert not unexpected
    assert all(key.startswith(("head", "fc.", "classifier", "conv_head", "bn2")) for key in absent), absent
    return network


def normalised(images: Tensor, family: str) -> Tensor:
    patch, config = FAMILIES[family].patch, timm.get_pretrained_cfg(FAMILIES[family].name)
    bottom, right = (-size % patch for size in images.shape[-2:])
    padded = F.pad(images, (0, right, 0, bottom), mode="replicate")
    return (padded - torch.tensor(config.mean)[:, None, None]) / torch.tensor(config.std)[:, None, None]


@families
@pytest.mark.parametrize("size", [(64, 64), (50, 70)])
@torch.no_grad()
def test_maps_are_those_of_timm(family: str, size: tuple[int, int]) -> None:
    encoder, images = copy.deepcopy(encoder_of(family)).double(), torch.rand(2, 3, *size, dtype=torch.float64)
    network, shown = of_timm(family, encoder).double(), normalised(images, family)
    got, end = encoder(images), network.forward_features(shown)
    stages = network.forward_intermediates(shown, norm=True, output_fmt="NCHW", intermediates_only=True)
    if family.startswith("efficientnet"):  # a convolution follows the last stage
        end = stages[-1]
    if end.ndim == 3:  # tokens, some of them of no place
        height, width = (side // FAMILIES[family].patch for side in shown.shape[-2:])
        end = end[:, network.num_prefix_tokens :].transpose(1, 2).unflatten(2, (height, width))
    elif family in CHANNELS_LAST:
        end = end.permute(0, 3, 1, 2)
    torch.testing.assert_close(got[-1], end)
    assert end.shape[1] == encoder.out_channels[-1]
    if len(stages) > 5:
        stages = [stages[i] for i in (2, 5, 8, 11)]
    detail = got[: -len(stages)]
    torch.testing.assert_close(got[len(detail) : -1], stages[:-1])
    for stride, pixels in zip(encoder.strides, detail, strict=False):
        torch.testing.assert_close(F.pixel_shuffle(pixels, stride), shown)  # nothing of the image is lost


@families
def test_it_fits_as_an_encoder(family: str) -> None:
    """Strides, channels, gradients, other images of the batch, autocast."""
    assert encoder_of(family).strides == FAMILIES[family].strides
    check_encoder(encoder_of(family))


@families
@pytest.mark.parametrize("size", [(64, 64), (50, 70)])
@torch.no_grad()
def test_guide_and_segmenter_take_any_size(family: str, size: tuple[int, int]) -> None:
    classifier, images = PooledClassifier(encoder_of(family), 3).eval(), torch.rand(2, 3, *size)
    assert classifier(images).shape == (2, 2)
    maps = classifier.activation_maps(images).mean(dim=(-2, -1)) + classifier.head.bias
    torch.testing.assert_close(maps, classifier(images), atol=1e-4, rtol=1e-3)
    out = segmenter_of(family)(images)
    assert out.masks.shape == (2, 2, *size)
    assert out.imagelets.shape == (2, 2, 3, *size)
    torch.testing.assert_close(out.mask_logits[:1], segmenter_of(family).mask_logits(images[:1]), atol=1e-4, rtol=1e-3)


@families
def test_no_parameter_is_unused(family: str) -> None:
    """Processes that train together wait for the gradient of every one."""
    classifier = PooledClassifier(copy.deepcopy(encoder_of(family)), 2)
    classifier(torch.rand(2, 3, 64, 64)).sum().backward()
    assert [name for name, parameter in classifier.named_parameters() if parameter.grad is None] == []
    segmenter = copy.deepcopy(segmenter_of(family)).train()
    out = segmenter(torch.rand(2, 3, 64, 64))
    (out.masks[:, 0].mean() + out.reconstruction.mean()).backward()
    assert [name for name, parameter in segmenter.named_parameters() if parameter.grad is None] == []


@few_quickly
@torch.no_grad()
def test_saved_and_loaded_it_is_the_same(family: str, tmp_path: Path) -> None:
    segmenter, images = segmenter_of(family), torch.rand(1, 3, 50, 70)
    classifier = PooledClassifier(segmenter.encoder, 2).eval()
    TrainedModel(segmenter, ["dog"], 64, classifier).save_pretrained(tmp_path, half=False)
    read = load(tmp_path)
    assert torch.equal(read.segmenter.mask_logits(images), segmenter.mask_logits(images))
    assert read.classifier is not None
    assert torch.equal(read.classifier(images), classifier(images))


@few_quickly
@torch.no_grad()
def test_compiled_without_a_break_it_is_the_same(family: str) -> None:
    torch.compiler.reset()
    encoder, images = encoder_of(family), torch.rand(1, 3, 64, 64)
    compiled = torch.compile(encoder, backend="eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(images), encoder(images))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["resnet", "mobilenet v3", "efficientnet at 16", "vit", "dinov2"])
def test_exported_for_all_sizes(family: str, tmp_path: Path) -> None:
    export_masks(TrainedModel(segmenter_of(family), ["dog"], 64), tmp_path / "masks.pt2")  # compares the masks
    assert (tmp_path / "masks.pt2").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["convnext", "swin", "dinov3"])
def test_what_torch_cannot_export_for_all_sizes_is_refused(family: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="to be traceable for all sizes at once"):
        export_masks(TrainedModel(segmenter_of(family), ["dog"], 64), tmp_path / "masks.pt2")


def test_blocks_of_a_vit_that_stay_as_they_are() -> None:
    encoder = copy.deepcopy(encoder_of("vit")).requires_grad_(False)
    encoder.network.blocks[-1].requires_grad_(True)
    classifier = PooledClassifier(encoder, 2)
    classifier(torch.rand(2, 3, 32, 32)).sum().backward()
    moved = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert moved
    assert all(name.startswith("network.blocks.11.") for name in moved)
