"""Batches for training and validation."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import DataLoader, Dataset, Subset
from torch.utils.data.distributed import DistributedSampler

from decomprec.data.checks import warn_of_constant_tags
from decomprec.data.leaks import warn_of_shared_images
from decomprec.data.samples import Item, collate
from decomprec.data.tags import tag_table
from decomprec.protocols import TaggedDataset

_FEWEST = 64  # images in a validation


class TaggedDataModule(LightningDataModule):
    """Serves batches of a training set (tags only) and of a part of a validation set, for validations between epochs.

    The training set is shuffled by `seed`, and its last, incomplete batch is dropped. With R processes, each takes
    every R-th image of the same order. Their batches together are the batch of a single process at R times the batch
    size.

    A transform's random draws depend on `seed`, the epoch and the image only, if it draws from the global generators of
    torch (on the CPU), NumPy and Python. Training images are therefore the same for any number of workers and
    processes, and in a resumed run.

    The part of the validation set is an eighth of the training set's size, or 64 images if that is more: enough to see
    how the training goes, for a small share of its time. Its images are spread evenly over the set.

    Warns of classes that all or none of the training images have: a guide can't learn them.

    Args:
        train_set: a data set such as `TaggedImages`, without masks.
        val_set: a data set such as `TaggedImages`, with or without masks.
        batch_size: images per step and process.
        num_workers: worker processes that load.
        seed: seeds the shuffling and, with the epoch, the transforms.
        accumulate: parts that each batch is served in, for a trainer with as many `accumulate_grad_batches`. The
            images of each step are the same for any number of parts.

    Raises:
        ValueError: if the training set holds masks or less than one batch, the sets' classes differ, or the batch can't
            be cut into equal parts.

    Examples:
        >>> from decomprec.data import SyntheticScenes
        >>> data = TaggedDataModule(SyntheticScenes(6, size=16), SyntheticScenes(2, size=16, seed=1), batch_size=4)
        >>> [batch["image"].shape for batch in data.train_dataloader()]
        [torch.Size([4, 3, 16, 16])]
    """

    def __init__(
        self,
        train_set: TaggedDataset,
        val_set: TaggedDataset,
        batch_size: int,
        num_workers: int = 0,
        seed: int = 0,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        if getattr(train_set, "masks", False):
            raise ValueError("Expected `train_set` to hold tags only, but got masks; build it with masks=False.")
        count = len(train_set)
        if not 1 <= batch_size <= count:
            raise ValueError(
                f"Expected `batch_size` to be 1 to {count}, the size of `train_set`, but got {batch_size}."
            )
        if accumulate < 1 or batch_size % accumulate:
            raise ValueError(
                f"Expected `accumulate` to cut the `batch_size` of {batch_size} into equal parts, but got {accumulate}."
            )
        names = [getattr(dataset, "class_names", None) for dataset in (train_set, val_set)]
        if None not in names and names[0] != names[1]:
            raise ValueError(f"Expected both sets to have the same `class_names`, but got {names}.")
        if names[0] is not None and (hasattr(train_set, "tag_table") or hasattr(train_set, "tags")):
            warn_of_constant_tags(tag_table(train_set), names[0])
        warn_of_shared_images(train_set, val_set)
        self.train_set = train_set
        self.val_set = val_set
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.accumulate = accumulate
        self._epoch = 0

    def setup(self, stage: str) -> None:
        """Start with the first epoch, unless a checkpoint is loaded."""
        self._epoch = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the next epoch and the images per step of all processes."""
        # Not `current_epoch`, which is increased after the checkpoint is written.
        trainer: Any = self.trainer  # Lightning's type of `current` lacks `processed`
        done = trainer.fit_loop.epoch_progress.current.processed if trainer else 0
        return {"epoch": done, "batch": self.batch_size * self._shares()["num_replicas"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at a checkpoint's epoch, as workers load ahead before Lightning sets the sampler's epoch.

        Raises:
            ValueError: if all processes together would take another number of images per step than before.
        """
        processes, batch = self._shares()["num_replicas"], state_dict.get("batch")
        if batch is not None and batch != self.batch_size * processes:
            raise ValueError(
                f"Expected to resume with steps of {batch} images, but got a `batch_size` of {self.batch_size} in "
                f"{processes} process{'es' * (processes > 1)}; choose both so that their product is {batch}."
            )
        self._epoch = state_dict["epoch"]

    def train_dataloader(self) -> DataLoader[Item]:
        """Return shuffled batches of tagged images.

        Raises:
            ValueError: if the training set holds less than a batch for each process.
        """
        return self._loader(self.train_set, train=True)

    def val_dataloader(self) -> DataLoader[Item]:
        """Return the validation images of the class docstring, each once and in order.

        Raises:
            ValueError: if there are fewer images than processes.
        """
        return self._loader(self.validated, train=False)

    @property
    def validated(self) -> TaggedDataset:
        """The part of the validation set that is used."""
        count, most = len(self.val_set), max(_FEWEST, len(self.train_set) // 8)
        if count <= most:
            return self.val_set
        part: Any = Subset(self.val_set, [i * count // most for i in range(most)])  # type: ignore[arg-type]  # no base needed
        return part

    def _shares(self) -> dict[str, int]:
        return (self.trainer and self.trainer.distributed_sampler_kwargs) or {"num_replicas": 1, "rank": 0}

    def _loader(self, dataset: TaggedDataset, *, train: bool) -> DataLoader[Item]:
        shares = self._shares()
        count = len(dataset)
        if train and self.batch_size * shares["num_replicas"] > count:
            raise ValueError(
                f"Expected `batch_size` times the {shares['num_replicas']} processes to be at most {count}, the size "
                f"of `train_set`, but got a `batch_size` of {self.batch_size}."
            )
        options: dict[str, Any] = {
            "batch_size": self.batch_size // self.accumulate,
            "num_workers": self.num_workers,
            "pin_memory": torch.cuda.is_available(),
            "collate_fn": collate,
            # Otherwise the loader draws a seed for its workers from torch's global generator.
            "generator": torch.Generator(),
        }
        if not train and shares["num_replicas"] > 1:
            batches = EvenBatches(dataset, options.pop("batch_size"), **shares)
            del options["collate_fn"]
            return DataLoader(_Batches(dataset), sampler=batches, batch_size=None, **options)
        if not train:
            return DataLoader(dataset, **options)  # type: ignore[arg-type]  # torch's base is not needed
        sampler = _EpochAndIndex(dataset, self.seed, batch_size=self.batch_size, **shares)
        sampler.set_epoch(self._epoch)
        return DataLoader(_Seeded(dataset, self.seed), sampler=sampler, drop_last=True, **options)


class EpochShuffle(DistributedSampler[int]):
    """A process's share of a random order that depends on seed and epoch only, which a resumed run continues.

    An incomplete batch is dropped. Lightning calls `set_epoch` and keeps a `DistributedSampler`; it would seed its own
    by the latest global seed, which differs between processes.
    """

    def __init__(
        self, dataset: TaggedDataset, seed: int, num_replicas: int = 1, rank: int = 0, batch_size: int = 1
    ) -> None:
        super().__init__(dataset, num_replicas, rank, seed=seed, drop_last=True)  # type: ignore[arg-type]  # torch's base is not needed
        self.num_samples -= self.num_samples % batch_size
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        """Iterate over the indices of this epoch; without `set_epoch`, the next iteration has another order."""
        indices = super().__iter__()
        self.epoch += 1
        return indices


class _EpochAndIndex(EpochShuffle):
    """Gives the epoch with each index: workers that load ahead can't know it otherwise."""

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]  # more than the index
        epoch = self.epoch
        return ((epoch, index) for index in super().__iter__())


class EvenBatches(DistributedSampler[list[int]]):
    """A process's share of all indices in order, each once, in the same number of batches as every other process.

    The processes wait for each other at every batch. Lightning's sampler repeats images to fill up the last one, which
    then count twice. Here batches differ in size instead: with a `batch_size` of 1, a process may get a batch of 2.

    Raises:
        ValueError: if there are fewer images than processes.
    """

    def __init__(self, dataset: TaggedDataset, batch_size: int, num_replicas: int, rank: int) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle=False)  # type: ignore[arg-type]  # torch's base is not needed
        count = len(dataset)
        if count < num_replicas:
            raise ValueError(
                f"Expected `val_set` to hold an image for each of the {num_replicas} processes, but got {count}."
            )
        self.steps = min(-(-count // (num_replicas * batch_size)), count // num_replicas)
        self.indices = range(rank, count, num_replicas)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        """Iterate over the indices of each batch."""
        return (part.tolist() for part in np.array_split(self.indices, self.steps))


class _Batches(Dataset[Item]):
    """Batches by lists of indices."""

    def __init__(self, dataset: TaggedDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, indices: list[int]) -> Item:
        return collate([self.dataset[index] for index in indices])


class _Seeded(Dataset[Item]):
    """Samples whose random draws depend on seed, epoch and index only, and leave the global generators as they were."""

    def __init__(self, dataset: TaggedDataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, drawn: tuple[int, int]) -> Item:
        words = np.random.SeedSequence([self.seed, *drawn]).generate_state(4)
        with isolate_rng(include_cuda=False):
            torch.default_generator.manual_seed(int(words[0]) << 32 | int(words[1]))
            np.random.seed(words[2])  # noqa: NPY002  # what a transform may draw from
            random.seed(int(words[3]))
            return self.dataset[drawn[1]]
