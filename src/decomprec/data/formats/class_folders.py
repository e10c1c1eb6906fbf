"""Where the folders of classes, the splits and the masks are in a folder of images."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from decomprec.data.formats.class_candidates import (
    candidates,
    candidates_of_split,
    class_images,
    has_class_images,
    is_empty,
)
from decomprec.data.formats.class_checks import (
    check_beside_splits,
    check_data_sets,
    check_doubtful,
    check_labelled,
    check_names_of_splits,
    check_nested,
    check_trained,
    check_twins,
)
from decomprec.data.formats.class_doubts import check_combined, check_drawn, check_groups, check_single
from decomprec.data.formats.cures import cures
from decomprec.data.formats.versions import check_versions
from decomprec.data.image_io import IMAGE_SUFFIXES, image_files
from decomprec.data.mask_files import MaskFiles
from decomprec.data.names import (
    has_role,
    holds_images,
    holds_masks,
    is_nothing,
    is_system,
    masks_of,
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
        images: in each of these folders, without masks next to them.
        masks: folders of masks of each split, the likeliest first.
    """

    root: Path
    parts: dict[str, dict[str, Path]]
    images: dict[Path, list[Path]]
    masks: dict[str, list[Path]]

    @property
    def names(self) -> list[str]:
        """Names of the class folders in any split, sorted."""
        return sorted({name for folders in self.parts.values() for name in folders})

    def files(self, part: str, name: str) -> list[Path]:
        """List the images of a class folder, without masks next to them."""
        folder = self.parts[part].get(name)
        return [] if folder is None else self.images[folder]


def find_class_folders(root: Path, classes: Collection[str] = ()) -> ClassFolders:
    """Find the folders of classes: in split folders, in the root, or below ``images``.

    Args:
        root: the folder.
        classes: names that are classes, even if they usually mean masks or a split.

    Raises:
        FileNotFoundError: if there is no folder per class, or it is unclear which folders are classes.
    """
    children = subfolders(root)
    if _CITYSCAPES in (root.name, *(child.name for child in children)):
        raise FileNotFoundError(_untold(root))
    if loose := [file for file in root.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not is_system(file.name)]:
        say(f"{root}: {len(loose)} images lie in no folder of a class, and are not used.")
    in_splits = {child.name: candidates_of_split(child, classes) for child in children if split_of(child.name)}
    if any(in_splits.values()):
        others = [child for child in children if not split_of(child.name) and not has_role(child.name)]
        parts = {**in_splits, **{child.name: candidates(child, classes) for child in others}}
        check_beside_splits(root, {name for name, folders in parts.items() if not folders}, parts)
        parts = {name: folders for name, folders in parts.items() if folders}
        for name, folders in parts.items():
            check_data_sets(root / name, [folder for of, folder in folders.items() if of not in classes])
        for folders in parts.values():
            check_doubtful(next(iter(folders.values())).parent, folders, classes)
        check_trained(root, parts)
    else:
        parts = _unsplit(root, classes)
    if not any(parts.values()):
        inner = next((child for child in children if holds_images(child.name) and subfolders(child)), None)
        if inner is None:
            raise FileNotFoundError(_untold(root))
        found = find_class_folders(inner, classes)
        _check_single(root, found, classes)
        masks = {part: [*found.masks[part], *_mask_folders(root, part)] for part in found.parts}
        return ClassFolders(root, found.parts, found.images, masks)
    images = {folder: class_images(folder) for folders in parts.values() for folder in folders.values()}
    check_twins(images)
    for folders in parts.values():
        unnamed = {name: images[folder] for name, folder in folders.items() if name not in classes}
        check_groups(root, unnamed)
        check_combined(root, unnamed)
        check_versions(root, unnamed)
        check_drawn(root, unnamed)
    found = ClassFolders(root, parts, images, {part: list(_mask_folders(root, part)) for part in parts})
    _check_single(root, found, classes)
    return found


def _check_single(root: Path, found: ClassFolders, classes: Collection[str]) -> None:
    if len(found.names) == 1 and found.names[0] not in classes:
        check_single(root, found.names[0], [file for files in found.images.values() for file in files])


def masks_by_image(found: ClassFolders) -> dict[Path, Path]:
    """Find the masks of all images, by image.

    Raises:
        ValueError: if a mask fits several images, or several masks an image.
    """
    masks: dict[Path, Path] = {}
    taken: set[Path] = set()
    for part, folders in found.parts.items():
        of_part = {folder: MaskFiles(folder, found.root) for folder in found.masks[part]}
        for name, folder in folders.items():
            others = set(found.names) - {name, part}
            shared = [place for of, place in of_part.items() if masks_of(of.name) not in others]
            named = [child for child in subfolders(folder.parent) if masks_of(child.name) == name]
            inner = [child for child in subfolders(folder) if holds_masks(child.name)]
            own = [MaskFiles(child, found.root) for child in (*named, *inner) if child not in of_part]
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


def _unsplit(root: Path, classes: Collection[str]) -> dict[str, dict[str, Path]]:
    folders = candidates(root, classes)
    check_data_sets(root, [folder for name, folder in folders.items() if name not in classes and not split_of(name)])
    inner = {name: [f for f in subfolders(folder) if split_of(f.name)] for name, folder in folders.items()}
    if any(inner.values()):
        check_labelled(root, {name: parts for name, parts in inner.items() if name not in classes})
        return _split_below_classes(root, folders, inner)
    held = {name: folder for name, folder in folders.items() if has_class_images(folder)}
    if not held and any(holds_images(child.name) for child in subfolders(root)):
        return {}
    unnamed = [name for name in held if name not in classes]
    only = [name for name in held if name in classes or split_of(name) is None]
    only = [name for name in only if not is_nothing(name)] or only
    if len(only) == 1 and only[0] in unnamed and _holds_folders(held[only[0]]):
        beside = (child for child in subfolders(root) if holds_images(child.name) and _holds_folders(child))
        check_nested(root, [held[only[0]], *beside])
        say(f"{root}: its folders of classes are in {only[0]}.")
        return _unsplit(held[only[0]], classes)
    if all(split_of(name) and name not in classes for name in held) and (held or (folders and not image_files(root))):
        raise FileNotFoundError(_untold(root))
    # "train" may be a class of vehicles; nobody calls a class "val" or "test".
    unused = [name for name in folders if split_of(name) not in (None, "train") and name not in classes]
    for name in unused:
        if name in held:
            say(f"{root / name} holds images without folders of classes, and is not used.")
    check_names_of_splits(root, unnamed)
    kept = {*held, *classes}
    folders = {name: folder for name, folder in folders.items() if name in kept or not any(folder.iterdir())}
    check_doubtful(root, folders, classes)
    check_nested(root, [folder for name, folder in folders.items() if name not in classes])
    return {UNSPLIT: {name: folder for name, folder in folders.items() if name not in unused}}


def _holds_folders(folder: Path) -> bool:
    """Whether a folder holds no image itself, but several folders of images."""
    return is_empty(folder) and sum(map(has_class_images, candidates(folder, ()).values())) > 1


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


def _untold(root: Path) -> str:
    return f"Expected {root} to hold a folder per class, but got {cures(root)}"
