"""`decomprec predict`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from decomprec.cli.common import Device, DeviceOption, Precision, PrecisionOption, fail, printable
from decomprec.cli.config import CONFIG, ConfigOption, plain_arguments, save_config
from decomprec.cli.predict_inputs import find_images, share, tags_of
from decomprec.cli.predict_outputs import (
    CLASSES,
    MASK_SETTINGS,
    MASKS,
    Outputs,
    check_settings,
    fingerprint,
    weights_of,
)
from decomprec.cli.predict_writer import Writer

if TYPE_CHECKING:
    from decomprec.protocols import Refinement
    from decomprec.trained_model import TrainedModel

_NAMED = 10  # of the images that could not be drawn


class Refine(StrEnum):
    """How masks are fitted to the edges of their images."""

    half_pamr = "half-pamr"
    pamr = "pamr"
    guided = "guided"
    none = "none"

    def function(self) -> Refinement | None:
        """The refinement."""
        from decomprec.refine import guided_filter, half_pamr, pamr

        return {"half-pamr": half_pamr, "pamr": pamr, "guided": guided_filter, "none": None}[self]


def predict(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Run folder, model folder, or hub id (owner/name).")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the results.")],
    tags: Annotated[
        str | None,
        typer.Option(
            metavar="TAG,...|FILE|FOLDER",
            help="Classes in all images; or a CSV of image and tags, or a folder for each class.  "
            "[default: the classifier decides]",
        ),
    ] = None,
    overlay: Annotated[bool, typer.Option(help="Draw the masks over the images.")] = True,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Save the soft masks too.")] = False,
    confidence: Annotated[
        bool, typer.Option("--confidence", help="Save the probability of the most likely class too.")
    ] = False,
    components: Annotated[bool, typer.Option("--components", help="Save each class's part of the image too.")] = False,
    ignore_below: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            metavar="P",
            help="Label pixels 255 whose most likely class is less probable.",
        ),
    ] = 0.0,
    refine: Annotated[
        Refine, typer.Option(metavar="METHOD", help=f"Fit masks to the edges of their images: {', '.join(Refine)}.")
    ] = Refine.half_pamr,
    size: Annotated[
        int | None,
        typer.Option(min=1, metavar="PIXELS", help="Short side of what the model sees.  [default: as in training]"),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Images at a time.  [default: by their sizes and the device]"),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Draw only the I-th of N shares of the images: for array jobs.")
    ] = None,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.auto,
    config: ConfigOption = None,
) -> None:
    """Draw the masks of images of any size.

    \b
    decomprec predict runs/mine holiday.jpg --out drawn
    decomprec predict runs/mine holiday/ more/*.jpg --out drawn --tags dog,person
    decomprec predict runs/mine holiday/ --out drawn --tags tags.csv
    decomprec predict someone/dogs holiday/ --out drawn --probabilities --no-overlay
    decomprec predict --config drawn/config.yaml runs/mine more/ --out more_drawn

    \b
    DIR gets, at each image's own resolution and EXIF orientation:
      masks/NAME.png           label map with the palette of Pascal VOC; 0 is background, 255 less probable than
                               --ignore-below
      masks/classes.txt        names of the labels, from 0
      overlays/NAME.png        unless --no-overlay; reduced to at most 16 megapixels
      confidence/NAME.png      probability of the most likely class, 255 is 1, with --confidence
      probabilities/NAME.npz   "masks" (classes, height, width), float16, with --probabilities
      components/NAME/0.png    and 1.png, ...: mask times image-let of the background and of each class, on black, as
                               large as the model sees the image, with --components
      config.yaml              the arguments of the call, for --config

    Images in a folder keep their path below it. An image that can't be read is reported, the others are drawn, and the
    exit code is 1. Images of one shape are segmented together; --batch bounds how many, and so the memory.
    The same call again draws only what is not there yet, or has changed since. --shard 3/8 is the third of 8 jobs that
    share DIR. `decomprec export-labels DIR` writes the masks as a COCO file, or for a labelling tool.
    """
    from decomprec._devices import autocast, torch_device
    from decomprec._files import write_text
    from decomprec.trained_model import load

    every = find_images(images, out)
    named = share(every, shard)
    loaded = load(model, found_device := torch_device(device))
    if components and loaded.masks_only:
        raise ValueError(f"Expected a model with an image decoder for --components, but {model} has masks only.")
    given = tags_of(tags, list(named.values()), loaded.class_names)
    weights = weights_of(loaded)
    settings = {key: value for key, value in plain_arguments(context).items() if key in MASK_SETTINGS}
    check_settings(out, {"weights": weights, **settings}, named)
    save_config(context, out / CONFIG, weights=weights)
    write_text(out / MASKS / CLASSES, "\n".join(loaded.classes) + "\n")
    outputs = Outputs(out, overlay, probabilities, confidence, len(loaded.classes) if components else 0)
    work = Work.of(named, given, outputs, {"weights": weights, **settings})
    options = {"size": size, "refine": refine.function(), "ignore_below": ignore_below}
    with autocast(found_device, precision):
        found, failed = draw(loaded, work, outputs, {**options, "batch": batch})
    counts = ", ".join(f"{class_name} in {found[class_name]}" for class_name in loaded.class_names)
    if work.earlier:
        counts = f"{len(work.earlier)} earlier; now {counts}"
    typer.echo(f"{len(named) - len(failed)} of {len(named)} images drawn ({counts}): {out}")
    if failed:
        more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        typer.echo(printable(f"not drawn: {', '.join(map(str, failed[:_NAMED]))}{more}"))
        raise typer.Exit(1)


@dataclass(frozen=True)
class Work:
    """The images of a call: `names` of their results, `files`, `tags` if they are given, and fingerprints.

    Attributes:
        todo: indices of the images to draw.
        earlier: of those that an earlier call has drawn.
    """

    names: list[str]
    files: list[Path]
    tags: list[tuple[str, ...]] | None
    fingerprints: list[str]
    todo: list[int]
    earlier: list[int]

    @classmethod
    def of(
        cls,
        named: dict[str, Path],
        tags: list[tuple[str, ...]] | None,
        outputs: Outputs,
        settings: Mapping[str, Any],
    ) -> Self:
        """Look which results are there."""
        from tqdm import tqdm

        names, files = list(named), list(named.values())
        fingerprints: list[str] = []
        todo: list[int] = []
        earlier: list[int] = []
        looked = tqdm(files, desc="looking for earlier results", unit="image", delay=3, leave=False)
        for index, file in enumerate(looked):
            fingerprints.append(fingerprint(settings, None if tags is None else tags[index], file))
            (earlier if outputs.finished(names[index], fingerprints[index]) else todo).append(index)
        return cls(names, files, tags, fingerprints, todo, earlier)


def draw(
    model: TrainedModel, work: Work, outputs: Outputs, options: Mapping[str, Any]
) -> tuple[Counter[str], list[Path]]:
    """Draw what is to do: in how many images each class is, and the files that could not be drawn."""
    from tqdm import tqdm

    todo, names, files = work.todo, work.names, work.files
    found: Counter[str] = Counter()
    failed: dict[int, Path] = {}
    with tqdm(total=len(names), initial=len(work.earlier), desc="predicting", unit="image") as progress:

        def report(index: int, error: Exception) -> None:
            if index not in failed:
                failed[index] = files[index]
                with tqdm.external_write_mode(sys.stderr):
                    fail(error)

        def unreadable(place: int, error: Exception) -> None:
            report(todo[place], error)
            progress.update()

        tags = None if work.tags is None else [work.tags[index] for index in todo]
        results = model.stream([files[index] for index in todo], tags, on_error=unreadable, **options)
        with Writer(outputs, report) as writer:
            for place, result in results:
                index = todo[place]
                found.update(result.found)
                parts = model.components(result.image, options["size"]) if outputs.components else None
                writer.add(index, names[index], result, work.fingerprints[index], parts)
                progress.update()
    return found, list(failed.values())
