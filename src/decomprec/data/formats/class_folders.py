"""Where the folders of classes, the splits and the masks are in a folder of images."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from decomprec.data.formats.cures import cures
from decomprec.data.image_io import IMAGE_SUFFIXES, image_files
from decomprec.data.mask_files import MaskFiles, without_masks
from decomprec.data.names import (
    empty_tags,
    has_role,
    holds_images,
    holds_masks,
    is_aside,
    is_system,
    masks_of,
    may_be_class,
    split_of,
    subfolders,
)
from decomprec.data.notices import say

_CITYSCAPES = "leftImg8bit"  # folders of cities, which are no classes

UNSPLIT = ""
"""The split of folders that have none."""


@dataclass
class ClassFolders:
    """Folders of images by split and class.

    Attributes:
        root: of the data set.
        parts: for each split (`UNSPLIT` if there are none), the folders of each class.
        masks: folders of masks of each split, the likeliest first.
    """

    root: Path
    parts: dict[str, dict[str, Path]]
    masks: dict[str, list[Path]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of the class folders in any split, sorted."""
        return sorted({name for folders in self.parts.values() for name in folders})

    def files(self, part: str, name: str) -> list[Path]:
        """List the images of a class folder, without masks beside them."""
        folder = self.parts[part].get(name)
        return [] if folder is None else class_images(folder)


def find_class_folders(root: Path, classes: Collection[str] = ()) -> ClassFolders:
    """Find the folders of classes: in split folders, in the root, or below ``images``.

    Args:
        root: the folder.
        classes: names that are classes, even if they usually mean masks or a split.

    Raises:
        FileNotFoundError: if there is no folder per class, or it can't be told which folders are classes.
    """
    children = subfolders(root)
    if _CITYSCAPES in (root.name, *(child.name for child in children)):
        raise FileNotFoundError(_untold(root))
    if loose := [file for file in root.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not is_system(file.name)]:
        say(f"{root}: {len(loose)} images lie in no folder of a class, and are not used.")
    in_splits = {child.name: _of_split(child, classes) for child in children if split_of(child.name)}
    if any(in_splits.values()):
        others = [child for child in children if not split_of(child.name) and not has_role(child.name)]
        parts = {**in_splits, **{child.name: _candidates(child, classes) for child in others}}
        _check_beside_splits(root, {name for name, folders in parts.items() if not folders}, parts)
        parts = {name: folders for name, folders in parts.items() if folders}
        for folders in parts.values():
            _check_doubtful(next(iter(folders.values())).parent, folders, classes)
        _check_trained(root, parts)
    else:
        parts = _unsplit(root, classes)
    if not any(parts.values()):
        inner = next((child for child in children if holds_images(child.name) and subfolders(child)), None)
        if inner is None:
            raise FileNotFoundError(_untold(root))
        found = find_class_folders(inner, classes)
        masks = {part: [*found.masks[part], *_mask_folders(root, part)] for part in found.parts}
        return ClassFolders(root, found.parts, masks)
    _check_twins([folder for folders in parts.values() for folder in folders.values()])
    return ClassFolders(root, parts, {part: list(_mask_folders(root, part)) for part in parts})


def class_images(folder: Path) -> list[Path]:
    """List the images in a class folder and below it, without masks and visualizations that lie there too."""
    return without_masks(file for file in image_files(folder) if not _lies_aside(file.relative_to(folder)))


def masks_by_image(found: ClassFolders) -> dict[Path, Path]:
    """Find the masks of all images, by image.

    Raises:
        ValueError: if a mask fits several images, or several masks an image.
    """
    masks: dict[Path, Path] = {}
    taken: set[Path] = set()
    for part, folders in found.parts.items():
        shared = [MaskFiles(folder, found.root) for folder in found.masks[part]]
        for name, folder in folders.items():
            own = [MaskFiles(child, found.root) for child in subfolders(folder) if holds_masks(child.name)]
            places = [*shared, *own, MaskFiles(folder, found.root, beside_images=True)]
            for file in found.files(part, name):
                inside = Path(name) / file.relative_to(folder)
                mask = next(filter(None, (place.find(inside) for place in places)), None)
                if mask in taken:
                    raise ValueError(f"Expected each mask to belong to one image, but {mask} fits several.")
                if mask is not None:
                    taken.add(mask)
                    masks[file] = mask
    return masks


def _candidates(folder: Path, classes: Collection[str]) -> dict[str, Path]:
    """The folders in a folder whose names may be those of classes."""
    return {child.name: child for child in subfolders(folder) if child.name in classes or not has_role(child.name)}


def _of_split(folder: Path, classes: Collection[str]) -> dict[str, Path]:
    """The folders of classes in a split, or in its folder of images; a split in itself, ``train/train``, is none."""
    found = _candidates(folder, classes)
    if len(found) == 1 and split_of(next(iter(found))) == split_of(folder.name):
        return {}
    if found:
        return found
    images = (child for child in subfolders(folder) if holds_images(child.name))
    return next((found for child in images if (found := _candidates(child, classes))), {})


def _unsplit(root: Path, classes: Collection[str]) -> dict[str, dict[str, Path]]:
    folders = _candidates(root, classes)
    _check_data_sets(root, [folder for name, folder in folders.items() if name not in classes])
    inner = {name: [f for f in subfolders(folder) if split_of(f.name)] for name, folder in folders.items()}
    if any(inner.values()):
        return _split_below_classes(root, folders, inner)
    held = {name: folder for name, folder in folders.items() if class_images(folder)}
    if held and all(split_of(name) and name not in classes for name in held):
        raise FileNotFoundError(_untold(root))
    # "train" may be a class of vehicles; nobody calls a class "val" or "test".
    unused = [name for name in folders if split_of(name) not in (None, "train") and name not in classes]
    for name in unused:
        if name in held:
            say(f"{root / name} holds images without folders of classes, and is not used.")
    _check_doubtful(root, folders, classes)
    _check_nested(root, [folder for name, folder in folders.items() if name not in classes])
    return {UNSPLIT: {name: folder for name, folder in folders.items() if name not in unused}}


def _check_data_sets(root: Path, folders: list[Path]) -> None:
    """Refuse folders of data sets: they hold folders of images or masks, or splits of classes, and no images."""
    sets = []
    for folder in folders:
        children = subfolders(folder)
        inner = [child for child in children if holds_images(child.name)]
        inner += [child for child in children if split_of(child.name) and _of_split(child, ()) and _is_empty(child)]
        if inner and _is_empty(folder):
            sets.append(folder.name)
    if sets:
        raise FileNotFoundError(
            f"Expected {root} to hold a folder per class, but data sets of their own are in {', '.join(sets)}; "
            f"give one of them as `path`, or move the folders of the classes into train/ and val/ of {root}."
        )


def _check_twins(folders: list[Path]) -> None:
    """Refuse a folder where each name is that of two files, such as a.jpg and a.png: one of them may be a mask."""
    for folder in folders:
        files = class_images(folder)
        names = Counter(file.with_suffix("") for file in files)
        if files and min(names.values()) > 1:
            raise FileNotFoundError(
                f"Expected images in {folder}, but each name is that of two files, {files[0].name} and "
                f"{files[1].name}; if one is a mask, move the masks into masks/, or call them {files[0].stem}_mask.png."
            )


def _untold(root: Path) -> str:
    return f"Expected {root} to hold a folder per class, but got {cures(root)}"


def _is_empty(folder: Path) -> bool:
    """Whether a folder holds no image itself."""
    return not any(file.suffix.lower() in IMAGE_SUFFIXES and not is_system(file.name) for file in folder.iterdir())


def _check_trained(root: Path, parts: dict[str, dict[str, Path]]) -> None:
    """Refuse splits whose images to train on are all without defects, as of MVTec AD."""
    names = {split_of(part): set(folders) for part, folders in parts.items()}
    train, test = names.get("train", set()), names.get("test", set()) | names.get("val", set())
    if train and train == empty_tags(train) and (tagged := sorted(test - empty_tags(test))):
        good = sorted(train)[0]
        raise FileNotFoundError(
            f"Expected {root} to hold images to train on of each class, but train has only {', '.join(sorted(train))}, "
            f"and {', '.join(tagged)} are in other splits. Tags of what is to be found are needed: make a folder of "
            f"{good}/ and of each of these, with images of all splits, of which a fifth is then held out; or list the "
            "images with their tags and splits in tags.csv."
        )


def _check_nested(root: Path, folders: list[Path]) -> None:
    """Refuse folders that hold no images but the same folders each: parts of a data set, or classes in parts?

    Raises:
        FileNotFoundError: says how to tell.
    """
    inner = {
        folder.name: {child.name for child in subfolders(folder) if not has_role(child.name)} for folder in folders
    }
    shared = set.intersection(*inner.values()) if len(inner) > 1 else set()
    loose = any(file.parent == folder for folder in folders for file in class_images(folder))
    if shared and not loose:
        names, parts = (", ".join(sorted(some)) for some in (shared, inner))
        raise FileNotFoundError(
            f"Expected {root} to hold a folder per class, but its folders {parts} all hold folders of the same names, "
            f"{names}. If these are the classes, put them into train/ and val/; if {parts} are, give them as `classes`."
        )


def _split_below_classes(
    root: Path, folders: dict[str, Path], inner: dict[str, list[Path]]
) -> dict[str, dict[str, Path]]:
    """Classes that hold the splits: ``dog/train`` and ``dog/val``."""
    parts: dict[str, dict[str, Path]] = {}
    for name, folder in folders.items():
        loose = [file for file in class_images(folder) if not split_of(file.relative_to(folder).parts[0])]
        if loose or not inner[name]:
            raise FileNotFoundError(
                f"Expected all folders of classes in {root} to hold splits, as some do, but {folder} does not; move "
                "the splits up (train/dog, val/dog), or remove them."
            )
        for child in inner[name]:
            parts.setdefault(child.name, {})[name] = child
    return parts


def _check_beside_splits(root: Path, others: Collection[str], parts: dict[str, dict[str, Path]]) -> None:
    with_images = sorted(name for name in others if class_images(root / name))
    if not with_images:
        return
    if all(split_of(name) for name in with_images):
        for name in with_images:
            say(f"{root / name} holds images without folders of classes, and is not used.")
        if any(split_of(name) == "train" for name in parts if parts[name]):
            return
    if any(split_of(name) == "train" for name, folders in parts.items() if folders):
        say(f"{root} has splits: its folders {', '.join(with_images)} are not used.")
        return
    raise FileNotFoundError(
        f"Expected {root} to hold the splits train and val, but got {sorted(parts)}; move the folders of the "
        "classes to train on into train."
    )


def _check_doubtful(root: Path, folders: dict[str, Path], classes: Collection[str]) -> None:
    """Refuse a folder "mask" that fits no image, as of faces with and without, or "photos" beside other classes."""
    named = [child for child in subfolders(root) if holds_images(child.name) or may_be_class(child.name)]
    for child in named if folders else ():
        if child.name in folders or child.name in classes or not class_images(child):
            continue
        masks = MaskFiles(child)
        images = [file for folder in folders.values() for file in class_images(folder)]
        if holds_images(child.name) or not any(masks.find(Path(file.name)) for file in images):
            raise FileNotFoundError(
                f"Expected {root} to hold a folder per class, but {child.name!r} may be one or hold annotations; name "
                "the `classes` to say so, or rename it."
            )


def _mask_folders(root: Path, part: str) -> Iterator[Path]:
    """Folders of masks for a split, the likeliest first."""
    roles = [child for child in subfolders(root) if holds_masks(child.name)]
    general = [child for child in roles if masks_of(child.name) is None]
    if part == UNSPLIT:
        yield from general
        return
    split = split_of(part)
    yield from (child for child in roles if (of := masks_of(child.name)) and (of == part or _same(of, split)))
    for child in general:
        inner = [folder for folder in subfolders(child) if folder.name == part or _same(folder.name, split)]
        yield from inner or [child]
    if (root / part).is_dir():
        yield from (child for child in subfolders(root / part) if holds_masks(child.name))


def _same(name: str, split: str | None) -> bool:
    return split is not None and split_of(name) == split


def _lies_aside(file: Path) -> bool:
    return any(holds_masks(name) or is_aside(name) for name in file.parent.parts)
