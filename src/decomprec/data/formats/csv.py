"""A CSV file that lists images with their tags."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from decomprec.data.checks import OnError, choose_classes
from decomprec.data.dataset import MaskValues, Record, TaggedImages
from decomprec.data.image_io import IMAGE_SUFFIXES
from decomprec.data.paths import below, check_once, images_folder, mask_below, read_text, relative
from decomprec.data.samples import Transform


class TaggedCSV(TaggedImages):
    r"""Images listed in a CSV file with columns for the image, the split and the tags.

    If any cell of the tags column holds a comma, a semicolon or a bar, these separate the tags of all cells, and
    names may hold spaces; otherwise white space does.

    Args:
        csv: the CSV file, UTF-8, with a header.
        images: folder of the images; by default ``images`` next to the CSV file, else its own folder.
        masks_dir: folder of the masks, named like the images but ``.png``; by default ``masks`` next to the
            CSV file. Opened only with ``masks=True``.
        split: value in the split column; None for all rows.
        classes: selects and orders the foreground classes; other tags are dropped, and their pixels are
            background. None for all tags that occur, sorted.
        mask_classes: the meaning of mask values: class names by value (the first is the background), or a file with
            a name per line. By default value `j` is the `j`-th of `classes`. 255 is always ignore.
        image_column: column with the image's path below `images`, with or without its extension.
        split_column: column with the split.
        tags_column: column with the tags.
        masks: whether samples hold a ``mask``, see `TaggedImages`.
        transform: joint transform of image and mask, see `TaggedImages`.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the file is not a CSV in UTF-8 with commas between cells, a column is missing, a row has too
            few or too many cells, an image is listed twice or lies outside its folder, the split is unknown, or a
            class occurs in no row.

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
        image_column: str = "image",
        split_column: str = "split",
        tags_column: str = "tags",
        masks: bool = False,
        transform: Transform | None = None,
        on_error: OnError = "raise",
    ) -> None:
        path = Path(csv)
        columns = [image_column, tags_column, *([] if split is None else [split_column])]
        rows = _read_rows(path, columns)
        check_once([row[image_column] for row in rows], path)
        folder = images_folder(path, images)
        masks_folder = Path(masks_dir) if masks_dir is not None else path.parent / "masks"
        for argument, value in (("images", folder), ("masks_dir", masks_folder)):
            if not value.is_dir() and (argument == "images" or (masks and masks_dir is not None)):
                raise FileNotFoundError(f"Expected `{argument}` to be a folder, but got {value}.")

        tags = split_tags([row[tags_column] for row in rows])
        class_names = choose_classes(classes, sorted({tag for cell in tags for tag in cell}), path)
        if split is not None and all(row[split_column] != split for row in rows):
            found = sorted({row[split_column] for row in rows})
            raise ValueError(f"Expected `split` to be one of {found} or None, but got {split!r}.")

        records = []
        for row, cell in zip(rows, tags, strict=True):
            if split is not None and row[split_column] != split:
                continue
            image = _find_image(folder, row[image_column])
            name = relative(image, folder)
            mask = mask_below(masks_folder, name.with_suffix(".png"), masks)
            records.append(Record(image, tuple(tag for tag in cell if tag in class_names), name.stem, mask))
        super().__init__(
            records,
            class_names,
            masks=masks,
            decode_mask=_mask_values(mask_classes, class_names) if masks and mask_classes is not None else None,
            transform=transform,
            on_error=on_error,
        )


def split_tags(cells: Sequence[str]) -> list[tuple[str, ...]]:
    """Split the cells of a tags column: at commas, semicolons and bars if any cell has one, else at white space.

    Tags keep the order of their cell, without repeats.

    Raises:
        ValueError: if a cell is a list in the notation of Python or JSON.

    Examples:
        >>> split_tags(["dog cat", "", "dog"])
        [('dog', 'cat'), (), ('dog',)]
        >>> split_tags(["striped disc", "ringed star; striped disc"])
        [('striped disc',), ('ringed star', 'striped disc')]
    """
    lists = [cell for cell in cells if re.fullmatch(r"\s*[\[({].*[\])}]\s*", cell, re.DOTALL)]
    if lists:
        raise ValueError(f"Expected tags such as 'dog, cat', but got {lists[0]!r}; leave out brackets and quotes.")
    separator = r"[,;|]" if any(re.search(r"[,;|]", cell) for cell in cells) else r"\s"
    parts = [[part.strip() for part in re.split(separator, cell)] for cell in cells]
    return [tuple(dict.fromkeys(part for part in cell if part)) for cell in parts]


def _read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"Expected `csv` to be a file, but got {path}.")
    try:
        reader = csv.reader(io.StringIO(read_text(path), newline=""), skipinitialspace=True)
        lines = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise ValueError(f"Expected {path} to be a CSV file, but: {error}.") from error
    header = lines[0][1] if lines else []
    for column in columns:
        if header.count(column) != 1:
            hint = "; separate columns by commas" if len(header) == 1 else ""
            raise ValueError(f"Expected {path} to have a column {column!r}, but got {header}{hint}.")
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            more = len(cells) > len(header)
            cure = "put a cell with commas in quotes" if more else "an empty cell needs its comma too"
            raise ValueError(
                f"Expected line {number} of {path} to have {len(header)} cells, {', '.join(header)}, but got {cells}; "
                f"{cure}."
            )
        if not cells[header.index(columns[0])]:
            raise ValueError(f"Expected line {number} of {path} to name an image, but got {cells}.")
    rows = [dict(zip(header, cells, strict=True)) for _, cells in lines[1:]]
    if not rows:
        raise ValueError(f"Expected {path} to list at least one image, but got none.")
    return rows


def _find_image(folder: Path, name: str) -> Path:
    """Return the image's file, or, if none exists, the path as written, which `TaggedImages` then reports."""
    below(folder, name)
    for suffix in ("", *IMAGE_SUFFIXES, ".JPEG", ".JPG", ".PNG"):
        file = folder / f"{name}{suffix}"
        if file.is_file():
            return below(folder, f"{name}{suffix}")
    return folder / name


def _mask_values(mask_classes: Sequence[str] | str | Path, class_names: Sequence[str]) -> MaskValues:
    if isinstance(mask_classes, str | Path):
        file = Path(mask_classes)
        if not file.is_file():
            raise FileNotFoundError(f"Expected `mask_classes` to be names or a file, but got {file}.")
        mask_classes = read_text(file).splitlines()
    names = [name.strip() for name in mask_classes]
    unknown = [name for name in class_names if name not in names[1:]]
    if unknown:
        raise ValueError(f"Expected `mask_classes` to name all classes, but {unknown} have no mask value.")
    return MaskValues.from_names(names, class_names)
