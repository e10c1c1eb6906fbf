"""Seeds: the guide's evidence as label maps, computed once for each training image and kept in a file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from tqdm import tqdm

from decomprec._files import written_whole
from decomprec.data.dataset import TaggedRecords
from decomprec.evidence import EvidenceMasks
from decomprec.inference import images_by_seen_size
from decomprec.models.classifiers import PooledClassifier

log = logging.getLogger(__name__)

_AT_ONCE = 32
"""Images in memory; those of one size go through the guide together."""


class SeedFile(Sequence[Tensor]):
    """Label maps of any sizes in one file, each read when it is asked for, in any process.

    Args:
        folder: where `write` has put the label maps, or will.
        count: of the label maps.

    Examples:
        >>> import tempfile
        >>> seeds = SeedFile(Path(tempfile.mkdtemp()), count=2)
        >>> seeds.write(iter([torch.zeros(2, 3, dtype=torch.uint8), torch.ones(1, 1, dtype=torch.uint8)]), key="a")
        >>> len(seeds), seeds[0].shape, seeds[1], seeds.key
        (2, torch.Size([2, 3]), tensor([[1]], dtype=torch.uint8), 'a')
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self._count = count
        self._index: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def _files(self) -> tuple[Path, Path]:
        return self.folder / "seeds.bin", self.folder / "seeds.npz"

    @property
    def key(self) -> str | None:
        """What `write` was told that the label maps depend on; None if there are none."""
        index = self._files[1]
        return str(np.load(index)["key"]) if index.is_file() else None

    def write(self, seeds: Iterator[Tensor], key: str) -> None:
        """Write all label maps, each (h, w) and of one dtype, as they come; the index is written last."""
        values, index = self._files
        sizes, dtype = [], np.dtype(np.uint8)
        with written_whole(values) as partial, partial.open("wb") as file:
            for labels in seeds:
                array = labels.cpu().numpy()
                sizes.append(array.shape)
                dtype = array.dtype
                file.write(array.tobytes())
        with written_whole(index) as partial:
            np.savez(partial, sizes=np.array(sizes), dtype=dtype.str, key=key)

    def remove(self) -> None:
        """Delete the files."""
        for file in self._files:
            file.unlink(missing_ok=True)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]  # no slices
        values, where = self._files
        if self._index is None:
            known = np.load(where)
            self.dtype = np.dtype(str(known["dtype"]))
            self._index = known["sizes"], np.concatenate([[0], known["sizes"].prod(axis=1).cumsum()])
        sizes, starts = self._index
        # Opened anew each time: a map that is kept open is copied whole into every process that loads images.
        part = np.fromfile(
            values, self.dtype, count=sizes[index].prod(), offset=int(starts[index]) * self.dtype.itemsize
        )
        return torch.from_numpy(part).view(*sizes[index].tolist())


class ComputeSeeds(Callback):
    """Before the training, compute the seeds of all training images; after it, delete them.

    Of several processes one computes, and the others wait. A run that is resumed takes what is there.

    Args:
        file: gets the seeds.
        evidence: gives them.
        classifier: whose evidence it is, to tell seeds of another training apart.
        images: whose seeds they are.
        size: short side at which the classifier sees the images, in pixels.
    """

    def __init__(
        self,
        file: SeedFile,
        evidence: EvidenceMasks,
        classifier: PooledClassifier,
        images: TaggedRecords,  # type: ignore[type-arg]  # of any records
        size: int,
    ) -> None:
        self.file = file
        self.evidence = evidence
        self.classifier = classifier
        self.images = images
        self.size = size

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Compute what is not there."""
        if trainer.is_global_zero:
            key = hashlib.sha256(self.images.tags.numpy().tobytes())
            key.update(self.classifier.head.weight.detach().cpu().numpy().tobytes())
            if self.file.key != key.hexdigest():
                evidence = self.evidence.to(trainer.strategy.root_device)
                found = seeds_of_images(evidence, self.images, self.size)
                bar = tqdm(found, "seeds", len(self.images), unit="image", leave=False, disable=None)
                self.file.write(iter(bar), key.hexdigest())
        trainer.strategy.barrier()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Delete the files."""
        if trainer.is_global_zero:
            self.file.remove()


def seeds_of_images(
    evidence: EvidenceMasks,
    images: TaggedRecords,  # type: ignore[type-arg]  # of any records
    size: int,
) -> Iterator[Tensor]:
    """Seeds (h, w) of each image of a data set in order, as large as the classifier sees it.

    Args:
        evidence: gives the seeds; on any device.
        images: read before their transform, one after the other.
        size: short side at which the classifier sees them, in pixels.
    """
    device = evidence.decoder.weights.device
    for start in range(0, len(images), _AT_ONCE):
        indices = range(start, min(start + _AT_ONCE, len(images)))
        found: dict[int, Tensor] = {}
        for places, seen in images_by_seen_size([images.original(i) for i in indices], size, most=8):
            chosen = [indices[place] for place in places]
            seeds = evidence.seeds(seen.to(device), images.tags[chosen].to(device))
            found.update(zip(chosen, seeds, strict=True))
        yield from (found[i] for i in indices)
