"""Checks of a data set before training: its images can be read, and its classes, tags and masks make sense."""

import os
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Literal, TypeVar

from tqdm import tqdm

from decomprec.data.image_io import TRAINING_PIXELS, read_image
from decomprec.data.samples import IGNORE
from decomprec.data.tags import TagTable

OnError = Literal["raise", "skip"]
"""How a data set treats images that can't be read.

"raise" raises an error that names the first one when it is loaded. "skip" decodes each image once when the data set is
made, leaves out those that can't be read, and warns with their number and names. The images and their order are then
fixed before training: the same in every epoch, in every process, and in a resumed run.
"""

_NAMED = 10

T = TypeVar("T")


def readable(
    entries: Sequence[T], problem: Callable[[T], str | None], threads: int | None = None
) -> tuple[list[T], tuple[str, ...]]:
    """Select the images that can be read, and warn of the others.

    Args:
        entries: one for each image.
        problem: says in one sentence why an entry's image can't be read; None if it can.
        threads: images read at a time; None for one per core.

    Returns:
        The entries of readable images, and the problems of the others.

    Raises:
        ValueError: if none can be read.
    """
    with ThreadPool(threads or os.cpu_count()) as pool:
        found = pool.imap(problem, entries, chunksize=16)
        problems = list(tqdm(found, "checking", len(entries), unit="image", leave=False, disable=None))
    skipped = tuple(text for text in problems if text is not None)
    if len(skipped) == len(entries):
        raise ValueError(f"Expected some of {len(entries)} images to be readable, but none is: {skipped[0]}")
    if skipped:
        more = [f"and {len(skipped) - _NAMED} more"] if len(skipped) > _NAMED else []
        warnings.warn(
            "\n".join([f"{len(skipped)} of {len(entries)} images are skipped:", *skipped[:_NAMED], *more]),
            stacklevel=5,  # of a format's data set
        )
    return [entry for entry, text in zip(entries, problems, strict=True) if text is None], skipped


def image_problem(path: Path) -> str | None:
    """Say in one sentence why an image file can't be read; None if it can."""
    try:
        state = path.stat()
    except OSError as error:
        return f"Expected {path} to exist, but: {error.strerror}."
    return _image_problem(path, state.st_mtime_ns, state.st_size)


@cache  # a run makes its training set more than once
def _image_problem(path: Path, modified: int, size: int) -> str | None:
    try:
        read_image(path, TRAINING_PIXELS)
    except (ValueError, OSError) as error:
        return str(error)
    return None


def check_on_error(on_error: str) -> None:
    """Raise a ValueError unless `on_error` is "raise" or "skip"."""
    if on_error not in ("raise", "skip"):
        raise ValueError(f'Expected `on_error` to be "raise" or "skip", but got {on_error!r}.')


def choose_classes(classes: Sequence[str] | None, known: Sequence[str], where: object) -> tuple[str, ...]:
    """Return `classes`, or all known ones if None.

    Raises:
        ValueError: if a class is unknown, or there is none.

    Examples:
        >>> choose_classes(None, ["cat", "dog"], "tags.csv"), choose_classes(["dog"], ["cat", "dog"], "tags.csv")
        (('cat', 'dog'), ('dog',))
    """
    chosen = tuple(known if classes is None else classes)
    there = frozenset(known)
    unknown = [name for name in chosen if name not in there]
    if unknown or not chosen:
        but = f"got {unknown}" if known else "it has none; tag images with what they show"
        raise ValueError(f"Expected `classes` to be among those in {where}, {list(known)}, but {but}.")
    return chosen


def check_class_names(class_names: Sequence[str], masks: bool) -> None:
    """Raise a ValueError unless the names are distinct and printable and, with `masks`, fit into 8 bits.

    Examples:
        >>> check_class_names(("dog", "dog"), masks=False)
        Traceback (most recent call last):
        ValueError: Expected `class_names` to be distinct names, but got ('dog', 'dog').
    """
    if not class_names or len(set(class_names)) < len(class_names):
        raise ValueError(f"Expected `class_names` to be distinct names, but got {tuple(class_names)}.")
    strange = [name for name in class_names if not name.isprintable() or not name.strip()]
    if strange:
        raise ValueError(f"Expected `class_names` to be of printable characters, but got {strange}; rename them.")
    if masks and len(class_names) >= IGNORE:
        raise ValueError(
            f"Expected at most {IGNORE - 1} classes with masks=True, but got {len(class_names)}; masks have 8 bits and "
            f"{IGNORE} is no class."
        )


def constant_classes(tags: TagTable, class_names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the classes that all images have, and those that none has: a guide can't learn what they look like.

    Args:
        tags: of all training images.
        class_names: the K-1 foreground classes.

    Examples:
        >>> constant_classes(TagTable([[0], [0]], num_tags=2), ["dog", "cat"])
        (['dog'], ['cat'])
    """
    counts = tags.counts().tolist()
    everywhere, nowhere = (
        [name for name, of_class in zip(class_names, counts, strict=True) if of_class == count]
        for count in (len(tags), 0)
    )
    return everywhere, nowhere


def warn_of_constant_tags(tags: TagTable, class_names: Sequence[str]) -> None:
    """Warn of classes that all or none of the images have, see `constant_classes`."""
    everywhere, nowhere = constant_classes(tags, class_names)
    for constant, found, cure in (
        (everywhere, "all", 'add images without (in a folder "other", or with no tag)'),
        (nowhere, "none", "add images with it, or leave it out of `classes`"),
    ):
        if constant:
            warnings.warn(
                f"Expected some training images with each tag and some without, but {found} of {len(tags)} have "
                f"{', '.join(constant)}: what that looks like can't be learnt from them; {cure}.",
                stacklevel=3,
            )
