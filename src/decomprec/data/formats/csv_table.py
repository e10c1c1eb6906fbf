"""Reading a table of images: its delimiter, its columns under their usual names, and its rows."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from decomprec.data.names import plain
from decomprec.data.paths import read_text

_DELIMITERS = (",", ";", "\t", "|")
_USUAL = {
    "image": ("image", "images", "filename", "file", "path", "filepath", "imagepath", "imagename", "imagefile", "img"),
    "split": ("split", "subset", "set", "partition", "usage", "fold"),
    "tags": ("tags", "tag", "labels", "label", "classes", "class", "categories", "category", "classname"),
}
_MORE = {"image": ("imgpath", "imgname", "imageid", "name", "id"), "split": (), "tags": ("species", "target")}

Table = dict[str, list[str]]
"""Cells by column."""


def read_table(path: Path) -> Table:
    r"""Read a table with a header: UTF-8 or UTF-16, its cells separated by commas, semicolons, tabs or bars.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it can't be read, two columns have one name, a row has too few or too many cells, or there is
            none.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "tags.csv"
        >>> _ = path.write_text("image;tags\na.jpg;dog, cat\n")
        >>> read_table(path)
        {'image': ['a.jpg'], 'tags': ['dog, cat']}
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected `csv` to be a file, but got {path}.")
    text = read_text(path)
    delimiter, text = _delimiter(text)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        lines = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise ValueError(f"Expected {path} to be a CSV file, but: {error}.") from error
    header = [cell.strip() for cell in lines[0][1]] if lines else []
    if repeated := [name for name in header if header.count(name) > 1]:
        raise ValueError(f"Expected {path} to have a column {repeated[0]!r}, but got {header}; rename one.")
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            more = len(cells) > len(header)
            cure = f"put a cell with {delimiter!r} in quotes" if more else "an empty cell needs its delimiter too"
            raise ValueError(
                f"Expected line {number} of {path} to have {len(header)} cells, {', '.join(header)}, but got {cells}; "
                f"{cure}."
            )
    if header and len(lines) == 1:
        raise ValueError(f"Expected {path} to list at least one image, but got none.")
    return {name: [cells[i].strip() for _, cells in lines[1:]] for i, name in enumerate(header)}


def is_table(path: Path) -> bool:
    """Tell whether a file is a table with a column of images and one of tags, or one for each class."""
    try:
        table = read_table(path)
        image = find_column(table, "image", None)
        tags = find_column(table, "tags", None) or one_column_per_class(
            table, [image, find_column(table, "split", None)]
        )
    except (ValueError, OSError):
        return False
    return image is not None and bool(tags)


def find_column(table: Table, kind: str, name: str | None) -> str | None:
    """Find the column of a kind, "image", "split" or "tags"; None if there is none under a usual name.

    Args:
        table: as read.
        kind: of the column; its own name is the first choice.
        name: of the column, in any case; None for one of the usual names.

    Raises:
        ValueError: if `name` is no column, or several columns have usual names.

    Examples:
        >>> find_column({"File_Name": [], "Labels": []}, "image", None)
        'File_Name'
    """
    if name is not None:
        same = [column for column in table if column == name] or [c for c in table if plain(c) == plain(name)]
        if len(same) != 1:
            raise ValueError(f"Expected a column {name!r}, but got {list(table)}.")
        return same[0]
    if kind in table:
        return kind
    for usual in ((kind,), _USUAL[kind], _MORE[kind]):
        found = [column for column in table if plain(column) in usual]
        if len(found) > 1:
            raise ValueError(
                f"Expected one column of the {kind}, but got {found}; rename the one that is meant {kind!r}."
            )
        if found:
            return found[0]
    return None


def one_column_per_class(table: Table, others: Sequence[str | None]) -> list[str]:
    """List the columns that are classes, with 1 in the rows of their images and else 0, as Roboflow writes; or none.

    Examples:
        >>> one_column_per_class({"image": ["a"], "dog": ["1"], "cat": ["0"]}, ["image"])
        ['dog', 'cat']
    """
    columns = [column for column in table if column not in others]
    return columns if all(set(table[column]) <= {"0", "1"} for column in columns) else []


def _delimiter(text: str) -> tuple[str, str]:
    """The sign between cells, and the text without Excel's line that says it."""
    if stated := re.match(r"sep=(.)\r?\n", text):
        return stated[1], text[stated.end() :]
    header = text.lstrip("\n\r").split("\n", 1)[0]
    usual = [{*_USUAL[kind], *_MORE[kind]} for kind in _USUAL]
    known = {
        sign: sum(any(plain(c.strip('" ')) in names for c in header.split(sign)) for names in usual)
        for sign in _DELIMITERS
    }
    best = max(known.values())
    candidates = [sign for sign in _DELIMITERS if known[sign] == best and sign in header] or [","]
    return max(candidates, key=header.count), text
