"""`decomprec predict`."""

from __future__ import annotations

import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decomprec.cli.common import Device, DeviceOption, fail, torch_device
from decomprec.cli.config import CONFIG, ConfigOption, save_config

if TYPE_CHECKING:
    from torch import Tensor

    from decomprec.models.pretrained import Pretrained


WRITTEN_AT_ONCE = 8
"""Images in memory that are drawn and wait to be written."""


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
    components: Annotated[bool, typer.Option("--components", help="Save what is rebuilt of each class too.")] = False,
    coco: Annotated[bool, typer.Option("--coco", help="Write the masks as one COCO file too.")] = False,
    size: Annotated[
        int | None,
        typer.Option(min=1, metavar="PIXELS", help="Short side of what the model sees.  [default: as it was trained]"),
    ] = None,
    augment: Annotated[
        bool, typer.Option("--augment", help="Average the masks of two sizes and of mirror images: slower.")
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
    DIR gets, each at its image's own resolution and turned as its EXIF data say:
      masks/NAME.png           labels with the palette of Pascal VOC; 0 background
      masks/classes.txt        what the labels mean, from 0
      overlays/NAME.png        unless --no-overlay
      probabilities/NAME.npz   "masks" (classes, height, width), float16, with --probabilities
      components/NAME/0.png    and 1.png, ...: mask times image of the background and of each class, on black and as
                               large as the model saw the image, with --components
      annotations.json         with --coco: RLE, box and area of each class in each image
      config.yaml              the arguments of the call, for --config

    Images of a folder keep their path below it. An image that can't be read is reported, the others are drawn,
    and the exit code is 1. Images of one shape go through the networks together; --batch bounds how many, and so
    the memory. --coco needs one more package: pip install "decomprec[coco]"
    """  # noqa: D301
    import torch
    from tqdm import tqdm

    from decomprec._files import written_whole
    from decomprec.data.image_io import read_labels
    from decomprec.evaluation.coco import CocoWriter
    from decomprec.evaluation.label_files import CLASSES
    from decomprec.inference import image_components, named_tags

    named = find_images(images, out)
    names = list(named)
    loaded = load_model(model, torch_device(device))
    if components and loaded.masks_only:
        raise ValueError(f"Expected a model with an image decoder for --components, but {model} has masks only.")
    given = None if tags is None else named_tags(tags, loaded.class_names)
    annotations = CocoWriter(loaded.class_names) if coco else None
    save_config(context, out / CONFIG)
    with written_whole(out / "masks" / CLASSES) as partial:
        partial.write_text("\n".join(["background", *loaded.class_names]) + "\n", encoding="utf-8")
    found: Counter[str] = Counter()
    failed: set[str] = set()
    writing: deque[Future[None]] = deque()
    # Each keeps to one core: the others are the networks'.
    threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1), initializer=torch.set_num_threads, initargs=(1,))
    with threads, tqdm(total=len(names), desc="predicting", unit="image") as progress:

        def unreadable(index: int, error: Exception) -> None:
            with tqdm.external_write_mode(sys.stderr):
                fail(error)
            failed.add(names[index])
            progress.update()

        files = list(named.values())
        for index, image, masks in draw(files, loaded, given, size, augment, batch, threads, unreadable):
            labels = masks.argmax(dim=0).cpu()
            found.update(loaded.class_names[k - 1] for k in labels.unique().tolist() if k)
            if len(writing) == WRITTEN_AT_ONCE:
                writing.popleft().result()
            writing.append(threads.submit(write, out, names[index], image, labels, overlay))
            if probabilities:
                write_probabilities(out, names[index], masks)
            if components:
                write_components(out, names[index], image_components(image, loaded, size))
            progress.update()
        for last in writing:
            last.result()
    if annotations is not None:
        for name, path in named.items():  # in this order, whatever was drawn first
            if name not in failed:
                annotations.add(f"{name}{path.suffix}", read_labels(out / "masks" / f"{name}.png"))
        annotations.save(out / "annotations.json")
    counts = ", ".join(f"{class_name} in {found[class_name]}" for class_name in loaded.class_names)
    typer.echo(f"{len(names) - len(failed)} of {len(names)} images drawn ({counts}): {out}")
    if failed:
        raise typer.Exit(1)


def draw(
    files: list[Path],
    model: Pretrained,
    tags: Tensor | None,
    size: int | None,
    augment: bool,
    batch: int | None,
    threads: Executor,
    unreadable: Callable[[int, Exception], None],
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Index, image and masks of every file that can be read; the next batch is read while one is drawn."""
    from decomprec.data.image_io import read_image
    from decomprec.inference import AUGMENTED_SIZE, batch_masks, plan_batches

    device = next(model.segmenter.parameters()).device
    sizes = list(threads.map(stored_size, files))
    seen = round((AUGMENTED_SIZE if augment else 1) * (size or model.image_size))
    plan = plan_batches(sizes, seen, batch, device.type)
    reading = [threads.submit(read_image, files[index]) for index in plan[0]]
    for indices, following in zip(plan, [*plan[1:], []], strict=True):
        ready, reading = reading, [threads.submit(read_image, files[index]) for index in following]
        images = {}
        for index, future in zip(indices, ready, strict=True):
            try:
                images[index] = future.result()
            except (ValueError, OSError) as error:
                unreadable(index, error)
        known = None if tags is None else tags.expand(len(images), -1)
        drawn = batch_masks(list(images.values()), model, known, size, augment=augment)
        for index, masks in zip(images, drawn, strict=True):
            yield index, images[index], masks


def stored_size(path: Path) -> tuple[int, int]:
    """Height and width that an image's header promises, or (1, 1): reading it will say what is wrong."""
    from PIL import ExifTags, Image

    try:
        with Image.open(path) as file:
            turned = file.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return file.size if turned else file.size[::-1]
    except Exception:  # Pillow's own are many
        return 1, 1


def write(out: Path, name: str, image: Tensor, labels: Tensor, overlay: bool) -> None:
    """An image's label map, and its overlay if that is wanted."""
    from decomprec.viz import overlay as lay_over
    from decomprec.viz import save_image, save_label_map

    save_label_map(labels, out / "masks" / f"{name}.png")
    if overlay:
        save_image(lay_over(image[None].float() / 255, labels[None])[0], out / "overlays" / f"{name}.png")


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
    """Image files by the name that their results get: the stem, behind its path below the folder that was given.

    What lies below `out` is passed over: the results of an earlier call.

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


def load_model(source: str, device: str) -> Pretrained:
    """The networks of a run folder, of a folder that `save_pretrained` wrote, or of the hub, on `device`.

    Raises:
        FileNotFoundError: as for `load_pretrained`.
        ValueError: as for `load_pretrained` and `load_run`.
    """
    from decomprec.models.pretrained import Pretrained, load_pretrained

    if (Path(source) / "preset.yaml").is_file():
        from decomprec.training import Preset, load_run

        trained, preset = load_run(source), Preset.load(Path(source) / "preset.yaml")
        loaded = Pretrained(trained.segmenter, trained.classifier, trained.class_names, preset.segmenter_size)
    else:
        loaded = load_pretrained(source)
    loaded.segmenter.to(device)
    if loaded.classifier is not None:
        loaded.classifier.to(device)
    return loaded
