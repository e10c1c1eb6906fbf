"""Telling masks, which are drawn in few values, from photographs."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from decomprec.data.image_io import read_image, read_labels

_LOOKED_AT = 8
_COUNTED = 256
_MOST_DRAWN = 32  # values or colours of a mask; a photograph has more


def most_values(files: Sequence[Path], enough: int | None = None) -> int:
    """Count the values, or colours, of the images that may be masks; the largest count of a few of them.

    Those that can't be read are left out; 0 if none can.

    Args:
        files: of the images.
        enough: a larger count ends the search.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> file = Path(tempfile.mkdtemp()) / "mask.png"
        >>> Image.linear_gradient("L").point(lambda value: 255 * (value > 99)).save(file)
        >>> most_values([file])
        2
    """
    chosen = files[:: max(1, len(files) // _LOOKED_AT)][:_LOOKED_AT]
    most = 0
    for file in chosen:
        most = max(most, _values(file))
        if enough is not None and most > enough:
            break
    return most


def are_drawn(files: Sequence[Path]) -> bool:
    """Tell whether images have few values each, as masks have; looks at a few of them.

    Examples:
        >>> are_drawn([])
        False
    """
    return 0 < most_values(files, _MOST_DRAWN) <= _MOST_DRAWN


def _values(file: Path) -> int:
    try:
        return len(read_labels(file).unique())
    except (ValueError, OSError):  # no mask of one channel
        pass
    try:
        pixels = Image.fromarray(read_image(file).permute(1, 2, 0).numpy())
    except (ValueError, OSError):  # named when it is read
        return 0
    colours = pixels.getcolors(_COUNTED)
    return _COUNTED if colours is None else len(colours)
