"""Lists of class names that labelling tools write next to masks: the number of a class is its place in the list."""

import re
from collections.abc import Sequence
from pathlib import Path

from decomprec.data.names import is_nothing, plain
from decomprec.data.paths import read_text

LISTS = ("class_names.txt", "classes.txt", "labelmap.txt", "labels.txt", "label_names.txt", "names.txt", "obj.names")
"""Names of such files, the most telling first."""

_IGNORED = "ignore"


def find_class_list(*folders: Path) -> Path | None:
    """Return the first list of classes in some folders; None if there is none.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "Classes.txt").touch()
        >>> find_class_list(folder / "nowhere", folder).name
        'Classes.txt'
    """
    for folder in folders:
        files = {file.name.casefold(): file for file in folder.glob("*.*") if file.is_file()} if folder.is_dir() else {}
        for name in LISTS:
            if name in files:
                return files[name]
    return None


def read_class_list(path: Path) -> tuple[str, ...]:
    r"""Read a list of classes by their mask values: the background first.

    One name a line, as labelme and most tools write, or CVAT's ``name:colour:parts:actions``. A first line that means
    nothing, such as ``_background_``, is the background; without one, the first class has the value 1.

    Raises:
        ValueError: if the file is not UTF-8, names no class, or names one twice.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels.txt"
        >>> _ = path.write_text("__ignore__\n_background_\ncat\ndog\n")
        >>> read_class_list(path)
        ('background', 'cat', 'dog')
    """
    return value_names(listed_names(path), path)


def listed_names(path: Path) -> list[str]:
    """Read the names in a list of classes, unchanged, without those to be ignored."""
    lines = [line.strip() for line in read_text(path).splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    numbered = [re.fullmatch(r"(\d+)[\s:,=]+(.*[^\s:,=\d].*)", line) for line in lines]
    if all(numbered):
        lines = [match[2] for match in sorted(filter(None, numbered), key=lambda match: int(match[1]))]
    names = [line.split(":")[0].strip() for line in lines]
    return [name for name in names if name and plain(name) != _IGNORED]


def value_names(names: Sequence[str], where: object) -> tuple[str, ...]:
    """Return class names by their mask values, the background first; it may be missing in `names`.

    Raises:
        ValueError: if there is no class, or one is named twice.
    """
    classes = list(names[1:] if names and is_nothing(names[0]) else names)
    if not classes or len(set(classes)) < len(classes):
        raise ValueError(f"Expected {where} to name each class once, but got {list(names)}.")
    return ("background", *classes)
