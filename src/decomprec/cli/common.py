"""Options and helpers that several commands share."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import warnings
from contextlib import redirect_stdout
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from typer.core import TyperCommand, TyperGroup

from decomprec._memory import keep_freed_memory
from decomprec.cli.config import CONFIG, check_config, parse_settings, save_config
from decomprec.cli.surroundings import is_first, launched, print_any_text, settle_ranks
from decomprec.cli.threads import set_threads

if TYPE_CHECKING:
    from decomprec.protocols import LoadData
    from decomprec.training import Preset


class Device(StrEnum):
    """Where the networks run, in Lightning's words."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"
    mps = "mps"


class Precision(StrEnum):
    """Number format of the networks: Lightning's words, and auto."""

    auto = "auto"
    float32 = "32-true"
    bfloat16 = "bf16-mixed"


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
    hf = "hf"
    webdataset = "webdataset"

    def at(self, path: Path) -> str:
        """Return this format, or for auto the one that is detected at a path."""
        from decomprec.data.detect import detect_format

        return detect_format(path) if self is Format.auto else self.value


DeviceOption = Annotated[Device, typer.Option(help="auto uses the GPU if there is one; mps is a Mac's.")]
PrecisionOption = Annotated[
    Precision, typer.Option(help="Of the networks; auto: bf16-mixed if the hardware is fast in bfloat16, else 32-true.")
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
    str | None, typer.Option(metavar="NAME,...", help="Use only these classes of DATA; other objects are background.")
]
SplitsOption = Annotated[
    str | None,
    typer.Option(
        metavar="TRAIN,VAL", help="DATA's splits to train and validate on, such as train_aug,val.  [default: detected]"
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
    "`device`": "--device",
    "`devices`": "--devices",
    "`nodes`": "--nodes",
    "`start`": "--start",
    "`out`": "--out",
    "`tool`": "--to",
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
            if is_first(os.environ):
                typer.echo(f"\n{stop}".rstrip() or "\ninterrupted", err=True)
            raise typer.Exit(130) from stop


class PreparedCommand(TyperCommand):
    """A command that finds its place among processes and chooses its threads, before it imports torch."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; of several processes, only the first speaks, and all say what stops them."""
        keep_freed_memory()
        devices, nodes = (ctx.params.get(name, 1) for name in ("devices", "nodes"))
        said = [settle_ranks(os.environ, devices, nodes)]
        if devices == 1:  # Lightning shares the cores out among several processes
            said.append(set_threads())
        if sys.platform == "darwin":  # what a Mac's GPU lacks runs on its CPU
            os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
        if not is_first(os.environ):
            warnings.simplefilter("ignore")  # the first process says them
            with Path(os.devnull).open("w", encoding="utf-8") as nothing, redirect_stdout(nothing):
                return super().invoke(ctx)
        for line in filter(None, said):
            typer.echo(line, err=True)
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
    devices: int = 1,
    nodes: int = 1,
    strategy: str = "auto",
    resolved: dict[str, Any] | None = None,
    evidence_only: bool = False,
    **options: Any,
) -> None:
    """Run the experiment of a training command, and write the call's config into the run folder.

    Raises:
        ValueError: if arguments are wrong or the training cannot continue.
        KeyboardInterrupt: if it is interrupted; says how to continue.
    """
    from lightning.pytorch.callbacks import LambdaCallback

    from decomprec._devices import check_count, torch_device
    from decomprec.experiment import run_experiment
    from decomprec.training import StoppedRunError

    logging.basicConfig(level=logging.INFO if is_first(os.environ) else logging.ERROR, format="%(message)s")
    for name in ("lightning.pytorch", "lightning.fabric"):  # devices and hints, in a dozen lines for each stage
        logging.getLogger(name).setLevel(logging.WARNING)
    found = torch_device(device)
    devices = devices or launched(os.environ) // nodes
    check_count(found, devices)
    config = out / CONFIG
    check_config(context, config)

    def save(trainer: Any, *_: Any) -> None:
        if trainer.is_global_zero:
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
                callbacks=[hooks],
                trainer_options={
                    "accelerator": {"cuda": "gpu"}.get(found, found),
                    "devices": devices or "auto",
                    "num_nodes": nodes,
                    "strategy": strategy,
                    "precision": precision.value,
                },
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
                f"interrupted; continue with: {go_on}" if config.is_file() else "interrupted"
            ) from stop
    typer.echo(
        f"train the segmenter: {go_on}" if evidence_only else f"on one page: decomprec report {shlex.quote(str(out))}"
    )
