"""Findings about the tags, counts and masks of a data set; no image is read."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from decomprec.data.checks import constant_classes
from decomprec.data.dataset import TaggedRecords
from decomprec.data.mask_meaning import lacking
from decomprec.data.overview import missing_masks
from decomprec.data.tags import tag_table
from decomprec.protocols import TaggedDataset

Level = Literal["error", "warning", "note"]
"""An error makes results wrong or stops a training, a warning probably makes them worse, a note is good to know."""

FEWEST = 20
"""Training images of a class below which there is a warning."""

_NAMED = 5


@dataclass(frozen=True)
class Finding:
    """Something about a data set that a user should look at.

    Attributes:
        level: how bad it is.
        check: what was looked at, in a few words.
        text: what was found and, for errors and warnings, what to do.
        files: the images that it is about, one group for each finding, such as two equal ones.
    """

    level: Level
    check: str
    text: str
    files: tuple[tuple[Path | str, ...], ...] = ()


def tag_findings(train_set: TaggedDataset, val_set: TaggedDataset, most_masks: int | None = 200) -> list[Finding]:
    """Find what a user should look at in tags and masks.

    Does not repeat what every training warns of, see `constant_findings` and `decomprec.data.leaks`.

    Args:
        train_set: the images to train on.
        val_set: the images to validate on, with the same classes.
        most_masks: how many masks of validation images are read; None for all.

    Returns:
        In a fixed order; empty if nothing is.

    Examples:
        >>> from decomprec.data import SyntheticScenes
        >>> scenes = SyntheticScenes(4, num_classes=1, size=16)
        >>> for finding in tag_findings(scenes, scenes):
        ...     print(finding.check, "-", finding.text)
        few images - fewer than 20 training images have striped disc (2): add some, or leave the class out
    """
    names = [str(name) for name in train_set.class_names]
    with_class = tag_table(train_set).images_with()
    counts = [len(images) for images in with_class]
    found = [
        _few(names, counts),
        _together(names, with_class),
        _not_validated(names, tag_table(val_set).counts().tolist()),
        _none_without(train_set, counts),
    ]
    if missing := missing_masks(val_set):
        found.append(Finding("warning", "missing masks", missing))
    if isinstance(val_set, TaggedRecords) and val_set.masks:
        found.append(_without_class(val_set, names, most_masks))
    return [finding for finding in found if finding is not None]


def constant_findings(train_set: TaggedDataset) -> list[Finding]:
    """Find the classes that all or no training images have, of which a training warns too."""
    everywhere, nowhere = constant_classes(tag_table(train_set), [str(name) for name in train_set.class_names])
    found = []
    if everywhere:
        text = f'all training images have {named(everywhere)}: add images without, in a folder "other" or with no tag'
        found.append(Finding("warning", "all images", text))
    if nowhere:
        text = f"no training image has {named(nowhere)}: add some, or leave the class out"
        found.append(Finding("warning", "no images", text))
    return found


def named(names: Sequence[object], most: int = _NAMED) -> str:
    """List some names, and say how many more there are.

    Examples:
        >>> named(["cat", "cow", "dog"], most=2)
        'cat, cow and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def _without_class(val_set: TaggedRecords[Any], names: Sequence[str], most: int | None) -> Finding | None:
    without, looked_at = lacking(islice(val_set.looks(), most), names)
    if not without:
        return None
    text = f"{len(without)} of {looked_at} masks of validation images lack a class that the image is tagged with"
    if black := sum(look.values == {0} for look in without):
        text += f" ({black} are all background, as exports without annotations are)"
    text += ": they are measured as if it were not there; write the number of the class where it is, or remove the "
    text += "masks or tags that are wrong"
    level: Level = "error" if len(without) == looked_at else "warning"
    files = tuple((look.name if isinstance(look.name, Path) else str(look.name),) for look in without)
    return Finding(level, "masks without the class", text, files)


def _few(names: Sequence[str], counts: Sequence[int]) -> Finding | None:
    few = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if 0 < count < FEWEST]
    if not few:
        return None
    text = f"fewer than {FEWEST} training images have {named(few)}: add some, or leave the class out"
    return Finding("warning", "few images", text)


def _together(names: Sequence[str], with_class: Sequence[tuple[int, ...]]) -> Finding | None:
    by_images = defaultdict(list)
    for name, images in zip(names, with_class, strict=True):
        if images:
            by_images[images].append(name)
    groups = [" + ".join(group) for group in by_images.values() if len(group) > 1]
    if not groups:
        return None
    text = f"these tags always come together, so their classes cannot be told apart: {named(groups)}; merge them, "
    return Finding("warning", "tags together", f"{text}or add images with one of them only")


def _not_validated(names: Sequence[str], counts: Sequence[int]) -> Finding | None:
    missing = [name for name, count in zip(names, counts, strict=True) if count == 0]
    text = f"no validation image has {named(missing)}: it is not measured"
    return Finding("warning", "validation", text) if missing else None


def _none_without(train_set: TaggedDataset, counts: Sequence[int]) -> Finding | None:
    """Say that each image has a class, unless one that all have says so already."""
    if max(counts) == len(train_set) or not bool(tag_table(train_set).sizes().all()):
        return None
    text = "every training image has a class: images of none teach what is background"
    return Finding("note", "no class", text)
