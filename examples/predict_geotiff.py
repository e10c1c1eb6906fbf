"""Label map of a GeoTIFF of any size, window by window, with the coordinates of the image.

    uv run examples/predict_geotiff.py runs/mine field.tif --out labels.tif --window 512 --tags crop,weed

Needs `pip install rasterio`. A window should show things as large as the training images did: train on tiles of the
same number of pixels. Only a window is in memory.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from decomprec import load
from decomprec._files import written_whole
from decomprec.tiling import cut

NOTHING = 255
"""Label of pixels for which the image has no data."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="run folder, model folder, or hub id")
    parser.add_argument("image", type=Path, help="GeoTIFF with 8 bits for each of red, green and blue")
    parser.add_argument("--out", type=Path, required=True, help="GeoTIFF of the labels: 0 background, 255 no data")
    parser.add_argument("--tags", help="classes in the image, separated by commas (default: decided for each window)")
    parser.add_argument("--window", type=int, default=512, help="side of a window, in pixels")
    parser.add_argument("--overlap", type=int, default=128, help="of neighbouring windows, in pixels: at most half")
    return parser.parse_args()


def inner(parts: list[slice], index: int, overlap: int) -> slice:
    """The pixels of a part that are written: half of each overlap belongs to the neighbour."""
    part = parts[index]
    start = part.start + overlap // 2 if index else part.start
    stop = part.stop - (overlap - overlap // 2) if index + 1 < len(parts) else part.stop
    return slice(start, stop)


def window(rows: slice, columns: slice) -> Window:
    return Window.from_slices((rows.start, rows.stop), (columns.start, columns.stop))


def read(source: rasterio.DatasetReader, at: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pixels (H, W, 3) of a window, and where there are any (H, W)."""
    bands = [1, 2, 3] if source.count >= 3 else [1, 1, 1]
    return source.read(bands, window=at).transpose(1, 2, 0), source.dataset_mask(window=at) > 0


def main() -> None:
    args = parse_arguments()
    if not 0 <= 2 * args.overlap <= args.window:
        raise ValueError(f"Expected --overlap to be at most half of --window, but got {args.overlap}.")
    model = load(args.model)
    tags = args.tags and args.tags.split(",")
    with rasterio.open(args.image) as source, written_whole(args.out) as partial:
        if set(source.dtypes) != {"uint8"}:
            raise ValueError(f"Expected {args.image} to have 8 bits, but got {source.dtypes}; convert it with -scale.")
        profile = {"driver": "GTiff", "width": source.width, "height": source.height, "count": 1, "dtype": "uint8"}
        profile |= {"crs": source.crs, "transform": source.transform, "nodata": NOTHING, "compress": "deflate"}
        with rasterio.open(partial, "w", tiled=True, **profile) as target:
            down, across = (cut(side, args.window, args.overlap) for side in (source.height, source.width))
            for i, rows in enumerate(down):
                for j, columns in enumerate(across):
                    pixels, valid = read(source, window(rows, columns))
                    labels = model(pixels, tags).label_map.numpy().astype(np.uint8)
                    labels[~valid] = NOTHING
                    kept = inner(down, i, args.overlap), inner(across, j, args.overlap)
                    (top, bottom), (left, right) = (
                        (k.start - p.start, k.stop - p.start) for k, p in zip(kept, (rows, columns), strict=True)
                    )
                    target.write(labels[top:bottom, left:right], 1, window=window(*kept))
    print(f"labels: {args.out} ({', '.join(f'{k} {name}' for k, name in enumerate(model.classes))})")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, rasterio.errors.RasterioError) as error:
        sys.exit(f"error: {error}")
