"""Find the classes of a trained model in photographs of any size and draw them.

    uv run examples/segment_a_photo.py holiday.jpg
    uv run examples/segment_a_photo.py photos/*.jpg --out drawn --tags dog

Each photo gets NAME_mask.png (label map with the colours of Pascal VOC, 0 is background) and NAME_overlay.png.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import decomprec

MODEL = Path(__file__).parent / "models" / "dogs-small"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO")
    parser.add_argument("--model", default=MODEL, help="run, folder or hub id (default: the dogs of this repository)")
    parser.add_argument("--out", type=Path, help="folder of the drawings (default: that of each photo)")
    parser.add_argument("--tags", help="classes that are in the photos, such as dog,cat (default: the model decides)")
    return parser.parse_args()


def process(path: Path, stem: Path, model: decomprec.TrainedModel, tags: list[str] | None) -> None:
    started = time.monotonic()
    result = model(path, tags)
    result.save(stem.with_name(f"{stem.name}_mask.png"))
    result.overlay().save(stem.with_name(f"{stem.name}_overlay.png"))
    shares = result.label_map.flatten().bincount(minlength=len(result.classes)) / result.label_map.numel()
    found = [f"{name} {share:.1%}" for name, share in zip(result.classes, shares.tolist(), strict=True) if share]
    print(f"{path}: {', '.join(found[1:]) or 'nothing found'} ({time.monotonic() - started:.1f} s)")


def main() -> int:
    args = parse_arguments()
    stems = [(args.out or path.parent) / path.stem for path in args.photos]
    if len(set(stems)) < len(stems):
        raise ValueError("Expected photos with different names, because their drawings are called after them.")
    model = decomprec.load(args.model)
    tags = None if args.tags is None else args.tags.split(",")
    if unknown := set(tags or ()) - set(model.class_names):
        raise ValueError(f"Expected --tags to be among {', '.join(model.class_names)}, but got {sorted(unknown)}.")
    failed = False
    for path, stem in zip(args.photos, stems, strict=True):
        try:
            process(path, stem, model, tags)
        except (ValueError, OSError) as error:  # the other photos are drawn all the same
            print(f"error: {path}: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
