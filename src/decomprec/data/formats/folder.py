"""A folder of images per class."""

import random
from collections.abc import Sequence
from pathlib import Path

from decomprec.data.checks import OnError, choose_classes
from decomprec.data.class_lists import classes_in, find_class_list, read_class_list, read_colours
from decomprec.data.dataset import TaggedImages
from decomprec.data.formats.class_folders import UNSPLIT, ClassFolders, find_class_folders, masks_by_image
from decomprec.data.formats.split_lists import listed_splits, say_unused_lists
from decomprec.data.names import empty_tags
from decomprec.data.paths import below
from decomprec.data.record import MaskValues, Record
from decomprec.data.samples import Transform
from decomprec.data.splits import HELD_OUT, choose_part


class TaggedFolder(TaggedImages):
    """Images whose folder is their only tag: ``root/<split>/<class>/*.jpg`` or ``root/<class>/*.jpg``.

    Splits are folders called ``train`` and ``val``, or another usual spelling, ``Training`` or ``valid``. Without a
    split for validation, `val_fraction` of each class is held out of the training images, the same for the same seed.
    Masks are image files in the style of VOC, ``root/<split>_masks/<stem>.png`` or ``root/masks/<stem>.png``, with the
    names that `MaskFiles` knows. Their values are those of a ``classes.txt`` next to or in that folder, else 0 is the
    background and `j` the `j`-th class folder in alphabetical order; 255 is ignore. System files are ignored.
    Links that lead out of `root` are refused.

    Args:
        root: the folder.
        split: "train", "val" or another split folder; None for all images.
        background: folders of images without any class; they need not exist. None for all names that say so:
            other, background, none, negatives and the like, unless `classes` has them.
        classes: selects and orders the foreground classes; images of other folders count as images
            without any class. None for all folders in alphabetical order.
        masks: whether samples hold a ``mask``, see `TaggedImages`.
        val_fraction: share of "val" if the folders have no split for it, between 0 and 1.
        seed: draws that share.
        transform: joint transform of image and mask, see `TaggedImages`.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Raises:
        FileNotFoundError: if `root` is not a folder, or it is unclear which of its folders are classes.
        ValueError: if `split`, `classes` or `val_fraction` do not fit, the split holds no image, two images
            would share a mask file, or a link leads out of `root`.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("dog/a.png", "dog/b.png", "other/c.png"):
        ...     (root / name).parent.mkdir(exist_ok=True)
        ...     Image.new("RGB", (4, 4)).save(root / name)
        >>> data = TaggedFolder(root)
        >>> data.class_names, data.tags.tolist()
        (('dog',), [[1.0], [1.0], [0.0]])
    """

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        *,
        background: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        masks: bool = False,
        val_fraction: float = HELD_OUT,
        seed: int = 0,
        transform: Transform | None = None,
        on_error: OnError = "raise",
    ) -> None:
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(f"Expected `root` to be a folder, but got {root}.")
        if not 0 < val_fraction < 1:
            raise ValueError(f"Expected `val_fraction` to be between 0 and 1, but got {val_fraction}.")
        found = find_class_folders(root, classes or ())
        known = _known_classes(found, background, classes)
        class_names = choose_classes(classes, known, root)
        chosen = frozenset(class_names)
        mask_of = masks_by_image(found) if masks else {}
        records = [
            Record(file, (name,) if name in chosen else (), file.stem, mask_of.get(file))
            for name, file in _files(found, split, val_fraction, seed)
        ]
        for record in records:
            below(root, record.image.relative_to(root))
        if not records:
            raise ValueError(
                f"Expected split {split!r} of {root} to hold images, but got none; a fifth of each class is held out, "
                "which is none of one or two images: add some, or put images of each class into train/ and val/."
            )
        names, listed = _mask_names(found, known)
        super().__init__(
            records,
            class_names,
            masks=masks,
            decode_mask=MaskValues.from_names(names, class_names),
            mask_colours=read_colours(listed),
            transform=transform,
            on_error=on_error,
        )


def _known_classes(found: ClassFolders, background: Sequence[str] | None, classes: Sequence[str] | None) -> list[str]:
    """The class folders, without those of images that show no class."""
    named = None if background is None else set(background)
    known = classes_in(found.names, classes, found.root, empty_tags if named is None else named.intersection)
    if not known:
        raise FileNotFoundError(
            f"Expected {found.root} to hold a folder per class, but got {found.names}, whose names mean that no class "
            "is in their images; add a folder for the class."
        )
    return known


def _files(found: ClassFolders, split: str | None, val_fraction: float, seed: int) -> list[tuple[str, Path]]:
    """The images of a split, with their class folder."""
    if split is None:
        return [(name, file) for part in found.parts for name in found.names for file in found.files(part, name)]
    parts = _parts(found)
    if list(parts) == [UNSPLIT]:
        if split not in ("train", "val"):
            raise ValueError(f"Expected `split` to be one of ['train', 'val'] or None, but got {split!r}.")
        source, share = UNSPLIT, split
    else:
        source, share = choose_part(parts, split, found.root)
    files = []
    for name, inside in parts[source].items():
        files += [
            (name, file)
            for file in (inside if share == "all" else _draw(inside, share, val_fraction, f"{seed}/{name}"))
        ]
    return files


def _parts(found: ClassFolders) -> dict[str, dict[str, list[Path]]]:
    """The images of each class by split: that of the folders, else that of lists, else `UNSPLIT`."""
    parts = {part: {name: found.files(part, name) for name in found.names} for part in found.parts}
    inside = {
        part: [file.relative_to(found.root) for files in folders.values() for file in files]
        for part, folders in parts.items()
    }
    if list(parts) != [UNSPLIT]:
        say_unused_lists(inside, found.root)
        return parts
    lists = listed_splits(inside[UNSPLIT], found.root)
    listed = {part: {found.root / inside[UNSPLIT][i] for i in members} for part, members in lists.items()}
    return {
        part: {name: [file for file in files if file in members] for name, files in parts[UNSPLIT].items()}
        for part, members in listed.items()
    } or parts


def _mask_names(found: ClassFolders, known: Sequence[str]) -> tuple[tuple[str, ...], Path | None]:
    """Names of the mask values: of a list next to the masks that has all classes, else in alphabetical order."""
    folders = [folder for folders in found.masks.values() for folder in folders]
    for file in filter(None, (find_class_list(*folders), find_class_list(found.root))):
        names = read_class_list(file)
        if set(known) <= set(names):
            return names, file
        if file.parent != found.root:
            missing = sorted(set(known) - set(names))
            raise ValueError(f"Expected {file} to name the classes of the masks, but it lacks {missing}; add them.")
    return ("background", *known), None


def _draw(files: list[Path], split: str, val_fraction: float, seed: str) -> list[Path]:
    shuffled = random.Random(seed).sample(files, len(files))
    count = round(len(files) * val_fraction)
    return sorted(shuffled[:count] if split == "val" else shuffled[count:])
