"""Image files with tags: the dataset that all loaders of this package build on."""

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from decomprec.data.checks import (
    OnError,
    check_class_names,
    check_masks_hold_classes,
    check_on_error,
    image_problem,
    readable,
)
from decomprec.data.image_io import TRAINING_PIXELS, read_image, read_mask
from decomprec.data.paths import check_once
from decomprec.data.samples import IGNORE, ImageError, Transform, make_item


@dataclass(frozen=True)
class Record:
    """An image file, what is in it, and where its mask is.

    Attributes:
        image: Image file.
        tags: Names of the classes in the image; empty if there is none of them.
        name: What the image is called.
        mask: Mask file, or None.
    """

    image: Path
    tags: tuple[str, ...]
    name: str
    mask: Path | None = None


MaskDecoder = Callable[[Tensor, Record], Tensor]
"""Turns a mask file's values (H, W), uint8, into a label map of the same size, given its record."""


class MaskValues:
    """A `MaskDecoder` that looks every value up.

    Args:
        labels: Label of every value that may occur; 255 means ignore unless it is given.

    Raises:
        ValueError: When called with a value that has no label.

    Examples:
        >>> decode = MaskValues({0: 0, 7: 1})
        >>> decode(torch.tensor([[0, 7, 255]], dtype=torch.uint8), Record(Path("a.jpg"), (), "a"))
        tensor([[  0,   1, 255]])
    """

    def __init__(self, labels: Mapping[int, int]) -> None:
        self.table = torch.full((256,), -1)
        for value, label in {IGNORE: IGNORE, **labels}.items():
            if value < len(self.table):  # no mask can hold another
                self.table[value] = label

    @classmethod
    def from_names(cls, names: Sequence[str], class_names: Sequence[str]) -> "MaskValues":
        """Value `i` means ``names[i]``; names that are not in `class_names` are background.

        Examples:
            >>> decode = MaskValues.from_names(("background", "cat", "dog"), ("dog",))
            >>> decode(torch.tensor([[0, 1, 2]], dtype=torch.uint8), Record(Path("a.jpg"), (), "a"))
            tensor([[0, 0, 1]])
        """
        labels = {name: label for label, name in enumerate(class_names, 1)}
        return cls({value: labels.get(name, 0) for value, name in enumerate(names)})

    def __call__(self, values: Tensor, record: Record) -> Tensor:
        """Label map (H, W), int64, of mask values (H, W), uint8."""
        indices = values.long()
        known = (indices >= 0) & (indices < len(self.table))
        labels = torch.where(known, self.table[indices * known], -1)
        if (labels < 0).any():
            unknown = sorted(values[labels < 0].unique().tolist())
            raise ValueError(f"Expected mask {record.mask} to hold known values, but got {unknown}.")
        return labels


class TaggedImages(Dataset[dict[str, Any]]):
    """Images with tags, and with masks only on request.

    With ``masks=True`` an image without a mask file gets a label map of 0 (background) if it has no tag, and
    of 255 (ignore) if it has one. With ``masks=False`` no mask file is opened, and very large images are reduced
    to 17 million pixels.

    With ``on_error="skip"`` each image (and mask, with ``masks=True``) is read once when the data set is made, and
    those that can't be read are left out, with a warning of their number and names: the images and their order are
    then the same in every epoch, in every process that trains and in a resumed run. With ``"raise"`` nothing is read
    before it is needed, and the first that can't be read stops with its name.

    Args:
        records: The images.
        class_names: Foreground classes; tag `j` is class ``j + 1`` in label maps.
        masks: Whether items hold a ``mask``.
        decode_mask: What mask values mean; by default value `j` is class `j`, and 255 ignore.
        transform: Joint transform of image and mask, see `make_item`.
        on_error: "raise" or "skip".

    Attributes:
        class_names: As given.
        records: As given, without those that were skipped.
        tags: (N, K-1), float32, the tags of all images.
        skipped: What is wrong with each image that was skipped, in one sentence.

    Raises:
        ValueError: If there is no record, an image has two, a class is named twice, a tag is none of `class_names`,
            no image can be read, or no mask of a tagged image holds a class, but 255; on access, if an image or
            mask can't be read.
        FileNotFoundError: If image files are missing, or mask files when ``masks=True``.
    """

    def __init__(
        self,
        records: Sequence[Record],
        class_names: Sequence[str],
        *,
        masks: bool = False,
        decode_mask: MaskDecoder | None = None,
        transform: Transform | None = None,
        on_error: OnError = "raise",
    ) -> None:
        check_on_error(on_error)
        check_class_names(class_names, masks)
        self.records = tuple(records)
        self.class_names = tuple(class_names)
        self.masks = masks
        self.transform = transform
        self._decoded: Mapping[Path, Tensor] = {}
        if not self.records:
            raise ValueError("Expected `records` to hold at least one image, but got none.")
        unknown = {tag for record in self.records for tag in record.tags} - set(self.class_names)
        if unknown:
            raise ValueError(f"Expected tags to be among {self.class_names}, but got {sorted(unknown)}.")
        check_once([record.image for record in self.records], "`records`")
        self.decode_mask = decode_mask or MaskValues({j: j for j in range(len(self.class_names) + 1)})
        self.skipped: tuple[str, ...] = ()
        if on_error == "skip":
            kept, self.skipped = readable(self.records, self._problem)
            self.records = tuple(self.records[i] for i in kept)
        else:
            self._check_files()
        self.tags = torch.tensor([[float(name in record.tags) for name in self.class_names] for record in self.records])
        if masks:
            tagged = [record for record in self.records if record.tags]
            masks_of = ((record.mask, record.tags[0], partial(self._labels_of, record)) for record in tagged)
            check_masks_hold_classes(masks_of, self.class_names)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.records[index]
        image, mask = self._read(record)
        return make_item(image, self.tags[index].clone(), record.name, mask=mask, transform=self.transform)

    def select(self, indices: Sequence[int]) -> Self:
        """A copy with some of the images, in the order of their indices."""
        part = copy.copy(self)
        part.records = tuple(self.records[i] for i in indices)
        part.tags = self.tags[list(indices)]
        return part

    def in_memory(self, most_pixels: int = TRAINING_PIXELS) -> Self:
        """A copy whose images are decoded once, now, on all cores, and stay in memory as uint8.

        For training for several epochs in one process, on images for which there is memory: 3 bytes a pixel. It
        saves most where files have many more pixels than are trained on.

        Args:
            most_pixels: A larger image is reduced, by a whole number, to at most as many, of which crops are then
                taken. With the default, items are the same as without.

        Raises:
            ValueError: If the items have masks, or an image can't be read.

        Examples:
            >>> import tempfile
            >>> from PIL import Image
            >>> file = Path(tempfile.mkdtemp()) / "dog.png"
            >>> Image.new("RGB", (40, 20)).save(file)
            >>> data = TaggedImages([Record(file, ("dog",), "dog")], ["dog"]).in_memory(most_pixels=200)
            >>> file.unlink()
            >>> data[0]["image"].shape
            torch.Size([3, 10, 20])
        """
        if self.masks:
            raise ValueError("Expected a data set with masks=False, for training, but got one with masks=True.")
        held = copy.copy(self)
        read = partial(self._pixels, most_pixels=most_pixels)
        with ThreadPool(os.cpu_count()) as pool:
            pixels = tqdm(pool.imap(read, self.records), "decoding", len(self), unit="image", leave=False, disable=None)
            held._decoded = {record.image: image for record, image in zip(self.records, pixels, strict=True)}
        return held

    def _pixels(self, record: Record, most_pixels: int) -> Tensor:
        try:
            return self._decoded[record.image] if self._decoded else read_image(record.image, most_pixels)
        except (ValueError, OSError) as error:
            raise ImageError(str(error)) from error

    def _read(self, record: Record) -> tuple[Tensor, Tensor | None]:
        """The image (3, H, W), uint8, and its mask (H, W), int64, if masks were asked for."""
        if not self.masks:
            return self._pixels(record, TRAINING_PIXELS), None
        try:
            image = read_image(record.image)
            return image, self._mask(record, image)
        except (ValueError, OSError) as error:
            raise ImageError(str(error)) from error

    def _mask(self, record: Record, image: Tensor) -> Tensor:
        labels = self._labels_of(record)
        return torch.full(image.shape[1:], IGNORE if record.tags else 0) if labels is None else labels

    def _labels_of(self, record: Record) -> Tensor | None:
        return None if record.mask is None else self.decode_mask(read_mask(record.mask, record.image), record)

    def _problem(self, record: Record) -> str | None:
        if not self.masks:
            return image_problem(record.image)
        try:
            self._read(record)
        except ImageError as error:
            return str(error)
        return None

    def _check_files(self) -> None:
        files = [record.image for record in self.records]
        if self.masks:
            files += [record.mask for record in self.records if record.mask is not None]
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise FileNotFoundError(f"Expected all files to exist, but {len(missing)} do not: {missing[0]}, ...")


def choose_classes(classes: Sequence[str] | None, known: Sequence[str], where: object) -> tuple[str, ...]:
    """`classes` if they are all known, else an error; all that are known if None.

    Raises:
        ValueError: If a class is not among the known ones.

    Examples:
        >>> choose_classes(None, ["cat", "dog"], "tags.csv"), choose_classes(["dog"], ["cat", "dog"], "tags.csv")
        (('cat', 'dog'), ('dog',))
    """
    chosen = tuple(known if classes is None else classes)
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        but = f"got {unknown}" if known else "it has none; tag images with what they show"
        raise ValueError(f"Expected `classes` to be among those in {where}, {list(known)}, but {but}.")
    return chosen
