"""`decomprec predict`."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decomprec.cli.common import Device, DeviceOption, fail, torch_device

if TYPE_CHECKING:
    from decomprec.models import Pretrained


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Run folder, model folder, or hub id (owner/name).")],
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURES...", help="Pictures, or folders of pictures.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the results.")],
    tags: Annotated[
        str | None,
        typer.Option(metavar="TAG,...", help="Classes in all these pictures.  [default: the classifier decides]"),
    ] = None,
    overlay: Annotated[bool, typer.Option(help="Draw the masks over the pictures.")] = True,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Save the soft masks too.")] = False,
    coco: Annotated[bool, typer.Option("--coco", help="Write the masks as one COCO file too.")] = False,
    size: Annotated[
        int | None,
        typer.Option(min=1, metavar="PIXELS", help="Short side of what the model sees.  [default: as it was trained]"),
    ] = None,
    device: DeviceOption = Device.auto,
) -> None:
    """Draw the masks of pictures of any size.

    \b
    decomprec predict runs/mine holiday.jpg --out drawn
    decomprec predict runs/mine holiday/ more/*.jpg --out drawn --tags dog,person
    decomprec predict someone/dogs holiday/ --out drawn --probabilities --no-overlay

    \b
    DIR gets, each at its picture's own resolution and turned as its EXIF data say:
      masks/NAME.png           labels with the palette of Pascal VOC; 0 background
      masks/classes.txt        what the labels mean, from 0
      overlays/NAME.png        unless --no-overlay
      probabilities/NAME.npz   "masks" (classes, height, width), float16, with --probabilities
      annotations.json         with --coco: RLE, box and area of each class in each picture

    Pictures of a folder keep their path below it. A picture that can't be read is reported, the others are drawn,
    and the exit code is 1. --coco needs one more package: pip install "decomprec[coco]"
    """  # noqa: D301
    import numpy as np
    from tqdm import tqdm

    from decomprec.data.pictures import read_image
    from decomprec.evaluation.coco import CocoWriter
    from decomprec.evaluation.label_files import CLASSES
    from decomprec.files import written_whole
    from decomprec.predict import named_tags, picture_masks
    from decomprec.viz import overlay as lay_over
    from decomprec.viz import save_image, save_label_map

    named = find_pictures(pictures, out)
    loaded = load_model(model, torch_device(device))
    given = None if tags is None else named_tags(tags, loaded.class_names)
    annotations = CocoWriter(loaded.class_names) if coco else None
    with written_whole(out / "masks" / CLASSES) as partial:
        partial.write_text("\n".join(["background", *loaded.class_names]) + "\n", encoding="utf-8")
    found: Counter[str] = Counter()
    failed = 0
    for name, path in tqdm(named.items(), "predicting", unit="picture"):
        try:
            picture = read_image(path)
        except (ValueError, OSError) as error:
            with tqdm.external_write_mode(sys.stderr):
                fail(error)
            failed += 1
            continue
        masks = picture_masks(picture, loaded, given, size)
        labels = masks.argmax(dim=0).cpu()
        save_label_map(labels, out / "masks" / f"{name}.png")
        if annotations is not None:
            annotations.add(f"{name}{path.suffix}", labels)
        if overlay:
            save_image(lay_over(picture[None].float() / 255, labels[None])[0], out / "overlays" / f"{name}.png")
        if probabilities:
            with written_whole(out / "probabilities" / f"{name}.npz") as partial:
                np.savez_compressed(partial, masks=masks.half().cpu().numpy())
        found.update(loaded.class_names[k - 1] for k in labels.unique().tolist() if k)
    if annotations is not None:
        annotations.save(out / "annotations.json")
    counts = ", ".join(f"{class_name} in {found[class_name]}" for class_name in loaded.class_names)
    typer.echo(f"{len(named) - failed} of {len(named)} pictures drawn ({counts}): {out}")
    if failed:
        raise typer.Exit(1)


def find_pictures(paths: list[Path], out: Path) -> dict[str, Path]:
    """Picture files by the name that their results get: the stem, behind its path below the folder that was given.

    What lies below `out` is passed over: the results of an earlier call.

    Raises:
        FileNotFoundError: if a file or folder is missing, or a folder holds no picture.
        ValueError: if two results would have one name.
    """
    from decomprec.data.pictures import picture_files

    named: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            files = [f for f in picture_files(path) if not f.resolve().is_relative_to(out.resolve())]
        else:
            files = [path] if path.is_file() else []
        if not files:
            raise FileNotFoundError(f"Expected PICTURES to be pictures or folders of them, but found none at {path}.")
        for file in files:
            name = (file.relative_to(path) if path.is_dir() else Path(file.name)).with_suffix("").as_posix()
            if name in named:
                raise ValueError(f"Expected pictures of different names, but got {named[name]} and {file}.")
            named[name] = file
    return named


def load_model(source: str, device: str) -> Pretrained:
    """The networks of a run folder, of a folder that `save_pretrained` wrote, or of the hub, on `device`.

    Raises:
        FileNotFoundError: as for `load_pretrained`.
        ValueError: as for `load_pretrained` and `load_run`.
    """
    from decomprec.models import Pretrained, load_pretrained

    if (Path(source) / "preset.yaml").is_file():
        from decomprec.training import Preset, load_run

        trained, preset = load_run(source), Preset.load(Path(source) / "preset.yaml")
        size = preset.segmenter.image_size or preset.image_size
        loaded = Pretrained(trained.segmenter, trained.classifier, trained.class_names, size)
    else:
        loaded = load_pretrained(source)
    loaded.segmenter.to(device)
    if loaded.classifier is not None:
        loaded.classifier.to(device)
    return loaded
