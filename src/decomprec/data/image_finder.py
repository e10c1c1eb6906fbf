"""Finding an image by the name that a list gives it."""

from pathlib import Path, PurePath

from decomprec.data.image_io import IMAGE_SUFFIXES, image_files
from decomprec.data.mask_files import normal_path
from decomprec.data.paths import below


class ImageFinder:
    r"""Finds images by their names in a list.

    A name may lack its ending, have backslashes, start from the folder of the list, or differ in case or Unicode form
    from the file's.

    Args:
        folder: of the images.
        other: folder that names may start from too, such as that of the list.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "images").mkdir()
        >>> (folder / "images" / "Park.JPG").touch()
        >>> find = ImageFinder(folder / "images", folder)
        >>> [find(name).name for name in ("Park.JPG", "park", "images/Park.JPG", "images\\park.jpg")]
        ['Park.JPG', 'Park.JPG', 'Park.JPG', 'Park.JPG']
    """

    def __init__(self, folder: Path, other: Path) -> None:
        self.folders = tuple(dict.fromkeys((folder, other)))
        self._files: dict[str, Path] | None = None

    def __call__(self, name: str) -> Path:
        """Return the file of an image or, if there is none, the path as the list has it.

        Raises:
            ValueError: if the name leads out of the folder, or fits several files.
        """
        for folder in self.folders:
            for suffix in ("", *IMAGE_SUFFIXES, ".JPEG", ".JPG", ".PNG"):
                file = below(folder, f"{name}{suffix}")
                if file.is_file():
                    return file
        return self._alike(name) or self.folders[0] / name

    def _alike(self, name: str) -> Path | None:
        """The only file whose name is the same but for case, Unicode form, ending and kind of slash."""
        if self._files is None:
            self._files = {}
            for folder in reversed(self.folders):
                for file in image_files(folder):
                    inside = file.relative_to(folder)
                    self._files[normal_path(inside)] = file
                    self._files.setdefault(normal_path(inside.with_suffix("")), file)
        found = self._files.get(normal_path(PurePath(name.replace("\\", "/"))))
        return None if found is None else below(next(f for f in self.folders if found.is_relative_to(f)), found)
