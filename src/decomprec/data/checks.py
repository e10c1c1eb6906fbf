"""What is checked before any training: that images can be read, and that their tags tell them apart."""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Literal, TypeVar

from torch import Tensor
from tqdm import tqdm

from decomprec.data.image_io import TRAINING_PIXELS, read_image
from decomprec.data.samples import IGNORE

OnError = Literal["raise", "skip"]
"""What a data set does about images that can't be read.

"raise" stops with the name of the first when it is to be loaded. "skip" decodes each image once when the data set is
made, leaves out those that can't be read, and warns with their number and names. So the images and their order are
known before training: the same in every epoch, in every process that trains, and for whoever resumes.
"""

_NAMED = 10

T = TypeVar("T")


def readable(
    entries: Sequence[T], problem: Callable[[T], str | None], threads: int | None = None
) -> tuple[list[int], tuple[str, ...]]:
    """Find the images that can be read, and warn of the others.

    Args:
        entries: What stands for the images.
        problem: Says of an entry in one sentence why it can't be read; None if it can.
        threads: How many are tried at a time; None for one on each core.

    Returns:
        The indices of those that can be read, and what is wrong with the others.

    Raises:
        ValueError: If none can be read.
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
            stacklevel=4,
        )
    return [i for i, text in enumerate(problems) if text is None], skipped


def image_problem(path: Path) -> str | None:
    """Why an image file can't be read, in one sentence; None if it can."""
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


def check_class_names(class_names: Sequence[str], masks: bool) -> None:
    """Raise a ValueError unless the names are distinct and printable, and masks, if there are any, can tell them apart.

    Examples:
        >>> check_class_names(("dog", "dog"), masks=False)
        Traceback (most recent call last):
        ValueError: Expected `class_names` to be distinct names, but got ('dog', 'dog').
    """
    if not class_names or len(set(class_names)) < len(class_names):
        raise ValueError(f"Expected `class_names` to be distinct names, but got {tuple(class_names)}.")
    strange = [name for name in class_names if not name.isprintable() or not name.strip()]
    if strange:
        raise ValueError(f"Expected `class_names` to be of printable characters, but got {strange}.")
    if masks and len(class_names) >= IGNORE:
        raise ValueError(
            f"Expected at most {IGNORE - 1} classes with masks=True, but got {len(class_names)}; masks have 8 bits and "
            f"{IGNORE} is no class."
        )


def check_masks_hold_classes(
    masks: Iterable[tuple[object, str, Callable[[], Tensor | None]]], class_names: Sequence[str]
) -> None:
    """Raise a ValueError if masks are black and white: unnoticed, they would measure nothing but the background.

    Reads masks until one holds a class, of sound ones the first. One that can't be read is left to whoever asks for it.

    Args:
        masks: What the mask of each image with a tag is called, a tag of it, and how to read its label map, which
            may be None.
        class_names: The K-1 foreground classes.
    """
    unknown = None
    for name, tag, read in masks:
        try:
            labels = read()
        except (ValueError, OSError):
            return
        if labels is None:
            continue
        if ((labels > 0) & (labels != IGNORE)).any():
            return
        if (labels == IGNORE).any():
            unknown = unknown or (name, tag)
    if unknown is not None:
        name, tag = unknown
        raise ValueError(
            f"Expected masks to hold the numbers of classes, such as {class_names.index(tag) + 1} for {tag!r}, but "
            f"{name} and the others of tagged images hold only background and {IGNORE}, which means that the class "
            "is unknown; write the class's number where it is."
        )


def warn_of_constant_tags(tags: Tensor, class_names: Sequence[str]) -> None:
    """Warn of classes that every image or none has: nothing tells a guide what they look like.

    Args:
        tags: (N, K-1), {0, 1}, of all training images.
        class_names: The K-1 foreground classes.
    """
    counts = tags.sum(dim=0).tolist()
    for count, found, cure in (
        (len(tags), "all", 'add images without (in a folder "other", or with no tag)'),
        (0, "none", "add images with it, or leave it out of `classes`"),
    ):
        constant = [name for name, of_class in zip(class_names, counts, strict=True) if of_class == count]
        if constant:
            warnings.warn(
                f"Expected some training images with each tag and some without, but {found} of {len(tags)} have "
                f"{', '.join(constant)}: what that looks like can't be learnt from them; {cure}.",
                stacklevel=3,
            )
