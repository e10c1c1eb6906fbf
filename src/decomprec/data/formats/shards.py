"""Shards: tar files of many images, whose files are read where they lie."""

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tqdm import tqdm

from decomprec.data.image_io import IMAGE_SUFFIXES
from decomprec.data.names import holds_masks, in_system

TEXTS = ("cls", "json", "txt")
"""Endings of the files that can say what is in an image."""

_MOST_TEXT = 1 << 20


class Stored(NamedTuple):
    """Where a file lies in a shard."""

    offset: int
    size: int


class Sample(NamedTuple):
    """The files of a shard whose names are equal up to their endings.

    Attributes:
        shard: the tar file.
        key: the name without the endings, with its folders.
        image: the image file.
        mask: the mask file, if there is one.
        texts: content of the small files by their endings, those of `TEXTS`.
    """

    shard: Path
    key: str
    image: Stored
    mask: Stored | None
    texts: dict[str, bytes]


def shard_files(path: Path) -> list[Path]:
    """List the tar files at a path: itself, or in the folder and below it."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".tar" else []
    return [file for file in sorted(path.rglob("*.tar")) if not in_system(file.relative_to(path))]


def read_index(shards: Sequence[Path]) -> list[Sample]:
    """Find all samples of some shards, in order, by the headers of their files; images are not read.

    Raises:
        ValueError: if a file is no tar file or a compressed one, holds no image, or a sample has several.
    """
    bar = tqdm(shards, "indexing", unit="shard", leave=False, disable=None)
    return [sample for shard in bar for sample in _samples(shard)]


def read_stored(shard: Path, stored: Stored) -> bytes:
    """Read a file of a shard."""
    with shard.open("rb") as file:
        file.seek(stored.offset)
        return file.read(stored.size)


def _samples(shard: Path) -> Iterator[Sample]:
    groups: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for info in tar:
                name = PurePosixPath(info.name)
                if not info.isreg() or in_system(name):
                    continue
                stem, _, endings = name.name.partition(".")
                files = groups.setdefault(str(name.parent / stem), {})
                endings = endings.lower()
                files[endings] = Stored(info.offset_data, info.size)
                if endings in TEXTS and info.size <= _MOST_TEXT:
                    content: Any = tar.extractfile(info)
                    files[endings] = content.read()
    except tarfile.ReadError as error:
        raise ValueError(
            f"Expected {shard} to be a tar file that is whole and not compressed, but: {error}; unpack a .tar.gz by "
            "gunzip."
        ) from error
    found = [_sample(shard, key, files) for key, files in groups.items()]
    samples = [sample for sample in found if sample is not None]
    if not samples:
        raise ValueError(f"Expected {shard} to hold images, but it has none.")
    yield from samples


def _sample(shard: Path, key: str, files: dict[str, Any]) -> Sample | None:
    """The files of one key as a sample; None if there is no image, such as for a README."""
    image_like = [ending for ending in files if f".{ending.rpartition('.')[2]}" in IMAGE_SUFFIXES]
    masks = [ending for ending in image_like if holds_masks(ending.partition(".")[0])]
    images = [ending for ending in image_like if ending not in masks]
    if not images:
        return None
    if len(images) > 1 or len(masks) > 1:
        several = images if len(images) > 1 else masks
        raise ValueError(
            f"Expected one image and at most one mask for {key} in {shard}, but got {', '.join(several)}; end the name "
            "of a mask with .mask.png."
        )
    texts = {ending: files[ending] for ending in TEXTS if isinstance(files.get(ending), bytes)}
    return Sample(shard, key, files[images[0]], files[masks[0]] if masks else None, texts)
