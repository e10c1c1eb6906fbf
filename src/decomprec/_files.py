"""Files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_NAME = 255
"""Bytes of a file's name, in common file systems."""

_PARTIAL = ".partial-"


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to, and move it into place once it is complete.

    A reader sees the old file or the whole new one, and a failure leaves the old one as it was.

    Args:
        path: of the file; its folder is created if it does not exist.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with written_whole(Path(folder) / "note.txt") as partial:
        ...         _ = partial.write_text("all of it")
        ...     (Path(folder) / "note.txt").read_text()
        'all of it'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The ending stays: writers of images go by it.
    partial = path.with_name(f"{_PARTIAL}{os.getpid()}-{path.name}")
    if len(os.fsencode(partial.name)) > LONGEST_NAME:
        digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
        partial = path.with_name(f"{_PARTIAL}{os.getpid()}-{digest}{path.suffix[:16]}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes | memoryview) -> None:
    """Write a file whole, and return when the disk has it: what a power cut must not take.

    Args:
        path: of the file; its folder is created if it does not exist.
        content: all of it.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_bytes(Path(folder) / "weights", b"1234")
        ...     (Path(folder) / "weights").read_bytes()
        b'1234'
    """
    with written_whole(path) as partial, partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole, in UTF-8.

    Args:
        path: of the file; its folder is created if it does not exist.
        text: all of it.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_text(Path(folder) / "note.txt", "all of it")
        ...     (Path(folder) / "note.txt").read_text()
        'all of it'
    """
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def remove_partials(folder: str | Path) -> None:
    """Remove what killed processes had begun to write, at any depth of a folder that nobody writes to now.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / ".partial-123-last.ckpt").write_text("half of i")
        ...     remove_partials(folder)
        ...     list(Path(folder).iterdir())
        []
    """
    for partial in Path(folder).rglob(f"{_PARTIAL}*"):
        partial.unlink(missing_ok=True)
