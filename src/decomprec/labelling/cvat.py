"""CVAT's "segmentation mask 1.1": a zip of label maps in colours, laid out like Pascal VOC."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from decomprec._files import written_whole
from decomprec.data.image_io import read_image
from decomprec.data.mask_files import mask_images
from decomprec.data.notices import say
from decomprec.data.paths import read_text
from decomprec.data.samples import IGNORE
from decomprec.labelling.label_maps import IGNORED, Labelled, LabelMaps, Mask, regions
from decomprec.viz import voc_palette

LABELS, MASKS, LIST = "labelmap.txt", "SegmentationClass", "ImageSets/Segmentation/default.txt"

_OBJECTS = "SegmentationObject"


def write(labelled: Iterable[Labelled], class_names: Sequence[str], out: Path) -> None:
    """Write the zip. The labels of the task in CVAT must have the names of the classes.

    Each class in an image is one object.
    """
    palette = (255 * voc_palette()).round().byte().numpy()
    colours = {name: palette[k] for k, name in enumerate(["background", *class_names])}
    names = []
    with written_whole(out) as partial_file, zipfile.ZipFile(partial_file, "w", zipfile.ZIP_DEFLATED) as archive:
        for item in labelled:
            labels = item.read()
            found = regions(labels, class_names)
            if any(name == IGNORED for name, _ in found):
                colours.setdefault(IGNORED, palette[IGNORE])
            objects = {name: palette[k] for k, (name, _) in enumerate(found, 1)}
            for folder, painted in ((MASKS, colours), (_OBJECTS, objects)):
                archive.writestr(f"{folder}/{item.name}.png", _png(found, painted, labels.shape))
            names.append(item.name)
        archive.writestr(LIST, "".join(f"{name}\n" for name in names))
        lines = [f"{name}:{','.join(map(str, colour.tolist()))}::\n" for name, colour in colours.items()]
        archive.writestr(LABELS, "# label:color_rgb:parts:actions\n" + "".join(lines))


def read(source: Path) -> LabelMaps:
    """Find the label maps in an unpacked export. CVAT writes none for an image without an object.

    Raises:
        ValueError: if a line of labelmap.txt is no name with a colour.
    """
    colours = _colours(source / LABELS)
    masks = source / MASKS
    maps = [(file.relative_to(masks).with_suffix("").as_posix(), file) for file in mask_images(masks)]
    listed = [name for file in sorted((source / LIST).parent.glob("*.txt")) for name in read_text(file).split("\n")]
    if bare := sorted({name.strip() for name in listed} - {name for name, _ in maps} - {""}):
        say(
            f"{len(bare)} images of the export have no object, {bare[0]} first, and no label map: they are left out. "
            "Background is known where an object is labelled background."
        )
    by_colour = {colour: number for number, colour in enumerate(colours.values(), 1)}
    return LabelMaps(tuple(colours), [(name, partial(_read, file, by_colour)) for name, file in maps])


def _png(found: Sequence[tuple[str, Mask]], colours: Mapping[str, Sequence[int]], size: Sequence[int]) -> bytes:
    pixels = np.zeros((*size, 3), dtype=np.uint8)
    for name, mask in found:
        pixels[mask] = colours[name]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _colours(file: Path) -> dict[str, int]:
    """The colour of each label, as one number."""
    colours = {}
    for line in read_text(file).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        try:
            red, green, blue = (int(part) for part in rest.split(":")[0].split(","))
        except ValueError as error:
            raise ValueError(
                f"Expected the lines of {file.name} to be a name and a colour, such as dog:128,0,0::, but got {line!r}."
            ) from error
        colours[name] = red << 16 | green << 8 | blue
    if len(set(colours.values())) < len(colours):
        raise ValueError(f"Expected {file.name} to give each label its own colour, but two share one.")
    return colours


def _read(file: Path, labels: Mapping[int, int]) -> Tensor:
    red, green, blue = read_image(file).long()
    values, where = (red << 16 | green << 8 | blue).unique(return_inverse=True)
    if unknown := [f"{value:06x}" for value in values.tolist() if value not in labels]:
        raise ValueError(f"Expected {file.name} to hold the colours of {LABELS} only, but got #{unknown[0]}.")
    return torch.tensor([labels[value] for value in values.tolist()])[where]
