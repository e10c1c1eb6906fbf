"""Encoders beyond Appendix A: a small one of our own, and the networks of timm."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decomprec._modes import in_eval_mode
from decomprec.models.channels import channels_last
from decomprec.models.weights import clear_download_error, load_imagenet, load_local

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
    "repeat_borders": bool,
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
        strides: of each feature map; input sizes must be multiples of the largest.
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
        self.strides = tuple(2**i for i in range(1, len(widths) + 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of images (B, 3, H, W), from fine to coarse, at strides 2, 4, ..."""
        features = []
        x = channels_last(images - 0.5)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class TimmEncoder(nn.Module):
    """A network of timm without its classifier, for images in [0, 1] of any size.

    The feature maps are the stages of a pyramid (ResNet, MobileNet, EfficientNet, ConvNeXt, Swin), or four blocks of a
    plain ViT, the last at its end. What comes after the last stage is left out. If the finest stage is coarser
    than stride 2, finer maps come first: the normalised image itself, with its pixels moved to channels. A decoder then
    sees detail that patches have lost.

    Args:
        name: such as "resnet50", "vit_small_patch16_dinov3" or, for certain weights, "resnet18.tv_in1k"; see
            `timm.list_models()`.
        weights: "imagenet" (see `imagenet_state`), a local .safetensors file, or None for random weights.
        options: passed on to the network, such as pad_type="same" for weights that come from Keras: aa_layer,
            act_layer, drop_path_rate, drop_rate, norm_layer, output_stride and pad_type. One is ours: with
            repeat_borders=True, convolutions repeat the border where the network's own add zeros, and a texture that
            fills the image has the same features everywhere.

    Attributes:
        network: timm's.
        out_channels: channels of each feature map, from fine to coarse.
        strides: of each feature map; the first is 2. Decoders need image sides that are multiples of the largest.
        config: the arguments without the weights, for `save_pretrained`.

    Raises:
        ValueError: for a name that timm does not know, another option, a network that takes images of one size
            only, or a file that does not fit.
        ConnectionError: if the ImageNet weights can't be downloaded.

    Examples:
        >>> encoder = TimmEncoder("resnet18")
        >>> encoder.out_channels, encoder.strides
        ((64, 64, 128, 256, 512), (2, 4, 8, 16, 32))
        >>> encoder = TimmEncoder("vit_tiny_patch16_224")
        >>> encoder.out_channels, encoder.strides
        ((12, 48, 192, 192, 192, 192, 192), (2, 4, 8, 16, 16, 16, 16))
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: str | Path | None = None, **options: Any) -> None:
        super().__init__()
        _check_name(name)
        _check_options(options)
        self.config: dict[str, Any] = {"name": name, "options": dict(options)}
        repeat_borders = options.pop("repeat_borders", False)
        self.network = _create(name, options)
        if repeat_borders:
            from decomprec.models.borders import repeat_in_convolutions  # imports timm, which is heavy

            repeat_in_convolutions(self.network)
        self._stages, channels, strides = _stages(self.network)
        self._plain = len(set(strides)) == 1
        # The norm that follows the last stage of a transformer stays; EfficientNet has a convolution there.
        ends_later = self.network.num_features != channels[-1]
        self.network.prune_intermediate_layers(1, prune_norm=ends_later, prune_head=True)
        self._detail = _detail_strides(strides[0])
        self.out_channels = (*(3 * stride**2 for stride in self._detail), *channels)
        self.strides = (*self._detail, *strides)
        self.register_buffer("mean", _per_channel(self.network.pretrained_cfg["mean"]), persistent=False)
        self.register_buffer("std", _per_channel(self.network.pretrained_cfg["std"]), persistent=False)
        if weights == "imagenet":
            self._load_imagenet(name, options)
        elif weights is not None:
            load_local(self.network, weights)
        self._check_maps()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of images (B, 3, H, W), from fine to coarse, at the strides that `strides` says."""
        if self._detail:  # patches of other sizes are refused or cut off
            images = pad_to_multiples(images, self.strides[len(self._detail)])
        images = channels_last((images - self.mean) / self.std)
        features = [F.pixel_unshuffle(images, stride) for stride in self._detail]
        options = {"indices": self._stages, "norm": True, "output_fmt": "NLC" if self._plain else "NCHW"}
        stages = self.network.forward_intermediates(images, intermediates_only=True, **options)
        if self._plain:  # timm's own maps cannot be exported for all sizes
            grid = [size // self.strides[-1] for size in images.shape[-2:]]
            stages = [tokens.transpose(1, 2).contiguous().unflatten(2, grid) for tokens in stages]
        return [*features, *stages]

    def _load_imagenet(self, name: str, options: dict[str, Any]) -> None:
        import timm

        if load_imagenet(self.network, name):
            return
        with clear_download_error(name):
            trained = timm.create_model(name, pretrained=True, num_classes=0, **options).state_dict()
        self.network.load_state_dict({key: trained[key] for key in self.network.state_dict()})

    def _check_maps(self) -> None:
        """Refuse a network that takes only some sizes or gives other maps than timm says, by trying it."""
        if any(parameter.is_meta for parameter in self.parameters()):
            return
        size = 2 * max(self.strides), 3 * max(self.strides)
        try:
            with torch.no_grad(), in_eval_mode(self):
                features = self(torch.zeros(1, 3, *size))
            problem = ""
        except (AssertionError, AttributeError, RuntimeError) as error:  # timm's networks have various
            features, problem = [], str(error)
        got = [tuple(feature.shape[1:]) for feature in features]
        expected = [
            (channels, size[0] // stride, size[1] // stride)
            for channels, stride in zip(self.out_channels, self.strides, strict=True)
        ]
        if got != expected:
            raise ValueError(
                f"Expected `encoder` to be a network that takes images of any size, but timm's {self.config['name']!r} "
                f"fails with {size[0]}x{size[1]} pixels: {problem or f'its maps are {got}'}; choose another, such as a "
                "resnet, mobilenet, efficientnet, convnext, swin or vit."
            )


def check_encoder(encoder: nn.Module) -> None:
    """Raise a ValueError unless a module has what the segmenter and the classifier read off an encoder."""
    for name in ("out_channels", "strides"):
        if not hasattr(encoder, name):
            raise ValueError(
                f"Expected an encoder module to have the attribute `{name}`, but {type(encoder).__name__} has none; "
                "see DecompositionSegmenter."
            )


def coarsest_stride(encoder: Any) -> int:
    """The stride of an encoder's coarsest features; heights and widths must be multiples of it.

    Examples:
        >>> coarsest_stride(SmallEncoder((4, 8)))
        4
    """
    return max(encoder.strides)


def pad_to_multiples(images: Tensor, stride: int) -> Tensor:
    """Images (B, C, H, W) with their last row and column repeated until H and W are multiples of a stride.

    Examples:
        >>> pad_to_multiples(torch.rand(1, 3, 5, 8), 4).shape
        torch.Size([1, 3, 8, 8])
    """
    bottom, right = (-size % stride for size in images.shape[-2:])
    if bottom or right:
        images = F.pad(images, (0, right, 0, bottom), mode="replicate")
    return images


def _check_name(name: str) -> None:
    import timm  # heavy, and only its own networks need it

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"did you mean one of {close}?" if close else "see timm.list_models()."
        raise ValueError(f"Expected `encoder` to be 'paper' or a network of timm, but got {name!r}; {hint}")


def _check_options(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name not in _OPTIONS or not isinstance(value, _OPTIONS[name]):
            raise ValueError(
                "Expected encoder options to be plain values that read no files, but got "
                f"{name}={value!r}; {', '.join(_OPTIONS)} are taken."
            )


def _create(name: str, options: Mapping[str, Any]) -> Any:
    """The network with random weights; one with a fixed number of patches is set to take any number."""
    import timm

    try:
        try:
            return timm.create_model(name, num_classes=0, dynamic_img_size=True, **options)
        except TypeError:  # convolutions take any size anyway
            return timm.create_model(name, num_classes=0, **options)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"Expected an encoder that takes the options {dict(options)}, but timm refuses {name!r}: {error}"
        ) from error


def _stages(network: Any) -> tuple[list[int], list[int], list[int]]:
    """Which of the network's stages or blocks are used, their channels and their strides."""
    infos = list(network.feature_info)
    strides = [info["reduction"] for info in infos]
    used = [i for i, stride in enumerate(strides) if stride > 1]
    if len(set(strides)) == 1:  # a plain ViT: all blocks
        used = sorted({max(part * len(infos) // 4, 1) - 1 for part in range(1, 5)})
    return used, [infos[i]["num_chs"] for i in used], [strides[i] for i in used]


def _detail_strides(finest: int) -> list[int]:
    """Strides at which the image itself is given, from 2 to below the finest of the network."""
    strides = set()
    while finest > 2:
        strides.add(2)
        if finest % 2:
            break
        finest //= 2
        strides.add(finest)
    return sorted(strides)


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)


def _conv(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(c_in, c_out, kernel_size=3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
