"""Telling masks, which are drawn in few values, from photographs."""

from collections.abc import Sequence
from pathlib import Path

from decomprec.data.image_io import read_image, read_labels

_LOOKED_AT = 8


def most_values(files: Sequence[Path]) -> int:
    """Count the values, or colours, of the images that may be masks; the largest count of a few of them.

    Those that can't be read are left out; 0 if none can.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> file = Path(tempfile.mkdtemp()) / "mask.png"
        >>> Image.linear_gradient("L").point(lambda value: 255 * (value > 99)).save(file)
        >>> most_values([file])
        2
    """
    chosen = files[:: max(1, len(files) // _LOOKED_AT)][:_LOOKED_AT]
    return max((_values(file) for file in chosen), default=0)


def _values(file: Path) -> int:
    try:
        return len(read_labels(file).unique())
    except (ValueError, OSError):  # no mask of one channel
        pass
    try:
        return read_image(file).flatten(1).unique(dim=1).shape[1]
    except (ValueError, OSError):  # named when it is read
        return 0
