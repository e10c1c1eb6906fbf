"""Ways from JPEG files to augmented batches on the device."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import kornia.augmentation as K
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from decomprec.data import Record, TaggedImages, collate, train_transform
from decomprec.data.image_io import read_image
from decomprec.data.samples import Transform, make_item

Batch = dict[str, Any]

COUNT = 128
ENDLESS = 10**9  # the loader's one epoch: its workers are never started anew
WORKERS = {"1 worker": 1, "2 workers": 2}


@cache
def photographs(side: int) -> tuple[Record, ...]:
    """JPEG files of quality 85, as smooth as photographs: 224 pixels high and wide they take 15 kB, as the dogs' do."""
    folder = Path(tempfile.mkdtemp(prefix="photographs"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    records = []
    for i in range(COUNT):
        coarse = Image.fromarray(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) + rng.normal(0, 6, (side, side, 1))
        path = folder / f"{i}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=85)
        records.append(Record(path, ("dog",) if i % 2 else (), path.stem))
    return tuple(records)


class Images(Dataset[Batch]):
    """Items as of `TaggedImages` from any way to read an image (3, H, W), uint8, by its number."""

    def __init__(self, read: Callable[[int], Tensor], transform: Transform) -> None:
        self.read = read
        self.transform = transform

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Batch:
        return make_item(self.read(index), torch.tensor([index % 2]), str(index), transform=self.transform)


def read_reduced(side: int, size: int, index: int) -> Tensor:
    """Decoded to no more than is cropped out of it, which JPEG does by halves."""
    return read_image(photographs(side)[index].image, most_pixels=max(size, side // 2) ** 2)


def decoded(side: int) -> list[Tensor]:
    return [read_image(record.image) for record in photographs(side)]


def batches(way: str, side: int, size: int, batch: int, device: str) -> Generator[Batch]:
    """Batches without end, of images `side` pixels high and wide as files, `size` as the networks see them."""
    if way == "on the device":
        yield from augmented_on_device(side, size, batch, device)
        return
    transform = train_transform(size)
    images = TaggedImages(photographs(side), ("dog",), transform=transform)
    dataset: Dataset[Batch] = images.in_memory() if way == "resident" else images
    if way == "reduced decode":
        dataset = Images(partial(read_reduced, side, size), transform)
    chosen = RandomSampler(
        range(COUNT), replacement=True, num_samples=ENDLESS, generator=torch.Generator().manual_seed(0)
    )
    pinned = device == "cuda"
    loader = DataLoader(
        dataset, batch, sampler=chosen, num_workers=WORKERS.get(way, 0), pin_memory=pinned, collate_fn=collate
    )
    for items in loader:
        yield {key: items[key].to(device, non_blocking=pinned) for key in ("image", "tags")}


def augmented_on_device(side: int, size: int, batch: int, device: str) -> Iterator[Batch]:
    """Decoded images stay on the device, where each is augmented by separate draws, as `train_transform` does."""
    pixels = torch.stack(decoded(side)).to(device)
    tags = torch.arange(COUNT, device=device)[:, None] % 2
    augment = K.AugmentationSequential(
        K.RandomResizedCrop((size, size), scale=(0.6, 1.0)), K.RandomHorizontalFlip(), K.ColorJiggle(0.2, 0.2, 0.2)
    )
    while True:
        chosen = torch.randint(COUNT, (batch,), device=device)
        yield {"image": augment(pixels[chosen].float() / 255).clamp(0, 1), "tags": tags[chosen].float()}
