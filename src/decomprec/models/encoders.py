"""Encoders and decoders beyond Appendix A. The one place that knows segmentation-models-pytorch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder as SmpUnetDecoder
from torch import Tensor, nn

from decomprec.models.small import MAX_CHANNELS, is_channels
from decomprec.models.weights import clear_download_error, load_local

# Of timm's many: some of the others read files (checkpoint_path), reach the network or make it of any size, and
# options come from config files of unknown origin too.
_OPTIONS = {
    "aa_layer": str,
    "act_layer": str,
    "drop_path_rate": int | float,
    "drop_rate": int | float,
    "norm_layer": str,
    "output_stride": int,
    "pad_type": str,
    "strict_img_size": bool,
}


class PretrainedEncoder(nn.Module):
    """Any encoder of segmentation-models-pytorch or timm, for images in [0, 1].

    Args:
        name: such as "resnet50" (smp's own) or "mobilenetv3_small_100" (timm's).
        weights: "imagenet" (downloaded), a local .safetensors file, or None for random weights.
        depth: number of feature maps, at strides 2, 4, ..., 2^depth.
        options: passed on to timm's network, such as pad_type="same" for weights that come from Keras: aa_layer,
            act_layer, drop_path_rate, drop_rate, norm_layer, output_stride, pad_type and strict_img_size.

    Attributes:
        out_channels: channels of each feature map, from fine to coarse.
        stride: input sizes must be multiples of it.
        config: the arguments without the weights, for `save_pretrained`.

    Raises:
        ValueError: for a name that neither library knows, another option, or a file that doesn't fit.
        ConnectionError: if the ImageNet weights can't be downloaded.

    Examples:
        >>> encoder = PretrainedEncoder("resnet18")
        >>> encoder.out_channels, encoder.stride
        ((64, 64, 128, 256, 512), 32)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: str | Path | None = None, depth: int = 5, **options: Any) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"name": name, "depth": depth, "options": options}
        smp_name = _known_name(name)
        from_timm = smp_name.startswith("tu-")
        if options and not from_timm:
            raise ValueError(
                f"Expected no `encoder_options` for smp's own {name!r}, but got {options}; timm's ('tu-...') take them."
            )
        _check_options(options)
        download = (True if from_timm else "imagenet") if weights == "imagenet" else None
        try:
            with clear_download_error(name) if download else nullcontext():
                self.network = smp.encoders.get_encoder(smp_name, depth=depth, weights=download, **options)
        except (AssertionError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"Expected `encoder` to give feature maps at strides 2, 4, ..., 2^depth and to take the options "
                f"{options}, but smp refuses {name!r}: {error}"
            ) from error
        if weights is not None and not download:
            load_local(getattr(self.network, "model", self.network), weights)
        self.out_channels: tuple[int, ...] = tuple(self.network.out_channels[1:])
        self.stride: int = 2**depth
        mean, std = _normalisation(smp_name)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of images (B, 3, H, W), from fine to coarse, at strides 2, 4, ..."""
        features = self.network((images - self.mean) / self.std)
        return list(features[1:])


class UnetDecoder(nn.Module):
    """smp's U-Net decoder and head over an encoder's features.

    Args:
        encoder_channels: channels of the features, from fine (stride 2) to coarse.
        out_channels: C_out, K for the masks and 3K for the image-lets.
        widths: channels of the decoder's blocks, from coarse to fine, one for each feature map.

    Attributes:
        config: the widths, for `save_pretrained`.

    Examples:
        >>> decoder = UnetDecoder((64, 128), out_channels=2)
        >>> decoder([torch.rand(1, 64, 8, 8), torch.rand(1, 128, 4, 4)]).shape
        torch.Size([1, 2, 16, 16])
    """

    def __init__(self, encoder_channels: Sequence[int], out_channels: int, widths: Sequence[int] | None = None) -> None:
        super().__init__()
        depth = len(encoder_channels)
        widths = tuple(widths or (256, 128, 64, 32, 16)[-depth:])
        if len(widths) != depth:
            raise ValueError(
                f"Expected `widths` to have one entry for each of the {depth} feature maps, but got {widths}."
            )
        if not all(map(is_channels, widths)):
            raise ValueError(f"Expected `widths` to be numbers of channels from 1 to {MAX_CHANNELS}, but got {widths}.")
        self.config: dict[str, Any] = {"widths": list(widths)}
        self.decoder = SmpUnetDecoder((3, *encoder_channels), widths, n_blocks=depth)
        self.head = smp.base.SegmentationHead(widths[-1], out_channels, kernel_size=3)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Output (B, C_out, H, W) from the encoder's features."""
        batch, _, height, width = features[0].shape
        # smp counts the picture itself as the first feature map, but looks at its size only.
        picture = features[0].new_empty(batch, 0, 2 * height, 2 * width)
        out: Tensor = self.head(self.decoder([picture, *features]))
        return out


class ShortcutDecoder(UnetDecoder):
    """A `UnetDecoder` plus a 1x1 convolution of the coarsest features, enlarged to its output.

    The convolution can start as `decomprec.evidence.evidence_layer` of a trained classifier; the U-Net then only has to
    add what is finer.

    Args:
        encoder_channels: channels of the features, from fine (stride 2) to coarse.
        out_channels: C_out, K for the masks.
        widths: channels of the decoder's blocks, from coarse to fine, one for each feature map.

    Examples:
        >>> decoder = ShortcutDecoder((64, 128), out_channels=2)
        >>> decoder([torch.rand(1, 64, 8, 8), torch.rand(1, 128, 4, 4)]).shape
        torch.Size([1, 2, 16, 16])
    """

    def __init__(self, encoder_channels: Sequence[int], out_channels: int, widths: Sequence[int] | None = None) -> None:
        super().__init__(encoder_channels, out_channels, widths)
        self.shortcut = nn.Conv2d(encoder_channels[-1], out_channels, kernel_size=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Output (B, C_out, H, W) from the encoder's features."""
        fine = super().forward(features)
        coarse = self.shortcut(features[-1])
        return fine + F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)


def _check_options(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name not in _OPTIONS or not isinstance(value, _OPTIONS[name]):
            raise ValueError(
                "Expected encoder options to be plain values that read no files, but got "
                f"{name}={value!r}; {', '.join(_OPTIONS)} are taken."
            )


def _known_name(name: str) -> str:
    """The name by which smp knows the encoder: its own, or timm's with a prefix."""
    if name in smp.encoders.get_encoder_names():
        return name
    bare = name.removeprefix("tu-")
    if timm.is_model(bare):
        return f"tu-{bare}"
    close = difflib.get_close_matches(bare, [*smp.encoders.get_encoder_names(), *timm.list_models()], n=5)
    hint = f"did you mean one of {close}?" if close else "see timm.list_models()."
    raise ValueError(f"Expected `encoder` to be 'paper' or an encoder of smp or timm, but got {name!r}; {hint}")


def _normalisation(smp_name: str) -> tuple[Sequence[float], Sequence[float]]:
    config = timm.get_pretrained_cfg(smp_name.removeprefix("tu-"), allow_unregistered=True)
    if config is None:
        return timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD
    return config.mean, config.std
