"""The Oxford-IIIT Pet data set, through torchvision."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets import OxfordIIITPet

from decomprec.data.checks import OnError, choose_classes
from decomprec.data.dataset import TaggedImages
from decomprec.data.paths import below, read_text
from decomprec.data.record import Record
from decomprec.data.samples import IGNORE, Transform

_SPLITS = {"train": "trainval", "val": "test"}
_SPECIES = {"1": "cat", "2": "dog"}
_PET, _BORDER = 1, 3


class OxfordPets(TaggedImages):
    """Cats and dogs, with masks from the trimaps: their border is 255 (ignore).

    Args:
        root: the folder that holds ``oxford-iiit-pet``, or that it is downloaded to; or one with its ``images`` and
            ``annotations``.
        split: "train" (trainval of the original) or "val" (its test).
        classes: "cat", "dog" or both; the other animal is then background.
        download: whether to download missing files.
        masks: whether samples hold a ``mask``, see `TaggedImages`.
        transform: joint transform of image and mask, see `TaggedImages`.
        on_error: "raise" or "skip" images that can't be read, see `TaggedImages`.

    Raises:
        FileNotFoundError: if the data are missing, and could not be downloaded.
        ValueError: if `split` or `classes` is unknown, or the list of images is damaged.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        classes: Sequence[str] = ("cat", "dog"),
        download: bool = False,
        masks: bool = False,
        transform: Transform | None = None,
        on_error: OnError = "raise",
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(f"Expected `split` to be one of {list(_SPLITS)}, but got {split!r}.")
        class_names = choose_classes(classes, tuple(_SPECIES.values()), "Oxford-IIIT Pet")
        base = Path(root) if is_pets(Path(root)) else Path(root) / "oxford-iiit-pet"
        try:
            if base != Path(root):
                OxfordIIITPet(root, split=_SPLITS[split], download=download)
        except ValueError:
            pass  # a damaged list: the error below names the line
        except (RuntimeError, OSError) as error:
            raise FileNotFoundError(
                f"Expected Oxford-IIIT Pet in {base}, but got: {error} Pass download=True, or unpack "
                "images.tar.gz and annotations.tar.gz of https://www.robots.ox.ac.uk/~vgg/data/pets there."
            ) from error
        records = []
        listed = base / "annotations" / f"{_SPLITS[split]}.txt"
        for number, line in enumerate(read_text(listed).splitlines(), start=1):
            cells = line.split()
            if len(cells) != 4 or cells[2] not in _SPECIES:
                raise ValueError(
                    f"Expected line {number} of {listed} to be a name, its class, its species (1 or 2) and its breed, "
                    f"but got {line[:80]!r}."
                )
            name, tag = cells[0], _SPECIES[cells[2]]
            records.append(
                Record(
                    image=below(base, f"images/{name}.jpg"),
                    tags=(tag,) if tag in class_names else (),
                    name=name,
                    mask=below(base, f"annotations/trimaps/{name}.png") if masks else None,
                )
            )
        super().__init__(
            records, class_names, masks=masks, decode_mask=self._from_trimap, transform=transform, on_error=on_error
        )

    def _from_trimap(self, trimap: Tensor, record: Record) -> Tensor:
        labels = torch.zeros(trimap.shape, dtype=torch.int64)
        if record.tags:
            labels[trimap == _PET] = self.class_names.index(record.tags[0]) + 1
            labels[trimap == _BORDER] = IGNORE
        return labels


def is_pets(folder: Path) -> bool:
    """Tell whether a folder holds the images and trimaps of Oxford-IIIT Pet itself."""
    listed = [folder / "annotations" / f"{name}.txt" for name in _SPLITS.values()]
    return (folder / "annotations" / "trimaps").is_dir() and all(file.is_file() for file in listed)
