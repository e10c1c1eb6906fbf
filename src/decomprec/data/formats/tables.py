"""The tables of a data set, which list images with their tags: which file is of which split."""

import re
from pathlib import Path

from decomprec.data.formats.table_columns import class_columns, find_column, mask_column, split_cells, tags_column
from decomprec.data.formats.table_files import is_json_table, read_table
from decomprec.data.names import has_role, is_system, split_of, subfolders

TABLE = "tags.csv"
"""Name of a folder's table of tags."""

SUFFIXES = (".csv", ".tsv", ".jsonl")
"""Endings of tables, beside that of JSON."""

_WORDS = re.compile(r"[\W_]*(labels?|tags?|classes|annotations?|metadata|data|list|df|v\d+)$", re.IGNORECASE)


def find_tables(folder: Path) -> dict[str, Path]:
    """Find a folder's tables by split.

    They are ``tags.csv``; else one in each split's folder, as Hugging Face's ``metadata.csv``; else ``train.csv`` and
    the like, as on Kaggle; else the only other one. Tables next to folders of classes in splits, such as an index of
    all files, say nothing that these do not.

    Returns:
        The tables by the names of the splits, a single one of all images as "train"; none if there is none.

    Raises:
        ValueError: if it is unclear which of several is meant.
    """
    if (folder / TABLE).is_file():
        return {"train": folder / TABLE}
    children = subfolders(folder)
    splits = [child for child in children if split_of(child.name)]
    if any(not has_role(inner.name) and not split_of(inner.name) for split in splits for inner in subfolders(split)):
        return {}
    inside = {split.name: found[0] for split in splits if len(found := _tables(split)) == 1}
    if inside:
        return inside
    files = _tables(folder)
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(split_of(_WORDS.sub("", file.stem)) or "", []).append(file)
    unsplit = by_split.pop("", [])
    repeated = next((found for found in by_split.values() if len(found) > 1), None)
    if "train" in by_split and repeated is None:
        return {split: found[0] for split, found in by_split.items()}
    if "train" not in by_split and len(unsplit) == 1:
        return {"train": unsplit[0]}
    several = repeated or unsplit
    if several and all(has_role(child.name) or split_of(child.name) for child in children):
        raise ValueError(
            f"Expected {folder} to hold one table of images and tags for each split, but got "
            f"{', '.join(file.name for file in several)}; rename the one that is meant {TABLE}, or give it as `path`."
        )
    return {}


def unused_tables(folder: Path) -> list[str]:
    """Say why the tables in a folder do not list images with tags, in a sentence each."""
    said = []
    for file in possible_tables(folder):
        try:
            columns = ", ".join(read_table(file))
        except (ValueError, OSError) as error:
            said.append(str(error))
        else:
            said.append(f"{file.name} has the columns {columns}: call that of the images image, that of the tags tags.")
    return said


def possible_tables(folder: Path) -> list[Path]:
    """The files in a folder that may be tables, by their endings; JSON files by their beginning."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and not is_system(file.name)]
    files = [file for file in files if "submission" not in file.stem.casefold()]
    json = {file for file in files if file.suffix.lower() == ".json" and is_json_table(file)}
    return [file for file in files if file in json or file.suffix.lower() in SUFFIXES]


def _tables(folder: Path) -> list[Path]:
    """The tables of images and tags in a folder."""
    return [file for file in possible_tables(folder) if _is_table(file)]


def _is_table(path: Path) -> bool:
    try:
        table = read_table(path)
        if masks := mask_column(table):
            del table[masks]
        image = find_column(table, "image", None)
        others = [image, split_cells(table)[0]]
        return image is not None and bool(tags_column(table, others) or class_columns(table, others))
    except (ValueError, OSError):
        return False
