"""Writing the results of `decomprec predict` while the next images are segmented."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Self

from decomprec.cli.predict_outputs import Outputs

if TYPE_CHECKING:
    from torch import Tensor

    from decomprec.trained_model import Prediction

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
WRITTEN_AT_ONCE = 8
"""Images in memory that are segmented and wait to be written."""


class Writer:
    """Writes the files of images in threads; few images, and few pixels, wait at a time.

    Args:
        outputs: which files.
        on_error: is called with the index of an image that can't be written, and the error. A full disk is raised: the
            others can't be written either.
    """

    def __init__(self, outputs: Outputs, on_error: Callable[[int, Exception], None]) -> None:
        import torch

        self._outputs = outputs
        self._on_error = on_error
        self._waiting: deque[tuple[int, int, Future[None]]] = deque()
        self._threads = ThreadPoolExecutor(
            min(4, os.cpu_count() or 1), initializer=torch.set_num_threads, initargs=(1,)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._threads:
            while self._waiting and kind is None:
                self._finish()

    def add(self, index: int, name: str, result: Prediction, fingerprint: str, parts: Tensor | None) -> None:
        """Write the files of an image, see `Outputs.write`; waits until there is room."""
        from decomprec.batching import IMAGE_PIXELS

        if len(self._waiting) == WRITTEN_AT_ONCE:
            self._finish()
        written = self._threads.submit(self._outputs.write, name, result, fingerprint, parts)
        self._waiting.append((index, result.image[0].numel(), written))
        while sum(pixels for _, pixels, _ in self._waiting) > IMAGE_PIXELS:
            self._finish()

    def _finish(self) -> None:
        index, _, written = self._waiting.popleft()
        try:
            written.result()
        except OSError as error:
            if error.errno in _FULL:
                raise
            self._on_error(index, error)
