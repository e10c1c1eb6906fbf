"""Choosing a split of a data set, however it spells its splits, and holding images out where none is for validation."""

import random
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from decomprec.data.names import SPLITS, plain, split_of
from decomprec.data.notices import say

HELD_OUT = 0.2
"""Share of the images that are kept for validation if a data set has no split for that."""


_SPLIT = re.compile(r"train|(?<![a-z])(val|test)(?![a-z])", re.IGNORECASE)
_NUMBERS = dict(zip("012", SPLITS, strict=True))


class Part(NamedTuple):
    """A split as a data set has it.

    Attributes:
        source: its name in the data set.
        share: "all" of its images, or what is left for "train" or "val" after some are held out for validation.
    """

    source: str
    share: Literal["all", "train", "val"]


def choose_part(available: Collection[str], split: str, where: object) -> Part:
    """Find a split among the names that a data set has.

    "train", "val" and "test" are found in their usual spellings. Without a split for validation, a part of the training
    split is held out; a test split is never used for it.

    Args:
        available: names of the data set's splits.
        split: "train", "val", "test", or a name in `available`.
        where: the data set, for messages.

    Raises:
        ValueError: if there is no such split, or two names mean it.

    Examples:
        >>> choose_part(["Train", "valid", "test"], "val", "images")
        Part(source='valid', share='all')
        >>> choose_part(["train", "test"], "val", "images")
        Part(source='train', share='val')
    """
    by_meaning = defaultdict(list)
    for name in available:
        by_meaning[_meaning(name, available)].append(name)
    if split not in by_meaning and split in available:
        return Part(split, "all")
    if by_meaning["train"] and (odd := [name for name in by_meaning[None] if name and not _SPLIT.search(name)]):
        say(f"{where}: {', '.join(map(repr, odd))} mean no usual split, and are not used, unless `splits` names them.")
    for names in (by_meaning[split], by_meaning["train"]):
        if len(names) > 1:
            raise ValueError(
                f"Expected one split for {split_of(names[0])} in {where}, but got {sorted(names)}; name the two that "
                "are meant as `splits`."
            )
    if split in ("train", "val") and by_meaning["train"] and not by_meaning["val"]:
        source = by_meaning["train"][0]
        unused = "; its test images are not used" if by_meaning["test"] else ""
        say(f"{where} has no split for validation: a fifth of {source!r} is held out{unused}.")
        return Part(source, "train" if split == "train" else "val")
    if split in SPLITS and by_meaning[split]:
        source = by_meaning[split][0]
        if source != split:
            say(f"{where}: {source!r} is the split {split!r}.")
        return Part(source, "all")
    cure = "; rename the folder or value of the images to train on" if split == "train" else ""
    raise ValueError(f"Expected `split` to be one of {sorted(available)} or None, but got {split!r}{cure}.")


def meaning_of_values(values: Collection[str], name: str) -> dict[str, str] | None:
    """Return the split that each value of a list or column means; None if that is unclear.

    Args:
        values: names of splits in their usual spellings; or 0, 1 and 2, all three, for "train", "val" and "test"; or 0
            and 1 for "no" and "yes".
        name: of the list or column. One with two splits, such as train_test_split, asks whether an image is to train
            on. One of folds, which are numbered too, means none.

    Examples:
        >>> meaning_of_values({"2", "0", "1"}, "list_eval_partition")
        {'0': 'train', '1': 'val', '2': 'test'}
        >>> meaning_of_values({"0", "1"}, "train_test_split"), meaning_of_values({"0", "1"}, "split")
        ({'0': 'test', '1': 'train'}, None)
        >>> meaning_of_values({"Train", "valid"}, "split")
        {'Train': 'train', 'valid': 'val'}
    """
    named = {value: split for value in sorted(values) if (split := split_of(value))}
    words = re.split(r"[\W_]+", name.casefold())
    if values and len(named) == len(values):
        return named
    if set(values) == set(_NUMBERS) and not any(word.startswith("fold") for word in words):
        return dict(_NUMBERS)
    splits = {split for word in words if (split := split_of(word))}
    if set(values) == {"0", "1"} and "train" in splits and len(splits) == 2:
        return {"0": (splits - {"train"}).pop(), "1": "train"}
    return None


def say_meaning(meaning: Mapping[str, str], where: object) -> None:
    """Say which split each value means, unless the values are the splits' names."""
    if any(value != split for value, split in meaning.items()):
        say(f"{where}: " + ", ".join(f"{value} is {split}" for value, split in meaning.items()) + ".")


def in_part(names: Sequence[str], part: Part, where: object) -> list[int]:
    """Return the indices of the images of a part, by the names of all images of its source.

    Raises:
        ValueError: if there is none.

    Examples:
        >>> in_part(["a", "b", "c"], Part("train", "all"), "images")
        [0, 1, 2]
        >>> len(in_part(["a", "b", "c"], Part("train", "val"), "images"))
        1
    """
    out = held_out(names) if part.share != "all" else set()
    indices = [i for i, name in enumerate(names) if part.share == "all" or (name in out) == (part.share == "val")]
    if not indices:
        share = part.source if part.share == "all" else f"{part.share}, a share of {part.source}"
        raise ValueError(f"Expected {where} to hold images for the split {share}, but got none.")
    return indices


def held_out(names: Iterable[str], fraction: float = HELD_OUT, seed: int | str = 0) -> set[str]:
    """Draw the names that are held out for validation: the same for the same names, at least one of two.

    Examples:
        >>> names = [f"{i}.jpg" for i in range(10)]
        >>> len(held_out(names)), held_out(names) == held_out(reversed(names))
        (2, True)
    """
    ordered = sorted(set(names))
    count = min(max(1, round(fraction * len(ordered))), len(ordered) - 1)
    return set(random.Random(seed).sample(ordered, max(count, 0)))


def _meaning(name: str, available: Collection[str]) -> str | None:
    """The split that a name means; a list such as train_aug trains if no other does and it holds no validation."""
    meaning = split_of(name)
    if meaning or any(split_of(other) == "train" for other in available):
        return meaning
    others = {split_of(other) for other in available}
    extended = plain(name).startswith("train") and not ("val" in plain(name) and "val" in others)
    return "train" if extended or len(available) == 1 else None
