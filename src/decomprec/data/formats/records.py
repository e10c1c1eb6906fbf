"""Rows of another library's loader, such as a data set of Hugging Face's `datasets`."""

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from decomprec.data.checks import OnError, choose_classes
from decomprec.data.dataset import TaggedRecords, unlabelled
from decomprec.data.image_io import TRAINING_PIXELS, ImageBytes, read_image, read_labels, turn_with
from decomprec.data.names import empty_tags, is_nothing
from decomprec.data.notices import say
from decomprec.data.pixels import rgb_pixels
from decomprec.data.record import MaskValues, Record
from decomprec.data.samples import ImageError, Transform

Row = Mapping[str, Any]


class _Numbered(NamedTuple):
    number: int
    tags: tuple[str, ...]
    mask: str | None  # the column of masks


class TaggedRows(TaggedRecords[_Numbered]):
    """Images with tags from rows: dicts of an image, its tags and perhaps its mask.

    An image is a PIL image, a path, an image file as bytes (or in a dict under "bytes", as ``datasets`` keeps it), or
    uint8 of shape (H, W, 3) (an array) or (3, H, W) (a tensor). Tags are names, or numbers into `names`: several in a
    list, or a single one, or None. A mask is a PIL image, a path, an image file as bytes or an integer array (H, W),
    and is read with ``masks=True`` only. A column ``name`` names the image; other columns are ignored.

    Args:
        rows: a sequence of rows, such as a ``datasets.Dataset``; any other iterable is read once and kept.
        names: the meaning of numbers in the tags; by default the names that a ``datasets.Dataset`` has for them.
        classes: selects and orders the foreground classes; other tags are dropped, and their pixels are
            background. None for all of `names` or, without them, all tags that occur, sorted, except those that mean
            that there is no class, such as "background".
        mask_classes: the meaning of mask values: class names by value, the first is the background. By default value
            `j` is the `j`-th of `names`, or of the tags that occur, counted from 0 if the first is the background. 255
            is always ignore.
        image_column: key of the image.
        tags_column: key of the tags.
        mask_column: key of the mask; None if there is none.
        masks: whether samples hold a ``mask``, see `TaggedImages`.
        transform: joint transform of image and mask, see `TaggedImages`.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Attributes:
        class_names: the K-1 foreground classes.
        tags: (N, K-1), float32, {0, 1}, of all images.
        skipped: why each skipped image can't be read, in one sentence.

    Raises:
        ValueError: if there are no rows, a column is missing, a tag has no name, no image can be read, the masks of
            tagged images hold 0 and 255 only, or (on access) an image or mask has another form.

    Examples:
        >>> photo = Image.new("RGB", (4, 2))
        >>> rows = [{"image": photo, "tags": ["dog", "cat"]}, {"image": photo, "tags": []}]
        >>> data = TaggedRows(rows)
        >>> data.class_names, data.tags.tolist(), data[0]["image"].shape
        (('cat', 'dog'), [[1.0, 1.0], [0.0, 0.0]], torch.Size([3, 2, 4]))
        >>> TaggedRows([{"image": photo, "label": 1}], names=["cat", "dog"], tags_column="label").tags.tolist()
        [[0.0, 1.0]]
    """

    def __init__(
        self,
        rows: Sequence[Row] | Iterable[Row],
        *,
        names: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        mask_classes: Sequence[str] | None = None,
        image_column: str = "image",
        tags_column: str = "tags",
        mask_column: str | None = "mask",
        masks: bool = False,
        transform: Transform | None = None,
        on_error: OnError = "raise",
    ) -> None:
        if isinstance(rows, str | Mapping) or not any(hasattr(rows, name) for name in ("__iter__", "__getitem__")):
            raise ValueError(f"Expected `rows` to be a sequence of rows, but got a {type(rows).__name__}.")
        if hasattr(rows, "features") and not hasattr(rows, "__len__"):
            raise ValueError(
                "Expected `rows` to have a length, but got a stream of images, which would all be kept in memory; "
                "write it to disk with `write_shards`, and train on that."
            )
        names = names or feature_names(rows, tags_column)
        if names is not None and not (isinstance(names, list | tuple) and all(isinstance(n, str) for n in names)):
            raise ValueError(f"Expected `names` to be a list of names, but got {reprlib.repr(names)}.")
        sequence: Any = rows if hasattr(rows, "__getitem__") and hasattr(rows, "__len__") else list(rows)
        if len(sequence) == 0:
            raise ValueError("Expected `rows` to hold at least one image, but got none.")
        columns = [image_column, tags_column, *([mask_column] if masks and mask_column else [])]
        tags = [present_tags(value, names) for value in _column(sequence, tags_column, columns)]
        known = list(names or sorted({tag for present in tags for tag in present}))
        if classes is None and (nothing := empty_tags(known)):
            names_of_none = ", ".join(map(repr, sorted(nothing)))
            say(f"{names_of_none} mean{'s' * (len(nothing) == 1)} no class, unless `classes` names it.")
            classes = [name for name in known if name not in nothing]
        class_names = choose_classes(classes, known, "the rows")
        self.rows = sequence
        self._image_column, self._mask_column = image_column, mask_column
        values = mask_classes or (known if is_nothing(known[0]) else ("background", *known))
        self._decode = MaskValues.from_names(values, class_names)
        chosen, mask = frozenset(class_names), mask_column if masks else None
        super().__init__(
            [_Numbered(i, tuple(tag for tag in present if tag in chosen), mask) for i, present in enumerate(tags)],
            class_names,
            masks=masks,
            transform=transform,
            on_error=on_error,
            threads=1,  # rows may not be safe to read from several threads
        )

    def _load(self, record: _Numbered) -> tuple[str, Tensor, Tensor | None]:
        number = record.number
        try:
            row = self.rows[number]
            if self._image_column not in row:
                raise ValueError(f"it has no {self._image_column!r}.")
            value = row[self._image_column]
            name = str(row.get("name") or (Path(value).stem if isinstance(value, str | Path) else f"{number:06d}"))
            value = _file(value, name)
            image = _image(value, name, None if self.masks else TRAINING_PIXELS)
            return name, image, self._mask(row, name, value, image, record) if self.masks else None
        except (ValueError, OSError) as error:
            message = str(error)
            raise ImageError(
                message if message.startswith("Expected") else f"Expected row {number} to be readable, but: {message}"
            ) from error

    def _labels(self, record: _Numbered) -> Tensor | None:
        has_mask = self._mask_column and self.rows[record.number].get(self._mask_column) is not None
        return self._load(record)[2] if has_mask else None

    def _mask_name(self, record: _Numbered) -> str:
        return f"the mask of row {record.number}"

    def _mask(self, row: Row, name: str, shown: Any, image: Tensor, record: _Numbered) -> Tensor:
        value = _file(row.get(self._mask_column) if self._mask_column else None, f"the mask of {name}")
        if value is None:
            return unlabelled(image, bool(record.tags))
        values = read_labels(value) if isinstance(value, Path | ImageBytes) else _array(value)
        if isinstance(shown, Path | ImageBytes | Image.Image):
            values = turn_with(shown, values)
        if values.shape != image.shape[1:] or values.is_floating_point():
            raise ValueError(
                f"Expected the mask of {name} to be integers of shape {tuple(image.shape[1:])}, "
                f"but got {values.dtype} of shape {tuple(values.shape)}."
            )
        return self._meant(self._decode(values, Record(Path(name), (), name, Path(name))), record)


def _column(rows: Any, name: str, needed: Sequence[str]) -> list[Any]:
    """Return the values of a column, which a `datasets.Dataset` gives without decoding its images."""
    known = getattr(rows, "column_names", None)
    whole = isinstance(known, list)
    values = []
    for i in range(1 if whole else len(rows)):
        row = dict.fromkeys(known) if isinstance(known, list) else rows[i]
        if not isinstance(row, Mapping):
            raise ValueError(f"Expected rows to be mappings, such as dicts, but row {i} is a {type(row).__name__}.")
        for column in needed if i == 0 else (name,):
            if column not in row:
                raise ValueError(
                    f"Expected rows to have {column!r}, but row {i} has {list(row)}; name the columns that are meant."
                )
        values.append(row[name])
    return list(rows[name]) if whole else values


def feature_names(rows: Any, column: str) -> list[str] | None:
    """Return the names that a data set of `datasets` has for the numbers in a column, single or in lists."""
    kind = (getattr(rows, "features", None) or {}).get(column)
    return getattr(getattr(kind, "feature", kind), "names", None)


def present_tags(value: Any, names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the tags of a row: a name or a number into `names`, or several of them, or None."""
    if value is None:
        return ()
    if isinstance(value, np.ndarray | Tensor):
        value = value.tolist()
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    tags = []
    for tag in values:
        if isinstance(tag, int) and names is not None and 0 <= tag < len(names):
            tag = names[tag]
        if not isinstance(tag, str) or (names is not None and tag not in names):
            raise ValueError(f"Expected tags to be names, or numbers into `names` = {names}, but got {tag!r}.")
        tags.append(tag)
    return tuple(tags)


def _file(value: Any, name: str) -> Any:
    """Return the path or content of an image file; other forms of images as they are."""
    if isinstance(value, Mapping):
        value = value.get("bytes")
        if value is None:
            raise ValueError("its image has no bytes, only a path; embed the files, or give the path itself.")
    if isinstance(value, bytes):
        return ImageBytes(value, name)
    return Path(value) if isinstance(value, str) else value


def _image(value: Any, name: str, most_pixels: int | None) -> Tensor:
    """Convert an image of any form to (3, H, W), uint8."""
    if isinstance(value, Path | ImageBytes):
        return read_image(value, most_pixels)
    if isinstance(value, Image.Image):
        try:
            return rgb_pixels(value, most_pixels)
        except Exception as error:  # a file that Pillow decodes only now
            raise ValueError(f"Expected the image {name} to be readable, but: {error}") from error
    image = value if isinstance(value, Tensor) else _array(value)
    if not isinstance(value, Tensor) and image.ndim:
        image = image.movedim(-1, 0)
    if image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3:
        raise ValueError(
            f"Expected the image {name} to be a PIL image, a path, or uint8 of shape (H, W, 3), or a tensor "
            f"(3, H, W), but got {type(value).__name__} of {image.dtype} and shape {tuple(image.shape)}."
        )
    return image.contiguous()


def _array(value: Any) -> Tensor:
    array = np.array(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"it holds {reprlib.repr(value)}, which is neither an image, a path nor numbers.")
    return torch.from_numpy(array)
