"""Reading image and mask files."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from decomprec.data.mask_colours import Colours, values_of_colours
from decomprec.data.names import in_system
from decomprec.data.pixels import QUARTER_TURNS, orientation, reduction, rgb_pixels
from decomprec.data.unidentified import why_unidentified

_RUN_PROGRAMS = ("EPS", "WMF")
"""Formats that are programs: Pillow would have other software run them."""

_NOT_IMAGES = (*_RUN_PROGRAMS, "BUFR", "GRIB", "HDF5", "IPTC", "MPEG", "PALM", "PCD", "PDF")
"""Formats that Pillow names and can't decode here, or whose endings mean something else (.pcd is a cloud of points)."""

if find_spec("pillow_heif"):
    import_module("pillow_heif").register_heif_opener()


def _suffixes() -> tuple[str, ...]:
    Image.init()
    common = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
    known = sorted(suffix for suffix, kind in Image.registered_extensions().items() if kind not in _NOT_IMAGES)
    return tuple(dict.fromkeys([*common, *known, ".avif", ".heic", ".heif", ".hif", ".jxl"]))


IMAGE_SUFFIXES = _suffixes()
"""Endings of image files in lower case, the common ones first: of all formats that Pillow decodes here, and of some for
which `read_image` says what they need. A folder's files of these endings are its images."""

ImageLike = str | Path | Image.Image | NDArray[np.uint8] | Tensor

TRAINING_PIXELS = 1 << 24
"""Most pixels of an image in training, which bounds the memory of each process that loads."""

_MOST_BLACK, _LEAST_WHITE = 63, 192  # of masks in JPEG

_QUARTER_TURNS: dict[int, Callable[[Tensor], Tensor]] = {
    5: lambda labels: labels.T,
    6: lambda labels: labels.rot90(-1),
    7: lambda labels: labels.T.flip(0, 1),
    8: lambda labels: labels.rot90(1),
}


class ImageBytes(io.BytesIO):
    """An image file in memory, with the name that messages call it by.

    Examples:
        >>> str(ImageBytes(b"", "a.jpg of train-000.tar"))
        'a.jpg of train-000.tar'
    """

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self._name = name

    def __repr__(self) -> str:  # Pillow's errors show it
        return self._name

    __str__ = __repr__


def image_files(folder: Path) -> list[Path]:
    """List all images in a folder and below it, sorted, without those of systems, such as hidden files.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("b.JPG", "a.png", ".c.png", "d.txt"):
        ...     (folder / name).touch()
        >>> [file.name for file in image_files(folder)]
        ['a.png', 'b.JPG']
    """
    files = (file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(file for file in files if not in_system(file.relative_to(folder)))


def read_image(path: Path | ImageBytes, most_pixels: int | None = None) -> Tensor:
    """Read an image as RGB, turned by its EXIF orientation.

    Pixels are converted by `rgb_pixels`, which says what is done with unusual bands and bit depths.

    Args:
        path: a file of any format that Pillow reads by itself, with any ending, and of HEIF if pillow-heif is
            installed. EPS and WMF need other programs.
        most_pixels: a larger image is reduced, by a whole number, to at most this many pixels; None reads it in full.

    Returns:
        (3, H, W), uint8.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an image, is damaged, or has more than ``PIL.Image.MAX_IMAGE_PIXELS`` pixels.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "grey.png"
        >>> Image.new("L", (4, 2), 7).save(path)
        >>> read_image(path).shape, read_image(path).unique()
        (torch.Size([3, 2, 4]), tensor([7], dtype=torch.uint8))
        >>> read_image(path, most_pixels=4).shape
        torch.Size([3, 1, 2])
    """
    with _opened(path) as image:
        factor = reduction(image, most_pixels)
        if factor > 1:  # a JPEG is then never decoded in full
            image.draft(None, (max(1, image.width // factor), max(1, image.height // factor)))
        return rgb_pixels(image, most_pixels)


def upright(image: Image.Image) -> Image.Image:
    """Turn an image by its EXIF orientation; return it unchanged if there is none, or none that can be read.

    Examples:
        >>> photo = Image.new("L", (3, 1))
        >>> photo.getexif()[0x0112] = 6
        >>> upright(photo).size
        (1, 3)
    """
    return image if orientation(image) == 1 else ImageOps.exif_transpose(image)


def stored_size(path: Path) -> tuple[int, int]:
    """Read from a file's header the height and width that `read_image` gives; (1, 1) if it can't be read.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "wide.png"
        >>> Image.new("L", (3, 2)).save(file)
        >>> stored_size(file)
        (2, 3)
    """
    try:
        with Image.open(path) as image:
            return image.size if orientation(image) in QUARTER_TURNS else image.size[::-1]
    except Exception:  # of any type; reading the image raises it again, with its name
        return 1, 1


def rgb_image(image: ImageLike) -> Tensor:
    """An image of any kind as RGB, turned as its EXIF orientation says.

    Args:
        image: a file, a PIL image, an array (H, W, 3) or (H, W), or a tensor (3, H, W); arrays and tensors are uint8.

    Returns:
        (3, H, W), uint8.

    Raises:
        ValueError: if it is none of these, or cannot be read.
        FileNotFoundError: if there is no such file.

    Examples:
        >>> rgb_image(np.zeros((2, 3), dtype=np.uint8)).shape
        torch.Size([3, 2, 3])
    """
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
            raise ValueError(
                f"Expected an array to be uint8 of shape (H, W, 3) or (H, W), but got {image.dtype} of {image.shape}."
            )
        image = Image.fromarray(image)
    if isinstance(image, Image.Image):
        return rgb_pixels(image)
    if not isinstance(image, Tensor):
        raise ValueError(f"Expected a file, a PIL image, an array or a tensor, but got {type(image).__name__}.")
    if image.ndim != 3 or len(image) != 3 or image.dtype != torch.uint8:
        raise ValueError(
            f"Expected a tensor to be uint8 of shape (3, H, W), but got {image.dtype} of {tuple(image.shape)}."
        )
    return image


def read_labels(path: Path | ImageBytes, colours: Colours | None = None) -> Tensor:
    """Read a mask's raw values (palette indices in VOC's files).

    Args:
        path: a file of one channel, whose values are at most 255, or of equal channels, as RGB of shades of grey.
        colours: of the classes; a mask in RGB or with a palette is then read by its colours.

    Returns:
        (H, W), uint8.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an image, has channels that differ, or holds other values.
    """
    with _opened(path) as mask:
        mode, steps, lossy = mask.mode, _steps(mask), mask.format in ("JPEG", "MPO")
        coloured = colours is not None and mode in ("RGB", "RGBA", "P")
        values = np.array(upright(mask).convert("RGB")) if coloured else np.array(upright(mask)) // steps
        if mask.format == "GIF" and mode == "P" and not coloured:
            values = _before_gif(np.array(upright(mask).convert("RGB")), values)
    if colours is not None and coloured:
        return torch.from_numpy(values_of_colours(values, colours, path))
    if mode in ("RGB", "RGBA", "LA") and (grey := _grey(values)) is not None:
        mode, values = "L", grey
    if lossy:
        values = _exact(values, path)
    if mode not in ("L", "P", "1") and not mode.startswith("I"):
        raise ValueError(
            f"Expected mask {path} to have one 8-bit channel, but got mode {mode}; write the number of each pixel's "
            "class, not a colour, or list the colours in labelmap.txt (NAME:RED,GREEN,BLUE)."
        )
    if values.min() < 0 or values.max() > 255:
        raise ValueError(
            f"Expected mask {path} to hold the numbers of classes, 0 to 255, but got {values.min()} to {values.max()}."
        )
    return torch.from_numpy(values.astype(np.uint8))


def _grey(pixels: NDArray[Any]) -> NDArray[Any] | None:
    """The channel (H, W) of pixels (H, W, C) whose channels, except an opaque alpha, are equal; None if they differ."""
    shades, alpha = (pixels, None) if pixels.shape[2] == 3 else (pixels[..., :-1], pixels[..., -1])
    plain = (shades == shades[..., :1]).all() and (alpha is None or (alpha == 255).all())
    return np.ascontiguousarray(shades[..., 0]) if plain else None


def _before_gif(shades: NDArray[Any], indices: NDArray[Any]) -> NDArray[Any]:
    """The values of a mask before it became a GIF, which renumbers those in use: its shades, if nearly black."""
    grey = _grey(shades)
    return grey if grey is not None and 0 < grey.max() <= _MOST_BLACK else indices


def _exact(values: NDArray[Any], path: Path | ImageBytes) -> NDArray[Any]:
    """The values of a JPEG, which blurs them: only black and white are still told apart."""
    if values.max() > 0 and (values.max() < _LEAST_WHITE or ((values > _MOST_BLACK) & (values < _LEAST_WHITE)).any()):
        raise ValueError(
            f"Expected mask {path} to hold exact values, but it is a JPEG, which blurs them; save it as PNG: if it is "
            "black and white, with 255 where the value is above 127, else 0."
        )
    return np.where(values < _LEAST_WHITE, 0, 255)


def _steps(mask: Any) -> int:
    """Return the distance of two neighbouring values: Pillow spreads 2 and 4 bits of grey over all 8."""
    args = mask.tile[0].args if mask.tile else None
    raw_mode = args if isinstance(args, str) else args[0] if args else None
    return {"L;2": 85, "L;4": 17}.get(str(raw_mode), 1)


def read_mask(path: Path, image_path: Path, colours: Colours | None = None) -> Tensor:
    """Read a mask's raw values (palette indices in VOC's files), in the same orientation as its image.

    Args:
        path: a single-channel 8-bit file.
        image_path: its image, whose EXIF orientation also turns a mask of the stored size, see `turn_with`.
        colours: see `read_labels`.

    Returns:
        (H, W), uint8.

    Raises:
        ValueError: if the file has several channels or another size than the image.
    """
    labels = read_labels(path, colours)
    with _opened(image_path) as image:
        labels = turn_with(image, labels)
        width, height = image.size[::-1] if orientation(image) in QUARTER_TURNS else image.size
    if labels.shape != (height, width):
        raise ValueError(
            f"Expected mask {path} to have its image's height and width {(height, width)}, "
            f"but got {tuple(labels.shape)}."
        )
    return labels


def turn_with(image: Path | ImageBytes | Image.Image, labels: Tensor) -> Tensor:
    """Turn a label map like its image, if it has the size of the stored, unturned image.

    A label map of the turned image's size stays as it is. So does one whose size does not tell: of a square image, or
    of an image that EXIF mirrors or turns by 180 degrees.

    Args:
        image: as stored.
        labels: (H, W), any dtype.

    Returns:
        (H, W) or (W, H), of the same dtype.

    Examples:
        >>> photo = Image.new("L", (3, 1))
        >>> photo.getexif()[0x0112] = 6  # a quarter turn to the right
        >>> turn_with(photo, torch.tensor([[1, 2, 3]])).tolist()
        [[1], [2], [3]]
    """
    if isinstance(image, Path | ImageBytes):
        with _opened(image) as file:
            return turn_with(file, labels)
    turn = _QUARTER_TURNS.get(orientation(image))
    width, height = image.size
    return turn(labels) if turn and width != height and labels.shape == (height, width) else labels


@contextmanager
def _opened(path: Path | ImageBytes) -> Iterator[Image.Image]:
    """Open an image; errors of Pillow, now or while decoding, name the file."""
    try:
        with Image.open(path) as file:
            most = Image.MAX_IMAGE_PIXELS
            if most is not None and file.width * file.height > most:
                raise Image.DecompressionBombError
            if file.format in _RUN_PROGRAMS:
                raise ValueError(f"{file.format} files are programs")
            yield file
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Expected {path} to be an image, but there is no such file.") from error
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"Expected {path} to have at most {Image.MAX_IMAGE_PIXELS} pixels, but it has more, as a decompression "
            "bomb would; reduce it, or raise PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except Exception as error:  # on damaged files, Pillow's parsers raise errors of any type
        unidentified = isinstance(error, UnidentifiedImageError)
        reason = why_unidentified(path) if unidentified else None
        reason = reason or str(error) or type(error).__name__
        raise ValueError(f"Expected {path} to be an image, but it can't be read: {reason}") from error
