"""Options and helpers that several commands share."""

from __future__ import annotations

import logging
import os
import shlex
import signal
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from typer.core import TyperCommand, TyperGroup

from decomprec._memory import keep_freed_memory
from decomprec.cli.config import CONFIG, check_config, parse_settings, save_config
from decomprec.cli.surroundings import forget_ranks, print_any_text
from decomprec.cli.threads import set_threads

if TYPE_CHECKING:
    from decomprec.protocols import LoadData
    from decomprec.training import Preset


class Device(StrEnum):
    """Where the networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(StrEnum):
    """Number format of training."""

    float32 = "float32"
    bf16 = "bf16"


class Format(StrEnum):
    """Formats of `decomprec.data.load_images`."""

    auto = "auto"
    folder = "folder"
    csv = "csv"
    voc = "voc"
    coco = "coco"
    paired = "paired"
    pets = "pets"
    imagenet = "imagenet"


DeviceOption = Annotated[Device, typer.Option(help="auto uses the GPU if there is one.")]
PrecisionOption = Annotated[
    Precision, typer.Option(help="bf16 is mixed precision: faster, less memory, if the hardware has it.")
]
RunOption = Annotated[
    Path, typer.Option("--out", metavar="RUN", help="Run folder; must be new unless the run is resumed.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as segmenter.epochs=3; may be repeated."),
]
FormatOption = Annotated[
    Format, typer.Option("--format", metavar="FORMAT", help=f"Format of DATA: {', '.join(Format)}; auto detects it.")
]
ClassesOption = Annotated[
    str | None, typer.Option(metavar="NAME,...", help="Only these of DATA's classes; other objects are background.")
]
SplitsOption = Annotated[
    str | None,
    typer.Option(
        metavar="TRAIN,VAL", help="DATA's splits to train and validate on, such as train_aug,val; by default the usual."
    ),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Resume the run in RUN.")]
SeedOption = Annotated[int, typer.Option(min=0, metavar="N", help="Seed of weights, order and augmentation.")]


ARGUMENTS = {
    "`path`": "DATA",
    "`source`": "MODEL",
    "`run_dir`": "RUN",
    "`format`": "--format",
    "`classes`": "--classes",
    "`splits`": "--splits",
    "`tags`": "--tags",
    "`evidence_only`": "--evidence-only",
    "`port`": "--port",
}
"""Words of the command line for the arguments that errors of the library name."""


class SentenceErrors(TyperGroup):
    """Commands that report expected errors in one sentence on stderr and exit with 1, or 130 after Ctrl-C."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Read the command line and run the command."""
        print_any_text()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            fail(error)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as stop:
            typer.echo(f"\n{stop}".rstrip() or "\ninterrupted", err=True)
            raise typer.Exit(130) from stop


class PreparedCommand(TyperCommand):
    """A command that chooses its threads, keeps freed memory and is one process, before it imports torch."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        keep_freed_memory()
        for said in (forget_ranks(os.environ), set_threads()):
            if said:
                typer.echo(said, err=True)
        return super().invoke(ctx)


class Interrupt:
    """Remember Ctrl-C: Python drops its exception while a data loading process is being started."""

    seen = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._see)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _see(self, *_: Any) -> None:
        self.seen = True
        raise KeyboardInterrupt

    def check(self, *_: Any) -> None:
        """Raise KeyboardInterrupt if it was dropped."""
        if self.seen:
            raise KeyboardInterrupt


def fail(error: Exception) -> None:
    """Print an error on stderr."""
    text = str(error).strip()
    if "Original Traceback" in text:  # from a process that loads images
        text = text.splitlines()[-1].partition(": ")[2]
    for argument, word in ARGUMENTS.items():
        text = text.replace(argument, word)
    typer.echo(f"error: {printable(text)}", err=True)


def printable(text: str) -> str:
    """Escape the codes that control a terminal, which names of files and classes can contain."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def torch_device(device: Device) -> str:
    """The device to use.

    Raises:
        ValueError: if there is no GPU that was asked for.
    """
    import torch

    if device is Device.cuda and not torch.cuda.is_available():
        raise ValueError("Expected a GPU for --device cuda, but torch finds none; use --device cpu.")
    return "cuda" if device is not Device.cpu and torch.cuda.is_available() else "cpu"


def names_of(text: str | None) -> tuple[str, ...] | None:
    """Split names at commas; None stays None."""
    return None if text is None else tuple(name.strip() for name in text.split(","))


def pair_of(splits: str | None) -> tuple[str, str] | None:
    """The names of two splits, separated by a comma; None stays None.

    Raises:
        ValueError: if there are not two.
    """
    names = names_of(splits)
    if names is None:
        return None
    if len(names) != 2 or not all(names):
        raise ValueError(f"Expected `splits` to name two, such as train_aug,val, but got {splits!r}.")
    return names[0], names[1]


def chosen_preset(context: typer.Context, name: str | None, settings: list[str] | None, default: str) -> Preset:
    """The preset of a call: from the option, else the config file, else the default; then the changes of --set.

    Args:
        context: of the call, with the config file's preset.
        name: of a preset, or a file.
        settings: each "key=value".
        default: name of the preset, if neither says one.

    Raises:
        ValueError: if there is no such preset, or a setting is unknown or wrong.
    """
    from decomprec.training import Preset

    written = name is None and context.obj is not None
    preset = Preset.model_validate(context.obj) if written else Preset.load(name or default)
    return preset.override(parse_settings(settings or []))


def run(
    context: typer.Context,
    preset: Preset,
    load: LoadData,
    out: Path,
    device: Device,
    precision: Precision,
    *,
    resolved: dict[str, Any] | None = None,
    evidence_only: bool = False,
    **options: Any,
) -> None:
    """Run the experiment of a training command, and write the call's config into the run folder.

    Raises:
        ValueError: if arguments are wrong or the training cannot go on.
        KeyboardInterrupt: if it is interrupted; says how to go on.
    """
    from lightning.pytorch.callbacks import LambdaCallback

    from decomprec.experiment import run_experiment
    from decomprec.training import StoppedRunError

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    accelerator = "gpu" if torch_device(device) == "cuda" else "cpu"
    config = out / CONFIG
    check_config(context, config)

    def save(*_: Any) -> None:
        # In full: a later version may have other presets.
        save_config(context, config, **{**(resolved or {}), "preset": preset.model_dump(mode="json"), "set": None})

    go_on = f"decomprec {context.info_name} --config {shlex.quote(str(config))} --resume"
    with Interrupt() as interrupt:
        hooks = LambdaCallback(
            on_fit_start=save,  # the run has been accepted, and can be stopped
            on_train_batch_start=interrupt.check,
        )
        try:
            run_experiment(
                preset,
                load,
                out,
                accelerator=accelerator,
                precision={"float32": "32-true", "bf16": "bf16-mixed"}[precision],
                callbacks=[hooks],
                evidence_only=evidence_only,
                **options,
            )
        except StoppedRunError as error:
            raise ValueError(str(error)) from error
        except BaseException as stop:
            # Lightning exits then, and processes that load images may end first.
            if not (interrupt.seen or isinstance(stop, KeyboardInterrupt)):
                raise
            raise KeyboardInterrupt(
                f"interrupted; go on with: {go_on}" if config.is_file() else "interrupted"
            ) from stop
    typer.echo(
        f"train the segmenter: {go_on}" if evidence_only else f"on one page: decomprec report {shlex.quote(str(out))}"
    )
