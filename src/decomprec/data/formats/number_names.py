"""The names of numbered classes, from a file next to the images."""

from pathlib import Path

from decomprec.data.class_lists import find_class_list, listed_names

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
    file = find_class_list(folder)
    if file is None:
        return None
    names = listed_names(file)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Expected {file} to give each class another name, at least one, but got {names}.")
    return names
