"""Tables that list images with their tags: CSV files, and the metadata of Hugging Face."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path, PurePath

from decomprec.data.checks import OnError, choose_classes
from decomprec.data.class_lists import classes_in, find_class_list, read_class_list, read_colours
from decomprec.data.dataset import TaggedImages
from decomprec.data.formats.number_names import names_of_numbers
from decomprec.data.formats.split_lists import say_unused_lists, split_indices
from decomprec.data.formats.table_rows import Columns, Row, read_rows
from decomprec.data.formats.tables import TABLE, find_tables
from decomprec.data.image_finder import ImageFinder
from decomprec.data.mask_files import MaskFiles
from decomprec.data.names import SPLITS
from decomprec.data.notices import say
from decomprec.data.paths import check_once, images_folder, inside
from decomprec.data.record import MaskValues, Record
from decomprec.data.samples import Transform
from decomprec.data.splits import choose_part, in_part


class TaggedCSV(TaggedImages):
    r"""Images listed in a table with columns for the image, the split and the tags.

    The table is CSV in UTF-8 or UTF-16, with commas, semicolons, tabs or bars between cells, or JSON. The tags of a
    cell are separated by commas, semicolons or bars, or are a list as pandas and Label Studio write it. Without these
    signs in the column, a cell is one tag ("traffic light"), unless other cells show that spaces separate tags ("dog
    person", "dog"). Cells such as ``none`` and ``background`` are no tags, unless `classes` has them. Tags that are
    numbers get the names in ``classes.txt``, ``class_to_idx.json`` or a similar list next to the table.

    Columns of 0 and 1, one for each class, are read too, and so are numbered columns of tags, such as ``tag1`` and
    ``tag2``. In a table with a row for each tag, or for each object (known from a column such as ``xmin``), an image
    has the tags of all its rows.

    Args:
        csv: the file; or a folder that holds one, or one for each split, as `find_tables` knows. Without a header,
            its columns are found by their cells.
        images: folder of the images; by default the folder of their split (``train``, ``train_images``) or ``images``
            next to the table, else its own folder.
        masks_dir: folder of the masks, named like the images as `MaskFiles` knows; by default ``masks`` next to the
            table. If a column such as ``mask`` or ``mask_path`` names image files, these are the masks instead, and
            an image with an empty cell has none. Opened only with ``masks=True``.
        split: "train", "val" or another value in the split column; None for all rows. If no row is meant for
            validation, a fifth of the training images is held out, the same in every run.
        classes: selects and orders the foreground classes; other tags are dropped, and their pixels are
            background. None for all tags that occur, sorted.
        mask_classes: the meaning of mask values: class names by value (the first is the background), or a file with
            a name per line. By default a ``classes.txt`` in the folder of the masks or of the table; without one,
            value `j` is the `j`-th of `classes`. 255 is always ignore.
        image_column: column with the image's path below `images`, with or without its extension, or its name alone if
            only one image below has it. None for a usual name: image, filename, file_name, path, id and the like.
        split_column: column with the split; None for a usual name, such as split or set.
        tags_column: column with the tags; None for a usual name, such as tags, labels or classes, or the only other
            column if its words repeat.
        masks: whether samples hold a ``mask``, see `TaggedImages`.
        transform: joint transform of image and mask, see `TaggedImages`.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Raises:
        FileNotFoundError: if a file is missing, or a mask that the table names.
        ValueError: if the file is no such table, a column is missing, a row has too few or too many cells, cells have
            different separators, an image is listed twice, not with a tag in each row, or lies outside its folder, the
            split is unknown, or a class occurs in no row.

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
        folder = None if images is None else Path(images)
        for argument, value in (("images", folder), ("masks_dir", masks_dir if masks else None)):
            if value is not None and not Path(value).is_dir():
                raise FileNotFoundError(f"Expected `{argument}` to be a folder, but got {value}.")
        tables = (find_tables(path) or {"train": path / TABLE}) if path.is_dir() else {"train": path}
        files = list(tables.values())
        where = files[0] if len(files) == 1 else path
        rows = read_rows(tables, Columns(image_column, split_column, tags_column), folder, classes or ())
        rows = _named(rows, where if where.is_dir() else where.parent, classes or ())
        check_once((row.name if len(files) == 1 else row.find.folders[0] / row.name for row in rows), where)
        known = classes_in(sorted({tag for row in rows for tag in row.tags}), classes, where)
        class_names = choose_classes(classes, known, where)
        chosen = frozenset(class_names)
        masks_of = {file: Path(masks_dir) if masks_dir is not None else file.parent / "masks" for file in files}
        find_mask = {file: _mask_finder(rows, file, place) for file, place in masks_of.items()} if masks else {}
        records = []
        for row in _of_split(rows, split, where, files):
            image = row.find(row.name)
            name = inside(image, images_folder(row.table, folder), row.table.parent)
            mask = find_mask[row.table](row, name) if masks else None
            records.append(Record(image, tuple(tag for tag in row.tags if tag in chosen), name.stem, mask))
        if on_error == "raise" and not any(record.image.is_file() for record in records):
            raise FileNotFoundError(
                f"Expected all files to exist, but {len(records)} do not: {records[0].image}, ...; put {where} "
                "into the folder in which its paths start, or write the names of the files in full, zeros in front too."
            )
        if mask_classes is None and masks:
            named = dict.fromkeys(record.mask.parent for record in records if record.mask is not None)
            mask_classes = find_class_list(*masks_of.values(), *named, *(file.parent for file in files))
        super().__init__(
            records,
            class_names,
            masks=masks,
            decode_mask=_mask_values(mask_classes, class_names) if masks and mask_classes is not None else None,
            mask_colours=read_colours(Path(mask_classes)) if masks and isinstance(mask_classes, str | Path) else None,
            transform=transform,
            on_error=on_error,
        )


def _named(rows: list[Row], folder: Path, chosen: Collection[str]) -> list[Row]:
    """The rows with names for tags that are numbers, if a list of classes next to the table has them."""
    tags = {tag for row in rows for tag in row.tags}
    if not tags or not all(map(str.isdecimal, tags)) or tags & set(chosen):
        return rows
    names = names_of_numbers(folder)
    if names is None:
        say(f"{folder}: tags are numbers; classes.txt next to the table can name them, one a line, from 0 on.")
        return rows
    if unknown := sorted(tag for tag in tags if int(tag) >= len(names)):
        raise ValueError(
            f"Expected the list of classes in {folder} to name all numbers of the table, the first of which is 0, but "
            f"it has {len(names)} names, and the table {unknown[:10]}; complete the list."
        )
    say(f"{folder}: tags are numbers of the list of classes there, such as 0 for {names[0]!r}.")
    return [row._replace(tags=tuple(dict.fromkeys(names[int(tag)] for tag in row.tags))) for row in rows]


def _of_split(rows: list[Row], split: str | None, where: Path, files: Collection[Path]) -> list[Row]:
    """The rows of a split; a fifth is held out for "val" if no row is meant for it."""
    if split is None:
        return rows
    if split in SPLITS and all(row.split.isdigit() for row in rows):
        say(f"{where}: its splits are numbers, such as {rows[0].split}, and are not used; `split` may name one.")
        rows = [row._replace(split="train") for row in rows]
    names: dict[str, list[PurePath]] = defaultdict(list)
    for row in rows:
        names[row.split].append(PurePath(row.name))
    folder = where if where.is_dir() else where.parent
    if set(names) == {"train"}:
        return [rows[i] for i in split_indices(names["train"], split, folder, tables=files)]
    say_unused_lists(names, folder)
    part = choose_part(names, split, where)
    rows = [row for row in rows if row.split == part.source]
    return [rows[i] for i in in_part([row.name for row in rows], part, where)]


def _mask_finder(rows: list[Row], table: Path, folder: Path) -> Callable[[Row, Path], Path | None]:
    """Find the mask of a row, by its name or by that of its image, which is below the folder of the images."""
    listed = [row for row in rows if row.table == table]
    if all(row.mask is None for row in listed):
        by_image = MaskFiles(folder)
        return lambda row, image: by_image.find(image)
    places = [folder] if folder.is_dir() else []
    images = {row.find(row.name) for row in listed}
    by_name = ImageFinder(*places, *dict.fromkeys(place for row in listed for place in row.find.folders))

    def find(row: Row, image: Path) -> Path | None:
        if not row.mask:
            return None
        mask = by_name(row.mask)
        if not mask.is_file() or mask in images:
            raise FileNotFoundError(
                f"Expected masks that {table} names to exist, but that of {row.name} does not: {row.mask}; put it "
                "there, empty the cell, or leave out the column to find masks by the names of images."
            )
        return mask

    return find


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
