"""The option `--version`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from decomprec import __version__

NAMED = ("torch", "torchvision", "lightning", "timm", "segmentation-models-pytorch")


def version_line() -> str:
    """State this version and those that a report of a bug needs, in one line, without importing the packages."""
    others = ", ".join(f"{name} {_version(name)}" for name in NAMED)
    return f"decomprec {__version__} (Python {platform.python_version()}, {others})"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _print(asked: bool) -> None:
    if asked:
        typer.echo(version_line())
        raise typer.Exit


def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print, is_eager=True, help="Print the versions and exit.")
    ] = False,
) -> None:
    """Take the options before the name of a command."""
