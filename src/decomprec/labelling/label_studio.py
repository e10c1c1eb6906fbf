"""Label Studio: tasks with brush strokes as predictions, and its export as JSON."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

from PIL import Image
from torch import Tensor

from decomprec._files import write_text, written_whole
from decomprec.data.image_finder import LABEL_STUDIO_FOLDER
from decomprec.data.names import uploaded_name
from decomprec.data.notices import say
from decomprec.labelling import brush_rle
from decomprec.labelling.label_maps import IGNORED, Labelled, LabelMaps, Mask, paint, regions
from decomprec.labelling.polygons import fill
from decomprec.viz import voc_palette

TASKS, CONFIG = "tasks.json", "label_config.xml"

_CONTROL, _IMAGE = "label", "image"
_OTHER = ("rectanglelabels", "ellipselabels", "keypointlabels", "bitmasklabels", "vectorlabels")


def write(labelled: Iterable[Labelled], class_names: Sequence[str], out: Path) -> None:
    """Write tasks.json, to import, and label_config.xml, the labelling interface of the project.

    Images are referred to as local files, by their paths as given.
    """
    names = list(class_names)
    with written_whole(out / TASKS) as partial_file, partial_file.open("w", encoding="utf-8") as file:
        for count, item in enumerate(labelled):
            labels = item.read()
            found = regions(labels, class_names)
            names += [name for name, _ in found if name not in names]
            file.write(f"{',' if count else '['}\n{json.dumps(_task(item, labels.shape, found, class_names))}")
        file.write("\n]\n")
    write_text(out / CONFIG, _config(names))


def read(tasks: list[Any], source: Path) -> LabelMaps:
    """Find the label maps in an export: the newest annotation of each task; tasks without one are left out.

    Args:
        tasks: content of the file.
        source: the file, for messages.

    Raises:
        ValueError: if it is no export as JSON, or an annotation has regions that are neither brush nor polygon.
    """
    if not all(isinstance(task, Mapping) and isinstance(task.get("annotations"), list) for task in tasks):
        raise ValueError(
            f"Expected {source} to be Label Studio's export as JSON, but its tasks have no `annotations`; export it "
            "as JSON, not as JSON-MIN."
        )
    done = [(task, found) for task in tasks if (found := _newest(task, source)) is not None and _size(task, found)]
    if len(done) < len(tasks):
        say(
            f"{source}: {len(tasks) - len(done)} of {len(tasks)} tasks are left out: they have no annotation, or an "
            "empty one that does not tell the size of the image."
        )
    known = [str(name) for task in tasks for name in _data(task).get("classes") or []]
    used = sorted({name for _, found in done for region in found for name in _names(region)})
    names = tuple(dict.fromkeys([*known, *used]))
    labels = {name: number for number, name in enumerate(names, 1)}
    return LabelMaps(names, [(_name(task, source), partial(_draw, task, found, labels)) for task, found in done])


def _task(
    item: Labelled, size: Sequence[int], found: Sequence[tuple[str, Mask]], class_names: Sequence[str]
) -> dict[str, Any]:
    """A task; what else is in its data comes back with the export."""
    data = {
        "image": LABEL_STUDIO_FOLDER + quote(item.image.as_posix().lstrip("/")),
        "name": item.name,
        "classes": [*class_names],
        "size": [*size],
    }
    prediction: dict[str, Any] = {"model_version": "decomprec", "result": [_stroke(*region) for region in found]}
    if item.score is not None:
        prediction["score"] = round(item.score, 4)
    return {"data": data, "predictions": [prediction]}


def _stroke(name: str, mask: Mask) -> dict[str, Any]:
    height, width = mask.shape
    return {
        "id": uuid.uuid4().hex[:10],
        "type": "brushlabels",
        "from_name": _CONTROL,
        "to_name": _IMAGE,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": brush_rle.encode(mask), "brushlabels": [name]},
    }


def _config(names: Sequence[str]) -> str:
    colours = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in (255 * voc_palette()).int().tolist()]
    labels = "".join(
        f"    <Label value={quoteattr(name)} background={quoteattr(colours[255 if name == IGNORED else k])}/>\n"
        for k, name in enumerate(names, 1)
    )
    return (
        f'<View>\n  <Image name="{_IMAGE}" value="$image" zoom="true"/>\n'
        f'  <BrushLabels name="{_CONTROL}" toName="{_IMAGE}">\n{labels}  </BrushLabels>\n</View>\n'
    )


def _newest(task: Mapping[str, Any], source: Path) -> list[dict[str, Any]] | None:
    """The regions of the annotation that was changed last, if there is one."""
    annotations = [found for found in task["annotations"] if isinstance(found, Mapping)]
    annotations = [found for found in annotations if not found.get("was_cancelled")]
    if not annotations:
        return None
    result = max(annotations, key=lambda found: str(found.get("updated_at") or "")).get("result")
    found = [region for region in result or [] if isinstance(region, dict) and region.get("type")]
    if wrong := [region["type"] for region in found if region["type"] in _OTHER]:
        raise ValueError(
            f"Expected the regions of {_name(task, source)} in {source} to be brush strokes or polygons, but one has "
            f"the type {wrong[0]}; draw it with the brush."
        )
    return [region for region in found if _names(region)]


def _names(region: Mapping[str, Any]) -> list[str]:
    """The labels of a region with an outline; none for what is said of the whole image, such as a choice."""
    value = region.get("value")
    if not isinstance(value, Mapping) or not ("rle" in value or "points" in value):
        return []
    return [str(name) for name in value.get(region["type"]) or value.get("labels") or []][:1]


def _data(task: Mapping[str, Any]) -> Mapping[str, Any]:
    data = task.get("data")
    return data if isinstance(data, Mapping) else {}


def _name(task: Mapping[str, Any], source: Path) -> str:
    """The name that the task was exported with, else that of its image."""
    data = _data(task)
    if data.get("name"):
        return str(data["name"])
    image = data.get("image") or next((value for value in data.values() if isinstance(value, str)), "")
    url = urlsplit(str(image))
    path = PurePosixPath(parse_qs(url.query).get("d", [unquote(url.path)])[0])
    if not path.name:
        raise ValueError(f"Expected the tasks of {source} to name an image, but task {task.get('id')} has none.")
    name = uploaded_name(path.stem) if "upload" in path.parts else path.stem
    return name if url.netloc or "upload" in path.parts else path.with_name(name).as_posix().lstrip("/")


def _size(task: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Height and width of the image: of its regions, else as the task was exported with."""
    stated = _data(task).get("size")
    sizes = [(region.get("original_height"), region.get("original_width")) for region in found]
    height, width = sizes[0] if sizes else stated if isinstance(stated, list) and len(stated) == 2 else (0, 0)
    if not isinstance(height, int) or not isinstance(width, int) or min(height, width) < 1:
        return None
    if height * width > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise ValueError(f"Expected task {task.get('id')} to be of an image, but its size is {width} x {height}.")
    return height, width


def _draw(task: Mapping[str, Any], found: Sequence[Mapping[str, Any]], labels: Mapping[str, int]) -> Tensor:
    try:
        size = _size(task, found)
        assert size is not None
        return paint([(labels[_names(region)[0]], _pixels(region["value"], size)) for region in found], size)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"Expected task {task.get('id')} to be as Label Studio exports it, but: {error}.") from error


def _pixels(value: Mapping[str, Any], size: tuple[int, int]) -> Mask:
    if "rle" in value:
        return brush_rle.decode(value["rle"], size)
    height, width = size
    return fill([part / 100 for x, y in value["points"] for part in (x * width, y * height)], size)
