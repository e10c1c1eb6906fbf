"""Files that give each image a value for its split, as those of CUB-200 and CelebA do."""

import re
from pathlib import Path
from typing import NamedTuple

from decomprec.data.formats.table_columns import find_column, split_cells
from decomprec.data.formats.table_files import read_table
from decomprec.data.paths import read_text
from decomprec.data.splits import meaning_of_values

_TABLES = (".csv", ".tsv")
_IDS = "images.txt"
_NUMBER_AND_NAME = re.compile(r"(\S+?)[\s,;]+(\S.*)")
_NAME_AND_VALUE = re.compile(r"(.*\S)[\s,;]+(\S+)")


class SplitValues(NamedTuple):
    """The split of each image that a file lists.

    Attributes:
        images: as listed.
        splits: of each, "train", "val" or "test".
        meaning: the split of each value in the file.
    """

    images: list[str]
    splits: list[str]
    meaning: dict[str, str]


def read_split_values(file: Path) -> SplitValues | None:
    r"""Read a file that gives each image a value for its split; None if it is no such file, or the values are unclear.

    In a table the columns of image and split count. In other files a line holds an image and a value. The image may be
    a number that ``images.txt`` next to the file gives it.

    Raises:
        ValueError: if the file is not UTF-8, or an image has a number that ``images.txt`` lacks.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "images.txt").write_text("1 a/x.jpg\n2 b/y.jpg\n")
        >>> _ = (folder / "train_test_split.txt").write_text("1 0\n2 1\n")
        >>> read_split_values(folder / "train_test_split.txt")
        SplitValues(images=['a/x.jpg', 'b/y.jpg'], splits=['test', 'train'], meaning={'0': 'test', '1': 'train'})
    """
    name, pairs = _of_table(file) or (file.stem, _pairs(file, _NAME_AND_VALUE))
    meaning = meaning_of_values({value for _, value in pairs}, name)
    if meaning is None:
        return None
    ids = file.parent / _IDS
    names = dict(_pairs(ids, _NUMBER_AND_NAME)) if ids.is_file() else {}
    numbered = any(image in names for image, _ in pairs)
    if numbered and (unknown := next((image for image, _ in pairs if image not in names), None)) is not None:
        raise ValueError(f"Expected {ids} to name all images of {file}, but it lacks {unknown}; add it.")
    images = [names[image] if numbered else image for image, _ in pairs]
    return SplitValues(images, [meaning[value] for _, value in pairs], meaning)


def _of_table(file: Path) -> tuple[str, list[tuple[str, str]]] | None:
    """The name of a table's column of splits, and each image with its cell; None if it is no such table."""
    if file.suffix.lower() not in _TABLES:
        return None
    try:
        table = read_table(file)
        image, (split, cells) = find_column(table, "image", None), split_cells(table)
    except ValueError:
        return None
    return None if image is None or split is None else (split, list(zip(table[image], cells, strict=True)))


def _pairs(file: Path, form: re.Pattern[str]) -> list[tuple[str, str]]:
    """The two parts of each line; nothing if a line has another form."""
    lines = (line.strip() for line in read_text(file).splitlines())
    matches = [form.fullmatch(line) for line in lines if line and not line.startswith("#")]
    return [(match[1], match[2]) for match in matches if match is not None] if all(matches) else []
