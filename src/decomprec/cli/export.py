"""`decomprec export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from decomprec.cli.config import ConfigOption, check_config, config_beside, save_config


def export(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Run folder, model folder, or hub id (owner/name).")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Ends in .onnx or .pt2 (torch.export).")],
    config: ConfigOption = None,
) -> None:
    """Write a model's mask branch as one file for other runtimes.

    \b
    decomprec export runs/mine --out dogs.onnx
    decomprec export someone/dogs --out dogs.pt2

    "images", (batch, 3, height, width), float32, RGB in [0, 1], of any size, become "masks", (batch, classes, height,
    width), which sum to one over the classes, background first. Class names and the image size of the training are
    in the file's metadata. The classifier and the refinement of predict are not part of it.

    .onnx needs more packages: pip install onnx onnxscript onnxruntime
    """
    from decomprec.export import export_masks
    from decomprec.trained_model import load

    check_config(context, config_beside(out))
    loaded = load(model)
    export_masks(loaded, out)
    save_config(context, config_beside(out))
    names = ", ".join(loaded.classes)
    typer.echo(
        f"masks of {names}; seen at {loaded.image_size} pixels (short side); {out.stat().st_size / 1e6:.1f} MB: {out}"
    )
