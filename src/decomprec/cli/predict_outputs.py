"""The files that `decomprec predict` writes for an image, and which of them an earlier call has left."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decomprec import __version__
from decomprec._memory import release_freed_memory
from decomprec.cli.config import CONFIG, load_config

if TYPE_CHECKING:
    from torch import Tensor

    from decomprec.trained_model import Prediction, TrainedModel

_LARGE = 1 << 24  # pixels
MASKS, CLASSES = "masks", "classes.txt"
MASK_SETTINGS = ("weights", "size", "refine", "ignore-below", "precision")
"""Keys of a config on which all masks depend."""


@dataclass(frozen=True)
class Outputs:
    """Which files each image gets, below one folder.

    Attributes:
        out: the folder.
        overlay: the image with its classes in colour.
        probabilities: soft masks.
        confidence: the probability of the most likely class.
        components: how many parts of the image are written, one for each class; 0 for none.
    """

    out: Path
    overlay: bool
    probabilities: bool
    confidence: bool
    components: int

    def mask(self, name: str) -> Path:
        """The label map of an image, which is written last."""
        return self.out / MASKS / f"{name}.png"

    def others(self, name: str) -> tuple[Path, Path, Path, Path]:
        """All that an image can have besides, wanted or not."""
        kinds = ("overlays", ".png"), ("probabilities", ".npz"), ("confidence", ".png"), ("components", "")
        overlay, probabilities, confidence, components = (self.out / kind / f"{name}{end}" for kind, end in kinds)
        return overlay, probabilities, confidence, components

    def finished(self, name: str, fingerprint: str) -> bool:
        """Whether all files of an image are there, and its mask is of this image, model and settings."""
        if noted(self.mask(name)) != fingerprint:
            return False
        overlay, probabilities, confidence, components = self.others(name)
        return (
            (overlay.is_file() or not self.overlay)
            and (probabilities.is_file() or not self.probabilities)
            and (confidence.is_file() or not self.confidence)
            and ((components / f"{self.components - 1}.png").is_file() or not self.components)
        )

    def write(self, name: str, result: Prediction, fingerprint: str, parts: Tensor | None) -> None:
        """Write an image's files, and remove those of another model or other settings, or of a call that was stopped.

        Args:
            name: of the results.
            result: what the model found.
            fingerprint: is noted in the mask.
            parts: components (K, 3, h, w), if they are wanted.
        """
        overlay, probabilities, confidence, components = self.others(name)
        if noted(self.mask(name)) != fingerprint:
            # A folder of components can hold that of an image in a folder of this name.
            for file in (overlay, probabilities, confidence, *components.glob("*.png")):
                file.unlink(missing_ok=True)
        if self.overlay:
            save_png(result.overlay(most_pixels=_LARGE), overlay)
        if self.probabilities:
            save_probabilities(result, probabilities)
        if self.confidence:
            save_png(grey(result), confidence)
        if parts is not None:
            save_components(parts, components)
        result.save(self.mask(name), comment=fingerprint)


def weights_of(model: TrainedModel) -> str:
    """A checksum of a model's weights and classes."""
    digest = hashlib.sha256(json.dumps([model.class_names, model.image_size]).encode())
    for network in (model.segmenter, model.classifier):
        for name, value in network.state_dict().items() if network is not None else ():
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def fingerprint(settings: Mapping[str, Any], tags: Sequence[str] | None, image: Path) -> str:
    """A checksum of all that an image's mask depends on.

    Args:
        settings: of the masks.
        tags: of the image, if they are given.
        image: counts by the size and time of its file, which copies on another machine can keep.
    """
    try:
        stat = image.stat()
        file = [stat.st_size, int(stat.st_mtime)]
    except OSError:  # reading it says why
        file = []
    return _checksum([__version__, {**settings, "tags": tags}, file])


def noted(mask: Path) -> str | None:
    """The fingerprint in a mask's file; None if there is no such file, or it has none."""
    from PIL import Image

    try:
        with Image.open(mask) as image:
            return image.info.get("Comment")
    except Exception:  # of any type, for a damaged file
        return None


def _checksum(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def check_settings(out: Path, settings: Mapping[str, Any], names: Mapping[str, Path]) -> None:
    """Refuse a folder with masks of other images that were drawn by another model or with other settings.

    Args:
        out: the folder.
        settings: of this call, by the keys of its config.
        names: of the images that this call draws.

    Raises:
        ValueError: if there are such masks.
    """
    if _difference(out, settings) is None or not (out / MASKS).is_dir():
        return
    masks = (file.relative_to(out / MASKS) for file in (out / MASKS).rglob("[!.]*.png"))
    other = next((mask for mask in masks if mask.with_suffix("").as_posix() not in names), None)
    difference = _difference(out, settings)  # again: another job may have written its config before the mask
    if other is not None and difference is not None:
        raise ValueError(
            f"Expected {out} to hold masks of this call's model and settings, but {other} was drawn with {difference}; "
            "choose another --out, or remove the old masks."
        )


def _difference(out: Path, settings: Mapping[str, Any]) -> str | None:
    """A setting of the masks in which the config of a folder differs from those of a call."""
    path = out / CONFIG
    before = load_config(path) if path.is_file() else {}
    for key in MASK_SETTINGS:
        if before.get(key) != settings.get(key):
            usual = "as by default" if before else "unknown"
            return f"{key} {before.get(key, usual)}, not {settings.get(key, 'as by default')}"
    return None


def save_png(image: Any, path: Path) -> None:
    """Write a PIL image as a PNG, whole or not at all, several times as fast as with the usual compression."""
    from decomprec._files import written_whole

    with written_whole(path) as partial:
        image.save(partial, compress_level=1)
    if image.width * image.height > _LARGE:
        image.close()
        release_freed_memory()


def grey(result: Prediction) -> Any:
    """The confidence of a prediction as a grey image, 255 is 1; a few rows at a time."""
    import torch
    from PIL import Image

    from decomprec.tiling import enlarged

    height, width = result.image.shape[1:]
    values, top = torch.empty(height, width, dtype=torch.uint8), 0
    for strip in enlarged(result.seen_masks, (height, width)):
        values[top : top + strip.shape[1]] = strip.amax(dim=0).mul_(255).round_()
        top += strip.shape[1]
    return Image.fromarray(values.numpy())


def save_probabilities(result: Prediction, path: Path) -> None:
    """Write the masks (K, H, W), float16, as "masks" in an .npz file, one class in memory at a time."""
    import numpy as np

    from decomprec._files import written_whole
    from decomprec.tiling import enlarged

    with (
        written_whole(path) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("masks.npy", "w", force_zip64=True) as file,
    ):
        size = (result.image.shape[1], result.image.shape[2])
        header = {"descr": "<f2", "fortran_order": False, "shape": (len(result.classes), *size)}
        np.lib.format.write_array_header_1_0(file, header)
        for mask in result.seen_masks.split(1):
            for rows in enlarged(mask, size):
                file.write(rows.cpu().numpy().astype("<f2").tobytes())


def save_components(components: Tensor, folder: Path) -> None:
    """Write an image's components (K, 3, h, w), one file each by its label."""
    from decomprec.viz import save_image

    for label, component in enumerate(components.cpu()):
        save_image(component, folder / f"{label}.png")
