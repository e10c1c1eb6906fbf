"""`decomprec report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from decomprec.cli.common import Device, DeviceOption, torch_device


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    data: Annotated[
        Path | None,
        typer.Argument(metavar="DATA", help="Folder or CSV file that it was trained on."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="HTML file.  [default: RUN/report.html]")
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, max=80, metavar="N", help="Validation pictures shown, at most.")] = 48,
    device: DeviceOption = Device.auto,
) -> None:
    """Write a page to look at: results, curves, pictures, settings.

    \b
    decomprec report runs/demo                               # draws its scenes again
    decomprec report runs/mine pictures
    decomprec report runs/mine tags.csv --out mine.html --pictures 24

    The page is one file that loads nothing else: open it from disk, or send it. The validation pictures of DATA are
    shown from the worst segmented to the best or, without masks, from the least certain, each with its mask,
    components and reconstruction. Without DATA the page has everything but the pictures.
    """  # noqa: D301
    if data is not None and not data.exists():
        raise FileNotFoundError(f"Expected DATA to be a folder or a CSV file, but found no {data}.")

    from decomprec.data import TaggedCSV, TaggedFolder, eval_transform
    from decomprec.experiment import synthetic_scenes
    from decomprec.report import read_run, write_report

    on = torch_device(device)
    record = read_run(run)
    out = out or run / "report.html"
    options: dict[str, Any] = {"transform": eval_transform(record.preset.image_size), "masks": True}
    dataset: Any = None
    if data is not None:
        dataset = TaggedFolder(data, "val", **options) if data.is_dir() else TaggedCSV(data, split="val", **options)
    elif record.facts.get("data") == "synthetic":
        dataset = synthetic_scenes(record.preset.image_size)("val", **options)
    write_report(record, out, dataset, pictures=pictures, device=on)
    if dataset is None:
        typer.echo("no pictures: give the DATA that the run was trained on to see them")
    typer.echo(f"report: {out}")
