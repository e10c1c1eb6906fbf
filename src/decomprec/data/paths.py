"""Reading lists of images, and keeping their entries inside the data set's folder: a list may be hostile."""

import codecs
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path


def read_text(path: Path) -> str:
    """Read a UTF-8 file, with or without a byte order mark, or a UTF-16 file with one.

    Raises:
        ValueError: if it has another encoding.
    """
    with path.open("rb") as file:
        wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        return path.read_text(encoding="utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected {path} to be text in UTF-8, but byte {error.start} is none; save it with that encoding."
        ) from error


def below(folder: Path, entry: str | Path) -> Path:
    """Return the path of an entry, which must not leave its folder: by `..`, an absolute path or a link.

    The folder itself may be a link, and so may its files if they lead to another place in it.

    Args:
        folder: the only folder whose files may be read.
        entry: path below it.

    Raises:
        ValueError: if the entry leaves the folder, or is no path.

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


def images_folder(listing: Path, images: str | Path | None) -> Path:
    """Return the folder of a list's images: as given, else `images` next to the list, else the list's own folder."""
    if images is not None:
        return Path(images)
    folder = listing.parent / "images"
    return folder if folder.is_dir() else listing.parent


def inside(file: Path, *folders: Path) -> Path:
    """Return a file's path below the first folder that holds it, or its name alone if none does."""
    return next((file.relative_to(folder) for folder in folders if file.is_relative_to(folder)), Path(file.name))


def check_once(entries: Iterable[object], where: object) -> None:
    """Raise a ValueError if an entry is repeated: its tags could contradict each other, or its splits overlap.

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
