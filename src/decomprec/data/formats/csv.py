"""A CSV file that lists images with their tags."""

from collections.abc import Sequence
from pathlib import Path

from decomprec.data.checks import OnError, choose_classes
from decomprec.data.class_lists import find_class_list, read_class_list
from decomprec.data.dataset import MaskValues, Record, TaggedImages
from decomprec.data.formats.csv_table import Table, find_column, one_column_per_class, read_table
from decomprec.data.formats.tag_cells import find_separator, split_tags
from decomprec.data.image_finder import ImageFinder
from decomprec.data.mask_files import MaskFiles
from decomprec.data.names import empty_tags
from decomprec.data.notes import say
from decomprec.data.paths import check_once, images_folder, relative
from decomprec.data.samples import Transform
from decomprec.data.splits import choose_part, held_out


class TaggedCSV(TaggedImages):
    r"""Images listed in a table with columns for the image, the split and the tags.

    The table is CSV in UTF-8 or UTF-16, with commas, semicolons, tabs or bars between cells. The tags of a cell are
    separated by commas, semicolons or bars. Without these signs in the column, a cell is one tag ("traffic light"),
    unless other cells show that spaces separate tags ("dog person", "dog"). Cells such as ``none`` and
    ``background`` are no tags, unless `classes` has them. Columns of 0 and 1, one for each class, serve too.

    Args:
        csv: the file, with a header.
        images: folder of the images; by default ``images`` next to the CSV file, else its own folder.
        masks_dir: folder of the masks, named like the images as `MaskFiles` knows; by default ``masks`` next to the
            CSV file. Opened only with ``masks=True``.
        split: "train", "val" or another value in the split column; None for all rows. If no row is meant for
            validation, a fifth of the training images is held out, the same in every run.
        classes: selects and orders the foreground classes; other tags are dropped, and their pixels are
            background. None for all tags that occur, sorted.
        mask_classes: the meaning of mask values: class names by value (the first is the background), or a file with
            a name per line. By default a ``classes.txt`` in the folder of the masks or of the table; without one,
            value `j` is the `j`-th of `classes`. 255 is always ignore.
        image_column: column with the image's path below `images`, with or without its extension. None for a usual
            name: image, filename, file_name, path and the like, in any case.
        split_column: column with the split; None for a usual name, such as split or set.
        tags_column: column with the tags; None for a usual name, such as tags, labels or classes.
        masks: whether samples hold a ``mask``, see `TaggedImages`.
        transform: joint transform of image and mask, see `TaggedImages`.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the file is no such table, a column is missing, a row has too few or too many cells, cells have
            different signs between tags, an image is listed twice or lies outside its folder, the split is unknown,
            or a class occurs in no row.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in "abc":
        ...     Image.new("RGB", (4, 4)).save(root / f"{name}.png")
        >>> _ = (root / "tags.csv").write_text("image,split,tags\na,train,dog cat\nb,train,\nc,val,dog")
        >>> data = TaggedCSV(root / "tags.csv", split="train")
        >>> data.class_names, data.tags.tolist()
        (('cat', 'dog'), [[1.0, 1.0], [0.0, 0.0]])
    """

    def __init__(
        self,
        csv: str | Path,
        *,
        images: str | Path | None = None,
        masks_dir: str | Path | None = None,
        split: str | None = None,
        classes: Sequence[str] | None = None,
        mask_classes: Sequence[str] | str | Path | None = None,
        image_column: str | None = None,
        split_column: str | None = None,
        tags_column: str | None = None,
        masks: bool = False,
        transform: Transform | None = None,
        on_error: OnError = "raise",
    ) -> None:
        path = Path(csv)
        table = read_table(path)
        image_column, split_column, tags = _columns(table, path, image_column, split_column, tags_column)
        names = table[image_column]
        check_once(names, path)
        folder = images_folder(path, images)
        masks_folder = Path(masks_dir) if masks_dir is not None else path.parent / "masks"
        for argument, value in (("images", folder), ("masks_dir", masks_folder)):
            if not value.is_dir() and (argument == "images" or (masks and masks_dir is not None)):
                raise FileNotFoundError(f"Expected `{argument}` to be a folder, but got {value}.")

        tags = _without_nothing(tags, classes, path)
        class_names = choose_classes(classes, sorted({tag for cell in tags for tag in cell}), path)
        chosen = _rows_of(split, names, None if split_column is None else table[split_column], path)
        find_image, mask_files = ImageFinder(folder, path.parent if images is None else folder), MaskFiles(masks_folder)
        records = []
        for row in chosen:
            image = find_image(names[row])
            name = relative(image, folder)
            mask = mask_files.find(name) if masks else None
            records.append(Record(image, tuple(tag for tag in tags[row] if tag in class_names), name.stem, mask))
        if mask_classes is None and masks:
            mask_classes = find_class_list(masks_folder, path.parent)
        super().__init__(
            records,
            class_names,
            masks=masks,
            decode_mask=_mask_values(mask_classes, class_names) if masks and mask_classes is not None else None,
            transform=transform,
            on_error=on_error,
        )


def _columns(
    table: Table, path: Path, image: str | None, split: str | None, tags: str | None
) -> tuple[str, str | None, list[tuple[str, ...]]]:
    """The columns of the image and the split, and the tags of each row."""
    try:
        image, split = find_column(table, "image", image), find_column(table, "split", split)
        column = find_column(table, "tags", tags)
    except ValueError as error:
        raise ValueError(f"{str(error).removesuffix('.')}, in {path}.".replace("Expected", "Expected", 1)) from error
    if image is None:
        raise ValueError(f"Expected {path} to have a column 'image', but got {list(table)}; name it in the first line.")
    for number, cell in enumerate(table[image], 2):
        if not cell:
            raise ValueError(
                f"Expected line {number} of {path} to name an image, but got "
                f"{[cells[number - 2] for cells in table.values()]}."
            )
    if column is not None:
        return image, split, _tags_of(table[column], path)
    names = one_column_per_class(table, [image, split])
    if not names:
        raise ValueError(f"Expected {path} to have a column 'tags', but got {list(table)}; name it in the first line.")
    return image, split, [tuple(n for n in names if table[n][row] == "1") for row in range(len(table[image]))]


def _tags_of(cells: list[str], path: Path) -> list[tuple[str, ...]]:
    """The tags of each row; says how they are separated."""
    tags, separator = split_tags(cells), find_separator(cells)
    several = next((cell for cell, found in zip(cells, tags, strict=True) if len(found) > 1), None)
    words = next((cell for cell in cells if len(cell.split()) > 1), None)
    if separator is not None and several is not None:
        sign = "spaces" if separator == " " else repr(separator)
        say(f"{path}: tags are separated by {sign}, as in {several!r}.")
    elif separator is None and words is not None:
        say(f"{path}: each cell is one tag, such as {words!r}; separate several tags by ';'.")
    return tags


def _without_nothing(tags: list[tuple[str, ...]], classes: Sequence[str] | None, path: Path) -> list[tuple[str, ...]]:
    """The tags without those that mean that there is no class, such as "none"."""
    nothing = sorted(empty_tags({tag for cell in tags for tag in cell}) - set(classes or ()))
    if nothing:
        say(f"{path}: {', '.join(map(repr, nothing))} is no class; `classes` can say that it is one.")
    return [tuple(tag for tag in cell if tag not in nothing) for cell in tags]


def _rows_of(split: str | None, names: list[str], splits: list[str] | None, path: Path) -> list[int]:
    """The rows of a split; a fifth is held out for "val" if no row is meant for it."""
    if split is None:
        return list(range(len(names)))
    if splits is None:
        splits = ["train"] * len(names)
    part = choose_part(dict.fromkeys(splits), split, path)
    rows = [row for row, value in enumerate(splits) if value == part.source]
    if part.share == "all":
        return rows
    out = held_out(names[row] for row in rows)
    kept = [row for row in rows if (names[row] in out) == (part.share == "val")]
    if not kept:
        raise ValueError(f"Expected {path} to list images for both splits, but got none for {split}.")
    return kept


def _mask_values(mask_classes: Sequence[str] | str | Path, class_names: Sequence[str]) -> MaskValues:
    if isinstance(mask_classes, str | Path):
        file = Path(mask_classes)
        if not file.is_file():
            raise FileNotFoundError(f"Expected `mask_classes` to be names or a file, but got {file}.")
        mask_classes = read_class_list(file)
    names = [name.strip() for name in mask_classes]
    unknown = [name for name in class_names if name not in names[1:]]
    if unknown:
        raise ValueError(f"Expected `mask_classes` to name all classes, but {unknown} have no mask value.")
    return MaskValues.from_names(names, class_names)
