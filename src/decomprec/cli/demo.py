"""`decomprec demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from decomprec.cli.common import (
    Device,
    DeviceOption,
    Precision,
    PrecisionOption,
    ResumeOption,
    RunOption,
    SeedOption,
    SetOption,
    chosen_preset,
    run,
)
from decomprec.cli.config import ConfigOption


def demo(
    context: typer.Context,
    out: RunOption = Path("runs/demo"),
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="demo, or one of those of train, to try it here.  [default: demo]"),
    ] = None,
    settings: SetOption = None,
    resume: ResumeOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.auto,
    config: ConfigOption = None,
) -> None:
    """Learn to segment synthetic scenes: minutes on a CPU, no data.

    \b
    decomprec demo
    decomprec demo --out runs/quick --set guide.epochs=2 --set segmenter.epochs=1
    decomprec demo --config runs/quick/config.yaml --out runs/again --seed 1

    Draws the scenes, trains a guide on their tags and a segmenter with it, and compares masks and ground truth.
    RUN gets the table (results.json), figures/, checkpoints, config.yaml, and the model in RUN/model.
    """
    from decomprec.experiment import synthetic_scenes

    chosen = chosen_preset(context, preset, settings, "demo")
    scenes = synthetic_scenes(chosen.image_size)
    run(context, chosen, scenes, out, device, precision, data="synthetic", resume=resume, seed=seed)
