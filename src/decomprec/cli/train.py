"""`decomprec train`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from decomprec.cli.common import Device, DeviceOption, ResumeOption, RunOption, SeedOption, SetOption, run


def train(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder or CSV file of tagged pictures.")],
    out: RunOption,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="paper, demo, robust, fast, or a preset.yaml, to repeat it.  [default: robust; RUN's with --resume]",
        ),
    ] = None,
    settings: SetOption = None,
    resume: ResumeOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = Device.auto,
    workers: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Processes that load pictures.  [default: one for each core]"),
    ] = None,
) -> None:
    """Learn to segment from a folder or CSV file of tagged pictures.

    \b
    decomprec train pictures --out runs/mine           # pictures/train/dog/*.jpg, .../other/*.jpg, pictures/val/...
    decomprec train tags.csv --out runs/mine           # columns image, split, tags: "park.jpg,train,dog person"
    decomprec train pictures --out runs/mine --resume
    decomprec train pictures --out runs/short --set segmenter.epochs=1 --set guide.batch_size=8
    decomprec train pictures --out runs/again --preset runs/mine/preset.yaml

    First a guide learns the tags, then a segmenter learns from the frozen guide.

    A picture in a folder "other" (or "background", "none", "negative") has no class. Without train/ and val/ a fifth
    of each class is kept for validation. Masks in pictures/val_masks/NAME.png, or masks/ beside the CSV file, are
    only measured with.

    RUN gets preset.yaml, guide/ and segmenter/ (checkpoints and logs), progress/, figures/, results.json where there
    are masks, and the model in RUN/model.
    """  # noqa: D301
    if not data.exists():
        raise FileNotFoundError(f"Expected DATA to be a folder or a CSV file, but found no {data}.")

    from decomprec.data import TaggedCSV, TaggedFolder
    from decomprec.training.choose import choose_preset

    def load(split: str, **options: Any) -> TaggedFolder | TaggedCSV:
        return TaggedFolder(data, split, **options) if data.is_dir() else TaggedCSV(data, split=split, **options)

    settings = settings or []
    if preset is None and resume and not settings and (out / "preset.yaml").is_file():
        preset = str(out / "preset.yaml")
    run(
        choose_preset(preset or "robust", settings),
        load,
        out,
        device,
        data="folder" if data.is_dir() else "csv",
        settings=settings,
        resume=resume,
        seed=seed,
        workers=workers if workers is not None else os.cpu_count() or 0,
    )
