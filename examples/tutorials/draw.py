"""Draw the images of the tutorials, with their tags, and the masks to evaluate with.

    uv run examples/tutorials/draw.py apples images    # a folder per class: apple, other
    uv run examples/tutorials/draw.py surface images   # a folder per class: scratch, rust, good
    uv run examples/tutorials/draw.py fruit images     # tags.csv: any of apple, lemon and leaf

There are 160 images for training and 40 for validation, of 48 x 48 pixels. The same command draws the same images.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.float64]
Place = NDArray[np.bool_]

SIZE = 48
SPLITS = {"train": 160, "val": 40}
FRUIT = {"apple": (200, 30, 35), "lemon": (225, 200, 40), "leaf": (40, 165, 60), "stone": (120, 115, 125)}
WIDTHS = {"apple": 1.0, "lemon": 0.7, "leaf": 0.55, "stone": 0.8}
Y, X = np.mgrid[:SIZE, :SIZE] / SIZE


def noise(rng: Generator, height: int, width: int) -> Pixels:
    """Smooth noise (SIZE, SIZE, 1) of mean 0 and deviation 1, with this many bumps in each direction."""
    bumps = Image.fromarray(rng.standard_normal((height, width)).astype(np.float32))
    return np.asarray(bumps.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.float64)[..., None]


def turned(rng: Generator, y: float, x: float) -> tuple[Pixels, Pixels]:
    """Coordinates along and across a line through a point, in a random direction."""
    angle = rng.uniform(0, np.pi)
    along = (X - x) * np.cos(angle) + (Y - y) * np.sin(angle)
    return along, (Y - y) * np.cos(angle) - (X - x) * np.sin(angle)


def fruit(rng: Generator, name: str) -> tuple[Place, Pixels]:
    """Where a piece of fruit lies, and its colours everywhere."""
    along, across = turned(rng, *rng.uniform(0.2, 0.8, 2))
    radius = rng.uniform(0.13, 0.22)
    inside = along**2 + (across / WIDTHS[name]) ** 2 < radius**2
    light = 1 + 0.5 * (along - across) / radius * rng.uniform(-1, 1)
    colour = np.array(FRUIT[name]) + rng.uniform(-20, 20, 3)
    return inside, colour * light[..., None] + 8 * noise(rng, 12, 12)


def table(rng: Generator, wanted: list[str]) -> tuple[Pixels, dict[str, Place]]:
    """Fruit and stones on cloth. A piece may hide a part of an earlier one."""
    image = rng.uniform(90, 200) + rng.uniform(-25, 25, 3) + 18 * noise(rng, 5, 5) + 10 * noise(rng, 24, 24)
    places: dict[str, Place] = {}
    for name in [*["stone"] * int(rng.integers(3)), *wanted]:
        inside, colours = fruit(rng, name)
        image = np.where(inside[..., None], colours, image)
        places = {other: place & ~inside for other, place in places.items()}
        places[name] = inside
    return image, {name: place for name, place in places.items() if name != "stone"}


def surface(rng: Generator, wanted: list[str]) -> tuple[Pixels, dict[str, Place]]:
    """Brushed metal with scratches or rust."""
    image = rng.uniform(120, 170) + np.array([-4, 0, 6]) + 9 * noise(rng, SIZE, 4) + 10 * noise(rng, 3, 3)
    places = {}
    for name in wanted:
        along, across = turned(rng, *rng.uniform(0.3, 0.7, 2))
        if name == "scratch":
            bend = rng.uniform(-0.4, 0.4)
            inside = (np.abs(across + bend * along**2) < 0.035) & (np.abs(along) < rng.uniform(0.3, 0.5))
            colours = image.mean() + 80 + 10 * noise(rng, 16, 16) + np.zeros(3)
        else:
            inside = along**2 + across**2 < (rng.uniform(0.14, 0.22) + 0.03 * noise(rng, 8, 8)[..., 0]) ** 2
            colours = np.array([125, 70, 40]) + 14 * noise(rng, 12, 12)
        image = np.where(inside[..., None], colours, image)
        places[name] = inside
    return image, places


def save(image: Pixels, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path)


def mask(places: dict[str, Place], classes: list[str]) -> Pixels:
    """A label map: 0 is the background, j the j-th class."""
    labels = np.zeros((SIZE, SIZE))
    for name, place in places.items():
        labels[place] = classes.index(name) + 1
    return labels


def draw_folders(
    draw: Callable[..., tuple[Pixels, dict[str, Place]]], classes: list[str], nothing: str, out: Path
) -> None:
    """Fill a folder per class, and `val_masks`; every second image has no class."""
    for split, count in SPLITS.items():
        rng = np.random.default_rng(len(split))
        for i in range(count):
            name = classes[i // 2 % len(classes)] if i % 2 else nothing
            others = [] if draw is surface else rng.choice(["lemon", "leaf"], rng.integers(2)).tolist()
            image, places = draw(rng, [*others, *([name] if i % 2 else [])])
            save(image, out / split / name / f"{i:03d}.png")
            if split == "val":
                wanted = {key: place for key, place in places.items() if key in classes}
                save(mask(wanted, sorted(classes)), out / "val_masks" / f"{i:03d}.png")


def draw_table(out: Path) -> None:
    """Write tags.csv, `images` and, for validation, `masks`."""
    classes, rows = sorted(["apple", "lemon", "leaf"]), [("image", "split", "tags")]
    for split, count in SPLITS.items():
        rng = np.random.default_rng(len(split))
        for i in range(count):
            name = f"{split}_{i:03d}.png"
            image, places = table(rng, [c for c in rng.permutation(classes).tolist() if rng.random() < 0.4])
            seen = {key: place for key, place in places.items() if place.sum() > 20}  # the others are all but hidden
            save(image, out / "images" / name)
            if split == "val":
                save(mask(seen, classes), out / "masks" / name)
            rows.append((name, split, ";".join(sorted(seen))))
    with (out / "tags.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


KINDS: dict[str, Callable[[Path], None]] = {
    "apples": lambda out: draw_folders(table, ["apple"], "other", out),
    "surface": lambda out: draw_folders(surface, ["rust", "scratch"], "good", out),
    "fruit": draw_table,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    KINDS[args.kind](args.folder)
    print(f"images, their tags and masks: {args.folder}")


if __name__ == "__main__":
    main()
