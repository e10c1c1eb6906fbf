"""Find the classes of a saved model in photographs of any size and draw them.

    uv run examples/segment_a_photo.py holiday.jpg
    uv run examples/segment_a_photo.py photos/*.jpg --out drawn --tags dog

Each photo gets NAME_mask.png (label map with the colours of Pascal VOC, 0 background) and NAME_overlay.png.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from torch import Tensor

from decomprec.data.image_io import read_image
from decomprec.inference import image_masks, named_tags
from decomprec.models.pretrained import Pretrained, load_pretrained
from decomprec.viz import overlay, save_image, save_label_map

MODEL = Path(__file__).parent / "models" / "dogs-small"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO")
    parser.add_argument("--model", default=MODEL, help="folder or hub id (default: the dogs beside this script)")
    parser.add_argument("--out", type=Path, help="folder of the drawings (default: beside each photo)")
    parser.add_argument("--tags", help="classes that are in the photos, such as dog,cat (default: the model decides)")
    return parser.parse_args()


def process(path: Path, out: Path, model: Pretrained, tags: Tensor | None) -> None:
    started = time.monotonic()
    if not path.is_file():
        raise FileNotFoundError("Expected a photo, but there is no such file.")
    photo = read_image(path)
    labels = image_masks(photo, model, tags).argmax(dim=0)
    save_label_map(labels, out / f"{path.stem}_mask.png")
    save_image(overlay(photo[None].float() / 255, labels[None])[0], out / f"{path.stem}_overlay.png")
    shares = labels.flatten().bincount(minlength=len(model.class_names) + 1) / labels.numel()
    found = [f"{name} {share:.1%}" for name, share in zip(model.class_names, shares[1:].tolist(), strict=True) if share]
    print(f"{path}: {', '.join(found) or 'nothing found'} ({time.monotonic() - started:.1f} s)")


def main() -> int:
    args = parse_arguments()
    stems = [(args.out or path.parent) / path.stem for path in args.photos]
    if len(set(stems)) < len(stems):
        raise ValueError("Expected photos with different names, because their drawings are called after them.")
    model = load_pretrained(args.model)
    tags = None if args.tags is None else named_tags(args.tags, model.class_names)
    failed = False
    for path, stem in zip(args.photos, stems, strict=True):
        try:
            process(path, stem.parent, model, tags)
        except (ValueError, OSError) as error:  # the other photos are drawn all the same
            print(f"error: {path}: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
