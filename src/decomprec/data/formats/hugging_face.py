"""Data sets of Hugging Face's `datasets`: folders that `save_to_disk` wrote, and Parquet files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from decomprec.data.checks import OnError
from decomprec.data.formats.named_splits import files_by_split, made_of
from decomprec.data.formats.number_names import names_of_numbers
from decomprec.data.formats.records import TaggedRows
from decomprec.data.names import holds_masks, in_system, plain
from decomprec.data.samples import Transform
from decomprec.data.splits import choose_part, held_out

_SAVED = ("dataset_dict.json", "state.json")
_TAGS = ("tag", "tags", "label", "labels", "class", "classes", "category", "categories")


def is_hugging_face(path: Path) -> bool:
    """Whether a folder is one that `save_to_disk` wrote, or holds Parquet files."""
    return any((path / name).is_file() for name in _SAVED) or made_of(path, ".parquet")


def parquet_files(path: Path) -> list[Path]:
    """List the Parquet files at a path: itself, or in the folder and below it."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".parquet" else []
    return [file for file in sorted(path.rglob("*.parquet")) if not in_system(file.relative_to(path))]


def load_hugging_face(
    path: str | Path,
    split: str,
    *,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    transform: Transform | None = None,
    on_error: OnError = "raise",
) -> TaggedRows:
    """Load a split of a data set of Hugging Face's `datasets` from disk.

    What `save_to_disk` wrote is mapped into memory, of which it takes little. Parquet files are first converted, once,
    in the cache of `datasets`, which takes as much space again.

    The image is the column of images. The tags are the column "tags", or the only column of class labels, one or
    several an image, or the only one that is called label, class, category or the like, also inside a column such as
    "objects", as data sets for detection have it. A column of images that is called mask, label_map or the like holds
    masks. Class names are those of the labels' feature; plain numbers need a file classes.txt or classes.json in the
    folder.

    Args:
        path: the folder, or a Parquet file.
        split: "train", "val", "test", or as the data set calls it. Without one for validation, a fifth is held out.
        classes: selects and orders the foreground classes.
        masks: whether samples hold a ``mask``, see `TaggedImages`.
        transform: joint transform of image and mask.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Raises:
        ValueError: if `datasets` is not installed, there is no such split, or it is not clear which column is meant;
            see `TaggedRows` too.
    """
    path = Path(path)
    rows = _split_rows(path, split)
    image, tags, mask = _columns(rows, path)
    names = _feature_names(rows.features[tags]) or names_of_numbers(path if path.is_dir() else path.parent)
    if names is None and "int" in str(getattr(_single(rows.features[tags]), "dtype", "")):
        raise ValueError(
            f"Expected the column {tags!r} of {path} to hold class labels or names, but got numbers; write a file "
            "classes.txt into the folder, one name a line, that of number 0 first."
        )
    return TaggedRows(
        _undecoded(rows, [image, *([mask] if mask else [])]),
        names=names,
        classes=classes,
        image_column=image,
        tags_column=tags,
        mask_column=mask,
        masks=masks,
        transform=transform,
        on_error=on_error,
    )


def _split_rows(path: Path, split: str) -> Any:
    """The rows of a split, a `datasets.Dataset`."""
    datasets = _library()
    if (path / _SAVED[0]).is_file() or (path / _SAVED[1]).is_file():
        saved = datasets.load_from_disk(str(path))
        splits = dict(saved) if isinstance(saved, dict) else {"train": saved}
        part = choose_part(list(splits), split, path)
        rows = splits[part.source]
    else:
        files = files_by_split(parquet_files(path), path if path.is_dir() else path.parent)
        part = choose_part(list(files), split, path)
        rows = datasets.load_dataset("parquet", data_files=[str(f) for f in files[part.source]], split="train")
    rows = _flat(rows)
    if part.share == "all":
        return rows
    numbers = [f"{i:09d}" for i in range(len(rows))]
    out = held_out(numbers)
    return rows.select([i for i, number in enumerate(numbers) if (number in out) == (part.share == "val")])


def _flat(rows: Any) -> Any:
    """The rows with the inner columns of a column such as "objects" as columns: "objects.category"."""
    features = rows.features
    if any(isinstance(feature, dict) and not _is_image(feature) for feature in features.values()):
        rows = rows.flatten()
    datasets, extra = _library(), []
    for name, feature in features.items():
        inner: Any = getattr(feature, "feature", None)  # of lists whose entries have columns
        for key in (key for key in inner if plain(key) in _TAGS) if isinstance(inner, dict) else ():
            column = f"{name}.{key}"
            alone = datasets.Features({column: datasets.List(inner[key])})
            entries = rows.select_columns([name])
            extra.append(
                entries.map(_inner, fn_kwargs={"name": name, "key": key}, remove_columns=[name], features=alone)
            )
    return datasets.concatenate_datasets([rows, *extra], axis=1) if extra else rows


def _inner(row: Any, name: str, key: str) -> dict[str, Any]:
    return {f"{name}.{key}": [entry[key] for entry in row[name]]}


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            "Expected datasets to be installed, which the format hf needs; do pip install datasets."
        ) from error
    return datasets


def _columns(rows: Any, path: Path) -> tuple[str, str, str | None]:
    """The columns of the image, the tags and the mask."""
    image_like = [name for name, feature in rows.features.items() if _is_image(feature)]
    masks = [name for name in image_like if holds_masks(name)]
    images = [name for name in image_like if name not in masks]
    labels = [name for name, feature in rows.features.items() if _feature_names(feature)]
    called = [name for name in rows.features if plain(name.split(".")[-1]) in _TAGS and name not in image_like]
    image = _only(images, "image", "images", rows, path)
    tags = _only(labels if labels and "tags" not in called else called, "tags", "tags", rows, path)
    return image, tags, _only(masks, "mask", "masks", rows, path) if masks else None


def _only(found: Sequence[str], name: str, what: str, rows: Any, path: Path) -> str:
    if name in found:
        return name
    if len(found) == 1:
        return found[0]
    could = f"{' and '.join(map(repr, found))} could be it" if found else f"it has {list(rows.features)}"
    raise ValueError(
        f"Expected {path} to have one column of {what}, but {could}; call the one that is meant {name!r}, with "
        f"`rename_column`, and save the data set again."
    )


def _single(feature: Any) -> Any:
    """What a feature holds, or each entry of its lists."""
    return getattr(feature, "feature", feature)


def _feature_names(feature: Any) -> list[str] | None:
    return getattr(_single(feature), "names", None)


def _is_image(feature: Any) -> bool:
    """Whether a feature is an image, or an image file as Parquet files of other tools hold it."""
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return type(feature).__name__ == "Image" or getattr(feature, "dtype", None) in ("binary", "large_binary")


def _undecoded(rows: Any, columns: Sequence[str]) -> Any:
    """The rows with image files as they are: this library reads them, as it reads those of other formats."""
    for column in columns:
        if type(rows.features[column]).__name__ == "Image":
            rows = rows.cast_column(column, _library().Image(decode=False))
    return rows
