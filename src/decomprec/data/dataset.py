"""Image files with tags: the data set that the formats build on."""

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from decomprec.data.checks import (
    OnError,
    check_class_names,
    check_on_error,
    image_problem,
    readable,
)
from decomprec.data.image_io import TRAINING_PIXELS, read_image, read_mask
from decomprec.data.mask_colours import Colours
from decomprec.data.mask_meaning import Look, check_masks, white_as
from decomprec.data.paths import check_once
from decomprec.data.record import MaskDecoder, MaskValues, Record
from decomprec.data.samples import IGNORE, ImageError, Transform, make_item
from decomprec.data.tags import TagTable
from decomprec.refine import resize_labels

_STRIDE = 16


class _Tagged(Protocol):
    @property
    def tags(self) -> tuple[str, ...]: ...


R = TypeVar("R", bound=_Tagged)


class TaggedRecords(Dataset[dict[str, Any]], Generic[R]):
    """The part of a data set that does not depend on where images come from; see `TaggedImages` for the arguments.

    A subclass defines `_load` and `_labels`, and is ready for both before it calls ``super().__init__``.
    """

    def __init__(
        self,
        records: Sequence[R],
        class_names: Sequence[str],
        *,
        masks: bool,
        transform: Transform | None,
        on_error: OnError,
        threads: int | None = None,
    ) -> None:
        check_on_error(on_error)
        check_class_names(class_names, masks)
        self.records = tuple(records)
        self.class_names = tuple(class_names)
        self.masks = masks
        self.transform = transform
        self.seeds: Sequence[Tensor] | None = None
        self.label_maps: Mapping[int, Callable[[], Tensor]] = {}  # true ones, of some images: see `with_masks`
        self.skipped: tuple[str, ...] = ()
        if on_error == "skip":
            kept, self.skipped = readable(self.records, self._problem, threads)
            self.records = tuple(kept)
        else:
            self._check_files()
        self.tag_table = TagTable.from_names((record.tags for record in self.records), self.class_names)
        self._white_is_class = False
        if masks:
            self._white_is_class = check_masks(self.looks(), self.class_names)

    @property
    def tags(self) -> Tensor:
        """(N, K-1), float32, {0, 1}, of all images, made when asked for: 4 bytes for each image and class."""
        return self.tag_table.dense()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        name, image, mask = self._load(self.records[index])
        tags = self.tag_table.dense([index])[0]
        if self.seeds is None:
            return make_item(image, tags, name, mask=mask, transform=self.transform)
        # As large as the image, they take part in its transform like a mask.
        seeds = resize_labels(self.seeds[index][None], image.shape[1:])[0]
        item = make_item(image, tags, name, mask=seeds.short(), transform=self.transform)
        return {**item, "seeds": item.pop("mask")}

    def original(self, index: int) -> Tensor:
        """Return an image before the transform, (3, H, W), uint8.

        Raises:
            ImageError: if it can't be read.
        """
        return self._load(self.records[index])[1]

    def with_seeds(self, seeds: Sequence[Tensor]) -> Self:
        """Return a copy whose items hold "seeds", a label map (H', W') that has gone through the image's transform.

        Args:
            seeds: for each image a label map (h, w), uint8 or int16, of the whole image at any size.

        Raises:
            ValueError: if there are not as many as images, or the items have a mask.
        """
        if len(seeds) != len(self) or self.masks:
            raise ValueError(
                f"Expected `seeds` of {len(self)} images without masks, but got {len(seeds)} and masks={self.masks}."
            )
        seeded = copy.copy(self)
        seeded.seeds = seeds
        return seeded

    def with_transform(self, transform: Transform | None) -> Self:
        """Return a copy whose images go through another transform."""
        other = copy.copy(self)
        other.transform = transform
        return other

    def select(self, indices: Sequence[int]) -> Self:
        """Return a copy with some of the images, in the order of their indices."""
        part = copy.copy(self)
        part.records = tuple(self.records[i] for i in indices)
        part.tag_table = self.tag_table.select(indices)
        part.seeds = None if self.seeds is None else [self.seeds[i] for i in indices]
        part.label_maps = {at: self.label_maps[i] for at, i in enumerate(indices) if i in self.label_maps}
        return part

    def _load(self, record: R) -> tuple[str, Tensor, Tensor | None]:
        """Return name, image (3, H, W), uint8, and mask (H, W), int64, with `masks`; raise an `ImageError`."""
        raise NotImplementedError

    def _labels(self, record: R) -> Tensor | None:
        """Return the label map (H, W), int64, of a record's mask; None if it has no mask."""
        raise NotImplementedError

    def _mask_name(self, record: R) -> object:
        raise NotImplementedError

    def _meant(self, labels: Tensor, record: R) -> Tensor:
        """Return a mask's label map, in which 255 is the class of its image if all masks are black and white."""
        if not self._white_is_class:
            return labels
        return white_as(labels, [self.class_names.index(tag) + 1 for tag in record.tags], self._mask_name(record))

    def looks(self) -> Iterator[Look]:
        """What the masks of images with tags hold, in an order that soon goes through all of the data set.

        Masks that can't be read are left out. They raise an error, with their name, when they are loaded.
        """
        tagged = [record for record in self.records if record.tags]
        for start in range(_STRIDE):
            for record in tagged[start::_STRIDE]:
                try:
                    labels = self._labels(record)
                except (ValueError, OSError):
                    continue
                if labels is not None:
                    values = torch.bincount(labels.flatten()).nonzero().flatten()  # quicker than unique()
                    yield Look(self._mask_name(record), record.tags, set(values.tolist()))

    def _check_files(self) -> None:
        """Raise a FileNotFoundError if files are missing."""

    def _problem(self, record: R) -> str | None:
        try:
            self._load(record)
        except ImageError as error:
            return str(error)
        return None


def unlabelled(image: Tensor, tagged: bool) -> Tensor:
    """Return the label map of an image (3, H, W) without a mask: background, or ignore where a class may be."""
    return torch.full(image.shape[1:], IGNORE if tagged else 0)


class TaggedImages(TaggedRecords[Record]):
    """Image files with tags, and with masks on request.

    With ``masks=True`` an image without a mask file gets a label map of 0 (background) if it has no tag, and
    of 255 (ignore) if it has one. With ``masks=False`` no mask file is opened, and very large images are reduced
    to 17 million pixels.

    With ``on_error="skip"`` each image (and mask, with ``masks=True``) is read once when the data set is made, and
    those that can't be read are left out, with a warning of their number and names: the images and their order are
    then the same in every epoch, in every process that trains and in a resumed run. With ``"raise"`` images are read
    when they are needed, and the first that can't be read raises an error that names it.

    Args:
        records: the images.
        class_names: foreground classes; tag `j` is class ``j + 1`` in label maps.
        masks: whether samples hold a ``mask``.
        decode_mask: the meaning of mask values; by default value `j` is class `j`, and 255 ignore.
        mask_colours: values of the colours of masks in RGB or with a palette; None if masks hold values.
        transform: joint transform of image and mask, as in ``torchvision.transforms.v2``.
        on_error: "raise" or "skip".

    Attributes:
        class_names: as given.
        records: as given, without those that were skipped.
        tags: (N, K-1), float32, {0, 1}, of all images.
        skipped: why each skipped image can't be read, in one sentence.

    Raises:
        ValueError: if there are no records, two are of one image, a class is named twice, a tag is not in
            `class_names`, no image can be read, or the masks of tagged images hold 0 and 255 only; on access, if an
            image or mask can't be read.
        FileNotFoundError: if image files are missing, or mask files with ``masks=True``.
    """

    def __init__(
        self,
        records: Sequence[Record],
        class_names: Sequence[str],
        *,
        masks: bool = False,
        decode_mask: MaskDecoder | None = None,
        mask_colours: Colours | None = None,
        transform: Transform | None = None,
        on_error: OnError = "raise",
    ) -> None:
        records = tuple(records)
        if not records:
            raise ValueError("Expected `records` to hold at least one image, but got none.")
        unknown = {tag for record in records for tag in record.tags} - set(class_names)
        if unknown:
            raise ValueError(f"Expected tags to be among {tuple(class_names)}, but got {sorted(unknown)}.")
        check_once([record.image for record in records], "`records`")
        self.decode_mask = decode_mask or MaskValues({j: j for j in range(len(class_names) + 1)})
        self._colours = mask_colours
        self._decoded: Mapping[Path, Tensor] = {}
        super().__init__(records, class_names, masks=masks, transform=transform, on_error=on_error)

    def in_memory(self, most_pixels: int = TRAINING_PIXELS) -> Self:
        """Return a copy that decodes all images now, on all cores, and keeps them in memory as uint8.

        Speeds up training for several epochs in one process. Takes 3 bytes per pixel. Saves most where files are
        much larger than the size that is trained on.

        Args:
            most_pixels: larger images are reduced, by a whole number, to at most this many pixels, before crops are
                taken. With the default, samples are the same as without.

        Raises:
            ValueError: if the samples have masks, or an image can't be read.

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

    def _load(self, record: Record) -> tuple[str, Tensor, Tensor | None]:
        if not self.masks:
            return record.name, self._pixels(record, TRAINING_PIXELS), None
        try:
            image = read_image(record.image)
            return record.name, image, self._mask(record, image)
        except (ValueError, OSError) as error:
            raise ImageError(str(error)) from error

    def _mask(self, record: Record, image: Tensor) -> Tensor:
        labels = self._labels(record)
        return unlabelled(image, bool(record.tags)) if labels is None else labels

    def _labels(self, record: Record) -> Tensor | None:
        if record.mask is None:
            return None
        return self._meant(self.decode_mask(read_mask(record.mask, record.image, self._colours), record), record)

    def _mask_name(self, record: Record) -> object:
        return record.mask

    def _problem(self, record: Record) -> str | None:
        return super()._problem(record) if self.masks else image_problem(record.image)

    def _check_files(self) -> None:
        files = [record.image for record in self.records]
        if self.masks:
            files += [record.mask for record in self.records if record.mask is not None]
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise FileNotFoundError(f"Expected all files to exist, but {len(missing)} do not: {missing[0]}, ...")
