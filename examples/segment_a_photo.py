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

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from decomprec.data.pictures import read_image
from decomprec.files import written_whole
from decomprec.models import Pretrained, load_pretrained
from decomprec.refine import RefinedPredictor, pamr
from decomprec.viz import overlay, voc_palette

MODEL = Path(__file__).parent / "models" / "dogs-small"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO")
    parser.add_argument("--model", default=MODEL, help="folder or hub id (default: the dogs beside this script)")
    parser.add_argument("--out", type=Path, help="folder of the drawings (default: beside each photo)")
    parser.add_argument("--tags", help="classes that are in the photos, such as dog,cat (default: the model decides)")
    return parser.parse_args()


def read_tags(given: str | None, class_names: tuple[str, ...]) -> Tensor | None:
    """Tags (1, K-1) of names with commas between."""
    if given is None:
        return None
    names = [name.strip() for name in given.split(",")]
    if not set(names) <= set(class_names):
        raise ValueError(f"Expected --tags to be among {', '.join(class_names)}, but got {given!r}.")
    return torch.tensor([[float(name in names) for name in class_names]])


def segment(photo: Tensor, model: Pretrained, tags: Tensor | None) -> Tensor:
    """The label map (H, W), int64, of a photo (3, H, W), uint8, seen at the size that the model was trained on."""
    height, width = photo.shape[-2:]
    short, long = sorted((height, width))
    scale = min(model.image_size / short, 4 * model.image_size / long)  # a thin strip would become too long
    size = [max(1, round(scale * height)), max(1, round(scale * width))]
    seen = resize(photo[None], size, antialias=True).float() / 255
    masks = RefinedPredictor(model.segmenter.mask_logits, pamr, model.classifier).masks(seen, tags)
    return F.interpolate(masks, size=(height, width), mode="bilinear", align_corners=False)[0].argmax(dim=0)


def save(picture: Image.Image, path: Path) -> None:
    with written_whole(path) as partial:
        picture.save(partial, compress_level=1)  # several times as fast as the default


def draw(photo: Tensor, labels: Tensor, stem: Path) -> None:
    mask = Image.fromarray(labels.byte().numpy())
    mask.putpalette((voc_palette() * 255).byte().flatten().tolist())
    save(mask, stem.with_name(f"{stem.name}_mask.png"))
    drawn = 255 * overlay(photo[None].float() / 255, labels[None])[0]
    save(Image.fromarray(drawn.round().byte().permute(1, 2, 0).numpy()), stem.with_name(f"{stem.name}_overlay.png"))


def process(path: Path, out: Path, model: Pretrained, tags: Tensor | None) -> None:
    started = time.monotonic()
    if not path.is_file():
        raise FileNotFoundError("Expected a photo, but there is no such file.")
    photo = read_image(path)
    labels = segment(photo, model, tags)
    draw(photo, labels, out / path.stem)
    shares = labels.flatten().bincount(minlength=len(model.class_names) + 1) / labels.numel()
    found = [f"{name} {share:.1%}" for name, share in zip(model.class_names, shares[1:].tolist(), strict=True) if share]
    print(f"{path}: {', '.join(found) or 'nothing found'} ({time.monotonic() - started:.1f} s)")


def main() -> int:
    args = parse_arguments()
    stems = [(args.out or path.parent) / path.stem for path in args.photos]
    if len(set(stems)) < len(stems):
        raise ValueError("Expected photos with different names, because their drawings are called after them.")
    model = load_pretrained(args.model)
    tags = read_tags(args.tags, model.class_names)
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
