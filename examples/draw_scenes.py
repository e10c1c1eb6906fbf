"""Draw tagged images of discs and squares, and the masks to measure with, for a first try of the command line.

    uv run examples/draw_scenes.py images

The folder gets tags.csv ("train/scene_000002.png,train,disc;square"), images/ and masks/.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from tqdm import tqdm

from decomprec.data import SyntheticScenes
from decomprec.viz import save_image, save_label_map

SPLITS = {"train": (800, 1), "val": (100, 3)}
"""How many images each split has, and the seed that draws them."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    return parser.parse_args()


def main(folder: Path) -> None:
    rows = [("image", "split", "tags")]
    for split, (count, seed) in SPLITS.items():
        scenes = SyntheticScenes(count, num_classes=2, size=48, seed=seed, max_objects=2, masks=True)
        for item in tqdm(scenes, desc=split, leave=False):
            name = f"{split}/{item['name']}.png"
            save_image(item["image"], folder / "images" / name)
            save_label_map(item["mask"], folder / "masks" / name)
            # "striped disc" is a disc to whoever tags it.
            tags = [tag.split()[1] for tag, there in zip(scenes.class_names, item["tags"], strict=True) if there]
            rows.append((name, split, ";".join(tags)))
    with (folder / "tags.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    print(f"images, their tags and masks: {folder}")


if __name__ == "__main__":
    main(parse_arguments().folder)
