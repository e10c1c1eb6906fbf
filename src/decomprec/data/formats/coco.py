"""Instance annotations in COCO's JSON format."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from decomprec.data.checks import OnError, check_class_names, choose_classes
from decomprec.data.dataset import TaggedImages
from decomprec.data.formats.coco_file import CocoFile, CocoImage
from decomprec.data.formats.coco_masks import has_segmentation, label_map, mask_api, short_polygons
from decomprec.data.image_finder import ImageFinder
from decomprec.data.image_io import stored_size, turn_with
from decomprec.data.notices import say_once
from decomprec.data.paths import images_folder, inside
from decomprec.data.record import Record
from decomprec.data.samples import Transform


class CocoInstances(TaggedImages):
    """Images tagged with the categories of their annotations, as in COCO's ``instances_*.json``.

    Masks are drawn from polygons and RLE; this requires pycocotools. Pixels are 255 (ignore) where objects of different
    classes overlap, and in crowd regions without another object. If an object has no segmentation, all pixels of its
    image outside other objects are 255; so are those around a polygon of fewer than three points. Masks of an image
    with an EXIF orientation may fit the turned image or the stored one.

    Files of other tools are read too: ids may be text, sizes may be missing, and paths of another machine count by
    their last parts, see `ImageFinder`.

    Args:
        annotations: the JSON file.
        images: folder of the images' ``file_name``; by default ``images`` next to the JSON file, else its own folder.
        classes: selects and orders the foreground classes; other objects are background. None for all categories,
            by their id.
        masks: whether samples hold a ``mask``, see `TaggedImages`.
        transform: joint transform of image and mask, see `TaggedImages`.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Attributes:
        listed: names of all images in the file, also of those that are skipped.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the file has another format, an image is listed twice or lies outside its folder, `classes`
            are unknown, or pycocotools is needed and missing.

    Examples:
        >>> import json, tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (4, 2)).save(root / "park.png")
        >>> annotations = {
        ...     "images": [{"id": 7, "file_name": "park.png", "height": 2, "width": 4}],
        ...     "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
        ...     "annotations": [{"image_id": 7, "category_id": 18, "segmentation": [[2, 0, 4, 0, 4, 2, 2, 2]]}],
        ... }
        >>> _ = (root / "instances.json").write_text(json.dumps(annotations))
        >>> data = CocoInstances(root / "instances.json", masks=True)
        >>> data.class_names, data[0]["tags"], data[0]["mask"]
        (('cat', 'dog'), tensor([0., 1.]), tensor([[0, 0, 2, 2], [0, 0, 2, 2]]))
    """

    def __init__(
        self,
        annotations: str | Path,
        *,
        images: str | Path | None = None,
        classes: Sequence[str] | None = None,
        masks: bool = False,
        transform: Transform | None = None,
        on_error: OnError = "raise",
    ) -> None:
        path = Path(annotations)
        file = CocoFile.read(path)
        class_names = choose_classes(classes, file.classes(classes), path)
        self._labels_by_category = file.labels(class_names)
        if masks:
            mask_api()  # raises now, before any training
            _say_short_polygons(file, path)
        folder = images_folder(path, images)
        find_image = ImageFinder(folder)
        records = []
        self._entries: dict[Path, CocoImage] = {}
        for entry in file.images:
            image = find_image(entry.file_name)
            present = {self._labels_by_category.get(instance["category_id"], 0) for instance in entry.instances}
            tags = tuple(name for label, name in enumerate(class_names, 1) if label in present)
            drawn = any(has_segmentation(instance) for instance in entry.instances)
            name = inside(image, folder).with_suffix("").as_posix()
            records.append(Record(image, tags, name, path if masks and drawn else None))
            self._entries[image] = entry
        _say_moved(file, records, folder)
        self.listed = tuple(record.name for record in records)
        super().__init__(records, class_names, masks=masks, transform=transform, on_error=on_error)

    def _labels(self, record: Record) -> Tensor | None:
        return None  # drawn from categories: no value can be mistaken

    def _mask(self, record: Record, image: Tensor) -> Tensor:
        entry, size = self._entries[record.image], (image.shape[1], image.shape[2])
        stated = entry.size or size
        # A file may claim any size: a mask is drawn only at the image's.
        if sorted(size) == sorted(stated):
            mask = turn_with(record.image, label_map(entry, stated, self._labels_by_category))
            if mask.shape == size:
                return mask
        raise ValueError(
            f"Expected {record.image} to have the height and width of its annotations, {stated}, but got {size}."
        )


def coco_label_maps(annotations: str | Path) -> Iterator[tuple[str, Tensor]]:
    """Draw the label map of every image in a COCO file, without reading the images.

    Args:
        annotations: the JSON file. Label j+1 is its j-th category by id.

    Returns:
        File names and label maps (H, W), int64, as `CocoInstances` draws them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file has another format, or pycocotools is missing.
    """
    _, readers = coco_readers(Path(annotations))
    return ((file_name, read()) for file_name, read in readers)


def coco_readers(
    annotations: Path, classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[tuple[str, Callable[[], Tensor]]]]:
    """List the categories of a COCO file by id, and each image's file name with a function that draws its label map.

    Args:
        annotations: the JSON file.
        classes: category names in the order of their labels; other objects are background. None for all, by id.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file has another format.
    """
    file = CocoFile.read(annotations)
    check_class_names(file.names, masks=True)
    labels = file.labels(file.names if classes is None else classes)
    return file.names, [(image.file_name.replace("\\", "/"), partial(_draw, image, labels)) for image in file.images]


def _draw(image: CocoImage, labels: dict[str, int]) -> Tensor:
    """Draw a label map without its image, or with the size of the image where the file does not state it."""
    size = image.size or _size_of(ImageFinder(images_folder(image.path, None))(image.file_name))
    if size is None:
        raise ValueError(
            f"Expected {image.path} to state the height and width of {image.file_name}, or the image to lie next to "
            "it, but got neither; add `height` and `width`."
        )
    return label_map(image, size, labels)


def _size_of(image: Path) -> tuple[int, int] | None:
    return stored_size(image) if image.is_file() else None


def _say_moved(file: CocoFile, records: Sequence[Record], folder: Path) -> None:
    moved = [
        entry.file_name
        for entry, record in zip(file.images, records, strict=True)
        if record.image != folder / entry.file_name
    ]
    if moved:
        say_once(
            f"{file.images[0].path} moved",
            "%s names %d images by paths of another place, such as %s: they are found below %s by the last parts.",
            file.images[0].path,
            len(moved),
            moved[0],
            folder,
        )


def _say_short_polygons(file: CocoFile, path: Path) -> None:
    short = [
        f"annotation {instance.get('id', 'without id')} of {entry.file_name}"
        for entry in file.images
        for instance in entry.instances
        if short_polygons(instance)
    ]
    if short:
        say_once(
            f"{path} short",
            "%s has polygons of fewer than three points in %d annotations, the first in %s: their tags count, the "
            "pixels around them are unknown (255).",
            path,
            len(short),
            short[0],
        )
