"""The data set at a path: its format, and its images by split."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from decomprec.data.checks import OnError
from decomprec.data.corrections import with_masks
from decomprec.data.detect import check_exists, detect_format, unwrapped
from decomprec.data.formats.coco_splits import load_coco
from decomprec.data.formats.csv import TaggedCSV
from decomprec.data.formats.folder import TaggedFolder
from decomprec.data.formats.hugging_face import load_hugging_face
from decomprec.data.formats.imagenet import load_imagenet_dogs
from decomprec.data.formats.paired import PairedImages
from decomprec.data.formats.pets import OxfordPets
from decomprec.data.formats.voc import VOCDevkit
from decomprec.data.formats.webdataset import load_webdataset
from decomprec.data.names import system_files
from decomprec.data.notices import say
from decomprec.data.samples import Transform
from decomprec.protocols import LoadData

_LOADERS: dict[str, Callable[..., Any]] = {
    "folder": TaggedFolder,
    "csv": TaggedCSV,
    "voc": VOCDevkit,
    "coco": load_coco,
    "paired": PairedImages,
    "pets": OxfordPets,
    "imagenet": load_imagenet_dogs,
    "hf": load_hugging_face,
    "webdataset": load_webdataset,
}

FORMATS = tuple(_LOADERS)
"""Formats that `load_images` reads. "imagenet" is the paper's dogs of ImageNet, the others are named like their data
sets."""


def load_images(
    path: str | Path,
    format: str = "auto",
    *,
    classes: Sequence[str] | None = None,
    splits: tuple[str, str] | None = None,
    seed: int = 0,
    list_file: str | Path | None = None,
    download: bool = False,
    on_error: OnError = "raise",
    train_masks: str | Path | None = None,
) -> LoadData:
    """Choose the loader of a data set.

    Splits are found in their usual spellings, such as Train, valid and testing. If there is none for validation, a
    fifth of the training images is held out, the same in every run; test images are never trained on.

    Args:
        path: the folder or file.
        format: "folder", "csv", "voc", "coco", "paired", "pets", "imagenet", "hf" or "webdataset"; "auto" calls
            `detect_format`.
        classes: selects and orders the foreground classes; None for all classes of the data set.
        splits: names of the splits to train and validate on, if the usual ones are not meant: folders, lists such as
            VOC's "train_aug", or values in a CSV file.
        seed: draws the images of "imagenet".
        list_file: CSV file that records the drawn images; required for "imagenet".
        download: whether "pets" may download missing files.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.
        train_masks: folder with true masks of some training images, see `with_masks`. Without it, masks of training
            images are not used, wherever they lie.

    Returns:
        A function of the split that makes the data set.

    Raises:
        FileNotFoundError: if there is nothing at `path`; when called, if files are missing.
        ValueError: if the format is unknown or can't be detected; when called, if the data set can't be made.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("train/dog/a.png", "train/other/b.png", "val/dog/c.png"):
        ...     (root / name).parent.mkdir(parents=True, exist_ok=True)
        ...     Image.new("RGB", (4, 4)).save(root / name)
        >>> load = load_images(root)
        >>> load("train", transform=None, masks=False).tags.tolist()
        [[1.0], [0.0]]
    """
    path = Path(path)
    if format not in ("auto", *FORMATS):
        raise ValueError(f"Expected `format` to be auto or one of {', '.join(FORMATS)}, but got {format!r}.")
    if not download:
        check_exists(path)
    if format == "auto":
        format = detect_format(path)
    if format != "pets":
        path = unwrapped(path)
    if format != "imagenet" and (passed_over := system_files(path)):
        first = passed_over[0].relative_to(path)
        say(f"{path}: {len(passed_over)} system and editor files are ignored, such as {first}.")
    if format == "imagenet" and list_file is None:
        raise ValueError("Expected `list_file` to say where the images drawn from ImageNet are listed, but got None.")
    chosen = {} if classes is None else {"classes": tuple(classes)}
    special: dict[str, Any] = {"pets": {"download": download}, "imagenet": {"list_file": list_file, "seed": seed}}
    options = {"on_error": on_error, **chosen, **special.get(format, {})}
    names = dict(zip(("train", "val"), splits or ("train", "val"), strict=True))

    def load(split: str, *, transform: Transform | None, masks: bool) -> Any:
        data = _LOADERS[format](path, split=names.get(split, split), transform=transform, masks=masks, **options)
        return data if train_masks is None or masks or split != "train" else with_masks(data, train_masks)

    return load
