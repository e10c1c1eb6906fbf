"""Files that hold many images each, such as shards and parquet files, by the split that their names tell."""

import re
from collections.abc import Sequence
from pathlib import Path

from decomprec.data.image_io import IMAGE_SUFFIXES
from decomprec.data.names import is_system, split_of

_DEPTH = 3  # of folders, such as data/train/0.parquet


def made_of(folder: Path, ending: str, depth: int = _DEPTH) -> bool:
    """Whether a folder holds files with an ending, itself or in its folders, and no images next to them.

    An archive next to the images that came in it, or a table of them, is not what the data set is made of.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "images.tar").touch()
        >>> made_of(folder, ".tar")
        True
        >>> (folder / "dog").mkdir()
        >>> (folder / "dog" / "a.jpg").touch()
        >>> made_of(folder, ".tar")
        False
    """
    found, folders = False, []
    for entry in folder.iterdir():
        if is_system(entry.name):
            continue
        if entry.is_dir():
            folders.append(entry)
        elif entry.suffix.lower() in IMAGE_SUFFIXES:
            return False
        found = found or entry.suffix.lower() == ending
    if folders and not depth:
        return False
    inside = [made_of(part, ending, depth - 1) for part in folders]
    return all(inside) and (found or bool(inside))


def files_by_split(files: Sequence[Path], root: Path) -> dict[str, list[Path]]:
    """Group files by a word in their names or folders that means a split; all train if none does.

    Args:
        files: sorted.
        root: the data set's folder; its own name and those above it mean nothing.

    Raises:
        ValueError: if some files name a split and others don't.

    Examples:
        >>> root = Path("pets")
        >>> files = [root / name for name in ("pets-train-0.tar", "pets-train-1.tar", "valid/0.tar")]
        >>> {split: len(group) for split, group in files_by_split(files, root).items()}
        {'train': 2, 'valid': 1}
        >>> files_by_split([root / "0.tar"], root)
        {'train': [PosixPath('pets/0.tar')]}
    """
    groups: dict[str | None, list[Path]] = {}
    for file in files:
        groups.setdefault(_split_word(file.relative_to(root)), []).append(file)
    unnamed = groups.pop(None, [])
    if unnamed and groups:
        raise ValueError(
            f"Expected all files in {root} to name their split, as {next(iter(groups.values()))[0].name} does, but got "
            f"{unnamed[0].relative_to(root)}; put train, val or test into its name, or move it away."
        )
    return {word: group for word, group in groups.items() if word is not None} or {"train": unnamed}


def _split_word(file: Path) -> str | None:
    words = [word for part in (file.stem, *reversed(file.parent.parts)) for word in re.split(r"[^A-Za-z]+", part)]
    return next((word for word in words if word and split_of(word)), None)
