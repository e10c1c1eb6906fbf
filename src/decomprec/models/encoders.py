"""Encoders beyond Appendix A: a small one of our own, and those that smp and timm know by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from decomprec.models.weights import clear_download_error, imagenet_file, load_imagenet, load_local

MAX_CHANNELS = 2**16

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


def is_channels(value: Any) -> bool:
    """Whether a value is a number of channels."""
    return type(value) is int and 0 < value <= MAX_CHANNELS


class SmallEncoder(nn.Module):
    """Stages of two 3x3 convolutions with batch normalisation, each halving the resolution.

    Args:
        widths: channels of each stage, from fine to coarse.

    Attributes:
        out_channels: channels of each feature map, from fine to coarse.
        stride: input sizes must be multiples of it.
        config: the widths, for `save_pretrained`.

    Raises:
        ValueError: if there is no width, or one is no number of channels.

    Examples:
        >>> import torch
        >>> encoder = SmallEncoder((16, 32))
        >>> [tuple(f.shape) for f in encoder(torch.rand(1, 3, 32, 32))]
        [(1, 16, 16, 16), (1, 32, 8, 8)]
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128)) -> None:
        super().__init__()
        if not isinstance(widths, Sequence) or not widths or not all(map(is_channels, widths)):
            raise ValueError(
                f"Expected `widths` to be numbers of channels from 1 to {MAX_CHANNELS}, at least one, "
                f"but got {widths!r}."
            )
        self.config: dict[str, Any] = {"widths": list(widths)}
        self.stages = nn.ModuleList(
            nn.Sequential(*_conv(c_in, c, stride=2), *_conv(c, c, stride=1))
            for c_in, c in zip((3, *widths), widths, strict=False)
        )
        self.out_channels = tuple(widths)
        self.stride = 2 ** len(widths)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of images (B, 3, H, W), from fine to coarse, at strides 2, 4, ..."""
        features = []
        x = images - 0.5
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class NamedEncoder(nn.Module):
    """Any encoder of segmentation-models-pytorch or timm, for images in [0, 1].

    Args:
        name: such as "resnet50" (smp's own) or "mobilenetv3_small_100" (timm's).
        weights: "imagenet" (see `imagenet_state`), a local .safetensors file, or None for random weights.
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
        >>> encoder = NamedEncoder("resnet18")
        >>> encoder.out_channels, encoder.stride
        ((64, 64, 128, 256, 512), 32)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: str | Path | None = None, depth: int = 5, **options: Any) -> None:
        import segmentation_models_pytorch as smp  # heavy, and only named encoders need it

        super().__init__()
        self.config: dict[str, Any] = {"name": name, "depth": depth, "options": options}
        smp_name = _known_name(name)
        from_timm = smp_name.startswith("tu-")
        if options and not from_timm:
            raise ValueError(
                f"Expected no `encoder_options` for smp's own {name!r}, but got {options}; timm's ('tu-...') take them."
            )
        _check_options(options)
        bare = smp_name.removeprefix("tu-")
        download = (True if from_timm else "imagenet") if weights == "imagenet" and not imagenet_file(bare) else None
        try:
            with clear_download_error(bare) if download else nullcontext():
                self.network = smp.encoders.get_encoder(smp_name, depth=depth, weights=download, **options)
        except (AssertionError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"Expected `encoder` to give feature maps at strides 2, 4, ..., 2^depth and to take the options "
                f"{options}, but smp refuses {name!r}: {error}"
            ) from error
        network = getattr(self.network, "model", self.network)
        if weights == "imagenet" and not download:
            load_imagenet(network, bare)
        elif weights is not None and not download:
            load_local(network, weights)
        self.out_channels: tuple[int, ...] = tuple(self.network.out_channels[1:])
        self.stride: int = 2**depth
        mean, std = _normalisation(smp_name)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of images (B, 3, H, W), from fine to coarse, at strides 2, 4, ..."""
        features = self.network((images - self.mean) / self.std)
        return list(features[1:])


def rectified(features: Tensor) -> Tensor:
    """The positive and the negative part of features, next to each other, neither below zero.

    Args:
        features: (N, C, ...), signed.

    Returns:
        (N, 2C, ...): max(f, 0), then max(-f, 0).

    Examples:
        >>> rectified(torch.tensor([[2.0, -3.0]]))
        tensor([[2., 0., 0., 3.]])
    """
    return torch.cat([features, -features], dim=1).relu()


def check_encoder(encoder: nn.Module) -> None:
    """Raise a ValueError unless a module has what the segmenter and the classifier read off an encoder."""
    for name in ("out_channels", "stride"):
        if not hasattr(encoder, name):
            raise ValueError(
                f"Expected an encoder module to have the attribute `{name}`, but {type(encoder).__name__} has none; "
                "see DecompositionSegmenter."
            )


def _check_options(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name not in _OPTIONS or not isinstance(value, _OPTIONS[name]):
            raise ValueError(
                "Expected encoder options to be plain values that read no files, but got "
                f"{name}={value!r}; {', '.join(_OPTIONS)} are taken."
            )


def _known_name(name: str) -> str:
    """The name by which smp knows the encoder: its own, or timm's with a prefix."""
    import segmentation_models_pytorch as smp
    import timm

    if name in smp.encoders.get_encoder_names():
        return name
    bare = name.removeprefix("tu-")
    if timm.is_model(bare):
        return f"tu-{bare}"
    close = difflib.get_close_matches(bare, [*smp.encoders.get_encoder_names(), *timm.list_models()], n=5)
    hint = f"did you mean one of {close}?" if close else "see timm.list_models()."
    raise ValueError(f"Expected `encoder` to be 'paper' or an encoder of smp or timm, but got {name!r}; {hint}")


def _normalisation(smp_name: str) -> tuple[Sequence[float], Sequence[float]]:
    import timm

    config = timm.get_pretrained_cfg(smp_name.removeprefix("tu-"), allow_unregistered=True)
    if config is None:
        return timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD
    return config.mean, config.std


def _conv(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(c_in, c_out, kernel_size=3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
