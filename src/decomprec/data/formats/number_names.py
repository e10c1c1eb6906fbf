"""The names of numbered classes, from a file next to the images."""

import json
from pathlib import Path
from typing import Any

from decomprec.data.class_lists import find_class_list, listed_names
from decomprec.data.paths import read_text

LIST = "classes.json"


def names_of_numbers(folder: Path) -> list[str] | None:
    """Read the names of classes by their numbers, the first of which is 0; None if no file tells them.

    The file is a list such as classes.txt, one name a line, or classes.json: a list of names, or a mapping from numbers
    to names or from names to numbers.

    Raises:
        ValueError: if it doesn't give each number from 0 on one name.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> names_of_numbers(folder)
        >>> _ = (folder / "classes.json").write_text('{"dog": 1, "cat": 0}')
        >>> names_of_numbers(folder)
        ['cat', 'dog']
    """
    file = folder / LIST
    if file.is_file():
        names = _from_json(_parsed(file), file)
    else:
        found = find_class_list(folder)
        if found is None:
            return None
        file, names = found, listed_names(found)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Expected {file} to give each class another name, at least one, but got {names}.")
    return names


def _parsed(file: Path) -> Any:
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise ValueError(f"Expected {file} to be JSON, but: {error}.") from error


def _from_json(value: Any, file: Path) -> list[str]:
    if isinstance(value, dict) and value and all(type(number) is int for number in value.values()):
        value = {number: name for name, number in value.items()}
    elif isinstance(value, dict) and all(str(number).isdecimal() for number in value):
        value = {int(number): name for number, name in value.items()}
    if isinstance(value, dict):
        value = [value.get(number) for number in range(len(value))]
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(
            f"Expected {file} to hold a list of class names, or a mapping between them and the numbers from 0 on."
        )
    return value
