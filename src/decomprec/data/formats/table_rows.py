"""The rows of tables that list images with their tags."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from decomprec.data.formats.table_columns import (
    Table,
    box_column,
    class_columns,
    find_column,
    mask_column,
    only_flags,
    split_cells,
    tags_column,
)
from decomprec.data.formats.table_files import read_table
from decomprec.data.formats.tag_cells import find_separator, split_tags
from decomprec.data.image_finder import ImageFinder
from decomprec.data.image_io import image_files
from decomprec.data.mask_files import normal_path
from decomprec.data.names import empty_tags, is_nothing, plain, split_of, subfolders
from decomprec.data.notices import say
from decomprec.data.paths import images_folder
from decomprec.data.splits import meaning_of_values, say_meaning


class Row(NamedTuple):
    """An image that a table lists.

    Attributes:
        table: that lists it.
        name: as listed.
        split: as listed, else that of the table.
        tags: of the image.
        find: finds it.
        mask: as listed; None if the table has no column of masks, and empty if the image has none.
    """

    table: Path
    name: str
    split: str
    tags: tuple[str, ...]
    find: ImageFinder
    mask: str | None = None


class Columns(NamedTuple):
    """Columns as the user names them; None for a usual name."""

    image: str | None = None
    split: str | None = None
    tags: str | None = None


class _Read(NamedTuple):
    """A table with its columns and the split of each row.

    `others` are the columns of image and split. `tags` is None if columns of 0 and 1 are the classes. The column of
    `masks` is not in the table.
    """

    path: Path
    part: str
    table: Table
    image: str
    splits: list[str] | None
    others: tuple[str | None, str | None]
    tags: str | None
    masks: list[str] | None


def read_rows(tables: Mapping[str, Path], columns: Columns, images: Path | None, named: Collection[str]) -> list[Row]:
    """Read the rows of tables; of a table with a row for each object or each tag, one for each image.

    Args:
        tables: by the split of their images, unless they have a column of splits.
        columns: that the user names.
        images: folder of the images; None for the usual ones.
        named: tags that the user names, which may then be 0 and 1.

    Raises:
        ValueError: if one is no such table, or cells have different separators.
    """
    read = [_read(path, part, columns, named) for part, path in tables.items()]
    cells = [cell for one in read if one.tags is not None for cell in one.table[one.tags]]
    separated = iter(_separated(cells, next(iter(tables.values()))))
    rows = []
    for one in read:
        tags = _flagged(one) if one.tags is None else [next(separated) for _ in one.table[one.tags]]
        rows += _by_image(one, _rows(one, tags, images), named)
    return rows


def _read(path: Path, part: str, columns: Columns, named: Collection[str]) -> _Read:
    table = read_table(path)
    try:
        masks = table.pop(name) if (name := mask_column(table, columns)) else None
        image = find_column(table, "image", columns.image)
        split, splits = split_cells(table, columns.split)
        tags = tags_column(table, (image, split), columns.tags)
    except ValueError as error:
        raise ValueError(f"{str(error).removesuffix('.')}, in {path}.") from error
    if image is None:
        raise ValueError(f"Expected {path} to have a column 'image', but got {list(table)}; name it in the first line.")
    for number, cell in enumerate(table[image], 2):
        if not cell:
            raise ValueError(
                f"Expected line {number} of {path} to name an image, but got "
                f"{[cells[number - 2] for cells in table.values()]}."
            )
    if tags is not None and any(table[tags]) and only_flags(table[tags]) and not set(table[tags]) & set(named):
        raise ValueError(
            f"Expected {tags!r} of {path} to hold the names of classes, but got only "
            f"{' and '.join(sorted(set(table[tags])))}; if these say whether a class is in the image, call the column "
            "like the class, else write the names."
        )
    if tags is not None and (numbers := _numbers(table[tags])) and not set(table[tags]) & set(named):
        if fraction := next((cell for cell in numbers if not float(cell).is_integer()), None):
            raise ValueError(
                f"Expected {tags!r} of {path} to hold the names of classes, but got numbers such as {fraction}; write "
                "the names of what is in the image."
            )
        table[tags] = [cell and str(int(float(cell))) for cell in table[tags]]
    if all(map(str.isdecimal, splits)) and (meaning := meaning_of_values(set(splits), split or "")):
        say_meaning(meaning, f"{path}, column {split!r}")
        splits = [meaning[cell] for cell in splits]
    confidence = next((column for column in table if plain(column) == "confidence"), None)
    if confidence is not None and columns.tags is None and set(table[confidence]) - {"1", "1.0"}:
        raise ValueError(
            f"Expected {path} to hold tags that are sure, but got a column {confidence!r}; keep the rows whose tag is "
            "in the image, join those of an image into one with ';' between tags, and leave out the column."
        )
    return _Read(path, part, table, image, splits if split else None, (image, split), tags, masks)


def _numbers(cells: Sequence[str]) -> list[str]:
    """The cells of a column that holds nothing but numbers, some with a point, as pandas writes them."""
    filled = [cell for cell in cells if cell]
    decimal = all(re.fullmatch(r"\d*\.?\d+", cell) for cell in filled) and any("." in cell for cell in filled)
    return filled if decimal else []


def _flagged(read: _Read) -> list[tuple[str, ...]]:
    flags = class_columns(read.table, read.others)
    if not flags:
        raise ValueError(
            f"Expected {read.path} to have a column 'tags', but got {list(read.table)}; name it in the first line, or "
            "have a column of 0 and 1 for each class, and no others: no -1 or empty cells next to 0; without tags, put "
            "masks of the same names in masks/ next to images/."
        )
    return [tuple(name for name in flags if flags[name][row]) for row in range(len(read.table[read.image]))]


def _rows(read: _Read, tags: Sequence[tuple[str, ...]], images: Path | None) -> list[Row]:
    names = read.table[read.image]
    splits = [read.part] * len(names) if read.splits is None else read.splits
    of_split = {split: split if split_of(split) else read.part for split in set(splits)}
    finders = {split: ImageFinder(*_image_folders(read.path, of, images)) for split, of in of_split.items()}
    masks = [None] * len(names) if read.masks is None else ["" if is_nothing(cell) else cell for cell in read.masks]
    listed = zip(names, splits, tags, masks, strict=True)
    return [Row(read.path, name, split, found, finders[split], mask) for name, split, found, mask in listed]


def _by_image(read: _Read, rows: list[Row], named: Collection[str]) -> list[Row]:
    """One row for each image, of a table with a row for each object or each tag; other rows as they are."""
    box = box_column(read.table)
    if box is not None:
        say(f"{read.path} lists objects: the tags of an image are those of all its objects.")
        found = zip(rows, read.table[box], strict=True)
        merged = _merged(row if place else row._replace(tags=()) for row, place in found)
        _say_unlisted(read.path, merged)
        return merged
    counts = Counter((row.split, row.name) for row in rows)
    repeated = [row for row in rows if counts[row.split, row.name] > 1]
    nothing = empty_tags({tag for row in rows for tag in row.tags}) - set(named)
    if read.tags is None or not repeated or any(len(row.tags) != 1 or row.tags[0] in nothing for row in repeated):
        return rows
    say(f"{read.path} lists an image in several rows, such as {repeated[0].name}: it has the tags of all of them.")
    return _merged(rows)


def _merged(rows: Iterable[Row]) -> list[Row]:
    """One row for each image of a split, with the tags of all its rows."""
    merged: dict[tuple[str, str], Row] = {}
    for row in rows:
        known = merged.setdefault((row.split, row.name), row)
        if known.mask and row.mask and known.mask != row.mask:
            raise ValueError(
                f"Expected {row.table} to name one mask of {row.name}, but got {known.mask} and {row.mask}; merge them "
                "into one, with the number of each class."
            )
        tags = tuple(dict.fromkeys([*known.tags, *row.tags]))
        merged[row.split, row.name] = known._replace(tags=tags, mask=known.mask or row.mask)
    return list(merged.values())


def _say_unlisted(table: Path, rows: Sequence[Row]) -> None:
    """Say how many images a table of objects leaves out, as it does where there is none in them."""
    listed = {normal_path(PurePath(row.name.replace("\\", "/")).with_suffix("")).rpartition("/")[2] for row in rows}
    images = [file for folder in {row.find.folders[0] for row in rows} for file in image_files(folder)]
    if unlisted := sorted(file for file in images if normal_path(PurePath(file.stem)) not in listed):
        say(
            f"{table} lists no object in {len(unlisted)} images, such as {unlisted[0]}: they are not used; if they "
            "show none of the classes, add a row with an empty tag for each."
        )


def _image_folders(table: Path, split: str, images: Path | None) -> list[Path]:
    """Where the images of a table's split may start, the likeliest first."""
    if images is not None:
        return [images]
    images = images_folder(table, None)
    places = [child for folder in dict.fromkeys((table.parent, images)) for child in subfolders(folder)]
    own = [place for place in places if split_of(split) and split_of(place.name) == split_of(split)]
    return [*own, images, table.parent]


def _separated(cells: Sequence[str], path: Path) -> list[tuple[str, ...]]:
    """The tags in the cells; says how they are separated."""
    tags, separator = split_tags(cells), find_separator(cells)
    several = next((cell for cell, found in zip(cells, tags, strict=True) if len(found) > 1), None)
    words = next((found[0] for found in tags if len(found) == 1 and len(found[0].split()) > 1), None)
    if separator is not None and several is not None:
        sign = "spaces" if separator == " " else repr(separator)
        say(f"{path}: tags are separated by {sign}, as in {several!r}.")
    elif separator is None and several is None and words is not None:
        say(f"{path}: each cell is one tag, such as {words!r}; separate several tags by ';'.")
    return tags
