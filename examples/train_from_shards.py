"""Train on WebDataset shards: tar files of images and their classes.

    uv run examples/train_from_shards.py                            # writes shards of synthetic scenes first
    uv run examples/train_from_shards.py --shards pets --resume     # your own shards; go on where a run stopped

`decomprec train pets --out runs/pets` does the same on the command line.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
from pathlib import Path

from torchvision.transforms.v2.functional import to_pil_image

from decomprec._files import written_whole
from decomprec.cli.config import parse_settings
from decomprec.data import SyntheticScenes, eval_transform, load_images
from decomprec.training import PRESETS, train

SIZE = 64  # of the scenes, in pixels
SPLITS = {"train": 1, "val": 3}  # and the seeds of their scenes


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, help="folder of shards (default: write OUT/shards)")
    parser.add_argument("--out", type=Path, default=Path("runs/shards"), help="folder of all that is written")
    parser.add_argument("--scenes", type=int, default=400, help="training scenes, if they are written")
    parser.add_argument("--per-shard", type=int, default=100, help="scenes in a shard")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="such as segmenter.epochs=3")
    parser.add_argument("--resume", action="store_true", help="go on where a run in OUT stopped")
    return parser.parse_args()


def write_shards(folder: Path, count: int, per_shard: int) -> Path:
    """Scenes as NAME.png with NAME.json, which lists the numbers of their classes."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, seed in SPLITS.items():
        scenes = SyntheticScenes(count if split == "train" else max(8, count // 8), size=SIZE, seed=seed)
        with written_whole(folder / "classes.txt") as partial:
            partial.write_text("\n".join(scenes.class_names) + "\n", encoding="utf-8")
        for number, start in enumerate(range(0, len(scenes), per_shard)):
            indices = range(start, min(start + per_shard, len(scenes)))
            write_shard(folder / f"scenes-{split}-{number:06d}.tar", scenes, indices)
    return folder


def write_shard(path: Path, scenes: SyntheticScenes, indices: range) -> None:
    with written_whole(path) as partial, tarfile.open(partial, "w") as tar:
        for i in indices:
            item = scenes[i]
            image = io.BytesIO()
            to_pil_image(item["image"]).save(image, "PNG")
            classes = item["tags"].nonzero()[:, 0].tolist()
            for ending, content in (("png", image.getvalue()), ("json", json.dumps(classes).encode())):
                info = tarfile.TarInfo(f"{item['name']}.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def main() -> None:
    args = parse_arguments()
    preset = PRESETS["demo"].override(parse_settings(args.set))
    shards = args.shards
    if shards is None:
        shards = args.out / "shards"
        if not args.resume:
            write_shards(shards, args.scenes, args.per_shard)
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
