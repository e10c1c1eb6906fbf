"""Synthetic scenes: textured objects of several classes on cluttered backgrounds, with exact masks."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from decomprec.data.samples import Transform, make_item
from decomprec.data.synthetic.drawing import SHAPES, TEXTURES, background, draw_distractor, draw_object

MAX_CLASSES = len(TEXTURES) * len(SHAPES)
_EMPTY_FRACTION = 0.2
_PIXEL_NOISE = 0.02


def scene_class_names(num_classes: int) -> tuple[str, ...]:
    """Name the first `num_classes` combinations of texture and shape.

    Textures and shapes alternate with coprime periods: no combination repeats, and neighbours in the list differ in
    both.

    Examples:
        >>> scene_class_names(4)
        ('striped disc', 'checked square', 'dotted triangle', 'ringed star')
    """
    if not 1 <= num_classes <= MAX_CLASSES:
        raise ValueError(f"Expected `num_classes` to be 1 to {MAX_CLASSES} foreground classes, but got {num_classes}.")
    return tuple(f"{texture} {shape}" for texture, shape in map(_texture_and_shape, range(num_classes)))


def render_scene(
    seed: int, index: int, *, num_classes: int = 4, size: int = 64, max_objects: int = 3
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one scene; the same arguments give the same scene.

    One scene in five has no object, the others 1 to `max_objects` of equally likely classes, each 5 to 30 %
    of the image before others and the border cut it. A class is defined by its texture and its outline. Colours,
    scale, rotation and phase are random, and flat distractors have the same outlines. The arguments are those of
    `SyntheticScenes`; `index` is the number of the scene in the series.

    Returns:
        The image (size, size, 3) uint8 and its label map (size, size) uint8, in which every class that
        occurs covers at least 1 % of the pixels.

    Examples:
        >>> image, labels = render_scene(0, 3, size=32)
        >>> image.shape, labels.shape
        ((32, 32, 3), (32, 32))
    """
    rng = np.random.default_rng([seed, index])
    image = background(rng, size)
    for _ in range(rng.integers(3, 8)):
        draw_distractor(rng, image)
    owner = np.zeros((size, size), dtype=np.uint8)
    labels = [0]
    count = 0 if rng.random() < _EMPTY_FRACTION else int(rng.integers(1, max_objects + 1))
    for label in rng.integers(num_classes, size=count).tolist():
        if draw_object(rng, image, owner, len(labels), *_texture_and_shape(label)):
            labels.append(label + 1)
    image += _PIXEL_NOISE * rng.standard_normal(image.shape, dtype=np.float32)
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8), np.array(labels, dtype=np.uint8)[owner]


class SyntheticScenes(Dataset[dict[str, Any]]):
    """Scenes drawn by seed: nothing to download, exact masks, several tags per image.

    All scenes are drawn on construction (about 1 ms each at 64 pixels) and kept as uint8. Scene `i` of a seed
    is the same for any `num_images`. Give training and validation sets different seeds.

    Args:
        num_images: number of scenes.
        num_classes: foreground classes (K - 1), 1 to 20.
        size: height and width in pixels, at least 16.
        seed: selects a series of scenes.
        masks: whether samples hold a ``mask``.
        max_objects: most objects in a scene.
        transform: joint transform of image and mask, as in ``torchvision.transforms.v2``.

    Raises:
        ValueError: if an argument is out of range.

    Examples:
        >>> scenes = SyntheticScenes(8, num_classes=4, size=32, seed=1, masks=True)
        >>> item = scenes[5]
        >>> item["name"], item["image"].shape, item["tags"].shape, item["mask"].shape
        ('scene_000005', torch.Size([3, 32, 32]), torch.Size([4]), torch.Size([32, 32]))
    """

    def __init__(
        self,
        num_images: int,
        num_classes: int = 4,
        size: int = 64,
        seed: int = 0,
        masks: bool = False,
        max_objects: int = 3,
        transform: Transform | None = None,
    ) -> None:
        self.class_names = scene_class_names(num_classes)
        for argument, value, least in (
            ("num_images", num_images, 1),
            ("size", size, 16),
            ("seed", seed, 0),
            ("max_objects", max_objects, 1),
        ):
            if value < least:
                raise ValueError(f"Expected `{argument}` to be at least {least}, but got {value}.")
        self.masks = masks
        self.transform = transform
        scenes = [
            render_scene(seed, index, num_classes=num_classes, size=size, max_objects=max_objects)
            for index in range(num_images)
        ]
        self._images = torch.from_numpy(np.stack([image for image, _ in scenes])).permute(0, 3, 1, 2)
        self._label_maps = torch.from_numpy(np.stack([labels for _, labels in scenes]))
        self.tags = torch.stack([_tags(labels, num_classes) for labels in self._label_maps])
        """(num_images, K-1), float32, {0, 1}, of all scenes."""

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        return make_item(
            self._images[index].contiguous(),
            self.tags[index].clone(),
            f"scene_{index:06d}",
            mask=self._label_maps[index].long() if self.masks else None,
            transform=self.transform,
        )


def _texture_and_shape(label: int) -> tuple[str, str]:
    return TEXTURES[label % len(TEXTURES)], SHAPES[label % len(SHAPES)]


def _tags(label_map: Tensor, num_classes: int) -> Tensor:
    return (torch.bincount(label_map.flatten().long(), minlength=num_classes + 1)[1:] > 0).float()
