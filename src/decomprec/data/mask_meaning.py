"""What the values of masks mean: the numbers of classes or, in masks of black and white, the class of their image."""

from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from typing import NamedTuple

import torch
from torch import Tensor

from decomprec.data.notices import say
from decomprec.data.samples import IGNORE

_WHITE = {0, IGNORE}
_LOOKED_AT = 200  # masks; any later one that differs is refused when it is read


class Look(NamedTuple):
    """What a mask holds.

    Attributes:
        name: of the mask, for messages.
        tags: of its image.
        values: of its label map, 255 where it is white or unknown.
    """

    name: object
    tags: Sequence[str]
    values: Set[int]


def only_white(values: Iterable[Set[int]]) -> bool:
    """Tell whether masks hold 0 and 255 and nothing else; stops at the first other value.

    Examples:
        >>> only_white([{0}, {0, 255}]), only_white([{0, 255}, {0, 1, 255}]), only_white([{0}])
        (True, False, False)
    """
    found: set[int] = set()
    for held in values:
        found |= held
        if found - _WHITE:
            return False
    return found == _WHITE


def white_as(labels: Tensor, tags: Collection[int], name: object) -> Tensor:
    """Return the label map of a mask of black and white, in which 255 is the class of its image.

    Args:
        labels: of 0 and 255.
        tags: labels of the classes in its image. Without any, 255 stays unknown.
        name: of the mask, for messages.

    Raises:
        ValueError: if the mask holds other values, or its image has several classes.

    Examples:
        >>> white_as(torch.tensor([[0, 255]]), [2], "a.png")
        tensor([[0, 2]])
    """
    white = labels == IGNORE
    if others := labels[~white & (labels != 0)].unique().tolist():
        raise ValueError(
            f"Expected mask {name} to hold only 0 and {IGNORE}, as the others do, where {IGNORE} is the class of the "
            f"image, but got {others}; write the numbers of classes in all of them."
        )
    if len(tags) > 1 and white.any():
        raise ValueError(
            f"Expected the image of mask {name} to have one class, as the mask holds only 0 and {IGNORE}, but got "
            f"{len(tags)}; write the numbers of classes in all masks."
        )
    return torch.where(white, next(iter(tags), IGNORE), labels)


def white_is_class(looks: Iterable[Look], class_names: Sequence[str]) -> bool:
    """Tell whether 255 means the class of the image in masks that hold nothing else but 0; says so.

    Raises:
        ValueError: if it does, but an image with such a mask has several classes.

    Examples:
        >>> white_is_class([Look("a.png", ["dog"], {0, 255})], ["dog", "cat"])
        True
        >>> white_is_class([Look("a.png", ["dog"], {0, 1, 255})], ["dog", "cat"])
        False
    """
    seen = list(looks)
    if not only_white(look.values for look in seen):
        return False
    white = [look for look in seen if IGNORE in look.values]
    for look in white:
        if len(look.tags) > 1:
            tag = look.tags[0]
            raise ValueError(
                f"Expected masks to hold the numbers of classes, such as {class_names.index(tag) + 1} for {tag!r}, but "
                f"{look.name} and the others hold only 0 and {IGNORE}, which does not tell apart the {len(look.tags)} "
                "classes of its image; write the number of the class where it is."
            )
    say(f"masks hold only 0 and {IGNORE}, such as {white[0].name}: {IGNORE} is the class of the image.")
    return True


def check_masks(looks: Iterable[Look], class_names: Sequence[str]) -> bool:
    """Check that masks show classes of their images, and tell whether these are white, see `white_is_class`.

    Stops at the first mask that shows a class of its image, usually the first of all.

    Args:
        looks: at the masks of images with tags.
        class_names: the K-1 foreground classes.

    Raises:
        ValueError: if masks show classes, but none a class of its image; or as `white_is_class`.
    """
    seen = list(_until_fitting(looks, class_names))
    if not seen or _fits(seen[-1], class_names):
        return False
    misfits = [look for look in seen if look.values - _WHITE]
    if not misfits:
        return white_is_class(seen, class_names)
    first = misfits[0]
    shown = ", ".join(f"{value} ({class_names[value - 1]})" for value in sorted(first.values - _WHITE))
    raise ValueError(
        f"Expected masks to show the classes of their images, but none of {len(seen)} does: {first.name} holds "
        f"{shown}, and its image has {', '.join(first.tags)}; list the names of the values in classes.txt next to "
        "them, background first, or correct the tags."
    )


def lacking(looks: Iterable[Look], class_names: Sequence[str]) -> tuple[list[Look], int]:
    """Find masks without a class of their image, though all of their pixels are known.

    Args:
        looks: at the masks of images with tags.
        class_names: the K-1 foreground classes.

    Returns:
        These masks, and the number of all.

    Examples:
        >>> looks = [Look("a.png", ["dog"], {0}), Look("b.png", ["dog"], {0, 1}), Look("c.png", ["dog"], {0, 255})]
        >>> [look.name for look in lacking(looks, ["dog"])[0]]
        ['a.png']
    """
    seen = list(looks)
    labels = {name: label for label, name in enumerate(class_names, 1)}
    return [look for look in seen if not {IGNORE} & look.values and {labels[t] for t in look.tags} - look.values], len(
        seen
    )


def _until_fitting(looks: Iterable[Look], class_names: Sequence[str]) -> Iterator[Look]:
    for count, look in enumerate(looks, 1):
        yield look
        if _fits(look, class_names) or count == _LOOKED_AT:
            return


def _fits(look: Look, class_names: Sequence[str]) -> bool:
    return any(class_names.index(tag) + 1 in look.values for tag in look.tags)
