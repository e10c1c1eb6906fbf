"""An image file with its tags, and what the values of its mask mean."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from decomprec.data.samples import IGNORE

_MOST_SHOWN = 10  # values in a message


@dataclass(frozen=True, slots=True)  # no dict for each of a million
class Record:
    """An image file, its tags, and its mask file.

    Attributes:
        image: image file.
        tags: names of the classes in the image; empty if there are none.
        name: name of the image.
        mask: mask file, or None.
    """

    image: Path
    tags: tuple[str, ...]
    name: str
    mask: Path | None = None


MaskDecoder = Callable[[Tensor, Record], Tensor]
"""Maps the values of a mask file (H, W), uint8, and its record to a label map (H, W), int64."""


class MaskValues:
    """A mask decoder that looks up every value in a table.

    Args:
        labels: the label of every value that may occur. 255 means ignore unless it is given.

    Raises:
        ValueError: when called with a value that has no label.

    Examples:
        >>> decode = MaskValues({0: 0, 7: 1})
        >>> decode(torch.tensor([[0, 7, 255]], dtype=torch.uint8), Record(Path("a.jpg"), (), "a"))
        tensor([[  0,   1, 255]])
    """

    def __init__(self, labels: Mapping[int, int]) -> None:
        self.table = torch.full((256,), -1)
        for value, label in {IGNORE: IGNORE, **labels}.items():
            if value < len(self.table):  # masks have 8 bits
                self.table[value] = label

    @classmethod
    def from_names(cls, names: Sequence[str], class_names: Sequence[str]) -> "MaskValues":
        """Decode value `i` as the class ``names[i]``; names that are not in `class_names` are background.

        Examples:
            >>> decode = MaskValues.from_names(("background", "cat", "dog"), ("dog",))
            >>> decode(torch.tensor([[0, 1, 2]], dtype=torch.uint8), Record(Path("a.jpg"), (), "a"))
            tensor([[0, 0, 1]])
        """
        labels = {name: label for label, name in enumerate(class_names, 1)}
        return cls({value: labels.get(name, 0) for value, name in enumerate(names)})

    def __call__(self, values: Tensor, record: Record) -> Tensor:
        """Return the label map (H, W), int64, of mask values (H, W), integers."""
        indices = values.long()
        known = (indices >= 0) & (indices < len(self.table))
        labels = torch.where(known, self.table[indices * known], -1)
        if (labels < 0).any():
            unknown = sorted(values[labels < 0].unique().tolist())
            shown = unknown[:_MOST_SHOWN]
            raise ValueError(
                f"Expected mask {record.mask} to hold known values, but got {shown}{', ...' * (shown != unknown)}; "
                "write 0 for the background and the number of each class, without smoothing or JPEG, or name the "
                "values in classes.txt, background first."
            )
        return labels
