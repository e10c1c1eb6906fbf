"""Finding an image by the name that a list gives it."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath
from urllib.parse import unquote

from decomprec.data.image_io import IMAGE_SUFFIXES, image_files
from decomprec.data.mask_files import normal_path, without_masks
from decomprec.data.names import holds_masks, is_aside, uploaded_name
from decomprec.data.paths import below

LABEL_STUDIO_FOLDER = "/data/local-files/?d="  # before the path of a file that Label Studio reads from a folder
_ENDINGS = ("", *IMAGE_SUFFIXES, ".JPEG", ".JPG", ".PNG")


class ImageFinder:
    r"""Finds images by their names in a list.

    A name may lack its ending, have backslashes, or differ in case or Unicode form from the file's. A path of another
    machine or of Label Studio counts by as many of its last parts as lead to an image. A name without folders may lie
    anywhere below a folder, if only one image there has it.

    Args:
        *folders: where names may start, the likeliest first.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "day1").mkdir()
        >>> (folder / "day1" / "Park.JPG").touch()
        >>> find = ImageFinder(folder)
        >>> [find(name).name for name in ("day1/Park.JPG", "day1\\park", "park", "C:\\photos\\day1\\park.jpg")]
        ['Park.JPG', 'Park.JPG', 'Park.JPG', 'Park.JPG']
    """

    def __init__(self, *folders: Path) -> None:
        self.folders = tuple(dict.fromkeys(folders))
        self._indices: dict[Path, _Index] = {}

    def __call__(self, name: str) -> Path:
        """Return the file of an image or, if there is none, the path as the list has it.

        Raises:
            ValueError: if the name leads out of the folders, or fits several files.
        """
        refused: ValueError | None = None
        for folder in self.folders:
            try:
                file = next((file for ending in _ENDINGS if (file := below(folder, f"{name}{ending}")).is_file()), None)
                if file is not None:
                    return _normal_file(file) if ".." in file.parts else file
            except ValueError as error:
                refused = refused or error
            except OSError:  # too long for a name
                break
        for folder in self.folders:
            if folder not in self._indices:
                self._indices[folder] = _Index(folder)
            if (found := self._indices[folder].find(name)) is not None:
                return below(folder, found.relative_to(folder))
        if refused is not None:
            raise refused
        return self.folders[0] / name


class _Index:
    """The images below a folder, by their paths and names in any case, Unicode form and ending."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._by_path: dict[str, Path] = {}
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        files = image_files(folder)
        for file in files:
            inside = file.relative_to(folder)
            self._by_path[normal_path(inside)] = file
            self._by_path.setdefault(normal_path(inside.with_suffix("")), file)
        for file in without_masks(files):
            if not any(holds_masks(part) or is_aside(part) for part in file.relative_to(folder).parent.parts):
                for key in (file.name, file.stem):
                    self._by_name[normal_path(PurePath(key))].append(file)

    def find(self, name: str) -> Path | None:
        """The only image that a name may mean; None if there is none."""
        keys = [normal_path(PurePath(spelt)) for spelt in _spellings(name)]
        found = next((self._by_path[key] for key in keys if key in self._by_path), None)
        if found is not None or len(keys) != 1:
            return found
        named = self._by_name.get(keys[0], [])
        if len(named) > 1:
            raise ValueError(
                f"Expected {name!r} to be one image below {self.folder}, but got {named[0]} and {named[1]}; list their "
                "paths."
            )
        return named[0] if named else None


def _spellings(name: str) -> Iterator[str]:
    """A name and its last parts, which URLs may spell otherwise."""
    parts = name.rpartition(LABEL_STUDIO_FOLDER)[2].replace("\\", "/").split("/")
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    if "upload" in parts:
        tails.append(uploaded_name(parts[-1]))
    yield from dict.fromkeys(spelt for tail in tails for spelt in (tail, unquote(tail)) if spelt)


def _normal_file(file: Path) -> Path:
    normal = Path(os.path.normpath(file))
    return normal if normal.is_file() else file
