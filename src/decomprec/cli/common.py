"""What the commands share."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from decomprec.experiment import LoadData
    from decomprec.training import Preset


class Device(StrEnum):
    """Where the networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


DeviceOption = Annotated[Device, typer.Option(help="auto is the GPU where there is one.")]
RunOption = Annotated[Path, typer.Option("--out", metavar="RUN", help="Run folder; new, unless the run is resumed.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as segmenter.epochs=3; may be repeated."),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on where the run in RUN stopped.")]
SeedOption = Annotated[int, typer.Option(min=0, metavar="N", help="Weights, order, augmentation.")]


class SentenceErrors(TyperGroup):
    """Commands whose foreseen errors end in one sentence on stderr and the exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            fail(error)
            raise typer.Exit(1) from error


def fail(error: Exception) -> None:
    """Write an error on stderr."""
    text = str(error).strip()
    if "Original Traceback" in text:  # from a process that loads pictures
        text = text.splitlines()[-1].partition(": ")[2]
    typer.echo(f"error: {text}", err=True)


def torch_device(device: Device) -> str:
    """The device to use.

    Raises:
        ValueError: if there is no GPU that was asked for.
    """
    import torch

    if device is Device.cuda and not torch.cuda.is_available():
        raise ValueError("Expected a GPU for --device cuda, but torch finds none; use --device cpu.")
    return "cuda" if device is not Device.cpu and torch.cuda.is_available() else "cpu"


def run(preset: Preset, load: LoadData, out: Path, device: Device, **options: Any) -> None:
    """`run_experiment`, as both training commands do it."""
    from decomprec.experiment import run_experiment
    from decomprec.training import CollapsedRunError

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    accelerator = "gpu" if torch_device(device) == "cuda" else "cpu"
    try:
        run_experiment(preset, load, out, accelerator=accelerator, **options)
    except CollapsedRunError as error:
        raise ValueError(str(error)) from error
