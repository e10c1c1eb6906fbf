"""What a trained model finds in one image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from decomprec.data.samples import IGNORE
from decomprec.tiling import enlarged
from decomprec.viz import overlay, save_label_map

_STRIP = 1 << 18  # pixels that are drawn at once


@dataclass(frozen=True)
class Prediction:
    """The masks of one image, at its own resolution.

    Only `image` and `seen_masks` are held. Label map, confidence and overlay are made when they are asked for, a few
    rows at a time: of an image of many megapixels, `masks` would take several times its memory.

    Attributes:
        image: (3, H, W), uint8.
        seen_masks: (K, h, w), in [0, 1], summing to one over K, as large as the networks saw the image; absent classes
            are 0.
        classes: names of the K masks; the background comes first.
        ignore_below: where the most likely class has a lower probability, the label map is 255.
    """

    image: Tensor
    seen_masks: Tensor
    classes: tuple[str, ...]
    ignore_below: float = 0.0

    @cached_property
    def masks(self) -> Tensor:
        """The masks (K, H, W), float32 in [0, 1], summing to one over K; absent classes are 0."""
        return torch.cat(list(self._strips()), dim=1)

    @cached_property
    def label_map(self) -> Tensor:
        """The most likely class of every pixel, (H, W), int64, on the CPU: 0 is the background, k is `classes[k]`."""
        return self._labels.long()

    @property
    def confidence(self) -> Tensor:
        """The probability of the most likely class of every pixel, (H, W), float32 in [0, 1], on the CPU."""
        return self._by_rows(lambda strip: strip.amax(dim=0), torch.float32)

    @property
    def found(self) -> tuple[str, ...]:
        """Names of the classes in the label map, without the background."""
        labels = {label for rows in self._labels.split(256) for label in rows.unique().tolist()}
        return tuple(name for label, name in enumerate(self.classes) if label in labels and label > 0)

    def save(self, path: str | Path, comment: str = "") -> None:
        """Write the label map as a PNG with the palette of Pascal VOC, whole or not at all.

        Args:
            path: of the PNG.
            comment: text to store in the file.
        """
        save_label_map(self._labels, path, comment)

    def overlay(self, alpha: float = 0.5, most_pixels: int | None = None) -> Image.Image:
        """The image with its classes in colour; what `ignore_below` leaves out is cream.

        Args:
            alpha: opacity of the colours, in [0, 1].
            most_pixels: a larger image is reduced, by a whole number, to at most this many pixels.
        """
        height, width = self.image.shape[1:]
        factor = 1 if most_pixels is None else math.ceil(math.sqrt(height * width / most_pixels))
        drawn = Image.new("RGB", (-(-width // factor), -(-height // factor)))
        rows = max(1, _STRIP // (width * factor)) * factor
        for top in range(0, height, rows):
            part = slice(top, top + rows)
            pixels = overlay(self.image[None, :, part].float() / 255, self._labels[None, part], alpha)[0]
            strip = Image.fromarray((255 * pixels).round().byte().permute(1, 2, 0).numpy())
            drawn.paste(strip.reduce(factor), (0, top // factor))
        return drawn

    @cached_property
    def _labels(self) -> Tensor:
        """The label map in the smallest type that holds it."""

        def likely(strip: Tensor) -> Tensor:
            labels = strip.argmax(dim=0)
            if self.ignore_below > 0:
                labels[strip.amax(dim=0) < self.ignore_below] = IGNORE
            return labels

        return self._by_rows(likely, torch.uint8 if len(self.classes) <= 256 else torch.int16)

    def _by_rows(self, function: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Tensor:
        """What a function gives for strips (K, n, W) of the masks, (n, W) each, as one tensor (H, W) on the CPU."""
        result, top = torch.empty(self.image.shape[1:], dtype=dtype), 0
        for strip in self._strips():
            result[top : top + strip.shape[1]] = function(strip)
            top += strip.shape[1]
        return result

    def _strips(self) -> Iterator[Tensor]:
        return enlarged(self.seen_masks, (self.image.shape[1], self.image.shape[2]))
