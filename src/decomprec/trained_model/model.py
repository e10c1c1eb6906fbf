"""A segmenter, the classifier that decides which classes occur, and the names of the classes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, overload

import torch
from huggingface_hub import HfApi
from torch import Tensor

from decomprec._files import write_text
from decomprec.batching import plan_batches
from decomprec.data.image_io import ImageLike, rgb_image
from decomprec.data.samples import IGNORE
from decomprec.inference import batch_masks, device_of, image_components
from decomprec.models.card import CARD, model_card
from decomprec.models.classifiers import PooledClassifier
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.models.serialization import Networks, NoImageDecoder, write_networks
from decomprec.protocols import Refinement
from decomprec.refine import half_pamr
from decomprec.trained_model.prediction import Prediction
from decomprec.trained_model.reading import Plan, read_batches
from decomprec.trained_model.tags import names_by_image, tag_rows


class TrainedModel:
    """A segmenter, the classifier that decides which classes occur, and the names of the classes.

    `train` returns one, `decomprec.load` reads one. Both networks are put into eval mode.

    Args:
        segmenter: the network f.
        class_names: of the K-1 classes; label j+1 is class j.
        image_size: short side of the images that the segmenter was trained on, in pixels; what it is shown later is
            resized to it.
        classifier: decides which classes occur where no tags are given; without one, every class competes.
        card: text of the model card, in Markdown; empty for a short one.

    Raises:
        ValueError: if the names are not as many as the classes.

    Examples:
        >>> from PIL import Image
        >>> from decomprec.models import SmallEncoder
        >>> segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4))
        >>> model = TrainedModel(segmenter, ["dog"], image_size=32)
        >>> result = model(Image.new("RGB", (90, 60)))
        >>> result.masks.shape, result.label_map.shape, result.classes
        (torch.Size([2, 60, 90]), torch.Size([60, 90]), ('background', 'dog'))
    """

    def __init__(
        self,
        segmenter: DecompositionSegmenter,
        class_names: Sequence[str],
        image_size: int,
        classifier: PooledClassifier | None = None,
        *,
        card: str = "",
    ) -> None:
        if len(class_names) != segmenter.num_classes - 1:
            raise ValueError(
                f"Expected `class_names` to name the {segmenter.num_classes - 1} classes, but got {list(class_names)}."
            )
        self.segmenter = segmenter.eval()
        self.classifier = classifier and classifier.eval()
        self.class_names = tuple(class_names)
        self.image_size = image_size
        self.card = card

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K labels; the background comes first."""
        return "background", *self.class_names

    @property
    def guide(self) -> PooledClassifier:
        """The classifier.

        Raises:
            ValueError: if the model has none.
        """
        if self.classifier is None:
            raise ValueError("Expected a model with a classifier, but this one was saved without.")
        return self.classifier

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return device_of(self.segmenter)

    @property
    def masks_only(self) -> bool:
        """Whether the image decoder was left out: there are masks, but no components."""
        return isinstance(self.segmenter.image_decoder, NoImageDecoder)

    def to(self, device: torch.device | str) -> Self:
        """Move the networks to a device, and return the model."""
        self.segmenter.to(device)
        if self.classifier is not None:
            self.classifier.to(device)
        return self

    @overload
    def __call__(
        self,
        images: ImageLike,
        tags: Sequence[str] | None = None,
        *,
        size: int | None = None,
        refine: Refinement | None = half_pamr,
        ignore_below: float = 0.0,
    ) -> Prediction: ...

    @overload
    def __call__(
        self,
        images: list[Any] | tuple[Any, ...],
        tags: Sequence[str] | Sequence[Sequence[str]] | None = None,
        *,
        size: int | None = None,
        refine: Refinement | None = half_pamr,
        ignore_below: float = 0.0,
    ) -> list[Prediction]: ...

    def __call__(
        self,
        images: Any,
        tags: Any = None,
        *,
        size: int | None = None,
        refine: Refinement | None = half_pamr,
        ignore_below: float = 0.0,
    ) -> Prediction | list[Prediction]:
        """Segment an image, or each image of a list.

        Args:
            images: a file, a PIL image, a uint8 array (H, W, 3) or tensor (3, H, W), or a list of them. Images are
                turned as their EXIF data say.
            tags: names of the classes that occur in all images, or a list of names for each; None lets the classifier
                decide.
            size: short side of what the networks see, in pixels; None is `image_size`. At more than half a megapixel,
                they see overlapping tiles.
            refine: makes masks follow the edges of their images, such as `decomprec.refine.pamr` or `guided_filter`;
                None leaves them as they are.
            ignore_below: in label maps, pixels whose most likely class has a lower probability become 255; in [0, 1].

        Returns:
            A `Prediction`, or a list of them for a list.

        Raises:
            ValueError: if an image is none of these or can't be read, a tag is no class, or a number is out of range.
            FileNotFoundError: if there is no such file.
        """
        several = isinstance(images, (list, tuple))
        pixels = [rgb_image(image) for image in (images if several else [images])]
        known = names_by_image(tags, len(pixels), self.class_names)
        segment = self._segment(known, size, refine, ignore_below)
        plan = self._plan(size)([(image.shape[1], image.shape[2]) for image in pixels])
        found = {index: result for part in plan for index, result in segment({i: pixels[i] for i in part})}
        results = [found[index] for index in range(len(pixels))]
        return results if several else results[0]

    def stream(
        self,
        files: Sequence[str | Path],
        tags: Sequence[str] | Sequence[Sequence[str]] | None = None,
        *,
        size: int | None = None,
        refine: Refinement | None = half_pamr,
        ignore_below: float = 0.0,
        batch: int | None = None,
        on_error: Callable[[int, Exception], None] | None = None,
    ) -> Iterator[tuple[int, Prediction]]:
        """Segment any number of files in bounded memory: the next batch is read while one is in the networks.

        Args:
            files: images; those of one shape are segmented together, so results come in another order.
            tags: as in `__call__`.
            size: as in `__call__`.
            refine: as in `__call__`.
            ignore_below: as in `__call__`.
            batch: images at a time; None chooses by their sizes and the device.
            on_error: called with the index of a file that can't be read, and the error; None raises it.

        Yields:
            The index of a file and its `Prediction`.

        Raises:
            ValueError: if a tag is no class, a number is out of range, or a file is no image.
            OSError: if a file can't be read.
        """
        known = names_by_image(tags, len(files), self.class_names)
        segment = self._segment(known, size, refine, ignore_below)
        for images in read_batches([Path(file) for file in files], self._plan(size, batch), on_error):
            yield from segment(images)

    def components(self, image: ImageLike, size: int | None = None) -> Tensor:
        """Contribution of each class to an image's reconstruction, Î_k = M_k X_k (Eq. 1).

        The masks are the segmenter's own, neither refined nor held to tags.

        Args:
            image: as in `__call__`.
            size: short side of what the segmenter sees, in pixels; None is `image_size`.

        Returns:
            (K, 3, h, w) in [0, 1], as large as the segmenter sees the image; float32, or float16 of a large image,
            which is seen tile by tile.

        Raises:
            ValueError: if it is no image, or the model was saved with `masks_only=True`.
        """
        return image_components(rgb_image(image), self.segmenter, self._size(size))

    def save_pretrained(self, folder: str | Path, *, half: bool = True, masks_only: bool = False) -> None:
        """Write the model as a folder: config.json, model.safetensors and a model card, README.md.

        Args:
            folder: is created if it does not exist.
            half: write weights in float16 (vectors stay float32); False keeps every bit.
            masks_only: leave the image decoder out; the model then gives masks, but no components.

        Raises:
            ValueError: if an encoder or decoder is not the library's own, or a weight does not fit into float16. No
                model file is written then.

        Examples:
            >>> from decomprec import load
            >>> from decomprec.models import SmallEncoder
            >>> segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     TrainedModel(segmenter, ["dog"], image_size=32).save_pretrained(folder)
            ...     load(folder).class_names
            ('dog',)
        """
        networks = Networks(self.segmenter, self.classifier, self.class_names, self.image_size)
        write_networks(folder, networks, half=half, masks_only=masks_only)
        write_text(Path(folder) / CARD, self.card or model_card(self.class_names, self.image_size))

    def push_to_hub(self, repo_id: str, *, half: bool = True, masks_only: bool = False, **options: Any) -> str:
        """Upload the model to the Hugging Face hub.

        Args:
            repo_id: such as "someone/dogs"; is created if it does not exist.
            half: as in `save_pretrained`.
            masks_only: as in `save_pretrained`.
            options: for `huggingface_hub.HfApi.create_repo`, such as `private` and `token`.

        Returns:
            The address of the commit.
        """
        api = HfApi(token=options.pop("token", None))
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, half=half, masks_only=masks_only)
            api.create_repo(repo_id, exist_ok=True, **options)
            return str(api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload the model"))

    def _segment(
        self,
        tags: Sequence[Sequence[str]] | None,
        size: int | None,
        refine: Refinement | None,
        ignore_below: float,
    ) -> Callable[[dict[int, Tensor]], Iterator[tuple[int, Prediction]]]:
        """From images by index, which fit into memory together, to their predictions."""
        seen = self._size(size)
        if not 0 <= ignore_below <= 1:
            raise ValueError(f"Expected `ignore_below` to lie in [0, 1], but got {ignore_below}.")
        if ignore_below and len(self.classes) > IGNORE:
            raise ValueError(
                f"Expected `ignore_below` of 0 for {len(self.class_names)} classes, but got {ignore_below}: "
                f"label {IGNORE} is a class."
            )

        def segment(images: dict[int, Tensor]) -> Iterator[tuple[int, Prediction]]:
            rows = None if tags is None else tag_rows([tags[index] for index in images], self.class_names)
            pixels = list(images.values())
            masks = batch_masks(pixels, self.segmenter, self.classifier, rows, seen, refine)
            for index, found in zip(images, masks, strict=True):
                yield index, Prediction(images[index], found, self.classes, ignore_below)

        return segment

    def _plan(self, size: int | None, batch: int | None = None) -> Plan:
        return partial(plan_batches, size=self._size(size), batch=batch, device=self.device.type)

    def _size(self, size: int | None) -> int:
        size = self.image_size if size is None else size
        if size < 1:
            raise ValueError(f"Expected `size` to be at least 1, but got {size}.")
        return size
