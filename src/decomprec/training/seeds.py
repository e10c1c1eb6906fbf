"""Seeds: the guide's evidence as label maps, computed once for each training image and kept in a file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from tqdm import tqdm

from decomprec._files import written_whole
from decomprec.batching import images_by_seen_size
from decomprec.data.dataset import TaggedRecords
from decomprec.data.samples import IGNORE
from decomprec.evidence import EvidenceMasks
from decomprec.models.classifiers import PooledClassifier
from decomprec.seeds import class_weights

log = logging.getLogger(__name__)

_MOST_TIMES = 16  # that an image with a true label map is shown in an epoch

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
        >>> seeds.counts(num_classes=3)
        tensor([6, 1, 0])
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

    def counts(self, num_classes: int) -> Tensor:
        """Pixels of each of the first `num_classes` numbers in all label maps."""
        return torch.from_numpy(np.load(self._files[1])["counts"][:num_classes].copy())

    def write(self, seeds: Iterator[Tensor], key: str) -> None:
        """Write all label maps, each (h, w) and of one dtype, as they come; the index is written last."""
        values, index = self._files
        sizes, dtype, counts = [], np.dtype(np.uint8), np.zeros(2**16, np.int64)
        with written_whole(values) as partial, partial.open("wb") as file:
            for labels in seeds:
                array = labels.cpu().numpy()
                sizes.append(array.shape)
                dtype = array.dtype
                counts += np.bincount(array[array >= 0], minlength=len(counts))
                file.write(array.tobytes())
        with written_whole(index) as partial:
            np.savez(partial, sizes=np.array(sizes), dtype=dtype.str, counts=counts, key=key)

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
        # Opened each time: a map that is kept open is copied whole into every process that loads images.
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
        images: TaggedRecords[Any],
        size: int,
    ) -> None:
        self.file = file
        self.evidence = evidence
        self.classifier = classifier
        self.images = images
        self.size = size

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Compute the missing seeds, and give the module the weights that balance the classes."""
        if trainer.is_global_zero:
            key = hashlib.sha256(self.images.tag_table.to_bytes())
            for index, read in self.images.label_maps.items():
                key.update(str(index).encode() + read().numpy().tobytes())
            key.update(self.classifier.head.weight.detach().cpu().numpy().tobytes())
            if self.file.key != key.hexdigest():
                evidence = self.evidence.to(trainer.strategy.root_device)
                found = seeds_of_images(evidence, self.images, self.size)
                bar = tqdm(found, "seeds", len(self.images), unit="image", leave=False, disable=None)
                with trainer.precision_plugin.forward_context():
                    self.file.write(iter(bar), key.hexdigest())
        trainer.strategy.barrier()
        pl_module.seed_weights = class_weights(self.file.counts(len(self.images.class_names) + 1))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Delete the files."""
        if trainer.is_global_zero:
            self.file.remove()


def seeds_of_images(
    evidence: EvidenceMasks,
    images: TaggedRecords[Any],
    size: int,
) -> Iterator[Tensor]:
    """Seeds (h, w) of each image of a data set in order, as large as the classifier sees it.

    Those of an image whose true label map is known are that map, at its own size.

    Args:
        evidence: gives the seeds; on any device.
        images: read before their transform, one after the other.
        size: short side at which the classifier sees them, in pixels.
    """
    device = evidence.decoder.weights.device
    for start in range(0, len(images), _AT_ONCE):
        indices = range(start, min(start + _AT_ONCE, len(images)))
        found = {
            i: known_seeds(images.label_maps[i](), len(images.class_names) + 1)
            for i in indices
            if i in images.label_maps
        }
        others = [i for i in indices if i not in found]
        for places, seen in images_by_seen_size([images.original(i) for i in others], size, most=8):
            chosen = [others[place] for place in places]
            seeds = evidence.seeds(seen.to(device), images.tag_table.dense(chosen).to(device))
            found.update(zip(chosen, seeds, strict=True))
        yield from (found[i] for i in indices)


def known_seeds(label_map: Tensor, num_classes: int) -> Tensor:
    """Seeds of a true label map (H, W), in the form of `decomprec.seeds.seed_labels`: unknown where it is 255.

    Examples:
        >>> known_seeds(torch.tensor([[0, 1, 255]]), num_classes=2)
        tensor([[  0,   1, 255]], dtype=torch.uint8)
        >>> known_seeds(torch.tensor([[0, 1, 255]]), num_classes=300)
        tensor([[ 0,  1, -1]], dtype=torch.int16)
    """
    return label_map.masked_fill(label_map == IGNORE, -1).to(torch.uint8 if num_classes < 256 else torch.int16)


def shown_more_often(count: int, known: Collection[int]) -> list[int]:
    """The images of an epoch by their indices: all of them, and those with a true label map several times.

    Seeds outnumber the few true label maps and are wrong at the same places again and again. Repeated, the label maps
    are half of the epoch, unless each would be shown more than 16 times.

    Args:
        count: of all images.
        known: indices of those with a true label map.

    Examples:
        >>> shown_more_often(6, [3, 5])
        [0, 1, 2, 3, 4, 5, 3, 5]
        >>> len(shown_more_often(332, range(100))), len(shown_more_often(3420, range(100)))
        (432, 4920)
    """
    times = min(_MOST_TIMES, max(1, round((count - len(known)) / len(known)))) if known else 1
    return [*range(count), *(index for index in known for _ in range(times - 1))]
