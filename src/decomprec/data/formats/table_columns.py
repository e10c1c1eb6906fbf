"""The columns of a table of images, under their usual names."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePath

from decomprec.data.image_io import IMAGE_SUFFIXES
from decomprec.data.names import SPLITS, holds_masks, is_nothing, plain, split_of

USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "images", "filename", "file", "path", "filepath", "imagepath", "imagename", "imagefile", "img"),
    "split": ("split", "subset", "set", "partition", "usage", "fold"),
    "tags": ("tags", "tag", "labels", "label", "classes", "class", "categories", "category", "classname"),
}
MORE_NAMES: Mapping[str, tuple[str, ...]] = {
    "image": ("imgpath", "imgname", "imageid", "imageindex", "fname", "filepaths", "filenames", "name", "id"),
    "split": (),  # see `split_cells`
    "tags": ("species", "breed", "dx", "target", "choice", "diagnosis", "findinglabels", "labelname", "classid"),
}
_NO, _YES = {"0", "0.0", "0,0", "false", "no", "n", "f"}, {"1", "1.0", "1,0", "true", "yes", "y", "t", "x"}
_ABSENT = ({""}, {"-1", "-1.0"})  # where no cell is a _NO: then they would mean "unknown"
_SPLIT_FLAGS = {
    **dict.fromkeys(("isvalid", "isval", "isvalidation"), ("val", "train")),
    "istest": ("test", "train"),
    **dict.fromkeys(("istrain", "istraining"), ("train", "test")),
}
_SPLIT_FLAGS_BESIDE_TAGS = {  # without a column of tags, such columns may be classes
    **dict.fromkeys(("val", "validation"), ("val", "train")),
    "test": ("test", "train"),
    **dict.fromkeys(("train", "training"), ("train", "test")),
}
_BOXES = {"xmin", "bbox", "encodedpixels", "segmentation"}
_SENTENCES = {"text", "caption", "captions", "description", "prompt", "comment", "title", "url"}
_FILE_WORDS = re.compile(r"(file|path|name|url)+$")
_NUMBERS_OF_ROWS = re.compile(r"(unnamed:\d+|index)?")

NUMBER = re.compile(r"[-+.\d]+")
"""A cell that holds a number, or a part of one."""

Table = dict[str, list[str]]
"""Cells by column."""


def tags_column(table: Table, others: Iterable[str | None], name: str | None = None) -> str | None:
    """Find the column of the tags: `find_column`'s, else the only one besides `others` whose words repeat.

    Examples:
        >>> tags_column({"id": ["a", "b"], "animal": ["dog", "dog"]}, ["id"])
        'animal'
    """
    column = find_column(table, "tags", name)
    rest = [column for column in table if column not in others]
    if column is None and len(rest) == 1 and plain(rest[0]) not in _SENTENCES:
        words = set(table[rest[0]]) - {""}
        boxes = any(
            NUMBER.fullmatch(word) or sum(bool(NUMBER.fullmatch(part)) for part in word.split()) > 1 for word in words
        )
        objects = any(word.startswith(("{", "[{")) for word in words)
        if 2 * len(words) <= len(table[rest[0]]) and not boxes and not objects and not only_flags(words):
            return rest[0]
    return column


def mask_column(table: Table, others: Collection[str | None] = ()) -> str | None:
    """Find the column that names the mask of each image: called like a folder of masks, with image files in its cells.

    Args:
        table: as read.
        others: columns that are known to be something else.

    Raises:
        ValueError: if there are two.

    Examples:
        >>> mask_column({"image": ["a.jpg", "b.jpg"], "mask_path": ["m/a.png", ""]})
        'mask_path'
        >>> mask_column({"image": ["a.jpg"], "mask": ["1"], "no_mask": ["0"]})
    """
    named = [name for name in table if name not in others and holds_masks(_FILE_WORDS.sub("", plain(name)))]
    found = [name for name in named if are_images([cell for cell in table[name] if not is_nothing(cell)])]
    if len(found) > 1:
        raise ValueError(f"Expected one column of masks, but got {found}; leave out the one that is not meant.")
    rest = {name: cells for name, cells in table.items() if name not in found}
    return found[0] if found and find_column(rest, "image", None) else None


def find_column(table: Table, kind: str, name: str | None) -> str | None:
    """Find the column of a kind, "image", "split" or "tags"; None if there is none under a usual name.

    Args:
        table: as read.
        kind: of the column; its own name is the first choice. Without a usual name, the only column whose cells end as
            image files do is that of the images.
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
    for usual in ((kind,), USUAL_NAMES[kind], MORE_NAMES[kind]):
        found = [column for column in table if plain(column) in usual]
        if len(found) > 1:
            raise ValueError(
                f"Expected one column of the {kind}, but got {found}; rename the one that is meant {kind!r}."
            )
        if found:
            return found[0]
    if kind != "image":
        return None
    named = [column for column, cells in table.items() if are_images(cells) and not are_images([column])]  # no header
    return named[0] if len(named) == 1 else None


def split_cells(table: Table, name: str | None = None) -> tuple[str | None, list[str]]:
    """Find the column of the splits, and its cells.

    Without a usual name, it is a column of names of splits only, such as "phase", or one that says yes or no, such as
    "is_valid", or "val" next to a column of tags; other images of the latter are trained on.

    Returns:
        The column, and the split of each row; None and nothing without one.

    Raises:
        ValueError: as `find_column`.

    Examples:
        >>> split_cells({"image": ["a", "b"], "is_valid": ["False", "True"]})
        ('is_valid', ['train', 'val'])
        >>> split_cells({"image": ["a", "b"], "phase": ["train", "test"]})
        ('phase', ['train', 'test'])
    """
    column = find_column(table, "split", name)
    named_tags = any(plain(other) in (*USUAL_NAMES["tags"], *MORE_NAMES["tags"]) for other in table)
    meanings = {**_SPLIT_FLAGS, **(_SPLIT_FLAGS_BESIDE_TAGS if named_tags else {})}
    if column is not None and (plain(column) not in meanings or _flags([table[column]]) is None):
        return column, table[column]
    flagged = [column] if column is not None else [name for name in table if plain(name) in meanings]
    said = {name: flags[0] for name in flagged if (flags := _flags([table[name]])) is not None}
    spelt = [name for name, cells in table.items() if {"train"} < {split_of(cell) for cell in cells} <= {*SPLITS}]
    if len(found := [*said, *spelt]) > 1:
        raise ValueError(
            f"Expected one column of the split, but got {found}; keep one, called 'split', of train, val and test."
        )
    if spelt:
        return spelt[0], table[spelt[0]]
    if not said:
        return None, []
    column, says = next(iter(said.items()))
    yes, no = meanings[plain(column)]
    return column, [yes if flag else no for flag in says]


def class_columns(table: Table, others: Sequence[str | None]) -> dict[str, list[bool]]:
    """Find columns that are classes, with 1 in the rows of their images and else 0, as Roboflow writes.

    "yes", "no" and the like are read too. If no cell says no, empty cells or those of -1 mean no.

    Returns:
        For each class, whether it is in the image of each row; nothing if other columns are left.

    Examples:
        >>> class_columns({"image": ["a"], "dog": ["1"], "cat": ["0.0"]}, ["image"])
        {'dog': [True], 'cat': [False]}
    """
    columns = [name for name in table if name not in others and not _NUMBERS_OF_ROWS.fullmatch(plain(name))]
    flags = _flags([table[name] for name in columns])
    return {} if flags is None else dict(zip(columns, flags, strict=True))


def only_flags(cells: Iterable[str]) -> bool:
    """Tell whether the cells of a column are 0 and 1, -1 and 1, or the like, and no names."""
    found = {cell.casefold() for cell in cells} - {""}
    return any(found <= no | _YES for no in (_NO, *_ABSENT))


def are_images(cells: Collection[str]) -> bool:
    """Tell whether all cells end as image files do."""
    return bool(cells) and all(PurePath(cell).suffix.lower() in IMAGE_SUFFIXES for cell in cells)


def _flags(columns: Sequence[Sequence[str]]) -> list[list[bool]] | None:
    """What columns of yes and no say; None if that is unclear."""
    cells = {cell.casefold() for column in columns for cell in column}
    rest = cells - _NO - _YES
    if rest and (cells & _NO or not cells & _YES or not any(rest <= absent for absent in _ABSENT)):
        return None
    return [[cell.casefold() in _YES for cell in column] for column in columns]


def box_column(table: Table) -> str | None:
    """Find a column that says where an object is: the table has a row for each object then, not for each image."""
    return next((column for column in table if plain(column) in _BOXES), None)
