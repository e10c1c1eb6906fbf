"""Checks of data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from decomprec.testing._probe import refuse

if TYPE_CHECKING:
    from decomprec.protocols import TaggedDataset  # heavy: torchvision

_IGNORE = 255
_LABELS = "tag j is label j+1"


def check_dataset(dataset: TaggedDataset, max_items: int = 8) -> None:
    """Raise a ValueError unless a data set can be trained on and evaluated.

    Args:
        dataset: a `TaggedDataset`.
        max_items: most samples that are read, spread over the data set.

    Examples:
        >>> from decomprec.data import SyntheticScenes
        >>> scenes = SyntheticScenes(4, size=16, masks=True)
        >>> check_dataset(scenes)
        >>> scenes.class_names = ("background", *scenes.class_names)
        >>> check_dataset(scenes)
        Traceback (most recent call last):
            ...
        ValueError: Expected `class_names` to leave the background out, but got ...; label 0 is for it.
    """
    for name in ("class_names", "tags"):
        if not hasattr(dataset, name):
            refuse(f"the data set to have `{name}`", f"{type(dataset).__name__} has none", "see TaggedDataset")
    names = _class_names(dataset.class_names)
    count = _length(dataset)
    tags = dataset.tags
    _check_tags("the data set's `tags`", tags, (count, len(names)))
    last = count - 1
    steps = max(1, min(max_items, count) - 1)
    for index in sorted({round(last * step / steps) for step in range(steps + 1)}):
        _check_item(dataset, index, names, tags[index])


def _class_names(names: Any) -> list[str]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        refuse("`class_names` to be a sequence of names", f"got {names!r}")
    names = list(names)
    if not names or len(set(names)) < len(names):
        refuse("`class_names` to be distinct names, at least one", f"got {names!r}")
    if any(name.lower() in ("background", "__background__") for name in names):
        refuse("`class_names` to leave the background out", f"got {names!r}", "label 0 is for it")
    return names


def _length(dataset: Any) -> int:
    try:
        count, again = len(dataset), len(dataset)
    except Exception as error:  # of any type: the data set is the user's
        raised = f"it raised {type(error).__name__}: {error}"
        refuse("the data set to have a length", raised, "give it `__len__`", error)
    if count != again or count < 1:
        refuse("the data set to hold the same images at every call, at least one", f"got {count}, then {again}")
    return count


def _check_item(dataset: Any, index: int, names: list[str], tags: Tensor) -> None:
    what = f"item {index}"
    try:
        item = dataset[index]
    except Exception as error:  # of any type: the data set is the user's
        refuse(f"{what} to be read", f"it raised {type(error).__name__}: {error}", cause=error)
    if not isinstance(item, dict):
        refuse(f"{what} to be a dict", f"got {type(item).__name__}", 'give {"image": ..., "tags": ..., "name": ...}')
    missing = [key for key in ("image", "tags", "name") if key not in item]
    if missing:
        refuse(f"{what} to hold 'image', 'tags' and 'name'", f"{missing} is missing", "see TaggedDataset")
    _check_image(f"the image of {what}", item["image"])
    _check_tags(f"the tags of {what}", item["tags"], (len(names),))
    if not torch.equal(item["tags"], tags):
        got = f"got {item['tags'].tolist()} instead of {tags.tolist()}"
        refuse(f"the tags of {what} to be row {index} of the data set's `tags`", got, "keep both in one order")
    if not isinstance(item["name"], str):
        refuse(f"the name of {what} to be a string", f"got {type(item['name']).__name__}")
    if "mask" in item:
        _check_mask(f"the mask of {what}", item["mask"], item["image"], names, item["tags"])


def _check_tags(what: str, tags: Any, shape: tuple[int, ...]) -> None:
    per_class = "give one for each of `class_names`, none for the background"
    cures = "use `torch.tensor(..., dtype=torch.float32)`", per_class, "do `.float()`"
    _check_tensor(f"{what} to be a float tensor of shape {shape}", tags, shape, torch.float32, *cures)
    if not ((tags == 0) | (tags == 1)).all():
        refuse(f"{what} to hold only 0 and 1", f"got {tags.unique().tolist()[:5]}")


def _check_image(what: str, image: Any) -> None:
    shape = tuple(getattr(image, "shape", ()))
    fitting = (3, *(max(1, size) for size in shape[1:])) if len(shape) == 3 else None
    layout = "put the channels first" if len(shape) == 3 and shape[-1] == 3 else "convert it to RGB"
    cast = "divide by 255" if getattr(image, "dtype", None) == torch.uint8 else "do `.float()`"
    expected = f"{what} to be float32 of shape (3, H, W)"
    _check_tensor(expected, image, fitting, torch.float32, "turn it into a tensor", layout, cast)
    low, high = (value.item() for value in torch.aminmax(image))
    if not (low >= 0 and high <= 1):
        advice = "leave mean and standard deviation to the guide, and divide 8-bit values by 255"
        refuse(f"{what} to lie in [0, 1]", f"got values from {low:.4g} to {high:.4g}", advice)


def _check_mask(what: str, mask: Any, image: Tensor, names: list[str], tags: Tensor) -> None:
    size = tuple(image.shape[1:])
    together = "transform image and mask together, with one label per pixel"
    expected = f"{what} to be int64 of shape (H, W) = {size}"
    _check_tensor(expected, mask, size, torch.int64, "turn it into a tensor", together, "do `.long()`")
    labels = mask.unique().tolist()
    wrong = [label for label in labels if not (0 <= label <= len(names) or label == _IGNORE)]
    if wrong:
        refuse(f"{what} to hold 0 to {len(names)}, or 255 for ignore", f"got {wrong}", _LABELS)
    drawn = [names[label - 1] for label in labels if label not in (0, _IGNORE)]
    tagged = [name for name, tag in zip(names, tags.tolist(), strict=True) if tag]
    if drawn and tagged and not set(drawn) & set(tagged):
        refuse(f"{what} to show a class of its tags {tagged}", f"got {drawn}", _LABELS)


def _check_tensor(
    expected: str, value: Any, shape: tuple[int, ...] | None, dtype: torch.dtype, convert: str, layout: str, cast: str
) -> None:
    """Refuse anything but a tensor of this shape and dtype, with a cure for each of the three."""
    if not isinstance(value, Tensor):
        refuse(expected, f"got {type(value).__name__}", convert)
    if tuple(value.shape) != shape:
        refuse(expected, f"got {tuple(value.shape)}", layout)
    if value.dtype != dtype:
        refuse(expected, f"got {value.dtype}", cast)
