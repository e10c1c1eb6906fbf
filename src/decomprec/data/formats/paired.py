"""Images whose tags are read from masks or labels in a folder next to them."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

from decomprec._yaml import load_yaml
from decomprec.data.checks import OnError, choose_classes
from decomprec.data.class_lists import classes_in, find_class_list, listed_names, read_colours
from decomprec.data.dataset import TaggedImages
from decomprec.data.formats.class_folders import UNSPLIT
from decomprec.data.formats.drawn import are_drawn
from decomprec.data.formats.mask_names import names_of_values
from decomprec.data.formats.object_names import mask_values, xml_names, yolo_numbers
from decomprec.data.formats.pairs import Pair, find_pairs, pair_images
from decomprec.data.formats.split_lists import say_unused_lists, split_indices
from decomprec.data.mask_colours import Colours
from decomprec.data.mask_files import MaskFiles, fit_by_affixes, is_mask_name, mask_images, normal_path
from decomprec.data.names import is_nothing, is_system, split_of
from decomprec.data.notices import say
from decomprec.data.paths import below, read_text
from decomprec.data.record import MaskValues, Record
from decomprec.data.samples import Transform
from decomprec.data.splits import choose_part, in_part


class PairedImages(TaggedImages):
    """Images with a folder of masks or labels next to them, from which their tags are read.

    A class is in an image if its mask has a pixel of it, its YOLO labels a line, or its annotation in XML an object.
    The classes of masks are those of a ``classes.txt``, ``class_names.txt``, ``labelmap.txt`` or ``classes.json``;
    without one, they are called by their values. In masks that hold only 0 and 255, 255 is the class. The classes of
    YOLO's labels are those of ``data.yaml`` or of such a list. An image without mask or annotation is left out, as its
    tags are unknown; one without YOLO labels has no class.

    Args:
        root: the folder, as `find_pairs` knows.
        split: "train", "val" or another split; without one for validation, a fifth is held out.
        classes: selects and orders the foreground classes, None for all; other objects are background.
        masks: whether samples hold a ``mask``, see `TaggedImages`.
        transform: joint transform of image and mask, see `TaggedImages`.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Raises:
        FileNotFoundError: if there is no such pair of folders.
        ValueError: if labels can't be read, their classes are unknown, or the split is unknown or empty.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        classes: Sequence[str] | None = None,
        masks: bool = False,
        transform: Transform | None = None,
        on_error: OnError = "raise",
    ) -> None:
        root = Path(root)
        pairs = find_pairs(root) if root.is_dir() else []
        if not pairs:
            raise FileNotFoundError(f"Expected {root} to hold images/ next to masks/ or labels/, but got none.")
        folders = _folders(root, pairs)
        colours = read_colours(find_class_list(*folders)) if pairs[0].kind == "masks" else None
        labelled = {pair.split: _labelled(root, pair, colours) for pair in pairs}
        names = _class_names(folders, pairs, labelled)
        known = classes_in(names.values(), classes, root, lambda names: list(filter(is_nothing, names)))
        class_names = choose_classes(classes, known, root)
        records = [
            Record(
                entry.image,
                tuple(name for name in class_names if name in {names.get(found) for found in entry.found}),
                entry.image.stem,
                entry.label if masks and pairs[0].kind == "masks" else None,
            )
            for entry in _of_split(labelled, split, root)
        ]
        labels = {name: label for label, name in enumerate(class_names, 1)}
        values = names.items() if pairs[0].kind == "masks" else ()
        super().__init__(
            records,
            class_names,
            masks=masks,
            decode_mask=MaskValues({0: 0, **{int(key): labels.get(name, 0) for key, name in values}}),
            mask_colours=colours,
            transform=transform,
            on_error=on_error,
        )


class _Labelled(NamedTuple):
    """An image with its mask or labels, and the values or names of the classes in it."""

    image: Path
    label: Path | None
    found: frozenset[int] | frozenset[str]


def _folders(root: Path, pairs: list[Pair]) -> list[Path]:
    """Where a list of the classes may lie."""
    return list(dict.fromkeys([root, *(p for pair in pairs for p in (pair.labels, pair.labels.parent, pair.images))]))


def _labelled(root: Path, pair: Pair, colours: Colours | None) -> list[_Labelled]:
    """The images of a pair of folders whose tags are known."""
    images = [below(root, image.relative_to(root)) for image in pair_images(pair)]
    find = _label_finder(root, pair)
    labels = {image: label for image in images if (label := find(image)) is not None}
    if not labels and pair.kind == "masks":
        labels = _fitted(root, pair, images)
        images = list(labels) or images
    with ThreadPool(os.cpu_count()) as pool:
        read = pool.map(lambda image: _read(pair, image, labels.get(image), colours), images)
    entries = [entry for entry in read if entry is not None]
    missing = [image for image, entry in zip(images, read, strict=True) if entry is None]
    if not entries:
        raise ValueError(
            f"Expected masks or labels in {pair.labels} for the images in {pair.images}, but none fits; that of "
            f"{images[0].name} is {images[0].stem}.png, {images[0].stem}_mask.png or the like, and one for all classes."
        )
    if missing:
        if pair.kind == "masks" and pair.labels == pair.images and are_drawn(missing):
            raise ValueError(
                f"Expected images and their masks in {pair.images}, but {len(missing)} of {len(images)} images without "
                f"a mask, such as {missing[0].name}, look like masks themselves; move the images into images/, and "
                "those that are their ground truth into masks/."
            )
        warnings.warn(
            f"{len(missing)} of {len(images)} images in {pair.images} have no file of their name in {pair.labels}: "
            "they are left out, as their tags are unknown.",
            stacklevel=4,  # of the format's data set
        )
    return entries


def _fitted(root: Path, pair: Pair, images: Sequence[Path]) -> dict[Path, Path]:
    """The masks of images by names that differ only at the start or end; nothing if these do not fit all images."""
    masks = mask_images(pair.labels)
    if pair.labels == pair.images:
        masks = [mask for mask in masks if mask.suffix.lower() == pair.ending or is_mask_name(mask.stem)]
    fitted = fit_by_affixes([image for image in images if image not in set(masks)], masks)
    if fitted:
        image, mask = next(iter(fitted.items()))
        say(f"{pair.labels}: masks are found by what the names do not share, such as {mask.name} of {image.name}.")
    return {image: below(root, mask.relative_to(root)) for image, mask in fitted.items()}


def _label_finder(root: Path, pair: Pair) -> Callable[[Path], Path | None]:
    if pair.ending is None:
        masks = MaskFiles(pair.labels, root, beside_images=pair.labels == pair.images)
        return lambda image: masks.find(image.relative_to(pair.images))
    labels = (file for file in pair.labels.rglob("*") if file.suffix.lower() == pair.ending)
    files = {normal_path(file.relative_to(pair.labels).with_suffix("")): file for file in labels}

    def find(image: Path) -> Path | None:
        inside = image.relative_to(pair.images).with_suffix("")
        file = files.get(normal_path(inside)) or files.get(normal_path(Path(inside.name)))
        return None if file is None else below(root, file.relative_to(root))

    return find


def _read(pair: Pair, image: Path, label: Path | None, colours: Colours | None) -> _Labelled | None:
    """Read what is in an image; None if that is unknown."""
    if label is None:
        return _Labelled(image, None, frozenset()) if pair.kind == "yolo" else None
    if pair.kind == "masks":
        return _Labelled(image, label, mask_values(label, image, colours))
    return _Labelled(image, label, xml_names(label) if pair.kind == "xml" else yolo_numbers(label))


def _class_names(
    folders: list[Path], pairs: list[Pair], labelled: Mapping[str, list[_Labelled]]
) -> dict[int | str, str]:
    """The names of the classes by what stands for them: values of masks, numbers of YOLO, names in XML."""
    found = sorted({value for entries in labelled.values() for entry in entries for value in entry.found}, key=str)
    match pairs[0].kind:
        case "xml":
            return {name: str(name) for name in found}
        case "yolo":
            names: dict[int | str, str] = dict(enumerate(_yolo_names(folders)))
        case _:
            return names_of_values({int(value) for value in found}, folders, pairs[0].labels)
    if unknown := [value for value in found if value not in names]:
        raise ValueError(f"Expected {pairs[0].labels} to hold the {len(names)} known classes, but got {unknown[:10]}.")
    return names


def _yolo_names(folders: Sequence[Path]) -> list[str]:
    above = [folder.parent for folder in folders if split_of(folder.name)]  # of one split, next to the others
    places = [*folders, *above]
    listings = (file for folder in places for file in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]))
    for file in (file for file in listings if not is_system(file.name)):
        content = load_yaml(read_text(file))
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, dict) and all(isinstance(key, int) for key in names):
            names = [names.get(number, f"class {number}") for number in range(max(names, default=-1) + 1)]
        if isinstance(names, list):
            return [str(name) for name in names]
    listing = find_class_list(*places)
    if listing is None:
        raise ValueError(f"Expected data.yaml in {folders[0]} to name the classes of the YOLO labels, but got none.")
    return listed_names(listing)


def _of_split(labelled: Mapping[str, list[_Labelled]], split: str, root: Path) -> list[_Labelled]:
    images = {part: [entry.image.relative_to(root) for entry in entries] for part, entries in labelled.items()}
    if list(labelled) == [UNSPLIT]:
        return [labelled[UNSPLIT][i] for i in split_indices(images[UNSPLIT], split, root)]
    say_unused_lists(images, root)
    part = choose_part(labelled, split, root)
    entries = labelled[part.source]
    return [entries[i] for i in in_part([entry.image.as_posix() for entry in entries], part, root)]
