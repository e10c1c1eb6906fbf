"""`decomprec predict`."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decomprec._files import LONGEST_NAME
from decomprec.cli.common import Device, DeviceOption, fail, names_of, printable
from decomprec.cli.config import CONFIG, ConfigOption, save_config
from decomprec.cli.surroundings import check_apart

if TYPE_CHECKING:
    from torch import Tensor

    from decomprec.trained_model import Prediction


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_ENDING = len(".png")
_NAMED = 10  # of the images that could not be drawn
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
    --coco needs one more package: pip install pycocotools
    """  # noqa: D301
    import torch
    from tqdm import tqdm

    from decomprec._devices import torch_device
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
    failed: dict[str, Exception] = {}
    writing: deque[tuple[int, Future[None]]] = deque()
    threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1), initializer=torch.set_num_threads, initargs=(1,))
    try:
        with threads, tqdm(total=len(names), desc="predicting", unit="image") as progress:

            def report(index: int, error: Exception) -> None:
                if names[index] in failed:
                    return
                failed[names[index]] = error
                with tqdm.external_write_mode(sys.stderr):
                    fail(error)

            def unreadable(index: int, error: Exception) -> None:
                report(index, error)
                progress.update()

            def finish(index: int, written: Future[None]) -> None:
                try:
                    written.result()
                except OSError as error:
                    if error.errno in _FULL:  # the others can't be written either
                        raise
                    report(index, error)

            results = loaded.stream(files, given, augment=augment, size=size, batch=batch, on_error=unreadable)
            for index, result in results:
                labels = result.label_map
                found.update(loaded.classes[k] for k in labels.unique().tolist())
                if len(writing) == WRITTEN_AT_ONCE:
                    finish(*writing.popleft())
                writing.append((index, threads.submit(write, out, names[index], result, overlay, probabilities)))
                if components:
                    write_components(out, names[index], loaded.components(result.image, size))
                if annotations is not None:
                    annotations.add(f"{names[index]}{files[index].suffix}", labels)
                progress.update()
            for last in writing:
                finish(*last)
    finally:  # what is drawn before an interruption is in the file too
        if annotations is not None:
            annotations.save(out / "annotations.json", order=[f"{name}{path.suffix}" for name, path in named.items()])
    counts = ", ".join(f"{class_name} in {found[class_name]}" for class_name in loaded.class_names)
    typer.echo(f"{len(names) - len(failed)} of {len(names)} images drawn ({counts}): {out}")
    if failed:
        more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        typer.echo(printable(f"not drawn: {', '.join(str(named[name]) for name in list(failed)[:_NAMED])}{more}"))
        raise typer.Exit(1)


def write(out: Path, name: str, result: Prediction, overlay: bool, probabilities: bool) -> None:
    """An image's label map, and its overlay and soft masks if they are wanted."""
    import numpy as np

    from decomprec._files import written_whole

    result.save(out / "masks" / f"{name}.png")
    if overlay:
        with written_whole(out / "overlays" / f"{name}.png") as partial:
            result.overlay().save(partial, compress_level=1)
    if probabilities:
        with written_whole(out / "probabilities" / f"{name}.npz") as partial:
            np.savez_compressed(partial, masks=result.masks.half().cpu().numpy())


def write_components(out: Path, name: str, components: Tensor) -> None:
    """An image's components, one file each by its label."""
    from decomprec.viz import save_image

    for label, component in enumerate(components.cpu()):
        save_image(component, out / "components" / name / f"{label}.png")


def find_images(paths: list[Path], out: Path) -> dict[str, Path]:
    """Image files by the name that their results get: the stem, with the path below the folder that was given.

    Files below `out` are left out: they are results of an earlier call. A name that is too long for the file system
    with the ending of a result is cut, and ends in a checksum.

    Raises:
        FileNotFoundError: if a file or folder is missing, or a folder holds no image.
        ValueError: if two results would have one name, or `out` is a folder that was given, or holds one.
    """
    from decomprec.data.image_io import image_files

    named: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            if path.resolve().is_relative_to(out.resolve()):
                check_apart(path, out)
            files = [f for f in image_files(path) if not f.resolve().is_relative_to(out.resolve())]
        else:
            files = [path] if path.is_file() else []
        if not files:
            raise FileNotFoundError(f"Expected IMAGES to be images or folders of them, but found none at {path}.")
        for file in files:
            below = file.relative_to(path) if path.is_dir() else Path(file.name)
            name = _short(below.with_suffix("")).as_posix()
            if name in named:
                raise ValueError(f"Expected images of different names, but got {named[name]} and {file}.")
            named[name] = file
    return named


def _short(path: Path) -> Path:
    """A path whose last part leaves room for the ending of a result."""
    name = os.fsencode(path.name)
    if len(name) <= LONGEST_NAME - _ENDING:
        return path
    kept = name[: LONGEST_NAME - _ENDING - 17].decode(errors="ignore")
    return path.with_name(f"{kept}-{hashlib.sha256(name).hexdigest()[:16]}")
