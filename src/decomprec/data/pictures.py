"""Reading picture and mask files."""

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


def read_image(path: Path) -> Tensor:
    """Read a picture as RGB, turned as its EXIF orientation says.

    Greyscale, palette, CMYK and 16-bit greyscale pictures are converted; an alpha channel is dropped.

    Args:
        path: Any file that Pillow reads.

    Returns:
        (3, H, W), uint8.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "grey.png"
        >>> Image.new("L", (4, 2), 7).save(path)
        >>> read_image(path).shape, read_image(path).unique()
        (torch.Size([3, 2, 4]), tensor([7], dtype=torch.uint8))
    """
    with Image.open(path) as file:
        picture = ImageOps.exif_transpose(file)
        if picture.mode.startswith("I"):
            # Pillow clips 16-bit values to 255 instead of scaling them.
            picture = Image.fromarray((np.asarray(picture) / 257).round().clip(0, 255).astype(np.uint8))
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous()


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
    with Image.open(image_path) as picture:
        turn = _QUARTER_TURNS.get(picture.getexif().get(_EXIF_ORIENTATION, 1))
        stored = picture.size
    shown = stored if turn is None else stored[::-1]
    with Image.open(path) as file:
        if file.mode not in ("L", "P", "1"):
            raise ValueError(f"Expected mask {path} to have one 8-bit channel, but got mode {file.mode}.")
        mask: Image.Image = file
        if turn is not None and mask.size == stored and stored != shown:
            mask = mask.transpose(turn)
        if mask.size != shown:
            raise ValueError(
                f"Expected mask {path} to have its picture's width and height {shown}, but got {mask.size}."
            )
        return torch.from_numpy(np.array(mask, dtype=np.uint8))
