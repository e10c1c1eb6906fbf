"""Label maps from a folder of PNGs to a labelling tool, and back into such a folder."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from decomprec._files import write_text
from decomprec.data.checks import check_class_names, choose_classes
from decomprec.data.class_lists import read_class_list
from decomprec.data.names import is_system
from decomprec.data.samples import IGNORE
from decomprec.evaluation.label_files import CLASSES
from decomprec.evaluation.label_maps import read_label_maps
from decomprec.labelling import coco, cvat, fiftyone, label_studio, yolo
from decomprec.labelling.label_maps import Labelled, LabelMaps, classes_of, read_json, renumbering
from decomprec.viz import save_label_map


class Tool(NamedTuple):
    """What a tool takes.

    Attributes:
        write: writes images with label maps for it.
        ending: of the file that is written; empty for a folder.
    """

    write: Callable[[Iterator[Labelled], Sequence[str], Path], None]
    ending: str


TOOLS = {
    "label-studio": Tool(label_studio.write, ""),
    "cvat": Tool(cvat.write, ".zip"),
    "fiftyone": Tool(fiftyone.write, ""),
    "yolo": Tool(yolo.write, ""),
    "coco": Tool(coco.write, ".json"),
    "coco-polygons": Tool(coco.write_polygons, ".json"),
}
"""Tools that `export_labels` writes for."""


def export_labels(
    masks: str | Path,
    images: Mapping[str, Path],
    tool: str,
    out: str | Path,
    *,
    probabilities: str | Path | None = None,
) -> int:
    r"""Write label maps for a labelling tool.

    Args:
        masks: folder of label PNGs with a `classes.txt`, as `decomprec predict` writes it.
        images: the image of each label map, by the path of the PNG below `masks` without its ending.
        tool: a key of `TOOLS`.
        out: a file with the tool's ending, or a new folder.
        probabilities: folder of soft masks, as `decomprec predict --probabilities` writes it. Their largest values,
            averaged over each image, are its score in Label Studio and FiftyOne.

    Returns:
        The number of label maps.

    Raises:
        FileNotFoundError: if there are no label maps, or the image of one is missing.
        ValueError: if the tool is unknown, `out` has another ending or exists, or the classes have no names.

    Examples:
        >>> import tempfile, torch
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (4, 2)).save(root / "park.jpg")
        >>> save_label_map(torch.tensor([[0, 1, 1, 0]] * 2), root / "masks" / "park.png")
        >>> _ = (root / "masks" / "classes.txt").write_text("background\ndog\n")
        >>> export_labels(root / "masks", {"park": root / "park.jpg"}, "cvat", root / "park.zip")
        1
        >>> import_labels(root / "park.zip", root / "corrected")
        (1, ('dog',))
    """
    masks, out = Path(masks), Path(out)
    if tool not in TOOLS:
        raise ValueError(f"Expected `tool` to be one of {', '.join(TOOLS)}, but got {tool!r}.")
    write, ending = TOOLS[tool]
    if out.suffix.lower() != ending and ending:
        raise ValueError(f"Expected `out` to end in {ending} for {tool}, but got {out}.")
    if not ending and out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise ValueError(f"Expected `out` to be a new folder for {tool}, but {out} exists.")
    class_names, label_maps = read_label_maps(masks)
    if class_names is None:
        raise ValueError(f"Expected {masks} to name the classes in {CLASSES}, background first, but it has none.")
    if missing := [label_map.name for label_map in label_maps if label_map.name not in images]:
        raise FileNotFoundError(
            f"Expected an image for each label map in {masks}, but {len(missing)} of {len(label_maps)} have none, "
            f"{missing[0]}.png first; give the folder that the masks were drawn from."
        )
    folder = Path(probabilities) if probabilities is not None else None
    items = (Labelled(each.name, images[each.name], each.read, _score(folder, each.name)) for each in label_maps)
    write(tqdm(items, "exporting", len(label_maps), unit="image", disable=None), class_names, out)
    return len(label_maps)


def import_labels(
    source: str | Path, out: str | Path, *, classes: Sequence[str] | None = None
) -> tuple[int, tuple[str, ...]]:
    """Write the label maps of a tool's export as PNGs with a `classes.txt`.

    `evaluate`, `load_images` and the training read such a folder. Where regions of different classes overlap, the
    pixels are 255 (unknown). A label named "ignore" is 255, and one named "background" is 0.

    Args:
        source: Label Studio's JSON, CVAT's "segmentation mask 1.1" or "COCO 1.0", a COCO file, a YOLO folder with its
            images, or a FiftyOne dataset on disk; folders may be zipped.
        out: folder of the PNGs; one with the same classes gets further label maps.
        classes: in the order of their labels; others become background. None for all that the export has.

    Returns:
        The number of label maps, and the names of the K-1 classes.

    Raises:
        FileNotFoundError: if there is no such source.
        ValueError: if it is no export of these, lacks a class or has none, names of classes are repeated or not
            printable, or `out` has others.
    """
    source, out = Path(source), Path(out)
    with unpacked(source) as place:
        found = _read(place, source)
        known = classes_of(found.names)
        if len(found.names) >= IGNORE:
            raise ValueError(f"Expected at most {IGNORE - 1} labels, which a PNG can hold, but got {len(found.names)}.")
        chosen = choose_classes(classes, known, source)
        check_class_names(chosen, masks=True)
        names = [_inside(name) for name, _ in found.maps]
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"Expected {source} to have one label map for each image, but {repeated[0]} has several.")
        _write_classes(chosen, out)
        numbers = renumbering(found.names, chosen)
        maps = zip(names, (draw for _, draw in found.maps), strict=True)
        for name, draw in tqdm(maps, "importing", len(names), unit="image", disable=None):
            save_label_map(numbers[draw()], out / f"{name}.png")
    return len(names), chosen


@contextmanager
def unpacked(source: Path) -> Iterator[Path]:
    """Unpack a zip to a folder that is removed afterwards; other files and folders stay as they are.

    Raises:
        FileNotFoundError: if there is no such source.
        ValueError: if a zip is damaged, or has a password.
    """
    if not source.exists():
        raise FileNotFoundError(f"Expected the export of a labelling tool, but found no {source}.")
    if not source.is_file() or source.suffix.lower() != ".zip":
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(source) as archive:
                archive.extractall(folder)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # the last for a password
            raise ValueError(f"Expected {source} to be a zip that can be unpacked, but: {error}.") from error
        inner = [path for path in Path(folder).iterdir() if not is_system(path.name)]
        yield inner[0] if len(inner) == 1 and inner[0].is_dir() and inner[0].name == source.stem else Path(folder)


def _read(place: Path, source: Path) -> LabelMaps:
    """The label maps of an export, by what it is."""
    if place.is_dir():
        if (place / cvat.LABELS).is_file() and (place / cvat.MASKS).is_dir():
            return cvat.read(place)
        if (place / fiftyone.SAMPLES).is_file() and (place / fiftyone.METADATA).is_file():
            return fiftyone.read(place)
        if (place / yolo.DATA).is_file() or (place / yolo.LABELS).is_dir():
            return yolo.read(place)
        files = [file for file in sorted(place.rglob("*.json")) if not is_system(file.name)]
        if len(files) == 1:
            return _read_json(files[0], source)
    elif place.suffix.lower() == ".json":
        return _read_json(place, source)
    raise ValueError(
        f"Expected {source} to be an export of Label Studio (JSON), CVAT (segmentation mask 1.1 or COCO 1.0), "
        "FiftyOne, COCO or YOLO with data.yaml, but it looks like none of them."
    )


def _read_json(file: Path, source: Path) -> LabelMaps:
    content = read_json(file, source)
    return label_studio.read(content, source) if isinstance(content, list) else coco.read(file)


def _inside(name: str) -> str:
    """A name that stays below a folder: its last part if it would lead out."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.name if path.is_absolute() or ".." in path.parts else path.as_posix()


def _write_classes(class_names: Sequence[str], out: Path) -> None:
    file = out / CLASSES
    if file.is_file() and read_class_list(file)[1:] != tuple(class_names):
        raise ValueError(
            f"Expected {out} to be a new folder, or to hold label maps of {', '.join(class_names)}, but its {CLASSES} "
            "says otherwise; choose another folder, or the same classes in the same order."
        )
    write_text(file, "".join(f"{name}\n" for name in ("background", *class_names)))


def _score(folder: Path | None, name: str) -> float | None:
    file = None if folder is None else folder / f"{name}.npz"
    if file is None or not file.is_file():
        return None
    return float(np.load(file)["masks"].max(axis=0).astype(np.float64).mean())
