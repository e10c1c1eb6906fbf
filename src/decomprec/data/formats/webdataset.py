"""WebDataset: images with their classes in tar files, the shards."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from decomprec.data.checks import OnError
from decomprec.data.formats.named_splits import files_by_split
from decomprec.data.formats.number_names import names_of_numbers
from decomprec.data.formats.records import TaggedRows
from decomprec.data.formats.shard_tags import Tags, shard_tags
from decomprec.data.formats.shards import Sample, read_index, read_stored, shard_files
from decomprec.data.image_io import ImageBytes
from decomprec.data.samples import Transform
from decomprec.data.splits import choose_part, held_out


def load_webdataset(
    path: str | Path,
    split: str,
    *,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    transform: Transform | None = None,
    on_error: OnError = "raise",
) -> TaggedRows:
    """Load a split of a WebDataset: tar files that hold, for each image, a file that says its classes.

    The shards are indexed once, by the headers of their files. Each image is then read where it lies, as if it
    were a separate file: order, resumed runs and several processes work as they do for folders.

    An image has a file of the same name with the ending .cls (a number or a name), .json (names or numbers, as they
    are or under a key such as "tags" or "label") or .txt (tags, if classes.txt lists them; else they may be captions).
    Numbers need a file classes.txt or classes.json next to the shards. Masks end in .mask.png or .seg.png.

    Args:
        path: the folder, or a tar file that is not compressed.
        split: "train", "val" or "test", by the names of the shards or their folders. Without one for validation, a
            fifth of the images is held out.
        classes: selects and orders the foreground classes.
        masks: whether samples hold a ``mask``, see `TaggedImages`.
        transform: joint transform of image and mask.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Raises:
        ValueError: if there is no such split, a shard can't be read, or it is not clear what says the classes; see
            `TaggedRows` too.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    files = files_by_split(shard_files(path), folder)
    part = choose_part(list(files), split, path)
    samples = read_index(files[part.source])
    names = names_of_numbers(folder)
    tags = shard_tags(samples, names, path)
    if part.share != "all":
        keys = [f"{sample.shard.name}/{sample.key}" for sample in samples]
        out = held_out(keys)
        chosen = [i for i, key in enumerate(keys) if (key in out) == (part.share == "val")]
        samples, tags = [samples[i] for i in chosen], [tags[i] for i in chosen]
    number = next((tag for found in tags for tag in found if isinstance(tag, int)), None)
    if names is None and number is not None:
        raise ValueError(
            f"Expected a file classes.txt in {folder}, one name a line, that of number 0 first, as the shards number "
            f"their classes, such as {number}, but found none."
        )
    return TaggedRows(
        _Rows(samples, tags),
        names=names,
        classes=classes,
        mask_column="mask" if any(sample.mask for sample in samples) else None,
        masks=masks,
        transform=transform,
        on_error=on_error,
    )


class _Rows(Sequence[Any]):
    """Samples of shards as rows, each read when it is asked for, in any process."""

    column_names: ClassVar = ["image", "tags", "mask", "name"]

    def __init__(self, samples: Sequence[Sample], tags: Tags) -> None:
        self.samples = [sample._replace(texts=_NO_TEXTS) for sample in samples]
        self.tags = tags

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Any) -> Any:
        if key == "tags":
            return self.tags
        sample = self.samples[key]
        name = f"{sample.key} in {sample.shard}"
        mask = sample.mask and ImageBytes(read_stored(sample.shard, sample.mask), f"the mask of {name}")
        image = ImageBytes(read_stored(sample.shard, sample.image), name)
        return {"image": image, "tags": self.tags[key], "mask": mask, "name": sample.key}


_NO_TEXTS: dict[str, bytes] = {}
