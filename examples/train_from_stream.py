"""Train on a streamed data set of Hugging Face's `datasets`: one pass writes shards, and all epochs read these.

    uv run examples/train_from_stream.py                                      # streams synthetic scenes from a file
    uv run examples/train_from_stream.py --stream OWNER/NAME --tags label     # a data set of the hub, of some images
    uv run examples/train_from_stream.py --resume                             # continue where a run stopped

Needs `pip install datasets`. `decomprec train OUT/shards --out OUT/run` trains on the shards on the command line.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from torchvision.transforms.v2.functional import to_pil_image

from decomprec.cli.config import parse_settings
from decomprec.data import SyntheticScenes, eval_transform, load_images, write_shards
from decomprec.training import PRESETS, train

SIZE = 64  # of the scenes, in pixels
SPLITS = {"train": 1, "validation": 3}  # and the seeds of their scenes


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stream", metavar="OWNER/NAME", help="data set of the hub (default: scenes, written to OUT)")
    parser.add_argument("--tags", default="tags", metavar="COLUMN", help="column of the tags")
    parser.add_argument("--out", type=Path, default=Path("runs/stream"), help="folder of all that is written")
    parser.add_argument("--images", type=int, default=400, help="training images to take from the stream")
    parser.add_argument("--per-shard", type=int, default=1000, help="images in a shard")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="such as segmenter.epochs=3")
    parser.add_argument("--resume", action="store_true", help="continue where a run in OUT stopped")
    return parser.parse_args()


def open_stream(args: argparse.Namespace, split: str) -> Any:
    """The rows of a split, which come one after the other and have no length."""
    if args.stream:
        rows = datasets.load_dataset(args.stream, split=split, streaming=True)
    else:
        files = {split: str(args.out / f"{split}.parquet") for split in SPLITS}
        rows = datasets.load_dataset("parquet", data_files=files, split=split, streaming=True)
    return rows.take(args.images if split == "train" else max(8, args.images // 8))


def write_scenes(folder: Path, count: int) -> None:
    """A Parquet file of scenes for each split, as the hub has of its data sets."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, seed in SPLITS.items():
        scenes = SyntheticScenes(count, size=SIZE, seed=seed)
        tags = datasets.List(datasets.ClassLabel(names=list(scenes.class_names)))
        features = datasets.Features({"image": datasets.Image(), "tags": tags})
        rows = datasets.Dataset.from_list(list(scene_rows(scenes)), features=features)
        rows.to_parquet(folder / f"{split}.parquet")


def scene_rows(scenes: SyntheticScenes) -> Iterator[dict[str, Any]]:
    for i in range(len(scenes)):
        image = io.BytesIO()
        to_pil_image(scenes[i]["image"]).save(image, "PNG")
        yield {"image": {"bytes": image.getvalue(), "path": None}, "tags": scenes[i]["tags"].nonzero()[:, 0].tolist()}


def main() -> None:
    args = parse_arguments()
    preset = PRESETS["demo"].override(parse_settings(args.set))
    shards = args.out / "shards"
    if not shards.exists():
        if not args.stream:
            write_scenes(args.out, args.images)
        splits = {split: open_stream(args, split) for split in SPLITS}
        write_shards(splits, shards, tags_column=args.tags, per_shard=args.per_shard)
    load = load_images(shards)
    transform = eval_transform(preset.image_size)
    train_set, val_set = (load(split, transform=transform, masks=False) for split in ("train", "val"))
    print(f"{len(train_set)} images to train on, {len(val_set)} to validate on: {', '.join(train_set.class_names)}")
    train(preset, train_set, val_set, args.out / "run", resume=args.resume, trainer_options={"accelerator": "cpu"})
    print(f"the model: {args.out / 'run' / 'model'}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
