"""Batches for training and validation."""

from collections.abc import Iterator

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from .items import Item, collate


class TaggedDataModule(LightningDataModule):
    """Serves a training set (tags only) and a validation set.

    The training set is shuffled by `seed`, and its last, incomplete batch is left out. Where several processes train,
    each gets every R-th picture of the one order, so that their batches together are the batch that one process would
    have at R times the batch size.

    Args:
        train_set: Items as of `TaggedImages`, without masks.
        val_set: Items as of `TaggedImages`, with or without masks.
        batch_size: Pictures in a batch, of each process.
        num_workers: Processes that load.
        seed: Seeds the shuffling, together with the number of the epoch.

    Raises:
        ValueError: If the training set holds masks or less than one batch, or the sets' classes differ.

    Examples:
        >>> from decomprec.data import SyntheticScenes
        >>> data = TaggedDataModule(SyntheticScenes(6, size=16), SyntheticScenes(2, size=16, seed=1), batch_size=4)
        >>> [batch["image"].shape for batch in data.train_dataloader()]
        [torch.Size([4, 3, 16, 16])]
    """

    def __init__(
        self,
        train_set: Dataset[Item],
        val_set: Dataset[Item],
        batch_size: int,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if getattr(train_set, "masks", False):
            raise ValueError("Expected `train_set` to hold tags only, but got masks; build it with masks=False.")
        count = len(train_set)  # type: ignore[arg-type]
        if not 1 <= batch_size <= count:
            raise ValueError(
                f"Expected `batch_size` to be 1 to {count}, the size of `train_set`, but got {batch_size}."
            )
        names = [getattr(dataset, "class_names", None) for dataset in (train_set, val_set)]
        if None not in names and names[0] != names[1]:
            raise ValueError(f"Expected both sets to have the same `class_names`, but got {names}.")
        self.train_set = train_set
        self.val_set = val_set
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed

    def train_dataloader(self) -> DataLoader[Item]:
        """Shuffled batches of tagged pictures.

        Raises:
            ValueError: If several processes train and the training set holds less than a batch for each.
        """
        return self._loader(self.train_set, train=True)

    def val_dataloader(self) -> DataLoader[Item]:
        """All validation pictures in order."""
        return self._loader(self.val_set, train=False)

    def _loader(self, dataset: Dataset[Item], *, train: bool) -> DataLoader[Item]:
        shares = (self.trainer and self.trainer.distributed_sampler_kwargs) or {"num_replicas": 1, "rank": 0}
        count = len(dataset)  # type: ignore[arg-type]
        if train and self.batch_size * shares["num_replicas"] > count:
            raise ValueError(
                f"Expected `batch_size` times the {shares['num_replicas']} processes to be at most {count}, the size "
                f"of `train_set`, but got a `batch_size` of {self.batch_size}."
            )
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=EpochShuffle(dataset, self.seed, **shares) if train else None,
            # Seeds the workers; drawn from torch's own generator, the seeds would disturb the training's.
            generator=torch.Generator().manual_seed(self.seed + shares["rank"]),
            drop_last=train,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            collate_fn=collate,
        )


class EpochShuffle(DistributedSampler[Item]):
    """A process's share of a random order that depends on seed and epoch alone, so that a resumed run goes on in it.

    Lightning calls `set_epoch`, and leaves a `DistributedSampler` as it is; its own would be seeded by what was seeded
    last, which differs between the processes.
    """

    def __init__(self, dataset: Dataset[Item], seed: int, num_replicas: int = 1, rank: int = 0) -> None:
        super().__init__(dataset, num_replicas, rank, seed=seed, drop_last=True)

    def __iter__(self) -> Iterator[int]:  # type: ignore[override]  # torch says an iterator of items
        """The indices of this epoch; without `set_epoch`, another order comes next."""
        indices: Iterator[int] = super().__iter__()  # type: ignore[assignment]
        self.epoch += 1
        return indices
