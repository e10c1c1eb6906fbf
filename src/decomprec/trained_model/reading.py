"""Any number of image files in batches, read ahead in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from decomprec._memory import release_freed_memory
from decomprec.batching import IMAGE_PIXELS
from decomprec.data.image_io import read_image, stored_size

_LARGE = 1 << 24  # pixels
_PLANNED = 1024  # files that are grouped at a time: a million headers would take minutes before the first image

Plan = Callable[[Sequence[tuple[int, int]]], list[list[int]]]
"""From sizes of images, height and width, to batches of their indices, such as `plan_batches`."""

OnError = Callable[[int, Exception], None]
"""Is called with the index of a file that can't be read, and the error."""


def read_batches(files: Sequence[Path], plan: Plan, on_error: OnError | None = None) -> Iterator[dict[int, Tensor]]:
    """Read images in batches. While one is used, the next is read, unless the images of both are too large for that.

    Args:
        files: images.
        plan: groups some of them by their sizes.
        on_error: None raises errors.

    Yields:
        Images (3, H, W), uint8, by the index of their file.

    Raises:
        ValueError: if a file is no image.
        OSError: if a file can't be read.
    """
    # Each keeps to one core: the others are the networks'.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), initializer=torch.set_num_threads, initargs=(1,)) as threads:
        ahead: deque[tuple[int, dict[int, Future[Tensor]]]] = deque()
        for indices, pixels in _planned(files, plan, threads):
            if ahead and ahead[0][0] + pixels > 2 * IMAGE_PIXELS:
                yield _images(ahead.popleft()[1], files, on_error)
            ahead.append((pixels, {index: threads.submit(read_image, files[index]) for index in indices}))
            if len(ahead) == 2:
                yield _images(ahead.popleft()[1], files, on_error)
        for _, reading in ahead:
            yield _images(reading, files, on_error)


def _planned(files: Sequence[Path], plan: Plan, threads: Executor) -> Iterator[tuple[list[int], int]]:
    """Indices of the files in batches, and the pixels of each batch."""
    for start in range(0, len(files), _PLANNED):
        sizes = list(threads.map(stored_size, files[start : start + _PLANNED]))
        for batch in plan(sizes):
            yield [start + i for i in batch], sum(sizes[i][0] * sizes[i][1] for i in batch)


def _images(reading: dict[int, Future[Tensor]], files: Sequence[Path], on_error: OnError | None) -> dict[int, Tensor]:
    images = {}
    for index in list(reading):
        try:
            images[index] = reading.pop(index).result()
        except (ValueError, OSError, MemoryError) as error:
            if on_error is None:
                raise
            lacking = f"Expected enough memory to read {files[index]}, but there is none; reduce it."
            on_error(index, OSError(lacking) if isinstance(error, MemoryError) else error)
    if any(image[0].numel() > _LARGE for image in images.values()):
        release_freed_memory()  # Pillow's copy, which the thread that read it would keep
    return images
