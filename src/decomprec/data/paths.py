"""What lists of images say, and where their entries may lead: such files come from anybody."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        ValueError: If it has another encoding.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected {path} to be text in UTF-8, but byte {error.start} is none; save it with that encoding."
        ) from error


def below(folder: Path, entry: str | Path) -> Path:
    """The path of an entry, which must not lead out of its folder: by `..`, by an absolute path or by a link.

    The folder itself may be a link, as may what it holds if it leads to another place below it.

    Args:
        folder: Whose files may be read.
        entry: Path below it.

    Raises:
        ValueError: If the entry leads out of the folder, or is no path.

    Examples:
        >>> below(Path("photos"), "day1/../a.jpg").as_posix()
        'photos/day1/../a.jpg'
        >>> below(Path("photos"), "../secret.jpg")
        Traceback (most recent call last):
        ValueError: Expected images below photos, but got '../secret.jpg', which leads out of it; ...
    """
    path = folder / entry
    try:
        inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except ValueError as error:  # a null byte
        raise ValueError(f"Expected images below {folder}, but got {str(entry)!r}: {error}.") from error
    if not inside:
        raise ValueError(
            f"Expected images below {folder}, but got {str(entry)!r}, which leads out of it; copy them there, or "
            "name a folder that holds them all."
        )
    return path


def check_once(entries: Iterable[object], where: object) -> None:
    """Raise a ValueError if an entry comes twice: its tags would contradict each other, or a split leak into another.

    Examples:
        >>> check_once(["a", "b", "a"], "tags.csv")
        Traceback (most recent call last):
        ValueError: Expected tags.csv to list each image once, but got a 2 times; give all of its tags in one place.
    """
    entry, count = max(Counter(entries).items(), key=lambda pair: pair[1], default=(None, 0))
    if count > 1:
        raise ValueError(
            f"Expected {where} to list each image once, but got {entry} {count} times; give all of its tags in one "
            "place."
        )
