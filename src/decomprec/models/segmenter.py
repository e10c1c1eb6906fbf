"""The network f: one encoder, a mask decoder f_m and an image decoder f_x."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from decomprec._modes import in_eval_mode
from decomprec.checks import check_images, check_slots, check_tags
from decomprec.decomposition import Decomposition, labels_from_logits
from decomprec.models.channels import channels_of_slots
from decomprec.models.decoders import UnetDecoder
from decomprec.models.encoders import TimmEncoder, check_encoder, coarsest_stride, pad_to_multiples
from decomprec.models.paper_unet import PaperDecoder, PaperEncoder


class DecompositionSegmenter(nn.Module):
    """Splits images into mask-lets and image-lets, one per class (Figure 1).

    The default is the paper's Appendix A, to the parameter. Any network of timm is an encoder too, and gets two
    U-Net decoders; encoder and decoders can also be your own modules.

    Args:
        num_classes: K, background included, at least 2.
        encoder: "paper" (Appendix A), a network of timm by its name, or a module of the form of `Encoder`: from images
            (B, 3, H, W) to a list of features from fine to coarse, with `out_channels` and `strides` of each; H and W
            are multiples of the largest stride.
        encoder_weights: "imagenet" (see `imagenet_state`), a local .safetensors file, or None; for networks of timm.
        encoder_options: passed on to timm's network, such as {"pad_type": "same"}.
        decoder_widths: channels of the U-Net decoders' blocks from coarse to fine, for any number of feature maps; see
            `UnetDecoder`.
        mask_decoder: a module of your own, of the form of `Decoder`, from the list of features to (B, K, H, W).
        image_decoder: a module of your own from the list of features to (B, 3K, H, W), before the sigmoid.
        enlarge: factor by which images are enlarged for the encoder. Its maps are then finer for the decoders, which
            cost the same; those that would be finer than stride 2 are left out. Worth it for a frozen encoder.

    Raises:
        ValueError: for fewer than 2 classes, an unknown encoder, or arguments that the encoder or decoders don't take.

    Examples:
        >>> model = DecompositionSegmenter(num_classes=2)
        >>> out = model(torch.rand(1, 3, 50, 70))  # any size
        >>> out.masks.shape, out.imagelets.shape
        (torch.Size([1, 2, 50, 70]), torch.Size([1, 2, 3, 50, 70]))
        >>> model.predict(torch.rand(1, 3, 50, 70)).shape
        torch.Size([1, 50, 70])
    """

    def __init__(
        self,
        num_classes: int = 2,
        encoder: str | nn.Module = "paper",
        encoder_weights: str | Path | None = None,
        *,
        encoder_options: dict[str, Any] | None = None,
        decoder_widths: Sequence[int] | None = None,
        mask_decoder: nn.Module | None = None,
        image_decoder: nn.Module | None = None,
        enlarge: int = 1,
    ) -> None:
        super().__init__()
        if not isinstance(num_classes, int) or num_classes < 2:
            raise ValueError(
                f"Expected `num_classes` (background included) to be an integer of at least 2, but got {num_classes!r}."
            )
        if not isinstance(encoder, str) or encoder == "paper":
            unused = {"encoder_weights": encoder_weights, "encoder_options": encoder_options}
            for name, value in unused.items():
                if value is not None:
                    raise ValueError(f"Expected no `{name}` for this encoder, but got {value!r}; name an encoder.")
        if type(enlarge) is not int or enlarge < 1:
            raise ValueError(f"Expected `enlarge` to be an integer of at least 1, but got {enlarge!r}.")
        self.num_classes = num_classes
        self.enlarge = enlarge
        if encoder == "paper":
            if decoder_widths is not None:
                raise ValueError("Expected no `decoder_widths` for the paper's decoders; name another encoder.")
            self.encoder: nn.Module = PaperEncoder()
            self.mask_decoder = mask_decoder or PaperDecoder(num_classes)
            self.image_decoder = image_decoder or PaperDecoder(3 * num_classes)
        else:
            if isinstance(encoder, str):
                encoder = TimmEncoder(encoder, encoder_weights, **(encoder_options or {}))
            check_encoder(encoder)
            every: Any = encoder.strides
            channels, strides = maps_of_enlarged(encoder, enlarge)
            if strides[:1] != (2,) and not (mask_decoder and image_decoder):
                raise ValueError(
                    f"Expected the encoder's first feature map to be at stride 2, where the U-Net decoders end, but "
                    f"got strides {tuple(every)} of images enlarged by {enlarge}; give a finer map or your "
                    "own `mask_decoder` and `image_decoder`."
                )
            if decoder_widths is not None and mask_decoder and image_decoder:
                raise ValueError(
                    f"Expected no `decoder_widths` where both decoders are given, but got {decoder_widths!r}; give "
                    "the widths to the decoders."
                )
            self.encoder = encoder
            self.mask_decoder = mask_decoder or UnetDecoder(channels, num_classes, decoder_widths)
            self.image_decoder = image_decoder or UnetDecoder(channels, 3 * num_classes, decoder_widths)
        if isinstance(self.image_decoder, UnetDecoder) and self.image_decoder.which is not None:
            raise ValueError(
                "Expected `image_decoder` to have no `levels`, whose layer tells classes apart, but got levels "
                f"{self.image_decoder.config['levels']}."
            )
        if enlarge > 1 and any(isinstance(part, PaperDecoder) for part in (self.mask_decoder, self.image_decoder)):
            raise ValueError(
                f"Expected `enlarge` to be 1 for the paper's decoders, which need the finest maps, but got {enlarge}; "
                "name another encoder or give your own `mask_decoder` and `image_decoder`."
            )

    def forward(
        self, images: Tensor, slots: Tensor | None = None, features: list[Tensor] | None = None
    ) -> Decomposition:
        """Decompose images.

        Args:
            images: (B, 3, H, W), in [0, 1], of any size: padded inside to the encoder's largest stride and
                cropped back.
            slots: (B, S), int64, in [0, K): the slots that are computed for each image, the background (0) first, such
                as `decomprec.slots.choose_slots` gives. Memory then grows with S instead of K, and the masks sum to one
                over these slots, as if the other classes were known to be absent. None computes all. Decoders of your
                own compute all channels, of which these are taken.
            features: of these images, as `features` gives them, if they are known.

        Raises:
            ValueError: if shape, dtype or range are not these.
        """
        if slots is not None:
            check_slots(slots, len(images), self.num_classes)
        features = self.features(images) if features is None else features
        height, width = images.shape[-2:]
        colours = None if slots is None else channels_of_slots(slots, 3)
        mask_logits = _decode(self.mask_decoder, features, slots)[..., :height, :width]
        imagelets = _decode(self.image_decoder, features, colours)[..., :height, :width].sigmoid()
        return Decomposition(mask_logits, rearrange(imagelets, "b (k c) h w -> b k c h w", c=3), slots)

    def mask_logits(self, images: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """The mask branch alone: logits (B, K, H, W) of images (B, 3, H, W) in [0, 1], or of their `features`."""
        features = self.features(images) if features is None else features
        height, width = images.shape[-2:]
        logits: Tensor = self.mask_decoder(features)[..., :height, :width]
        return logits

    def predict(self, images: Tensor, tags: Tensor | None = None) -> Tensor:
        """Label maps of images, in eval mode and without gradients.

        Args:
            images: (B, 3, H, W), in [0, 1], of any size.
            tags: (B, K-1), {0, 1}, if known: then only the background and tagged classes are predicted.

        Returns:
            (B, H, W), int64: 0 is the background, tag j is class j+1.
        """
        if tags is not None:
            check_tags(tags, batch=len(images), num_classes=self.num_classes)
        with torch.inference_mode(), in_eval_mode(self):
            return labels_from_logits(self.mask_logits(images), tags)

    @property
    def stride(self) -> int:
        """The stride of the coarsest features, in pixels of the image: its sides are padded to multiples of it."""
        return stride_of_enlarged(self.encoder, self.enlarge)

    def features(self, images: Tensor) -> list[Tensor]:
        """The encoder's features of images (B, 3, H, W) in [0, 1], padded to multiples of `stride`, for the decoders.

        Raises:
            ValueError: if shape, dtype or range are not these.
        """
        check_images(images)
        return self.features_of_padded(pad_to_multiples(images, self.stride))

    def features_of_padded(self, images: Tensor) -> list[Tensor]:
        """The features of images whose sides are multiples of `stride`."""
        if self.enlarge > 1:
            images = F.interpolate(images, scale_factor=self.enlarge, mode="bilinear", align_corners=False)
        features: list[Tensor] = self.encoder(images)
        channels, _ = maps_of_enlarged(self.encoder, self.enlarge)
        return features[len(features) - len(channels) :]


def _decode(decoder: nn.Module, features: list[Tensor], channels: Tensor | None) -> Tensor:
    out: Tensor
    if channels is None:
        out = decoder(features)
    elif isinstance(decoder, UnetDecoder | PaperDecoder):
        out = decoder(features, channels)
    else:
        out = decoder(features)
        out = out[torch.arange(len(out), device=out.device)[:, None], channels]
    return out


def stride_of_enlarged(encoder: Any, enlarge: int) -> int:
    """The stride of the coarsest features of an encoder that sees images enlarged, in pixels of the images.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> stride_of_enlarged(SmallEncoder((4, 8, 16)), enlarge=2)
        4
    """
    coarsest = coarsest_stride(encoder)
    return coarsest // math.gcd(coarsest, enlarge)


def maps_of_enlarged(encoder: Any, enlarge: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Channels and strides of the feature maps that decoders get of an encoder that sees images enlarged.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> maps_of_enlarged(SmallEncoder((4, 8, 16)), enlarge=2)
        ((8, 16), (2.0, 4.0))
    """
    kept = [i for i, stride in enumerate(encoder.strides) if enlarge == 1 or stride >= 2 * enlarge]
    return tuple(encoder.out_channels[i] for i in kept), tuple(encoder.strides[i] / enlarge for i in kept)
