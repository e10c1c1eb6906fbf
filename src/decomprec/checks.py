"""Checks of the library's inputs: a ValueError names the argument, what was expected and what was given.

Shapes and dtypes are checked at every call. Looking at values makes the CPU wait for the accelerator, so a tensor's
values are scanned once: again only after it was changed in place. Changes that torch does not count (through NumPy or
`.data`) go unnoticed. Values are not scanned while torch compiles or exports: that would break the graph.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_passed = WeakTensorKeyDictionary()  # of a tensor, the version at which each scan last passed


def check_images(images: Tensor, name: str = "images") -> None:
    """Raise a ValueError unless `images` is (B, 3, H, W), floating point, finite and within [0, 1]."""
    if not isinstance(images, Tensor):
        raise ValueError(f"Expected `{name}` to be a torch.Tensor, but got {type(images).__name__}.")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"Expected `{name}` to have shape (B, 3, H, W), but got {tuple(images.shape)}.")
    if min(images.shape) == 0:
        raise ValueError(f"Expected `{name}` to hold at least one pixel, but got shape {tuple(images.shape)}.")
    if not images.is_floating_point():
        raise ValueError(
            f"Expected `{name}` to be floating point in [0, 1], but got {images.dtype}; divide uint8 by 255."
        )
    _scan_once(_scan_images, images, name)


def check_tags(tags: Tensor, batch: int, num_classes: int, name: str = "tags") -> None:
    """Raise a ValueError unless `tags` is (B, K-1) with entries 0 or 1."""
    expected = (batch, num_classes - 1)
    if not isinstance(tags, Tensor) or tuple(tags.shape) != expected:
        got = tuple(tags.shape) if isinstance(tags, Tensor) else type(tags).__name__
        raise ValueError(
            f"Expected `{name}` to have shape (B, K-1) = {expected}, without the background, but got {got}."
        )
    _scan_once(_scan_tags, tags, name)


def check_slots(slots: Tensor, batch: int, num_classes: int, name: str = "slots") -> None:
    """Raise a ValueError unless `slots` is (B, S), int64, with the background first and others once per image."""
    if slots.dtype != torch.int64 or slots.ndim != 2 or slots.shape[0] != batch or slots.shape[1] < 1:
        raise ValueError(
            f"Expected `{name}` to be int64 of shape (B, S) = ({batch}, S), but got {slots.dtype} of shape "
            f"{tuple(slots.shape)}."
        )

    def scan(slots: Tensor, name: str) -> None:
        ordered = slots.sort(dim=1).values
        repeated = (ordered.diff(dim=1) == 0).any()
        if (slots[:, 0] != 0).any() or (ordered[:, -1] >= num_classes).any() or (ordered[:, 0] < 0).any() or repeated:
            raise ValueError(
                f"Expected `{name}` to hold 0, the background, and then different classes from 1 to "
                f"{num_classes - 1} for each image, but got {slots.tolist()}."
            )

    _scan_once(scan, slots, name)


def check_areas(areas: Tensor, name: str = "areas") -> None:
    """Raise a ValueError unless all values of `areas`, of any shape, are within [0, 1]."""
    _scan_once(_scan_areas, areas, name)


def check_decomposition(mask_logits: Tensor, imagelets: Tensor, images: Tensor) -> None:
    """Raise a ValueError unless the parts of a decomposition fit the images and each other."""
    batch, _, height, width = images.shape
    if mask_logits.ndim != 4 or (mask_logits.shape[0], *mask_logits.shape[2:]) != (batch, height, width):
        raise ValueError(
            f"Expected `mask_logits` to have shape (B, K, H, W) = ({batch}, K, {height}, {width}), "
            f"but got {tuple(mask_logits.shape)}."
        )
    expected = (batch, mask_logits.shape[1], 3, height, width)
    if tuple(imagelets.shape) != expected:
        raise ValueError(
            f"Expected `imagelets` to have shape (B, K, 3, H, W) = {expected}, but got {tuple(imagelets.shape)}."
        )


def _scan_once(scan: Callable[[Tensor, str], None], tensor: Tensor, name: str) -> None:
    if torch.compiler.is_compiling() or tensor.is_meta:
        return
    if tensor.is_inference():  # has no version
        scan(tensor, name)
        return
    passed = _passed.setdefault(tensor, {})
    if passed.get(scan) != tensor._version:
        scan(tensor, name)
        passed[scan] = tensor._version


def _scan_images(images: Tensor, name: str) -> None:
    low, high = torch.stack(torch.aminmax(images.detach())).tolist()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"Expected `{name}` to lie in [0, 1], but got values from {low:.4g} to {high:.4g}; "
            "leave mean and standard deviation to the guide and scale pixels to [0, 1]."
        )


def _scan_tags(tags: Tensor, name: str) -> None:
    if not ((tags == 0) | (tags == 1)).all():
        raise ValueError(f"Expected `{name}` to hold only 0 and 1, but got other values.")


def _scan_areas(areas: Tensor, name: str) -> None:
    if not ((areas >= 0) & (areas <= 1)).all():
        raise ValueError(f"Expected `{name}` to be areas in [0, 1], but got other values.")
