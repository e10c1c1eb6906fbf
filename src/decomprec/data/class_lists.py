"""Lists of class names that labelling tools write next to masks: the number of a class is its place in the list."""

import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any

from decomprec.data.image_io import IMAGE_SUFFIXES
from decomprec.data.mask_colours import Colour, Colours
from decomprec.data.names import empty_tags, is_nothing, plain
from decomprec.data.notices import say
from decomprec.data.paths import read_text

LISTS = (
    *("class_names.txt", "classes.txt", "labelmap.txt", "labels.txt", "label_names.txt", "names.txt", "obj.names"),
    *("label_list.txt", "class_dict.csv", "label_colors.txt", "codes.txt", "classes.json", "id2label.json"),
    *("label_map.json", "idx_to_class.json", "class_to_idx.json", "label_num_to_disease_map.json", "_classes.csv"),
)
"""Names of such files, the most telling first."""

_IGNORED = "ignore"
_NO_CLASS = {_IGNORED, "ignored", "void", "unlabeled", "unlabelled"}
_LOOKED_AT = 20
_COPY = re.compile(r"(\s*\(\d+\)|[\s\-]+copy(\s*\(?\d+\)?)?)$", re.IGNORECASE)  # what a system adds to the name
_COLOURED = (
    re.compile(r"(?P<name>.+?):\s*(?P<red>\d+)\s*,\s*(?P<green>\d+)\s*,\s*(?P<blue>\d+)\s*(:.*)?"),
    re.compile(r"(?P<name>.+?)\s*,\s*(?P<red>\d+)\s*,\s*(?P<green>\d+)\s*,\s*(?P<blue>\d+)"),
    re.compile(r"(?P<red>\d+)\s+(?P<green>\d+)\s+(?P<blue>\d+)\s+(?P<name>\S.*)"),
)
_NUMBERED = (
    re.compile(r"(?P<number>\d+)[\s:,=]+(?P<name>.*[^\s:,=\d].*)"),
    re.compile(r"(?P<name>.*[^\s:\d].*?)\s*:\s*(?P<number>\d+)"),
)
_TAIL = re.compile(r"\s*(:(\d+,\d+,\d+)?:[^:]*:[^:]*|:)$")  # of CVAT: a colour, parts and actions; or an empty one


def find_class_list(*folders: Path) -> Path | None:
    """Return the first list of classes in some folders; None if there is none. A list of images is none of classes.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "Classes.txt").touch()
        >>> find_class_list(folder / "nowhere", folder).name
        'Classes.txt'
    """
    for folder in folders:
        files = {file.name.casefold(): file for file in folder.glob("*.*") if file.is_file()} if folder.is_dir() else {}
        found = next((files[name] for name in LISTS if name in files and not _names_images(files[name])), None)
        if found is not None:
            return found
    return None


def read_class_list(path: Path) -> tuple[str, ...]:
    r"""Read a list of classes by their mask values: the background first.

    One name a line, as labelme and most tools write, or CVAT's ``name:colour:parts:actions``. A first line that means
    nothing, such as ``_background_``, is the background; without one, the first class has the value 1. In a list with
    colours the background may stand anywhere.

    Raises:
        ValueError: if the file is not UTF-8, names no class, or names one twice.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels.txt"
        >>> _ = path.write_text("__ignore__\n_background_\ncat\ndog\n")
        >>> read_class_list(path)
        ('background', 'cat', 'dog')
    """
    names = listed_names(path)
    if _coloured(path):
        names = ["background", *(name for name in names if not is_nothing(name))]
    return value_names(names, path)


def read_colours(path: Path | None) -> Colours | None:
    r"""Read the colours in a list of classes, with the mask values of `read_class_list`; None if it has none.

    Raises:
        ValueError: as `read_class_list`, or if two classes have one colour.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labelmap.txt"
        >>> _ = path.write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\n")
        >>> read_colours(path).values
        (((0, 0, 0), 0), ((250, 50, 83), 1))
    """
    coloured = [] if path is None else _coloured(path)
    if path is None or not coloured:
        return None
    names = read_class_list(path)
    values = [(colour, names.index(name) if name in names else 0) for name, colour in coloured]
    if len(names) > 255:  # masks have 8 bits
        raise ValueError(f"Expected {path} to name at most 254 classes, but got {len(names) - 1}.")
    if len(dict(values)) < len(set(values)):
        raise ValueError(f"Expected {path} to give each class another colour, but two share one; change it.")
    return Colours(path, tuple(dict.fromkeys(values)))


def listed_names(path: Path) -> list[str]:
    r"""Read the names in a list of classes, as they are written, without those to be ignored.

    Where each line has a number before the name, or after it and a colon, it tells the order. In a .json file they are
    a list, or a mapping between names and numbers; if these count from 1, 0 is the background.
    A .csv file of numbers and names, as Roboflow writes, may have a header.

    Raises:
        ValueError: if the file is not UTF-8, or JSON of another form.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "id2label.json"
        >>> _ = path.write_text('{"1": "cat", "2": "dog", "255": "ignore"}')
        >>> listed_names(path)
        ['background', 'cat', 'dog']
    """
    if coloured := _coloured(path):
        names = [name for name, _ in coloured]
    elif path.suffix.lower() == ".json":
        names = _lines(path)
    else:
        names = [_TAIL.sub("", name) for name in _in_order(path)]
    return [name for name in map(str.strip, names) if name and plain(name) != _IGNORED]


def value_names(names: Sequence[str], where: object) -> tuple[str, ...]:
    """Return class names by their mask values, the background first; it may be missing in `names`.

    Raises:
        ValueError: if there is no class, or one is named twice.
    """
    classes = list(names[1:] if names and is_nothing(names[0]) else names)
    if not classes or len(set(classes)) < len(classes):
        raise ValueError(f"Expected {where} to name at least one class, and each once, but got {list(names)}.")
    return ("background", *classes)


def classes_in(
    names: Iterable[str],
    chosen: Collection[str] | None,
    where: object,
    nothing: Callable[[list[str]], Collection[str]] = empty_tags,
) -> list[str]:
    """Return the names that are classes, and say which others mean that there is none.

    Args:
        names: of tags, folders or objects.
        chosen: names that the user gives as classes, even if they look like names for nothing.
        where: the data set, for messages.
        nothing: selects the names that mean that there is no class.

    Raises:
        ValueError: if two names differ only in case or spaces, and `chosen` does not say which are classes.

    Examples:
        >>> classes_in(["cat", "none"], None, "tags.csv"), classes_in(["cat", "none"], ["none"], "tags.csv")
        (['cat'], ['cat', 'none'])
    """
    names = list(dict.fromkeys(names))
    none = sorted(set(nothing(names)) - set(chosen or ()))
    if none:
        say(f"{where}: {', '.join(map(repr, none))} mean{'s' * (len(none) == 1)} no class, unless `classes` names it.")
    kept = [name for name in names if name not in none]
    if chosen is None:
        _check_spellings(kept, where)
    return kept


def _check_spellings(names: Sequence[str], where: object) -> None:
    known: dict[str, str] = {}
    every = frozenset(names)
    for name in names:
        word = unicodedata.normalize("NFC", name)
        other = known.setdefault(re.sub(r"[\s_\-]+", " ", word.casefold()).strip(), name)
        if other == name and (base := _COPY.sub("", name)) in every:
            other = base
        if other != name and len(word) > 1:  # letters are classes in both cases
            # Accents look alike in both Unicode forms: only escapes show the difference.
            first, second = map(ascii if unicodedata.normalize("NFC", other) == word else repr, (other, name))
            raise ValueError(
                f"Expected one spelling of each class in {where}, but got {first} and {second}; use one or, if they "
                "are two classes, name all `classes`."
            )


def _names_images(path: Path) -> bool:
    words = (word for line in _lines(path)[:_LOOKED_AT] for word in re.split(r"[\s,;]+", line))
    return any(PurePath(word).suffix.lower() in IMAGE_SUFFIXES for word in words)


def _lines(path: Path) -> list[str]:
    if path.suffix.lower() == ".json":
        return _names_in_json(path)
    lines = (line.strip() for line in read_text(path).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _in_order(path: Path) -> list[str]:
    """The lines of a list, or the names in them in the order of their numbers, if each has one."""
    matches = _matches(_NUMBERED, path)
    if matches:
        return [match["name"] for match in sorted(matches, key=lambda match: int(match["number"]))]
    return _lines(path)


def _coloured(path: Path) -> list[tuple[str, Colour]]:
    """The names and colours in a list; none unless each line has a colour."""
    return [
        (match["name"].strip(), (int(match["red"]), int(match["green"]), int(match["blue"])))
        for match in _matches(_COLOURED, path)
        if plain(match["name"]) != _IGNORED
    ]


def _matches(forms: Iterable[re.Pattern[str]], path: Path) -> list[re.Match[str]]:
    """What the first form that fits all lines finds in them, except the header of a table; nothing if none fits."""
    lines = _lines(path)
    for form in forms:
        matches = [form.fullmatch(line) for line in lines]
        if path.suffix.lower() == ".csv" and matches[1:] and matches[0] is None:
            matches = matches[1:]
        found = [match for match in matches if match is not None]
        if len(found) == len(matches):
            return found
    return []


def _names_in_json(path: Path) -> list[str]:
    try:
        value: Any = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"Expected {path} to be JSON, but: {error}.") from error
    if (
        isinstance(value, list)
        and value
        and all(isinstance(entry, dict) and {"id", "name"} <= set(entry) for entry in value)
    ):
        value = {entry["name"]: entry["id"] for entry in value}
    if isinstance(value, dict) and value and all(type(number) is int for number in value.values()):
        value = {number: name for name, number in value.items()}
    elif isinstance(value, dict) and all(str(number).isdecimal() for number in value):
        value = {int(number): name for number, name in value.items()}
    if isinstance(value, dict) and all(type(number) is int for number in value):
        known = {number: name for number, name in value.items() if not (number and plain(str(name)) in _NO_CLASS)}
        names = [known.get(number) for number in range(max(known, default=-1) + 1)]
        value = ["background", *names[1:]] if names[:1] == [None] else names
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(
            f"Expected {path} to hold a list of class names, or a mapping between them and the numbers from 0 on; "
            "write one, or remove the file."
        )
    return value
