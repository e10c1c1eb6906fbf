"""Reading picture and mask files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

_EXIF_ORIENTATION = 0x0112
_QUARTER_TURNS = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def picture_files(folder: Path) -> list[Path]:
    """All pictures in a folder and below it, in order; hidden files are passed over.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("b.JPG", "a.png", ".c.png", "d.txt"):
        ...     (folder / name).touch()
        >>> [file.name for file in picture_files(folder)]
        ['a.png', 'b.JPG']
    """
    files = (file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(file for file in files if not file.name.startswith("."))


def read_image(path: Path) -> Tensor:
    """Read a picture as RGB, turned as its EXIF orientation says.

    Greyscale, palette, CMYK and 16-bit greyscale pictures are converted; an alpha channel is dropped.

    Args:
        path: Any file that Pillow reads.

    Returns:
        (3, H, W), uint8.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no picture, or a damaged or excessively large one.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "grey.png"
        >>> Image.new("L", (4, 2), 7).save(path)
        >>> read_image(path).shape, read_image(path).unique()
        (torch.Size([3, 2, 4]), tensor([7], dtype=torch.uint8))
    """
    with _opened(path) as file:
        picture = ImageOps.exif_transpose(file)
        if picture.mode.startswith("I"):
            # Pillow clips 16-bit values to 255 instead of scaling them.
            picture = Image.fromarray((np.asarray(picture) / 257).round().clip(0, 255).astype(np.uint8))
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous()


def read_labels(path: Path) -> Tensor:
    """Read a mask's raw values (palette indices in VOC's files).

    Args:
        path: A single-channel 8-bit file.

    Returns:
        (H, W), uint8.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no picture, or has several channels.
    """
    with _opened(path) as file:
        return _labels(file, path)


def read_mask(path: Path, image_path: Path) -> Tensor:
    """Read a mask's raw values (palette indices in VOC's files), in the same orientation as its picture.

    A mask that has the size of the stored, unturned picture is turned with it; one that has the size of the
    turned picture stays as it is (so does any mask of a picture turned by half a turn or mirrored).

    Args:
        path: A single-channel 8-bit file.
        image_path: The picture that it belongs to.

    Returns:
        (H, W), uint8.

    Raises:
        ValueError: If the file has several channels or another size than the picture.
    """
    with _opened(image_path) as picture:
        turn = _QUARTER_TURNS.get(picture.getexif().get(_EXIF_ORIENTATION, 1))
        stored = picture.size
    shown = stored if turn is None else stored[::-1]
    with _opened(path) as file:
        mask: Image.Image = file
        if turn is not None and mask.size == stored and stored != shown:
            mask = mask.transpose(turn)
        if mask.size != shown:
            raise ValueError(
                f"Expected mask {path} to have its picture's width and height {shown}, but got {mask.size}."
            )
        return _labels(mask, path)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture, and say which it is if Pillow can't read it, now or while it is decoded."""
    try:
        with Image.open(path) as file:
            yield file
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"Expected {path} to be a picture, but it can't be read: {error}") from error


def _labels(mask: Image.Image, path: Path) -> Tensor:
    if mask.mode not in ("L", "P", "1"):
        raise ValueError(f"Expected mask {path} to have one 8-bit channel, but got mode {mask.mode}.")
    return torch.from_numpy(np.array(mask, dtype=np.uint8))
