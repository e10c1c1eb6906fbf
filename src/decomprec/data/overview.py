"""What a run has understood of its data, before it trains on them."""

from collections.abc import Sequence
from typing import Any

from decomprec.data.tags import tag_table
from decomprec.protocols import TaggedDataset

_MOST_CLASSES = 20


def heading(data: str, dataset: TaggedDataset) -> str:
    """Name the data and count the classes, in a line above the overview."""
    count = len(dataset.class_names)
    return f"data: {data}, {count} class{'es' * (count > 1)}"


def overview_rows(train_set: TaggedDataset, val_set: TaggedDataset) -> list[list[str]]:
    """Count the images of each class in both splits, and their masks.

    Returns:
        Cells by row: a header, the classes (20 at most, the most frequent), the images of no class, and all images.

    Examples:
        >>> from decomprec.data import SyntheticScenes
        >>> scenes = SyntheticScenes(4, num_classes=1, size=16)
        >>> for row in overview_rows(scenes, scenes)[-2:]:
        ...     print(row)
        ['no class', '2', '', '2', '', '']
        ['images', '4', '', '4', '', '']
    """
    masked = _masked(val_set)
    tables = [tag_table(dataset) for dataset in (train_set, val_set)]
    of_classes = [table.counts().tolist() for table in tables]
    rows = []
    for name, *counts, images in zip(train_set.class_names, *of_classes, tables[1].images_with(), strict=True):
        found = "" if masked is None else f"{sum(masked[i] for i in images)} of {counts[1]}"
        cells = [
            cell
            for count, dataset in zip(counts, (train_set, val_set), strict=True)
            for cell in (str(count), str(len(dataset) - count))
        ]
        rows.append([str(name), *cells, found])
    more = len(rows) - _MOST_CLASSES
    if more > 0:
        rows = sorted(rows, key=lambda row: -int(row[1]))[:_MOST_CLASSES]
        rows.append([f"and {more} more", "", "", "", "", ""])
    without = [str(int((table.sizes() == 0).sum())) for table in tables]
    return [
        ["class", "train with", "without", "val with", "without", "with mask"],
        *rows,
        ["no class", without[0], "", without[1], "", ""],
        ["images", str(len(train_set)), "", str(len(val_set)), "", "" if masked is None else str(sum(masked))],
    ]


def missing_masks(val_set: TaggedDataset) -> str | None:
    """Say how many validation images with a class have no mask, if others have one; None if none is missing."""
    masked = _masked(val_set)
    if masked is None or not any(masked):
        return None
    tagged = [size > 0 for size in tag_table(val_set).sizes().tolist()]
    missing = sum(has_class and not has_mask for has_class, has_mask in zip(tagged, masked, strict=True))
    return (
        f"{missing} of {sum(tagged)} validation images with a class have no mask: they are not measured"
        if missing
        else None
    )


def _masked(dataset: Any) -> Sequence[bool] | None:
    """Whether each image has a mask; None if the data set does not say."""
    records = getattr(dataset, "records", None)
    if records is None or not all(hasattr(record, "mask") for record in records):
        return None
    return [record.mask is not None for record in records]
