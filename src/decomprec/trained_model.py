"""A trained model: from an image to its masks in one call, and to a folder or the hub and back."""

from __future__ import annotations

import os
import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self, overload

import torch
from huggingface_hub import HfApi, snapshot_download
from PIL import Image
from torch import Tensor

from decomprec._files import write_text
from decomprec.data.image_io import ImageLike, read_image, rgb_image, stored_size
from decomprec.inference import LARGER_VIEW, batch_masks, device_of, image_components, plan_batches
from decomprec.models.card import CARD, model_card
from decomprec.models.classifiers import PooledClassifier
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.models.serialization import CONFIG, WEIGHTS, Networks, NoImageDecoder, read_networks, write_networks
from decomprec.viz import overlay, save_label_map


@dataclass(frozen=True)
class Prediction:
    """The masks of one image, at its own resolution.

    Attributes:
        image: (3, H, W), uint8.
        masks: (K, H, W), float32 in [0, 1], summing to one over K; absent classes are 0.
        classes: names of the K masks; the background comes first.
    """

    image: Tensor
    masks: Tensor
    classes: tuple[str, ...]

    @cached_property
    def label_map(self) -> Tensor:
        """The most likely class of every pixel, (H, W), int64, on the CPU: 0 is the background, k is `classes[k]`."""
        return self.masks.argmax(dim=0).cpu()

    def save(self, path: str | Path) -> None:
        """Write the label map as a PNG with the palette of Pascal VOC, whole or not at all."""
        save_label_map(self.label_map, path)

    def overlay(self, alpha: float = 0.5) -> Image.Image:
        """The image with its classes in colour.

        Args:
            alpha: opacity of the colours, in [0, 1].
        """
        drawn = overlay(self.image[None].float() / 255, self.label_map[None], alpha)[0]
        return Image.fromarray((255 * drawn).round().byte().permute(1, 2, 0).numpy())


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
        augment: bool = False,
        size: int | None = None,
    ) -> Prediction: ...

    @overload
    def __call__(
        self,
        images: list[Any] | tuple[Any, ...],
        tags: Sequence[str] | Sequence[Sequence[str]] | None = None,
        *,
        augment: bool = False,
        size: int | None = None,
    ) -> list[Prediction]: ...

    def __call__(
        self,
        images: Any,
        tags: Any = None,
        *,
        augment: bool = False,
        size: int | None = None,
    ) -> Prediction | list[Prediction]:
        """Segment an image, or each image of a list.

        Args:
            images: a file, a PIL image, a uint8 array (H, W, 3) or tensor (3, H, W), or a list of them. Images are
                turned as their EXIF data say.
            tags: names of the classes that occur in all images, or a list of names for each; None lets the classifier
                decide.
            augment: average the masks over two sizes and mirror images: better and slower.
            size: short side of what the networks see, in pixels; None is `image_size`.

        Returns:
            A `Prediction`, or a list of them for a list.

        Raises:
            ValueError: if an image is none of these or can't be read, or a tag is no class.
            FileNotFoundError: if there is no such file.
        """
        several = isinstance(images, (list, tuple))
        pixels = [rgb_image(image) for image in (images if several else [images])]
        known = self._tags(tags, len(pixels))
        found: dict[int, Prediction] = {}
        plan = plan_batches(
            [(p.shape[1], p.shape[2]) for p in pixels], self._size(size, augment), None, self.device.type
        )
        for indices in plan:
            part = None if known is None else known[indices]
            for index, masks in zip(
                indices, self._masks([pixels[i] for i in indices], part, size, augment), strict=True
            ):
                found[index] = Prediction(pixels[index], masks, self.classes)
        results = [found[index] for index in range(len(pixels))]
        return results if several else results[0]

    def stream(
        self,
        files: Sequence[str | Path],
        tags: Sequence[str] | None = None,
        *,
        augment: bool = False,
        size: int | None = None,
        batch: int | None = None,
        on_error: Callable[[int, Exception], None] | None = None,
    ) -> Iterator[tuple[int, Prediction]]:
        """Segment any number of files in bounded memory: the next batch is read while one is in the networks.

        Args:
            files: images; those of one shape are segmented together, so results come in another order.
            tags: names of the classes that occur in all images; None lets the classifier decide.
            augment: as in `__call__`.
            size: as in `__call__`.
            batch: images at a time; None chooses by their sizes and the device.
            on_error: called with the index of a file that can't be read, and the error; None raises it.

        Yields:
            The index of a file and its `Prediction`.

        Raises:
            ValueError: if a tag is no class, or a file is no image.
            OSError: if a file can't be read.
        """
        known = self._tags(tags, 1)
        # Each keeps to one core: the others are the networks'.
        with ThreadPoolExecutor(
            min(4, os.cpu_count() or 1), initializer=torch.set_num_threads, initargs=(1,)
        ) as threads:
            paths = [Path(file) for file in files]
            plan = plan_batches(
                list(threads.map(stored_size, paths)), self._size(size, augment), batch, self.device.type
            )
            for indices, reading in _read_ahead(plan, paths, threads):
                images = {}
                for index, future in zip(indices, reading, strict=True):
                    try:
                        images[index] = future.result()
                    except (ValueError, OSError, MemoryError) as error:
                        if on_error is None:
                            raise
                        lacking = f"Expected enough memory to read {files[index]}, but there is none; reduce it."
                        on_error(index, OSError(lacking) if isinstance(error, MemoryError) else error)
                part = None if known is None else known.expand(len(images), -1)
                masks = self._masks(list(images.values()), part, size, augment)
                for index, found in zip(images, masks, strict=True):
                    yield index, Prediction(images[index], found, self.classes)

    def components(self, image: ImageLike, size: int | None = None) -> Tensor:
        """Contribution of each class to an image's reconstruction, Î_k = M_k X_k (Eq. 1).

        The masks are the segmenter's own, neither refined nor held to tags.

        Args:
            image: as in `__call__`.
            size: short side of what the segmenter sees, in pixels; None is `image_size`.

        Returns:
            (K, 3, h, w), float32 in [0, 1], as large as the segmenter sees the image.

        Raises:
            ValueError: if it is no image, or the model was saved with `masks_only=True`.
        """
        return image_components(rgb_image(image), self.segmenter, self._size(size))

    def save_pretrained(self, folder: str | Path, *, half: bool = True, masks_only: bool = False) -> None:
        """Write the model as a folder: config.json, model.safetensors and a model card, README.md.

        Args:
            folder: is made if there is none.
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
            repo_id: such as "someone/dogs"; is made if there is none.
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

    def _masks(self, images: list[Tensor], tags: Tensor | None, size: int | None, augment: bool) -> Iterator[Tensor]:
        return batch_masks(images, self.segmenter, self.classifier, tags, self._size(size), augment=augment)

    def _size(self, size: int | None, augment: bool = False) -> int:
        size = self.image_size if size is None else size
        if size < 1:
            raise ValueError(f"Expected `size` to be at least 1, but got {size}.")
        return round(LARGER_VIEW * size) if augment else size

    def _tags(self, tags: Any, count: int) -> Tensor | None:
        """Tags (count, K-1) of names for all images, or of a list of names for each."""
        if tags is None:
            return None
        if isinstance(tags, str):
            raise ValueError(f"Expected `tags` to be a list of class names, but got the text {tags!r}.")
        each = [tags] * count if all(isinstance(tag, str) for tag in tags) else list(tags)
        if len(each) != count:
            raise ValueError(
                f"Expected `tags` to hold a list of names for each of {count} images, but got {len(each)}."
            )
        if unknown := sorted({tag for names in each for tag in names} - set(self.class_names)):
            raise ValueError(f"Expected `tags` to be among {', '.join(self.class_names)}, but got {unknown}.")
        return torch.tensor([[float(name in names) for name in self.class_names] for names in each]).view(count, -1)


def load(source: str | Path, device: torch.device | str = "cpu") -> TrainedModel:
    """Read a trained model; nothing is unpickled, and only the library's own classes are built.

    Args:
        source: a run folder, a folder that `save_pretrained` wrote, or an id of the Hugging Face hub ("owner/name").
        device: where its networks go.

    Raises:
        FileNotFoundError: if there is no such folder, it lacks a file, or the hub can't be reached.
        ValueError: if the run is not finished, or a file is not that of a model of this library.

    Examples:
        >>> load("nowhere")
        Traceback (most recent call last):
        FileNotFoundError: Expected `source` to be a folder or an id of the hub (owner/name), but found no nowhere.
    """
    folder = Path(source)
    if (folder / "model" / CONFIG).is_file():
        folder = folder / "model"
    elif (folder / "preset.yaml").is_file():
        raise ValueError(f"Expected {folder} to hold a finished run, but it has no model yet; resume it first.")
    elif not folder.is_dir():
        folder = _download(str(source))
    networks = read_networks(folder)
    card = folder / CARD
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    return TrainedModel(
        networks.segmenter, networks.class_names, networks.image_size, networks.classifier, card=text
    ).to(device)


def _read_ahead(
    plan: list[list[int]], files: list[Path], threads: Executor
) -> Iterator[tuple[list[int], list[Future[Tensor]]]]:
    """Each batch of the plan with its images, of which the next batch's are read meanwhile."""
    queue: deque[tuple[list[int], list[Future[Tensor]]]] = deque()
    for indices in plan:
        queue.append((indices, [threads.submit(read_image, files[index]) for index in indices]))
        if len(queue) == 2:
            yield queue.popleft()
    yield from queue


def _download(source: str) -> Path:
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source):
        raise FileNotFoundError(
            f"Expected `source` to be a folder or an id of the hub (owner/name), but found no {source}."
        )
    try:
        return Path(snapshot_download(source, allow_patterns=[CONFIG, WEIGHTS, CARD]))
    except Exception as error:  # httpx and the hub each have their own
        raise FileNotFoundError(
            f"Expected `source` to be a folder or an id of the hub (owner/name), but found no folder {source}, and "
            f"the hub gave none ({type(error).__name__}); check the name, or go online once."
        ) from error
