"""`decomprec app`."""

from __future__ import annotations

from typing import Annotated

import typer

from decomprec.cli.common import Device, DeviceOption


def app(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Run folder, model folder, or hub id (owner/name).")],
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, metavar="N", help="Port of the page.  [default: the first free one from 7860]"),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    device: DeviceOption = Device.auto,
) -> None:
    """Serve a local web page that segments the images you drop on it.

    \b
    decomprec app runs/mine
    decomprec app someone/dogs --port 8000 --no-browser

    You can change tags, refinement and threshold, and download the label map. Images stay on this machine: no other can
    open the page. Ctrl-C stops it. Requires one more package: pip install gradio
    """
    from decomprec._devices import torch_device
    from decomprec.app import serve
    from decomprec.trained_model import load

    serve(load(model, torch_device(device)), port=port, browser=browser)
