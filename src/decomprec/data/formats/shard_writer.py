"""Shards written in one pass over any rows, such as a stream that has no length and can't be read at random."""

import io
import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from decomprec.data.formats.number_names import LIST
from decomprec.data.formats.records import Row, feature_names, present_tags
from decomprec.data.names import split_of

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")

_Sample = tuple[str, Sequence[tuple[str, bytes]]]
"""A key, and the files of an image by their endings."""


def write_shards(
    splits: Mapping[str, Iterable[Row]],
    folder: str | Path,
    *,
    names: Sequence[str] | None = None,
    image_column: str = "image",
    tags_column: str = "tags",
    mask_column: str = "mask",
    per_shard: int = 1000,
) -> None:
    """Write rows to shards, which `load_images` and `decomprec train` read: one pass, one row in memory.

    For rows that can't be read at random, such as a streamed data set of Hugging Face's `datasets`. Training goes
    through the images in a new random order in every epoch, so it needs them on disk. Image files are written as they
    are, other images as PNG.

    Args:
        splits: rows by "train", "val" or "test", however they are spelt; rows are of the forms that `TaggedRows` takes.
        folder: must be new; it appears when all is written.
        names: the meaning of numbers in the tags; by default the names that a data set of `datasets` has for them.
        image_column: key of the image.
        tags_column: key of the tags.
        mask_column: key of the mask; rows without one have no mask.
        per_shard: images in a shard.

    Raises:
        ValueError: if the folder is there, a key is no split, a split has no rows, splits name their numbers
            differently, or a row has another form.

    Examples:
        >>> from decomprec.data import load_images
        >>> rows = ({"image": Image.new("RGB", (4, 2)), "tags": [tag]} for tag in ("dog", "cat", "dog"))
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_shards({"train": rows}, Path(root) / "pets")
        ...     load_images(Path(root) / "pets")("train", transform=None, masks=False).class_names
        ('cat', 'dog')
    """
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"Expected `folder` to be new, but {folder} is there; remove it, or choose another.")
    if unknown := [split for split in splits if split_of(split) is None]:
        raise ValueError(f"Expected `splits` to be called train, val or test, but got {unknown[0]!r}.")
    names = names or _common_names(splits, tags_column)
    columns = image_column, tags_column, mask_column
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent) as temporary:
        partial = Path(temporary) / folder.name
        partial.mkdir()
        found: set[str] = set()
        for split, rows in splits.items():
            samples = _samples(_undecoded(rows, (image_column, mask_column)), split, names, columns, found)
            _write_split(partial, split, samples, per_shard)
        (partial / LIST).write_text(json.dumps(list(names or sorted(found))) + "\n", encoding="utf-8")
        partial.replace(folder)


def _common_names(splits: Mapping[str, Iterable[Row]], column: str) -> list[str] | None:
    named = {split: names for split, rows in splits.items() if (names := feature_names(rows, column))}
    if len({tuple(names) for names in named.values()}) > 1:
        raise ValueError(f"Expected the same class names in every split, but got {named}; pass `names`.")
    return next(iter(named.values()), None)


def _undecoded(rows: Any, columns: Sequence[str]) -> Any:
    """A data set of `datasets` whose images stay files; other rows as they are."""
    for column in columns:
        kind: Any = (getattr(rows, "features", None) or {}).get(column)
        if type(kind).__name__ == "Image":
            rows = rows.cast_column(column, type(kind)(decode=False))
    return rows


def _write_split(folder: Path, split: str, samples: Iterator[_Sample], per_shard: int) -> None:
    """Write the shards of a split, each as its samples come."""
    for shard in count():
        first = next(samples, None)
        if first is None and shard == 0:
            raise ValueError(f"Expected `splits` to hold rows, but {split} has none.")
        if first is None:
            return
        with tarfile.open(folder / f"{split}-{shard:06d}.tar", "w") as tar:
            for key, files in chain([first], islice(samples, per_shard - 1)):
                for ending, content in files:
                    info = tarfile.TarInfo(key + ending)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


def _samples(
    rows: Iterable[Row], split: str, names: Sequence[str] | None, columns: tuple[str, str, str], found: set[str]
) -> Iterator[_Sample]:
    """The files of each row; its tags are added to `found`."""
    image_column, tags_column, mask_column = columns
    for number, row in enumerate(tqdm(rows, f"writing {split}", unit="image", leave=False, disable=None)):
        try:
            if missing := [column for column in (image_column, tags_column) if column not in row]:
                raise ValueError(f"it has {list(row)}, not {missing[0]!r}")
            tags = present_tags(row[tags_column], names)
            files = [_file(row[image_column]), (".json", json.dumps(tags).encode())]
            if (mask := row.get(mask_column)) is not None:
                ending, content = _file(mask)
                files.append((f".mask{ending}", content))
        except (ValueError, OSError) as error:
            raise ValueError(f"Expected row {number} of {split} to have an image and tags, but: {error}") from error
        found.update(tags)
        yield f"{number:09d}", files


def _file(value: Any) -> tuple[str, bytes]:
    """An image or mask of any form that a row can have as a file: its ending and content."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return _ending(value), value
    if isinstance(value, str | Path):
        import fsspec  # also finds what a stream names by an address, such as hf://

        with fsspec.open(str(value), "rb") as file:
            content = file.read()
        return _ending(content), content
    if isinstance(value, Tensor) and value.ndim == 3:
        value = value.permute(1, 2, 0)
    if not isinstance(value, Image.Image):
        value = _drawn(np.asarray(value))
    buffer = io.BytesIO()
    kind = "PNG" if value.mode in _PNG_MODES else "TIFF"
    value.save(buffer, kind, exif=value.getexif())
    return f".{kind.lower()}", buffer.getvalue()


def _drawn(values: Any) -> Image.Image:
    """An array (H, W, 3) of uint8, or a label map (H, W) of any integers up to 255, as an image."""
    if values.dtype.kind in "biu" and values.ndim == 2 and values.size and 0 <= values.min() <= values.max() <= 255:
        values = values.astype(np.uint8)
    if values.dtype != np.uint8 or (values.ndim != 2 and values.shape[2:] != (3,)):
        raise ValueError(f"it holds {values.dtype} of shape {values.shape}, not uint8 of shape (H, W, 3)")
    return Image.fromarray(values)


def _ending(content: bytes) -> str:
    """The ending of an image file; that of JPEG if it is unknown: who reads it says what is wrong."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return f".{(image.format or 'JPEG').lower()}"
    except Exception:  # of any type, for a damaged file
        return ".jpg"
