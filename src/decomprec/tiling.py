"""Large images in bounded memory: overlapping tiles that are blended, and masks that are enlarged strip by strip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 512
"""Side of a tile in pixels: more than models are trained at, and little enough for 200 MB."""

OVERLAP = 128
"""Pixels that neighbouring tiles share. The outer quarter of it counts for nothing: there, a tile lacks context."""

_STRIP = 1 << 20  # numbers in a strip of enlarged masks


def cut(length: int, side: int = TILE, overlap: int = OVERLAP) -> list[slice]:
    """Cut a length into overlapping parts.

    Parts start at multiples of `side - overlap`, and so on the same grid as the strides of an encoder.

    Args:
        length: in pixels.
        side: of a part; the last one may be shorter.
        overlap: of neighbours, at most half of `side`.

    Examples:
        >>> cut(1000)
        [slice(0, 512, None), slice(384, 896, None), slice(768, 1000, None)]
        >>> cut(300)
        [slice(0, 300, None)]
    """
    starts = range(0, max(1, length - overlap), side - overlap)
    return [slice(start, min(start + side, length)) for start in starts]


def fade(parts: list[slice], index: int, overlap: int = OVERLAP) -> Tensor:
    """Weights of a part's pixels, (n,), in [0, 1]; those of all parts sum to one at every pixel.

    In an overlap they rise in a line, from 0 to 1 over its middle half.

    Examples:
        >>> parts = cut(24, side=16, overlap=8)
        >>> fade(parts, 0, overlap=8)[8:] + fade(parts, 1, overlap=8)[:8]
        tensor([1., 1., 1., 1., 1., 1., 1., 1.])
        >>> fade(parts, 1, overlap=8)[:8]
        tensor([0.0000, 0.0000, 0.1250, 0.3750, 0.6250, 0.8750, 1.0000, 1.0000])
    """
    rise = (2 * (torch.arange(overlap) + 0.5) / overlap - 0.5).clamp(0, 1)
    weights = torch.ones(parts[index].stop - parts[index].start)
    if index > 0:
        weights[:overlap] = rise
    if index + 1 < len(parts):
        weights[-overlap:] = 1 - rise
    return weights


def blend(function: Callable[[Tensor], Tensor], image: Tensor, side: int = TILE, overlap: int = OVERLAP) -> Tensor:
    """Apply a function to overlapping tiles of an image and blend what it gives.

    The result is that of the whole image, as far as a pixel depends on those within a quarter of the overlap; beyond,
    seams are smooth. It is held in half precision, the tiles one at a time.

    Args:
        function: maps a tile (3, h, w) to maps (C, h, w), such as masks.
        image: (3, H, W), of any dtype.
        side: of a tile.
        overlap: of neighbouring tiles.

    Returns:
        (C, H, W), float16, on the device of what the function gives.

    Examples:
        >>> image = torch.rand(3, 40, 50)
        >>> torch.allclose(blend(lambda tile: tile[:2], image, side=16, overlap=8).float(), image[:2], atol=1e-3)
        True
    """
    down, across = (cut(length, side, overlap) for length in image.shape[-2:])
    result: Tensor | None = None
    for (i, rows), (j, columns) in product(enumerate(down), enumerate(across)):
        maps = function(image[:, rows, columns])
        if result is None:
            result = torch.zeros(len(maps), *image.shape[-2:], dtype=torch.float16, device=maps.device)
        weights = fade(down, i, overlap)[:, None] * fade(across, j, overlap)
        result[:, rows, columns] += (maps * weights.to(maps.device)).half()
    assert result is not None  # there is at least one tile
    return result


def enlarged(masks: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
    """Masks at another size, bilinearly, in strips of rows from the top, which keeps only one strip in memory.

    Args:
        masks: (K, h, w), floating point.
        size: height H and width W.

    Yields:
        (K, n, W), float32; over all strips, n sums to H.

    Examples:
        >>> masks = torch.rand(2, 30, 40)
        >>> whole = F.interpolate(masks[None], size=(2000, 3000), mode="bilinear")[0]
        >>> strips = list(enlarged(masks, (2000, 3000)))
        >>> len(strips), torch.allclose(torch.cat(strips, dim=1), whole, atol=1e-5)
        (12, True)
    """
    height, width = size
    rows = max(1, _STRIP // (len(masks) * width))
    for top in range(0, height, rows):
        places = torch.arange(top, min(top + rows, height), device=masks.device)
        places = ((places + 0.5) * (masks.shape[1] / height) - 0.5).clamp(min=0)
        above = places.long()
        below = (above + 1).clamp(max=masks.shape[1] - 1)
        strip = torch.lerp(masks[:, above].float(), masks[:, below].float(), (places - above)[None, :, None])
        yield F.interpolate(strip[None], size=(len(places), width), mode="bilinear", align_corners=False)[0]
