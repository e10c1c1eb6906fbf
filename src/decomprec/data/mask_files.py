"""Finding the mask of an image by the names that tools give it."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from decomprec.data.image_io import IMAGE_SUFFIXES
from decomprec.data.names import in_system, is_aside
from decomprec.data.paths import below

_WORDS = (
    "masks?|labels?|seg|segmentation|gt|ground_?truth|annotations?|ann|label_?map|label_?ids|l|msk|annos?|annot|lbls?|"
    "truth|matte|binary|lesion"
)
_LAST_WORD = re.compile(
    rf"([ _\-.]+(?:{_WORDS}|(?:masks?|labels?|gt|manual)[ _\-.]?\d{{0,2}})|[ _\-.]*\((?:{_WORDS})\))$"
)
_FIRST_WORD = re.compile(rf"^(?:{_WORDS})[ _\-.]+")
_WORD, _ELSEWHERE = 2, 10  # how much of a mask's path is left out to find its image
_IMAGE_WORD = re.compile(r"[ _\-.]+(?:image|img|sat|rgb|photo)$")


class MaskFiles:
    """The masks in a folder and below it, found by the image's name.

    The mask of ``day/photo.jpg`` is ``day/photo.png``, else ``photo.png``, of any ending, case and Unicode form. It may
    also be called ``photo.jpg.png``, ``photo_mask.png``, ``photo_label.png``, ``photo_seg.png`` or ``mask_photo.png``.

    Args:
        folder: of the masks; there are none if it does not exist.
        root: folder that no mask may lead out of, as a link can; by default `folder`.
        beside_images: the folder holds the images too: only files with such a word in their name are masks.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("a.png", "B.jpg.png", "c_mask.PNG"):
        ...     (folder / name).touch()
        >>> masks = MaskFiles(folder)
        >>> [masks.find(Path(name)).name for name in ("a.jpg", "b.JPG", "deep/c.jpg")]
        ['a.png', 'B.jpg.png', 'c_mask.PNG']
        >>> masks.find(Path("d.jpg"))
    """

    def __init__(self, folder: Path, root: Path | None = None, beside_images: bool = False) -> None:
        self.root = folder if root is None else root
        # By normalised name: the files, and how much of their own name was left out to find it.
        self._by_name: dict[str, list[tuple[int, Path]]] = defaultdict(list)
        for file in mask_images(folder):
            if beside_images and not is_mask_name(file.stem):
                continue
            for left_out, key in _mask_keys(file.relative_to(folder)):
                if not beside_images or left_out >= _WORD:  # an image is no mask of its own
                    self._by_name[key].append((left_out, file))

    def find(self, image: PurePath) -> Path | None:
        """Return an image's mask; None if there is none.

        Args:
            image: path of the image below its folder, with its ending.

        Raises:
            ValueError: if two masks fit equally well, or the mask is a link that leads out of `root`.
        """
        for key in _image_keys(image):
            fitting = self._by_name.get(key)
            if fitting:
                best = _choose([file for left_out, file in fitting if left_out == min(fitting)[0]], image)
                return below(self.root, best.relative_to(self.root))
        return None


def mask_images(folder: Path) -> list[Path]:
    """List the image files in a folder of masks and below it, sorted, without those of systems and visualizations."""
    files = (file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    inside = ((file, file.relative_to(folder)) for file in files)
    return sorted(file for file, path in inside if not in_system(path) and not any(map(is_aside, path.parent.parts)))


def is_mask_name(stem: str) -> bool:
    """Tell whether a name without its ending has a word of masks, such as ``photo_mask``.

    Examples:
        >>> is_mask_name("photo_mask"), is_mask_name("mask-photo"), is_mask_name("unmasked")
        (True, True, False)
    """
    return bool(_without_words(_normal(stem)))


def without_masks(files: Iterable[Path]) -> list[Path]:
    """Leave out masks that are next to their images: ``photo_mask.png`` where there is ``photo.jpg``.

    Examples:
        >>> [file.name for file in without_masks([Path("a.jpg"), Path("a_mask.png"), Path("b_mask.png")])]
        ['a.jpg', 'b_mask.png']
        >>> [file.name for file in without_masks([Path("1_sat.jpg"), Path("1_mask.png")])]
        ['1_sat.jpg']
    """
    files = list(files)
    images = {(file.parent, name) for file in files for name in _image_names(file)}
    return [
        file
        for file in files
        if not any((file.parent, name) in images for left_out, name in names_of_images(file) if left_out >= _WORD)
    ]


def fit_by_affixes(images: Sequence[Path], masks: Sequence[Path]) -> dict[Path, Path]:
    """Fit masks to images by what is left of the names without what all images, or all masks, start or end with.

    Returns:
        The mask of each image; nothing unless each image has one, and each mask belongs to one.

    Examples:
        >>> images = [Path("21_training.tif"), Path("22_training.tif")]
        >>> masks = [Path("21_manual1.gif"), Path("22_manual1.gif")]
        >>> [mask.name for mask in fit_by_affixes(images, masks).values()]
        ['21_manual1.gif', '22_manual1.gif']
        >>> fit_by_affixes(images, masks[:1])
        {}
    """
    of_images, of_masks = (dict(zip(_cores(files), files, strict=True)) for files in (images, masks))
    if len(of_images) < max(2, len(images)) or len(of_masks) < len(masks) or set(of_images) != set(of_masks):
        return {}
    return {image: of_masks[core] for core, image in of_images.items()}


def normal_path(path: PurePath) -> str:
    """Return a path in lower case and with composed accents: equal where file systems and archives change these.

    Examples:
        >>> normal_path(PurePath("Fru\u0308h.JPG")) == normal_path(PurePath("fr\u00fch.jpg"))
        True
    """
    return _normal(path.as_posix())


def _choose(files: list[Path], image: PurePath) -> Path:
    for preferred in ([f for f in files if f.stem == image.stem], [f for f in files if f.suffix.lower() == ".png"]):
        files = preferred if len(files) > 1 and preferred else files
    if len(files) > 1:
        first, second = sorted(files)[:2]
        raise ValueError(
            f"Expected one mask for {image}, but {first} and {second} fit alike; remove or rename one or, if they show "
            "several objects or classes, merge them into one, with the number of each class."
        )
    return files[0]


def names_of_images(mask: PurePath) -> list[tuple[int, str]]:
    """Return the normalised names of images that a mask may belong to, and how much of its own name each leaves out.

    Examples:
        >>> names_of_images(PurePath("A.jpg_mask.png"))
        [(0, 'a.jpg_mask'), (2, 'a.jpg'), (3, 'a')]
    """
    own = _normal(mask.stem)
    names = {own: 0}
    if PurePath(own).suffix in IMAGE_SUFFIXES:
        names[PurePath(own).stem] = 1
    for name in tuple(names):
        for shorter in _without_words(name):
            names.setdefault(shorter, _WORD)
            if PurePath(shorter).suffix in IMAGE_SUFFIXES:
                names.setdefault(PurePath(shorter).stem, _WORD + 1)
    return [(left_out, name) for name, left_out in names.items()]


def _mask_keys(mask: PurePath) -> Iterator[tuple[int, str]]:
    """The paths of images that a mask may belong to: in the same folder, or in none."""
    for left_out, name in names_of_images(mask):
        if mask.parent.parts:
            yield left_out, f"{_normal(mask.parent.as_posix())}/{name}"
            yield left_out + _ELSEWHERE, f"./{name}"
        else:
            yield left_out, name
            yield left_out, f"./{name}"


def _image_keys(image: PurePath) -> list[str]:
    """The paths of an image's mask, the likeliest first; "./" stands for no folder."""
    names = _image_names(image)
    folders = [_normal("/".join(image.parent.parts[i:])) for i in range(len(image.parent.parts))]
    inside = [f"{folder}/{name}" for folder in folders for name in names]
    return [*inside, *names] if folders else [f"./{name}" for name in names]


def _image_names(image: PurePath) -> list[str]:
    """The normalised name of an image, also without a word such as "sat" behind it."""
    stem = _normal(image.stem)
    return [stem, *([shorter] if (shorter := _IMAGE_WORD.sub("", stem)) not in ("", stem) else [])]


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _cores(files: Sequence[PurePath]) -> list[str]:
    """The names of files without what all of them start or end with; no number is cut in two."""
    stems = [_normal(file.stem) for file in files]
    start = re.sub(r"\d+$", "", _shared_start(stems))
    rest = [stem.removeprefix(start) for stem in stems]
    end = re.sub(r"^\d+", "", _shared_start([stem[::-1] for stem in rest])[::-1])
    return [stem.removesuffix(end) for stem in rest]


def _shared_start(names: Sequence[str]) -> str:
    first, last = min(names, default=""), max(names, default="")
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _without_words(stem: str) -> list[str]:
    shorter = (pattern.sub("", stem) for pattern in (_LAST_WORD, _FIRST_WORD))
    return [name for name in shorter if name not in ("", stem)]
