"""Reading the cells of tables: CSV files, JSON lines and JSON."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import compress, zip_longest
from pathlib import Path
from typing import Any

from decomprec.data.formats.table_columns import MORE_NAMES, NUMBER, USUAL_NAMES, Table, are_images, only_flags
from decomprec.data.image_io import IMAGE_SUFFIXES
from decomprec.data.names import plain, split_of
from decomprec.data.notices import say
from decomprec.data.paths import read_text

_DELIMITERS = (",", ";", "\t", "|")
_JSON_TABLE = re.compile(rf'\ufeff?\s*(\[|{{\s*"[^"]+({"|".join(map(re.escape, IMAGE_SUFFIXES))})"\s*:)', re.IGNORECASE)


def read_table(path: Path) -> Table:
    r"""Read a table: CSV, JSON lines, or a JSON list.

    CSV is UTF-8 or UTF-16, its cells separated by commas, semicolons, tabs or bars. Its first line is the header,
    unless it names an image file; then the columns are found by their cells. JSON is a list of objects with the same
    keys, or an object with a key for each image.

    Returns:
        The columns. Numbered columns of tags, such as "tag1" and "tag2", are also joined to one, "tags".

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it can't be read, two columns have one name, a row has too few or too many cells, there is
            none, or JSON names no images.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "tags.csv"
        >>> _ = path.write_text("image;tags\na.jpg;dog, cat\n")
        >>> read_table(path)
        {'image': ['a.jpg'], 'tags': ['dog, cat']}
        >>> _ = path.write_text("a.jpg,val,dog\nb.jpg,train,cat\n")
        >>> read_table(path)
        {'image': ['a.jpg', 'b.jpg'], 'split': ['val', 'train'], 'tags': ['dog', 'cat']}
        >>> _ = path.with_suffix(".json").write_text('{"a.jpg": ["dog", "cat"], "b.jpg": []}')
        >>> read_table(path.with_suffix(".json"))
        {'image': ['a.jpg', 'b.jpg'], 'tags': ['"dog", "cat"', '']}
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected `csv` to be a file, but got {path}.")
    readers = {".jsonl": _read_json_lines, ".json": _read_json}
    return _with_tags(readers.get(path.suffix.lower(), _read_csv)(path), path)


def is_json_table(path: Path) -> bool:
    """Tell from its beginning whether a JSON file may be a table, which COCO is not."""
    with path.open("rb") as stream:
        return bool(_JSON_TABLE.match(stream.read(1024).decode(errors="replace")))


def _read_csv(path: Path) -> Table:
    text = read_text(path)
    delimiter, text = _delimiter(text)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise ValueError(f"Expected {path} to be a CSV file, but: {error}.") from error
    width = max((i for _, cells in lines for i, cell in enumerate(cells, 1) if cell), default=0)
    lines = [(number, cells[:width]) for number, cells in lines]  # spreadsheets leave empty rows and columns behind
    header = lines[0][1] if lines else []
    if any(are_images([cell]) for cell in header) and (table := _without_header([cells for _, cells in lines])):
        say(f"{path} has no header: its columns are read as {', '.join(table)}.")
        return table
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
    return {name: [cells[i] for _, cells in lines[1:]] for i, name in enumerate(header)}


def _without_header(lines: Sequence[Sequence[str]]) -> Table | None:
    """The columns of a table without a header, by their cells; None if they leave a doubt.

    Numbers next to other cells may be those of boxes, and two columns of images may be images and masks.
    """
    columns = [list(column) for column in zip_longest(*lines, fillvalue="")]
    images = [column for column in columns if are_images(column)]
    splits = [column for column in columns if all(split_of(cell) or _is_unassigned(cell) for cell in column)]
    tags = [column for column in columns if column not in images + splits]
    numbers = any(NUMBER.fullmatch(cell) for column in tags for cell in column)
    if len(images) != 1 or len(splits) > 1 or len(columns) == 1 or (numbers and len(tags) > 1):
        return None
    named = {"image": images[0]}
    if splits:
        named["split"] = ["train" if _is_unassigned(cell) else cell for cell in splits[0]]
    return named | ({"tags": tags[0]} if len(tags) == 1 else {f"tag{j}": column for j, column in enumerate(tags, 1)})


def _is_unassigned(cell: str) -> bool:
    """Whether a cell leaves the split open, as in Google's lists."""
    return cell.casefold() == "unassigned"


def _read_json_lines(path: Path) -> Table:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            row = json.loads(line, object_pairs_hook=_object) if line.strip() else {}
        except (ValueError, RecursionError) as error:
            raise ValueError(f"Expected line {number} of {path} to be JSON, but: {error}.") from error
        if not isinstance(row, dict):
            raise ValueError(f"Expected line {number} of {path} to be a JSON object, but got {line[:80]!r}.")
        rows += [row] if row else []
    return _of_objects(rows, path)


def _read_json(path: Path) -> Table:
    try:
        value = json.loads(read_text(path), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected {path} to be JSON, but: {error}.") from error
    if isinstance(value, dict) and are_images(value):
        value = [{"image": name, **(row if isinstance(row, dict) else {"tags": row})} for name, row in value.items()]
    table = _of_objects(value, path) if isinstance(value, list) and all(isinstance(row, dict) for row in value) else {}
    if not any(are_images(cells) for cells in table.values()):
        raise ValueError(
            f"Expected {path} to be COCO, or a list of objects with the keys image and tags, but got "
            f"{f'the keys {list(table)}' if table else 'something else'}; export as COCO or, with tags, as CSV."
        )
    return table


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, of whose keys none is repeated: Python's reader would keep the last in silence."""
    times = Counter(key for key, _ in pairs)
    if repeated := [key for key, count in times.items() if count > 1]:
        raise ValueError(f"the key {repeated[0]!r} comes {times[repeated[0]]} times; join its values")
    return dict(pairs)


def _of_objects(rows: Sequence[Mapping[str, Any]], path: Path) -> Table:
    if not rows:
        raise ValueError(f"Expected {path} to list at least one image, but got none.")
    columns = dict.fromkeys(name for row in rows for name in row)
    return {name: [_cell(row.get(name)) for row in rows] for name in columns}


def _with_tags(table: Table, path: Path) -> Table:
    """The table with a column "tags" of what its numbered columns hold, such as "tag1" and "tag2"."""
    bases = [re.sub(r"\d+$", "", plain(name)) for name in table]
    usual = [base in USUAL_NAMES["tags"] and bases.count(base) > 1 for base in bases]
    numbered = list(compress(table, usual))
    if "tags" in table or not numbered or all(only_flags(table[name]) for name in numbered):
        return table
    say(f"{path}: the tags of an image are in the columns {', '.join(numbered)}.")
    rows = zip(*(table[name] for name in numbered), strict=True)
    return {**table, "tags": [_cell([cell for cell in row if cell]) for row in rows]}


def _cell(value: Any) -> str:
    """A value of JSON as a cell of CSV; names in a list are put in quotes."""
    if isinstance(value, list) and all(isinstance(name, str | int) and '"' not in str(name) for name in value):
        return ", ".join(f'"{name}"' for name in value)
    return value.strip() if isinstance(value, str) else "" if value is None else json.dumps(value)


def _delimiter(text: str) -> tuple[str, str]:
    """The sign between cells, and the text without Excel's line that says it."""
    if stated := re.match(r"sep=(.)\r?\n", text):
        return stated[1], text[stated.end() :]
    header = text.lstrip("\n\r").split("\n", 1)[0]
    usual = [{*USUAL_NAMES[kind], *MORE_NAMES[kind]} for kind in USUAL_NAMES]
    known = {
        sign: sum(any(plain(c.strip('" ')) in names for c in header.split(sign)) for names in usual)
        for sign in _DELIMITERS
    }
    best = max(known.values())
    candidates = [sign for sign in _DELIMITERS if known[sign] == best and sign in header] or [","]
    return max(candidates, key=header.count), text
