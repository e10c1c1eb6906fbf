"""The lists of a VOC devkit: ImageSets, in all the forms that tools write."""

from pathlib import Path
from typing import NamedTuple

from decomprec.data.formats.split_lists import listed_splits
from decomprec.data.image_io import image_files
from decomprec.data.names import in_system, plain
from decomprec.data.notices import say
from decomprec.data.paths import read_text

_FLAGS = {"1", "-1", "0"}
_PREFERRED = ("segmentation", "main")


class Entry(NamedTuple):
    """An image in a list.

    Attributes:
        name: of the image below JPEGImages, with or without an ending.
        mask: path of the mask below the devkit, if the list has one.
    """

    name: str
    mask: str | None = None


class VOCLists(NamedTuple):
    """The lists of one folder of ImageSets.

    Attributes:
        files: of images, by name.
        classes: files with a flag for each image, ``dog_train.txt``, by class and list.
    """

    files: dict[str, Path]
    classes: dict[tuple[str, str], Path]


def find_lists(devkit: Path) -> VOCLists:
    """Find the lists in ImageSets: those of Segmentation, else of Main, else of another folder, else in it."""
    sets = next((child for child in devkit.iterdir() if plain(child.name) == "imagesets"), devkit / "ImageSets")
    inner = sorted(child for child in sets.iterdir() if child.is_dir()) if sets.is_dir() else []
    order = sorted(inner, key=lambda child: (*(plain(child.name) != name for name in _PREFERRED), child.name))
    for folder in (*order, sets):
        files = {file.stem: file for file in sorted(folder.glob("*.txt")) if not in_system(file.relative_to(folder))}
        if files:
            return _sorted_out(files)
    return VOCLists({}, {})


def read_list(path: Path, images: Path) -> list[Entry]:
    r"""Read a list: a name a line, a name with a flag (1, 0 or -1), or the paths of an image and its mask.

    Args:
        path: of the list.
        images: the folder JPEGImages; a line that names one of its files may hold spaces.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "train.txt"
        >>> _ = path.write_text("2007_1\n2007_2  1\n/JPEGImages/2007_3.jpg /SegmentationClassAug/2007_3.png\n")
        >>> [entry.name for entry in read_list(path, Path("JPEGImages"))]
        ['2007_1', '2007_2', '2007_3.jpg']
    """
    entries = []
    for line in read_text(path).splitlines():
        words = line.split()
        if len(words) > 1 and not _is_image(images, line.strip()):
            name = line.rsplit(maxsplit=1)[0].strip() if words[-1] in _FLAGS or len(words) == 2 else line.strip()
            mask = words[1].lstrip("/") if len(words) == 2 and words[1] not in _FLAGS else None
            entries.append(Entry(_below(name, images), mask))
        elif words:
            entries.append(Entry(_below(line.strip(), images)))
    return entries


def listed_entries(devkit: Path, lists: VOCLists) -> dict[str, list[Entry]]:
    """Read the entries of every list; without lists, all images are to be trained on.

    Lists of classes name the same images: each is taken once.
    """
    images = devkit / "JPEGImages"
    entries = {name: read_list(file, images) for name, file in lists.files.items()}
    if entries:
        return entries
    for (_, split), file in lists.classes.items():
        entries.setdefault(split, []).extend(read_list(file, images))
    if entries:
        return {split: list(dict.fromkeys(repeated)) for split, repeated in entries.items()}
    files = [file.relative_to(images) for file in image_files(images)]
    listed = listed_splits(files, devkit)
    if not listed:
        say(f"{devkit} has no lists of splits: all of JPEGImages is read.")
    parts = listed or {"train": list(range(len(files)))}
    return {name: [Entry(files[i].as_posix()) for i in members] for name, members in parts.items()}


def flagged_classes(devkit: Path, lists: VOCLists) -> dict[str, set[str]]:
    """Return the classes of each image whose lists flag it with 1, or with 0 as difficult."""
    classes: dict[str, set[str]] = {}
    for (name, _), file in lists.classes.items():
        for line in read_text(file).splitlines():
            words = line.split()
            if len(words) == 2 and words[1] in ("1", "0"):
                classes.setdefault(_below(words[0], devkit / "JPEGImages"), set()).add(name)
    return classes


def _sorted_out(files: dict[str, Path]) -> VOCLists:
    """Lists of images, and lists of a class: those with flags that are called CLASS_LIST."""
    classes = {}
    for name, file in files.items():
        prefix, _, split = name.rpartition("_")
        first = read_text(file).split("\n", 1)[0].split()
        if prefix and len(first) == 2 and first[1] in _FLAGS:
            classes[prefix, split] = file
    return VOCLists({name: file for name, file in files.items() if file not in classes.values()}, classes)


def _below(entry: str, images: Path) -> str:
    """An entry's name below JPEGImages, which it may start with."""
    first, _, rest = entry.replace("\\", "/").lstrip("/").partition("/")
    return rest if rest and first.casefold() == images.name.casefold() else entry


def _is_image(images: Path, name: str) -> bool:
    return "\0" not in name and ((images / name).is_file() or (images / f"{name}.jpg").is_file())
