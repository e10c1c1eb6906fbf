"""Every image of a data set read once: its size, its content, and how it looks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from decomprec.data.findings import Finding
from decomprec.data.samples import ImageError
from decomprec.data.tags import tag_table


@dataclass(frozen=True)
class Inspected:
    """What is known of an image once it has been read.

    Attributes:
        split: that it is in.
        file: image file or, if it comes from elsewhere, its name.
        tags: names of its classes.
        problem: why it, or its mask, can't be read; None if it can.
        size: height and width; (0, 0) if it can't be read.
        content: equal for images of equal pixels.
        look: (128,), uint8, {0, 1}; differs in few places for images that look alike. None without ImageHash.
    """

    split: str
    file: Path | str
    tags: tuple[str, ...]
    problem: str | None = None
    size: tuple[int, int] = (0, 0)
    content: bytes = b""
    look: Tensor | None = None


def can_compare() -> bool:
    """Whether ImageHash is installed, by which images that look alike are found."""
    return find_spec("imagehash") is not None


def inspect_images(dataset: Any, split: str, threads: int | None = None) -> list[Inspected]:
    """Read every image of a data set, and its mask if the data set has masks.

    Args:
        dataset: such as a `TaggedImages`.
        split: its name.
        threads: images read at a time; None for as many as torch computes with.

    Returns:
        One entry for each image, in order.
    """
    names = tuple(dataset.class_names)
    tags = [tuple(names[j] for j in sorted(row)) for row in tag_table(dataset).rows()]

    def inspect(index: int) -> Inspected:
        record = dataset.records[index]
        file = getattr(record, "image", None)
        place = file if isinstance(file, Path) else str(getattr(record, "name", index))
        try:
            pixels = dataset.original(index)
        except ImageError as error:
            return Inspected(split, place, tags[index], problem=str(error))
        return Inspected(
            split,
            place,
            tags[index],
            size=(pixels.shape[1], pixels.shape[2]),
            content=_content(pixels),
            look=_look(pixels),
        )

    with ThreadPool(threads or torch.get_num_threads()) as pool:
        found = pool.imap(inspect, range(len(dataset)), chunksize=4)
        return list(tqdm(found, f"reading {split}", len(dataset), unit="image", leave=False, disable=None))


def file_findings(images: Sequence[Inspected], image_size: int) -> list[Finding]:
    """Find images that can't be read, and those smaller than they are trained at.

    Args:
        images: of both splits.
        image_size: shorter side in training, in pixels.

    Returns:
        An error for unreadable images, a note on all sizes, and a warning of small images.

    Examples:
        >>> for finding in file_findings([Inspected("train", "a.png", (), size=(20, 30))], image_size=32):
        ...     print(finding.level, "-", finding.text)
        note - 20 x 30 smallest, 20 x 30 median, 20 x 30 largest (height x width)
        warning - 1 of 1 images are smaller than 32 pixels, the preset's size: ...
    """
    found = []
    problems = [image for image in images if image.problem is not None]
    if problems:
        text = f"{len(problems)} of {len(images)} images cannot be read: repair or remove them, or train with "
        found.append(Finding("error", "unreadable", f"{text}--skip-unreadable", tuple((i.file,) for i in problems)))
    read = sorted((image for image in images if image.problem is None), key=lambda image: image.size[0] * image.size[1])
    if not read:
        return found
    sizes = [f"{height} x {width}" for height, width in (read[i].size for i in (0, len(read) // 2, -1))]
    found.append(
        Finding("note", "sizes", f"{sizes[0]} smallest, {sizes[1]} median, {sizes[2]} largest (height x width)")
    )
    small = [image for image in read if min(image.size) < image_size]
    if small:
        text = f"{len(small)} of {len(images)} images are smaller than {image_size} pixels, the preset's size: "
        text += "they are enlarged; lower image_size if most are"
        found.append(Finding("warning", "small images", text, tuple((image.file,) for image in small)))
    return found


def _content(pixels: Tensor) -> bytes:
    digest = hashlib.blake2b(repr(tuple(pixels.shape)).encode(), digest_size=16)
    digest.update(pixels.numpy().tobytes())
    return digest.digest()


def _look(pixels: Tensor) -> Tensor | None:
    """Two perceptual hashes of 64 bits: of gradients, and of low frequencies. Pairs must be close in both."""
    if not can_compare():
        return None
    import imagehash

    grey = Image.fromarray(pixels.permute(1, 2, 0).numpy()).convert("L")
    bits = np.concatenate([hashed(grey).hash.flatten() for hashed in (imagehash.dhash, imagehash.phash)])
    return torch.from_numpy(bits.astype(np.uint8))
