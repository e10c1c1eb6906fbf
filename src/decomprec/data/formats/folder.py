"""A folder of images per class."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from decomprec.data.checks import OnError, choose_classes
from decomprec.data.dataset import MaskValues, Record, TaggedImages
from decomprec.data.image_io import image_files
from decomprec.data.paths import below, mask_below
from decomprec.data.samples import Transform

_BACKGROUND = ("other", "background", "none", "negative")


class TaggedFolder(TaggedImages):
    """Images whose folder is their only tag: ``root/<split>/<class>/*.jpg`` or ``root/<class>/*.jpg``.

    Folders without splits (no ``train`` folder that holds folders) are split by `val_fraction`, each class
    separately, the same way for the same seed. Masks are PNG files in the style of VOC,
    ``root/<split>_masks/<stem>.png`` (else ``root/masks/<stem>.png``): 0 background, `j` the `j`-th class
    folder in alphabetical order, 255 ignore. Links that lead out of `root` are refused.

    Args:
        root: the folder.
        split: "train", "val" or another split folder; None for all images.
        background: folders of images without any class; they need not exist.
        classes: selects and orders the foreground classes; images of other folders count as images
            without any class. None for all folders in alphabetical order.
        masks: whether samples hold a ``mask``, see `TaggedImages`.
        val_fraction: share of "val" if the folders have no splits, between 0 and 1.
        seed: draws that share.
        transform: joint transform of image and mask, see `TaggedImages`.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Raises:
        FileNotFoundError: if `root` is not a folder, or holds no class folder.
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
        background: Sequence[str] = _BACKGROUND,
        classes: Sequence[str] | None = None,
        masks: bool = False,
        val_fraction: float = 0.2,
        seed: int = 0,
        transform: Transform | None = None,
        on_error: OnError = "raise",
    ) -> None:
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(f"Expected `root` to be a folder, but got {root}.")
        if not 0 < val_fraction < 1:
            raise ValueError(f"Expected `val_fraction` to be between 0 and 1, but got {val_fraction}.")
        splits = _split_folders(root)
        names = sorted({folder.name for parent in splits.values() or [root] for folder in _folders(parent)})
        known = [name for name in names if name not in background]
        if not known:
            raise FileNotFoundError(f"Expected {root} to hold a folder per class, but got {names}.")
        class_names = choose_classes(classes, known, root)
        available = list(splits) if splits else ["train", "val"]
        if split is not None and split not in available:
            raise ValueError(f"Expected `split` to be one of {available} or None, but got {split!r}.")

        records = []
        for part, parent in splits.items() if splits else [(split, root)]:
            if split not in (None, part):
                continue
            masks_dir = f"{part}_masks" if (root / f"{part}_masks").is_dir() else "masks"
            for name in names:
                files = image_files(parent / name)
                if split is not None and not splits:
                    files = _draw(files, split, val_fraction, f"{seed}/{name}")
                tags = (name,) if name in class_names else ()
                for file in files:
                    below(root, file.relative_to(root))
                    mask = mask_below(root, f"{masks_dir}/{file.stem}.png", masks)
                    records.append(Record(file, tags, file.stem, mask))
        if not records:
            raise ValueError(f"Expected split {split!r} of {root} to hold images, but got none.")
        shared = [mask for mask, count in Counter(r.mask for r in records if r.mask).items() if count > 1]
        if shared:
            raise ValueError(f"Expected each mask to belong to one image, but {shared[0]} fits several.")
        super().__init__(
            records,
            class_names,
            masks=masks,
            decode_mask=MaskValues.from_names(("background", *known), class_names),
            transform=transform,
            on_error=on_error,
        )


def _folders(parent: Path) -> list[Path]:
    return sorted(
        child
        for child in parent.iterdir()
        if child.is_dir() and not child.name.startswith(".") and not f"_{child.name}".endswith("_masks")
    )


def _split_folders(root: Path) -> dict[str, Path]:
    """Return the split folders by name; none if the class folders lie directly in `root`."""
    if not (root / "train").is_dir() or not _folders(root / "train"):
        return {}
    return {folder.name: folder for folder in _folders(root) if _folders(folder)}


def _draw(files: list[Path], split: str, val_fraction: float, seed: str) -> list[Path]:
    shuffled = random.Random(seed).sample(files, len(files))
    count = round(len(files) * val_fraction)
    return sorted(shuffled[:count] if split == "val" else shuffled[count:])
