"""`decomprec predict`."""

from __future__ import annotations

import os
import sys
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decomprec.cli.common import Device, DeviceOption, fail, names_of, torch_device
from decomprec.cli.config import CONFIG, ConfigOption, save_config

if TYPE_CHECKING:
    from torch import Tensor

    from decomprec.trained_model import Prediction


WRITTEN_AT_ONCE = 8
"""Images in memory that are segmented and wait to be written."""


def predict(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Run folder, model folder, or hub id (owner/name).")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the results.")],
    tags: Annotated[
        str | None,
        typer.Option(metavar="TAG,...", help="Classes in all these images.  [default: the classifier decides]"),
    ] = None,
    overlay: Annotated[bool, typer.Option(help="Draw the masks over the images.")] = True,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Save the soft masks too.")] = False,
    components: Annotated[bool, typer.Option("--components", help="Save each class's part of the image too.")] = False,
    coco: Annotated[bool, typer.Option("--coco", help="Write the masks as one COCO file too.")] = False,
    size: Annotated[
        int | None,
        typer.Option(min=1, metavar="PIXELS", help="Short side of what the model sees.  [default: as in training]"),
    ] = None,
    augment: Annotated[
        bool, typer.Option("--augment", help="Average the masks over two sizes and mirror images: slower.")
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Images at a time.  [default: by their sizes and the device]"),
    ] = None,
    device: DeviceOption = Device.auto,
    config: ConfigOption = None,
) -> None:
    """Draw the masks of images of any size.

    \b
    decomprec predict runs/mine holiday.jpg --out drawn
    decomprec predict runs/mine holiday/ more/*.jpg --out drawn --tags dog,person
    decomprec predict someone/dogs holiday/ --out drawn --probabilities --no-overlay
    decomprec predict --config drawn/config.yaml runs/mine more/ --out more_drawn

    \b
    DIR gets, at each image's own resolution and EXIF orientation:
      masks/NAME.png           label map with the palette of Pascal VOC; 0 is background
      masks/classes.txt        names of the labels, from 0
      overlays/NAME.png        unless --no-overlay
      probabilities/NAME.npz   "masks" (classes, height, width), float16, with --probabilities
      components/NAME/0.png    and 1.png, ...: mask times image-let of the background and of each class, on black, as
                               large as the model sees the image, with --components
      annotations.json         with --coco: RLE, box and area of each class in each image
      config.yaml              the arguments of the call, for --config

    Images in a folder keep their path below it. An image that can't be read is reported, the others are drawn, and the
    exit code is 1. Images of one shape are segmented together; --batch bounds how many, and so the memory.
    --coco needs one more package: pip install "decomprec[coco]"
    """  # noqa: D301
    import torch
    from tqdm import tqdm

    from decomprec._files import write_text
    from decomprec.evaluation.coco import CocoWriter
    from decomprec.evaluation.label_files import CLASSES
    from decomprec.trained_model import load

    named = find_images(images, out)
    names, files = list(named), list(named.values())
    loaded = load(model, torch_device(device))
    if components and loaded.masks_only:
        raise ValueError(f"Expected a model with an image decoder for --components, but {model} has masks only.")
    given = names_of(tags)
    if given and not set(given) <= set(loaded.class_names):
        raise ValueError(f"Expected --tags to be among {', '.join(loaded.class_names)}, but got {tags!r}.")
    annotations = CocoWriter(loaded.class_names) if coco else None
    save_config(context, out / CONFIG)
    write_text(out / "masks" / CLASSES, "\n".join(loaded.classes) + "\n")
    found: Counter[str] = Counter()
    failed = 0
    writing: deque[Future[None]] = deque()
    threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1), initializer=torch.set_num_threads, initargs=(1,))
    with threads, tqdm(total=len(names), desc="predicting", unit="image") as progress:

        def report(index: int, error: Exception) -> None:
            nonlocal failed
            failed += 1
            with tqdm.external_write_mode(sys.stderr):
                fail(error)
            progress.update()

        results = loaded.stream(files, given, augment=augment, size=size, batch=batch, on_error=report)
        for index, result in results:
            labels = result.label_map
            found.update(loaded.classes[k] for k in labels.unique().tolist())
            if len(writing) == WRITTEN_AT_ONCE:
                writing.popleft().result()
            writing.append(threads.submit(write, out, names[index], result, overlay))
            if probabilities:
                write_probabilities(out, names[index], result.masks)
            if components:
                write_components(out, names[index], loaded.components(result.image, size))
            if annotations is not None:
                annotations.add(f"{names[index]}{files[index].suffix}", labels)
            progress.update()
        for last in writing:
            last.result()
    if annotations is not None:
        annotations.save(out / "annotations.json", order=[f"{name}{path.suffix}" for name, path in named.items()])
    counts = ", ".join(f"{class_name} in {found[class_name]}" for class_name in loaded.class_names)
    typer.echo(f"{len(names) - failed} of {len(names)} images drawn ({counts}): {out}")
    if failed:
        raise typer.Exit(1)


def write(out: Path, name: str, result: Prediction, overlay: bool) -> None:
    """An image's label map, and its overlay if that is wanted."""
    from decomprec._files import written_whole

    result.save(out / "masks" / f"{name}.png")
    if overlay:
        with written_whole(out / "overlays" / f"{name}.png") as partial:
            result.overlay().save(partial, compress_level=1)


def write_probabilities(out: Path, name: str, masks: Tensor) -> None:
    """An image's soft masks."""
    import numpy as np

    from decomprec._files import written_whole

    with written_whole(out / "probabilities" / f"{name}.npz") as partial:
        np.savez_compressed(partial, masks=masks.half().cpu().numpy())


def write_components(out: Path, name: str, components: Tensor) -> None:
    """An image's components, one file each by its label."""
    from decomprec.viz import save_image

    for label, component in enumerate(components.cpu()):
        save_image(component, out / "components" / name / f"{label}.png")


def find_images(paths: list[Path], out: Path) -> dict[str, Path]:
    """Image files by the name that their results get: the stem, with the path below the folder that was given.

    Files below `out` are left out: they are results of an earlier call.

    Raises:
        FileNotFoundError: if a file or folder is missing, or a folder holds no image.
        ValueError: if two results would have one name.
    """
    from decomprec.data.image_io import image_files

    named: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            files = [f for f in image_files(path) if not f.resolve().is_relative_to(out.resolve())]
        else:
            files = [path] if path.is_file() else []
        if not files:
            raise FileNotFoundError(f"Expected IMAGES to be images or folders of them, but found none at {path}.")
        for file in files:
            name = (file.relative_to(path) if path.is_dir() else Path(file.name)).with_suffix("").as_posix()
            if name in named:
                raise ValueError(f"Expected images of different names, but got {named[name]} and {file}.")
            named[name] = file
    return named
