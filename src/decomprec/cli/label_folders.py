"""Label maps of any form as folders of label PNGs, which `score_label_files` compares."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from decomprec.data import coco_label_maps, detect_format, load_images
from decomprec.data.paths import read_text
from decomprec.evaluation.label_files import CLASSES
from decomprec.viz import save_label_map


@contextmanager
def label_folders(masks: Path, truth: Path) -> Iterator[tuple[Path, Path]]:
    """Draw what is no folder of label PNGs into a temporary one.

    A COCO file and a VOC devkit name their classes: their labels are renumbered to the classes of the masks, and
    other objects are background. Errors name what was given, not what was drawn.

    Args:
        masks: folder of label PNGs, perhaps with a `classes.txt`, or a COCO file.
        truth: likewise, or the devkit of Pascal VOC, of which the validation split is drawn.

    Raises:
        FileNotFoundError: if a file of the devkit is missing.
        ValueError: if a file can't be read, or is without a class of the masks.
    """
    with tempfile.TemporaryDirectory() as temporary:
        drawn = [(source, Path(temporary, name)) for source, name in ((masks, "masks"), (truth, "truth"))]
        try:
            if masks.is_file():
                names: Sequence[str] | None = _categories(masks)
            else:
                names = _listed(masks / CLASSES)
            for source, folder in drawn:
                for name, labels in _label_maps(source, names, folder):
                    save_label_map(labels, folder / f"{name}.png")
            if masks.is_file():
                (drawn[0][1] / CLASSES).write_text("\n".join(["background", *(names or ())]), encoding="utf-8")
            first, second = (folder if folder.is_dir() else source for source, folder in drawn)
            yield first, second
        except (ValueError, FileNotFoundError) as error:
            text = str(error)
            for source, folder in drawn:
                text = text.replace(str(folder), str(source))
            # The kinds of ValueError that decoders raise want more than a text.
            raise (FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError)(text) from error


def _listed(path: Path) -> list[str] | None:
    """The K-1 classes of a `classes.txt`, if there is one."""
    if not path.is_file():
        return None
    return [line.strip() for line in read_text(path).splitlines() if line.strip()][1:]


def _label_maps(source: Path, names: Sequence[str] | None, folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Names and label maps of what has to be drawn: nothing, if `source` is a folder of PNGs."""
    if source.is_file():
        yield from _coco_label_maps(source, names, folder)
    elif source.is_dir() and detect_format(source) == "voc":
        images = load_images(source, "voc", classes=names)("val", transform=None, masks=True)
        yield from ((item["name"], item["mask"]) for item in (images[i] for i in range(len(images))))


def _coco_label_maps(file: Path, names: Sequence[str] | None, folder: Path) -> Iterator[tuple[str, Tensor]]:
    known = _categories(file)
    names = known if names is None else names
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"Expected {file} to have the classes of the masks, but it lacks {', '.join(missing)}.")
    # Objects of other categories would hide those that they overlap.
    content = json.loads(file.read_text(encoding="utf-8-sig"))
    numbers = {entry["id"]: names.index(entry["name"]) + 1 for entry in content["categories"] if entry["name"] in names}
    content["categories"] = [{"id": number, "name": names[number - 1]} for number in sorted(numbers.values())]
    content["annotations"] = [
        {**entry, "category_id": numbers[entry["category_id"]]}
        for entry in content["annotations"]
        if entry["category_id"] in numbers
    ]
    folder.mkdir()
    chosen = folder.with_suffix(".json")
    chosen.write_text(json.dumps(content), encoding="utf-8")
    for file_name, labels in coco_label_maps(chosen):
        path = Path(file_name).with_suffix("")
        yield (path.name if path.is_absolute() or ".." in path.parts else path.as_posix()), labels


def _categories(file: Path) -> list[str]:
    """The categories of a COCO file by id."""
    coco_label_maps(file)  # says what is wrong with it
    categories = json.loads(file.read_text(encoding="utf-8-sig"))["categories"]
    return [str(entry["name"]) for entry in sorted(categories, key=lambda entry: int(entry["id"]))]
