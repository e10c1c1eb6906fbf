"""Lists of the images of each split, such as train.txt and test_list.txt, next to images that have no other splits."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath

from decomprec.data.formats.split_values import read_split_values
from decomprec.data.image_io import IMAGE_SUFFIXES
from decomprec.data.mask_files import normal_path
from decomprec.data.names import SPLITS, has_role, holds_images, is_aside, is_system, plain, split_of, subfolders
from decomprec.data.notices import say
from decomprec.data.paths import read_text
from decomprec.data.splits import choose_part, in_part, say_meaning

_ENDINGS, _TABLES = (".txt", ".lst"), (".csv", ".tsv")
_FOLDERS = {"splits", "split", "lists", "list", "filelists", "filelist", "imagelists", "partitions", "folds", "sets"}
_VALUED = {"split", "splits", "partition", "partitions"}
_WORD = "lists?|images?|img|files?|filenames?|names?|ids?|sets?|splits?|data|paths?|samples?"
_WORDS = re.compile(rf"^(?:(?:{_WORD})[\W_]+)+|(?:[\W_]*(?:{_WORD}))+$", re.IGNORECASE)
_BOTH = {"trainval", "trainvalid", "trainvalidation", "traindev"}


def split_indices(
    images: Sequence[PurePath], split: str, root: Path, tables: Collection[Path] | None = None
) -> list[int]:
    r"""Choose the images of a split from those of a data set that has no splits but, perhaps, lists of them.

    The lists are files such as ``train.txt``, ``train_val_list.txt`` and ``test_list.txt``, in the data set's folder or
    in one such as ``splits``, ``meta`` or ``ImageSets/Main``. A line names an image, with or without its folders and
    ending; what follows a space or a comma does not count. Without a list to train on, the images that are in no list
    are trained on. Without lists, or without one for validation, a fifth of the training images is held out.

    Instead of lists, a file such as ``train_test_split.txt`` or ``list_eval_partition.csv`` may give each image a value
    for its split, see `read_split_values`.

    Args:
        images: paths below `root`.
        split: "train", "val" or "test", or the name of a list.
        root: folder of the data set.
        tables: that list the images: of other CSV files, those that name images too are mentioned.

    Returns:
        Indices of `images`, in their order.

    Raises:
        ValueError: if an image is in two splits, a line fits several images, two lists are of one split, or there is no
            such split.

    Examples:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> _ = (root / "train.txt").write_text("dog/1\ndog/2\n"), (root / "val.txt").write_text("cat/1.jpg 0\n")
        >>> images = [Path("images/cat/1.jpg"), Path("images/dog/1.jpg"), Path("images/dog/2.jpg")]
        >>> split_indices(images, "train", root), split_indices(images, "val", root)
        ([1, 2], [0])
    """
    available = listed_splits(images, root, tables) or {"train": list(range(len(images)))}
    part = choose_part(available, split, root)
    indices = available[part.source]
    return [indices[i] for i in in_part([images[i].as_posix() for i in indices], part, root)]


def listed_splits(
    images: Sequence[PurePath], root: Path, tables: Collection[Path] | None = None
) -> dict[str, list[int]]:
    """Read the lists of splits in a data set's folder, see `split_indices`.

    Returns:
        Indices of the images in each list, by the list's name; "train" for images in no list if none is to train on.
        Nothing without lists.
    """
    lists, files, unread = _lists(images, root, tables or ())
    if tables is not None:
        unread = [file for file in unread if file.suffix.lower() in _ENDINGS or _names_any(file, images, tables)]
    if unread:
        say(
            f"{root}: {_named(unread, root)} may list the images of splits, but no line of them is the name of an "
            "image alone or before a space, or their values are unclear: not used. If they do, write such names into "
            "train.txt, val.txt and test.txt."
        )
    if not lists:
        return {}
    meanings = {name: split_of(name) or "train" for name in lists}
    owner: dict[int, str] = {}
    for name, members in lists.items():
        for i in members:
            other = owner.setdefault(i, name)
            if meanings[other] != meanings[name]:
                raise ValueError(
                    f"Expected no image in two splits, but {_named([files[other], files[name]], root)} in {root} both "
                    f"list {images[i]}; leave one out."
                )
    unlisted = [i for i in range(len(images)) if i not in owner]
    say(f"{root}: {_named([files[name] for name in lists], root)} say the split of each image.")
    if "train" not in meanings.values() and unlisted:
        return {**lists, "train": unlisted}
    if unlisted:
        say(f"{root}: {len(unlisted)} images, such as {images[unlisted[0]]}, are in no list, and are not used.")
    return lists


def say_unused_lists(images: Mapping[str, Sequence[PurePath]], root: Path) -> None:
    """Say which lists of splits contradict the splits that a data set has otherwise, and are not used.

    Args:
        images: paths below `root`, by the splits of folders or tables.
        root: folder of the data set.
    """
    every = [image for part in images.values() for image in part]
    splits = [split_of(name) for name, part in images.items() for _ in part]
    lists, files, _ = _lists(every, root)
    for name, members in lists.items():
        meant = {split_of(name)} if split_of(name) else {"train", "val"}
        if odd := [i for i in members if splits[i] not in meant]:
            say(
                f"{root}: {_named([files[name]], root)} is not used, as folders or tables say the splits: it lists "
                f"{len(odd)} images of another split, such as {every[odd[0]]}; to use it, put the images of all splits "
                "together."
            )


def _lists(
    images: Sequence[PurePath], root: Path, tables: Collection[Path] = ()
) -> tuple[dict[str, list[int]], dict[str, Path], list[Path]]:
    """The images of each list, its file, and the files that may be lists but can't be read as such."""
    files, others = _files(images, root)
    lists = _read(images, files, root)
    unread = others + [file for name, file in files.items() if name not in lists]
    if not lists and (valued := _read_values(images, [file for file in others if file not in tables], root)):
        file, lists = valued
        files = dict.fromkeys(lists, file)
        unread.remove(file)
    return lists, files, unread


def _read_values(
    images: Sequence[PurePath], files: Sequence[Path], root: Path
) -> tuple[Path, dict[str, list[int]]] | None:
    """The file that gives images values for their split, and the images of each split; None without one."""
    read = {file: values for file in files if (values := read_split_values(file)) is not None}
    find = _finder(images) if read else None
    found = {}
    for file, values in read.items():
        members: dict[str, set[int]] = defaultdict(set)
        for name, split in zip(values.images, values.splits, strict=True):
            if find and (i := find(name, file)) is not None:
                members[split].add(i)
        if members:
            found[file] = {split: sorted(members[split]) for split in SPLITS if split in members}
            say_meaning(values.meaning, file)
    if len(found) > 1:
        raise ValueError(f"Expected one file of the splits in {root}, but got {_named([*found], root)}; move one away.")
    return next(iter(found.items()), None)


def _files(images: Sequence[PurePath], root: Path) -> tuple[dict[str, Path], list[Path]]:
    """Files that may be lists, by the name of the split; and others with the word of a split in their names."""
    labels = {normal_path(PurePath(image.stem)) for image in images}
    found: dict[str, list[Path]] = defaultdict(list)
    others = []
    for file in (file for folder in _folders(root) for file in sorted(folder.iterdir())):
        ending = file.suffix.lower()
        if ending not in (*_ENDINGS, *_TABLES) or is_system(file.name) or normal_path(PurePath(file.stem)) in labels:
            continue
        name = _WORDS.sub("", file.stem)
        if ending in _ENDINGS and (split_of(name) or plain(name) in _BOTH):
            found[name].append(file)
        elif any(split_of(word) or word.casefold() in _VALUED for word in re.split(r"[\W_]+", file.stem)):
            others.append(file)
    if any(split_of(name) == "train" for name in found):  # then a list of both says nothing new
        found = {name: files for name, files in found.items() if plain(name) not in _BOTH}
    for name, files in found.items():
        if len(files) > 1:
            raise ValueError(f"Expected one list of {name} in {root}, but got {_named(files, root)}; move one away.")
    return {name: files[0] for name, files in found.items()}, others


def _folders(root: Path) -> list[Path]:
    """Where lists may lie: not in folders of classes or splits, which may hold any number of files."""
    children = [child for child in subfolders(root) if has_role(child.name) or plain(child.name) in _FOLDERS]
    inner = [folder for child in children if is_aside(child.name) for folder in subfolders(child)]
    return [root, *children, *inner]


def _read(images: Sequence[PurePath], files: Mapping[str, Path], root: Path) -> dict[str, list[int]]:
    """Indices of the images in each list that names any; says how many of its names are none."""
    if not files:
        return {}
    find, lists = _finder(images), {}
    for name, file in files.items():
        lines = [line.strip() for line in read_text(file).splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        found = [find(line, file) for line in lines]
        members = sorted({i for i in found if i is not None})
        if members:
            lists[name] = members
            missing = [line for line, i in zip(lines, found, strict=True) if i is None]
            if missing:
                say(f"{root}: {len(missing)} lines of {_named([file], root)} name no image, such as {missing[0]!r}.")
    return lists


def _names_any(table: Path, images: Sequence[PurePath], used: Collection[Path]) -> bool:
    """Whether a table that is not used names any of the images."""
    if table in used:
        return False
    find = _finder(images)
    return any(find(line.strip(), table) is not None for line in read_text(table).splitlines() if line.strip())


def _finder(images: Sequence[PurePath]) -> Callable[[str, Path], int | None]:
    """Find the image that a line names: by its name and all folders that the line or the image has."""
    paths = [_parts(image.as_posix()) for image in images]
    by_name: dict[str, list[int]] = defaultdict(list)
    for i, path in enumerate(paths):
        by_name[path[-1]].append(i)

    def find(line: str, file: Path) -> int | None:
        for entry in dict.fromkeys([line, re.split(r"[\s,;]", line)[0]]):
            wanted = _parts(entry)
            fitting = {i: _common(wanted, paths[i]) for i in by_name.get(wanted[-1], ())}
            fitting = {i: n for i, n in fitting.items() if n in (len(wanted), len(paths[i]))}
            best = [i for i, n in fitting.items() if n == max(fitting.values())]
            if len(best) > 1:
                raise ValueError(
                    f"Expected {entry!r} of {file} to be one image, but it may be {images[best[0]]} and "
                    f"{images[best[1]]}; list their paths."
                )
            if best:
                return best[0]
        return None

    return find


def _parts(path: str) -> list[str]:
    """The parts of a path that tell images apart: without ending, folders of all images, and a root."""
    *folders, name = normal_path(PurePath(path.replace("\\", "/"))).split("/")
    stem, dot, ending = name.rpartition(".")
    kept = [part for part in folders if part and not _of_all_images(part)]
    return [*kept, stem if dot + ending in IMAGE_SUFFIXES else name]


_of_all_images = cache(holds_images)


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """How many last parts are equal."""
    pairs = zip(reversed(first), reversed(second), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _named(files: Sequence[Path], root: Path) -> str:
    return ", ".join(dict.fromkeys(file.relative_to(root).as_posix() for file in files))
