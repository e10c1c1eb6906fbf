"""What `decomprec predict` is to draw: images by the name of their results, an array job's share, and their tags."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from decomprec._files import LONGEST_NAME
from decomprec.cli.common import names_of
from decomprec.cli.surroundings import check_apart

_ENDING = len(".png")


def find_images(paths: list[Path], out: Path) -> dict[str, Path]:
    """Image files by the name that their results get: the stem, with the path below the folder that was given.

    Files below `out` are left out: they are results of an earlier call. A name that is too long for the file system
    with the ending of a result is cut, and ends in a checksum.

    Raises:
        FileNotFoundError: if a file or folder is missing, or a folder holds no image.
        ValueError: if two results would have one name, or `out` is a folder that was given, or holds one.
    """
    from decomprec.data.image_io import image_files

    named: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            if path.resolve().is_relative_to(out.resolve()):
                check_apart(path, out)
            files = [f for f in image_files(path) if not f.resolve().is_relative_to(out.resolve())]
        else:
            files = [path] if path.is_file() else []
        if not files:
            raise FileNotFoundError(f"Expected IMAGES to be images or folders of them, but found none at {path}.")
        for file in files:
            below = file.relative_to(path) if path.is_dir() else Path(file.name)
            name = _short(below.with_suffix("")).as_posix()
            if name in named:
                raise ValueError(f"Expected images of different names, but got {named[name]} and {file}.")
            named[name] = file
    return named


def share(named: dict[str, Path], shard: str | None) -> dict[str, Path]:
    """The images of one job of several, which are dealt by their names' positions in sorted order.

    Args:
        named: all images.
        shard: "I/N", job I of N, from 1; None is all images.

    Raises:
        ValueError: if `shard` is not of this form.

    Examples:
        >>> images = {name: Path(f"{name}.jpg") for name in "dbcae"}
        >>> [list(share(images, shard)) for shard in ("1/2", "2/2")]
        [['a', 'c', 'e'], ['b', 'd']]
    """
    if shard is None:
        return named
    job, _, jobs = shard.partition("/")
    if not (job.isdecimal() and jobs.isdecimal() and 1 <= int(job) <= int(jobs)):
        raise ValueError(f"Expected --shard I/N with I from 1 to N, such as 1/8, but got {shard!r}.")
    return {name: named[name] for name in sorted(named)[int(job) - 1 :: int(jobs)]}


def tags_of(text: str | None, files: Sequence[Path], class_names: Sequence[str]) -> list[tuple[str, ...]] | None:
    """What --tags says of each image.

    Args:
        text: names, separated by commas; or a CSV file with the columns image and tags, or a folder of images for each
            class, as `decomprec train` reads them.
        files: the images.
        class_names: of the model.

    Raises:
        FileNotFoundError: if no class folders are found in a folder.
        ValueError: if a name is no class, a table can't be read, or an image is not in it.
    """
    names = names_of(text)
    if text is None or names is None:
        return None
    if set(names) <= set(class_names):
        return [names] * len(files)
    classes = ", ".join(class_names)
    source = Path(text)
    if not source.exists():
        raise ValueError(
            f"Expected --tags to be among {classes}, but got {text!r}, which is no CSV file or folder of tags either."
        )
    known = _read_tags(source)
    if unknown := sorted({tag for tags in known.values() for tag in tags} - set(class_names)):
        raise ValueError(f"Expected the tags in {source} to be among {classes}, but got {', '.join(unknown)}.")
    if missing := [file for file in files if file.resolve() not in known]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(
            f"Expected {source} to have the tags of every image, but it lacks {missing[0]}{more}; an image without any "
            "class needs a row with an empty cell, or a folder such as other."
        )
    return [known[file.resolve()] for file in files]


def _read_tags(source: Path) -> dict[Path, tuple[str, ...]]:
    from decomprec.data import TaggedCSV, TaggedFolder

    data = TaggedFolder(source) if source.is_dir() else TaggedCSV(source)
    return {record.image.resolve(): record.tags for record in data.records}


def _short(path: Path) -> Path:
    """A path whose last part leaves room for the ending of a result."""
    name = os.fsencode(path.name)
    if len(name) <= LONGEST_NAME - _ENDING:
        return path
    kept = name[: LONGEST_NAME - _ENDING - 17].decode(errors="ignore")
    return path.with_name(f"{kept}-{hashlib.sha256(name).hexdigest()[:16]}")
