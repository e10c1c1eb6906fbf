"""The paper's data: dogs of ImageNet-1k against everything else (section 4.1)."""

import csv
import json
import random
from pathlib import Path
from typing import Any

from decomprec._files import written_whole
from decomprec.data.formats.csv import TaggedCSV

_FIRST_BREED, _LAST_BREED = "n02085620", "n02113978"
_IMAGES = (".jpeg", ".jpg", ".png")


def is_dog_breed(wnid: str) -> bool:
    """Tell whether a class of ImageNet-1k is one of its 118 dog breeds.

    ImageNet-1k is sorted by WordNet id, and WordNet numbers the breeds consecutively: classes 151 (Chihuahua,
    n02085620) to 268 (Mexican hairless, n02113978) are dogs, with no other class in between.

    Examples:
        >>> is_dog_breed("n02099712"), is_dog_breed("n02114367"), is_dog_breed("n02085374")
        (True, False, False)
    """
    return _FIRST_BREED <= wnid <= _LAST_BREED


def imagenet_train_folder(root: str | Path) -> Path:
    """Find ImageNet's train folder, which has a folder per WordNet id, in `root` or below it.

    Raises:
        FileNotFoundError: if there is none.
    """
    root = Path(root)
    for below in (".", "train", "Data/CLS-LOC/train", "ILSVRC/Data/CLS-LOC/train"):
        folder = root / below
        if folder.is_dir() and any(_wnid_folders(folder)):
            return folder
    raise FileNotFoundError(
        f"Expected `root` to be ImageNet-1k or its train folder with folders such as n02085620, but got {root}."
    )


def draw_imagenet_dogs(
    root: str | Path,
    out_csv: str | Path,
    *,
    per_side: int = 10_000,
    val_fraction: float = 0.2,
    seed: int = 0,
) -> Path:
    """Draw the paper's data set (section 4.1) from ImageNet-1k and write it to a CSV file.

    Draws `per_side` images of dogs and as many others, uniformly and without replacement, and splits each
    side into train and val. As in the paper, the others are all images that are not labelled as one of the
    118 breeds: dingo, dhole and African hunting dog are among them, and so are dogsled and muzzle, whose
    images often show dogs.

    The columns are image (relative to the train folder), split, and tags ("dog" or empty). The settings are
    saved next to it with the suffix ``.json``; an existing list with the same settings is reused.

    Args:
        root: ImageNet's folder or its train folder.
        out_csv: where to write the list.
        per_side: number of dogs, and number of others.
        val_fraction: share of each side for val, between 0 and 1.
        seed: draws the images.

    Returns:
        `out_csv`.

    Raises:
        FileNotFoundError: if `root` holds no train folder.
        ValueError: if a side has fewer than `per_side` images, a split would be empty, or the list exists
            with other settings.
    """
    out_csv = Path(out_csv)
    folder = imagenet_train_folder(root)
    val_count = round(per_side * val_fraction)
    if not 0 < val_count < per_side:
        raise ValueError(
            f"Expected `per_side` and `val_fraction` to leave images in both splits, but got {per_side} "
            f"and {val_fraction}."
        )
    settings = {"per_side": per_side, "val_fraction": val_fraction, "seed": seed}
    settings_file = out_csv.with_suffix(".json")
    if out_csv.exists():
        written = json.loads(settings_file.read_text()) if settings_file.exists() else None
        if written != settings:
            raise ValueError(f"Expected {out_csv} to be drawn with {settings}, but got {written}; name another file.")
        return out_csv

    sides: dict[str, list[str]] = {"dog": [], "": []}
    for wnid in _wnid_folders(folder):
        tag = "dog" if is_dog_breed(wnid.name) else ""
        names = (file.name for file in wnid.iterdir() if file.suffix.lower() in _IMAGES)
        sides[tag] += (f"{wnid.name}/{name}" for name in names)
    rows = []
    for tag, files in sides.items():
        if len(files) < per_side:
            raise ValueError(
                f"Expected {folder} to hold at least `per_side` = {per_side} images of "
                f"{'dogs' if tag else 'others'}, but got {len(files)}; lower `per_side`."
            )
        drawn = random.Random(f"{seed}/{tag}").sample(sorted(files), per_side)
        rows += [(file, "val" if i < val_count else "train", tag) for i, file in enumerate(drawn)]

    # The list comes last: if it exists, so do its settings.
    with written_whole(settings_file) as partial:
        partial.write_text(json.dumps(settings) + "\n")
    with written_whole(out_csv) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("image", "split", "tags"))
        writer.writerows(sorted(rows))
    return out_csv


def load_imagenet_dogs(
    root: str | Path, split: str, *, list_file: str | Path, seed: int = 0, **options: Any
) -> TaggedCSV:
    """Load a split of the paper's data set as a `TaggedCSV`; `draw_imagenet_dogs` draws it if it has no list yet."""
    drawn = draw_imagenet_dogs(root, list_file, seed=seed)
    return TaggedCSV(drawn, images=imagenet_train_folder(root), split=split, **options)


def _wnid_folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.glob("n[0-9]*") if len(child.name) == 9 and child.is_dir())
