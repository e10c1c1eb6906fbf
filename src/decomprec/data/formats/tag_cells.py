"""The tags in the cells of a table, and the sign that separates them."""

import ast
import json
import re
from collections.abc import Sequence
from contextlib import suppress

_SIGNS = (",", ";", "|", "\t", "\n", "\uff0c", "\uff1b", "\u3001")  # the last three are those of Chinese and Japanese
_JOINING = ("+", "/", "&", ":", "~", "\\n", "\\")
_SCORES = re.compile(r"(?:[^\W\d][^:=,;|]*[:=]\s*[-+]?\d+(?:\.\d+)?[\s,;|]*)+")
_BETWEEN = {"and", "&", "+", "/"}
_LIST = re.compile(r"\s*[\[({].*[\])}]\s*", re.DOTALL)
_QUOTED = re.compile(r'"[^"]*"')


def split_tags(cells: Sequence[str]) -> list[tuple[str, ...]]:
    """Split the cells of a column into tags, at what `find_separator` finds; without repeats and quotes around them.

    If a cell is a list in the notation of Python or JSON, such as "['dog', 'cat']" of pandas or '{"choices": ["dog",
    "cat"]}' of Label Studio, all others are such lists, one tag or none.

    Raises:
        ValueError: if a cell has brackets and is no list of names, all are names with numbers such as "dog:0.9", or
            cells have different separators.

    Examples:
        >>> split_tags(["dog; traffic light", "", "dog"])
        [('dog', 'traffic light'), (), ('dog',)]
        >>> split_tags(['"tench, Tinca tinca", dog'])
        [('tench, Tinca tinca', 'dog')]
        >>> split_tags(["['dog', 'traffic light']", "[]", "dog"])
        [('dog', 'traffic light'), (), ('dog',)]
    """
    if any(map(_LIST.fullmatch, cells)):
        found = [_list_of(cell) if _LIST.fullmatch(cell) else [cell.strip()] for cell in cells]
        return [tuple(dict.fromkeys(filter(None, tags))) for tags in found]
    if all(_SCORES.fullmatch(cell) for cell in cells if cell) and (
        scores := next((cell for cell in cells if "." in cell or len(re.findall("[:=]", cell)) > 1), None)
    ):
        raise ValueError(
            f"Expected tags such as 'dog, cat', but got {scores!r}; list the classes in the image, without numbers."
        )
    separator = find_separator(cells)
    return [tuple(dict.fromkeys(part for part in _parts(cell, separator) if part)) for cell in cells]


def _list_of(cell: str) -> list[str]:
    """The names in a list or tuple, or in Label Studio's dictionary with the key "choices"."""
    value = None
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):  # what neither reads is refused below
            value = read(cell.strip())
            break
    names = value.get("choices") if isinstance(value, dict) and len(value) == 1 else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"Expected tags such as 'dog, cat', but got {cell!r}; leave out brackets and quotes.")
    return [name.strip() for name in names]


def find_separator(cells: Sequence[str]) -> str | None:
    """Find what separates the tags in the cells of a column.

    A comma, semicolon, bar, tab or line break in any cell, outside quotes, separates the tags of all cells. Without
    one, a cell is one tag, of one word or several ("traffic light"), unless the words are seen to be tags themselves:
    at least half of the cells of several words have only words that also stand alone, or one that
    stands first in one cell and later in another, or alone and before another. A plus, slash, ampersand, colon, tilde
    or backslash separates tags if at least half of the cells that hold it have only tags that also stand alone.

    Returns:
        The sign, " " for white space, or None if each cell is one tag, or cells are lists.

    Raises:
        ValueError: if cells have different separators.

    Examples:
        >>> find_separator(["dog, cat", "dog"]), find_separator(["dog cat", "cat dog", "dog"])
        (',', ' ')
        >>> find_separator(["golden retriever", "tabby cat", "dog"])
    """
    if any(map(_LIST.fullmatch, cells)):
        return None
    bare = [_QUOTED.sub("", cell) for cell in cells]
    found = [sign for sign in _SIGNS if any(sign in cell for cell in bare)]
    if len(found) > 1:
        examples = [next(cell for cell, text in zip(cells, bare, strict=True) if sign in text) for sign in found[:2]]
        raise ValueError(
            f"Expected one separator between tags, but got {' and '.join(map(repr, found))}, as in {examples[0]!r} and "
            f"{examples[1]!r}; use one, and put names that hold it in quotes."
        )
    if found:
        return found[0]
    if joining := next((sign for sign in _JOINING if _joins_tags(sign, cells)), None):
        return joining
    return " " if any(_QUOTED.search(cell) for cell in cells) or _words_are_tags(cells) else None


def _joins_tags(sign: str, cells: Sequence[str]) -> bool:
    """Whether a sign that names may hold separates tags: "cat+dog", where "cat" and "dog" stand alone too."""
    alone = {cell.strip() for cell in cells if sign not in cell}
    several = [{part.strip() for part in cell.split(sign)} for cell in {cell for cell in cells if sign in cell}]
    return bool(several) and 2 * sum(parts <= alone for parts in several) >= len(several)


def _words_are_tags(cells: Sequence[str]) -> bool:
    """Whether white space separates tags: "dog person" and "dog", not "golden retriever" and "golden eagle"."""
    distinct = {tuple(word for word in cell.split() if word.casefold() not in _BETWEEN) for cell in cells}
    several = [words for words in distinct if len(words) > 1]
    alone = {words[0] for words in distinct if len(words) == 1}
    first = {words[0] for words in several}
    inner = {word for words in several for word in words[1:]}
    not_last = {word for words in several for word in words[:-1]}
    # The last word of an English name is its kind, and may stand alone too: "hot dog" and "dog".
    tags = (first & inner) | (alone & not_last)
    explained = [words for words in several if alone >= set(words) or tags & set(words)]
    return bool(several) and 2 * len(explained) >= len(several)


def _parts(cell: str, separator: str | None) -> list[str]:
    if separator == " ":
        words = [quoted or word for quoted, word in re.findall(r'"([^"]*)"|(\S+)', cell)]
        return [word for word in words if word.casefold() not in _BETWEEN]
    parts = [cell]
    if separator is not None:
        outside_quotes = r'(?=(?:[^"]*"[^"]*")*[^"]*$)' if cell.count('"') % 2 == 0 else ""
        parts = re.split(re.escape(separator) + outside_quotes, cell)
    return [part.strip().strip('"').strip() for part in parts]
