"""Images that are in two splits: scores on them measure memory."""

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

_HEAD = 1 << 16


def equal_files(first: Iterable[Path], second: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Find the files of `second` whose content one of `first` has too; only files of equal size are read.

    Returns:
        Pairs of a file of `first` and one of `second`, in the order of `second`.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name, text in (("a", "dog"), ("b", "dog"), ("c", "cat")):
        ...     _ = (folder / name).write_text(text)
        >>> [(a.name, b.name) for a, b in equal_files([folder / "a"], [folder / "b", folder / "c"])]
        [('a', 'b')]
    """
    by_size = defaultdict(list)
    for file in first:
        by_size[_size(file)].append(file)
    pairs = []
    for file in second:
        size = _size(file)
        if size and (twin := next((other for other in by_size.get(size, ()) if _same(other, file, size)), None)):
            pairs.append((twin, file))
    return pairs


def warn_of_shared_images(train_set: Any, val_set: Any) -> None:
    """Warn if images of the validation set are trained on too, under the same or another name."""
    trained, validated = _files(train_set), _files(val_set)
    if trained == validated:  # as where an example shows both with one set
        return
    shared = equal_files(trained, validated)
    if shared:
        first, second = shared[0]
        warnings.warn(
            f"Expected no image in both splits, but {len(shared)} of {len(validated)} validation images are trained on "
            f"too, such as {second}, the same as {first}: they measure memory; remove one of each pair.",
            stacklevel=3,
        )


def _files(dataset: Any) -> list[Path]:
    records = getattr(dataset, "records", ())
    return [record.image for record in records if isinstance(getattr(record, "image", None), Path)]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # a missing image is named when it is read
        return 0


def _same(first: Path, second: Path, size: int) -> bool:
    if first == second:
        return True
    head = _digest(first, _HEAD) == _digest(second, _HEAD)
    return head and (size <= _HEAD or _digest(first, None) == _digest(second, None))


@cache
def _digest(file: Path, length: int | None) -> bytes:
    try:
        with file.open("rb") as stream:
            return hashlib.blake2b(stream.read(-1 if length is None else length)).digest()
    except OSError:
        return str(file).encode()
