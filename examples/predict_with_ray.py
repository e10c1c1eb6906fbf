"""Draw the masks of a folder of images with Ray Data, on as many workers and machines as Ray has.

    uv run examples/predict_with_ray.py photos --out drawn --workers 4

Each image gets a label map at its own path below --out. All machines need to see both folders. A worker that dies is
started again and repeats what it had begun; label maps are written whole, so none is lost. Needs pip install ".[ray]".
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import ray

import decomprec
from decomprec.data.image_io import image_files

MODEL = Path(__file__).parent / "models" / "dogs-small"


class Segment:
    """Loads the model once for each worker, and draws one batch of images after the other.

    `ray.data.Dataset.map_batches` calls it with columns of the paths of images and of their label maps.
    """

    def __init__(self, model: str, device: str) -> None:
        self.model = decomprec.load(model, device)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Write the label maps of a batch; returns the classes found in each image, or why it was not read."""
        images, masks = list(batch["image"]), list(batch["mask"])
        found, errors = [""] * len(images), [""] * len(images)

        def unreadable(index: int, error: Exception) -> None:
            errors[index] = str(error)

        for index, result in self.model.stream(images, on_error=unreadable):
            result.save(masks[index])
            found[index] = ",".join(result.found)
        return {"image": images, "classes": found, "error": errors}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument("--out", type=Path, required=True, help="folder of the label maps")
    parser.add_argument(
        "--model", default=str(MODEL), help="run, folder or hub id (default: the dogs of this repository)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes, each with the model (default: 2)")
    parser.add_argument("--gpus", type=float, default=0, help="of each worker, such as 1 or 0.5 (default: 0)")
    parser.add_argument("--batch", type=int, default=32, help="images that a worker gets at a time (default: 32)")
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    folder, out = args.images.resolve(), args.out.resolve()
    files = image_files(folder)
    masks = [(out / file.relative_to(folder)).with_suffix(".png") for file in files]
    rows = [{"image": str(file), "mask": str(mask)} for file, mask in zip(files, masks, strict=True)]
    model = str(Path(args.model).resolve()) if Path(args.model).exists() else args.model  # workers have other folders
    drawn = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // args.batch)).map_batches(
        Segment,
        fn_constructor_args=(model, "cuda" if args.gpus else "cpu"),
        batch_size=args.batch,
        compute=ray.data.ActorPoolStrategy(size=args.workers),
        num_gpus=args.gpus or None,
        max_restarts=-1,
        max_task_retries=-1,
    )
    failed = [row for row in drawn.iter_rows() if row["error"]]
    for row in failed:
        print(f"error: {row['error']}", file=sys.stderr)
    print(f"{len(files) - len(failed)} of {len(files)} images drawn: {args.out}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
