"""`decomprec report`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from decomprec.cli.common import (
    ClassesOption,
    Device,
    DeviceOption,
    Format,
    FormatOption,
    SplitsOption,
    names_of,
    pair_of,
)
from decomprec.cli.config import CONFIG, ConfigOption, check_config, config_beside, load_config, save_config


def report(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    data: Annotated[
        Path | None,
        typer.Argument(metavar="DATA", help="The data that it was trained on.  [default: as RUN/config.yaml says]"),
    ] = None,
    data_format: FormatOption = Format.auto,
    classes: ClassesOption = None,
    splits: SplitsOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="HTML file.  [default: RUN/report.html]")
    ] = None,
    images: Annotated[int, typer.Option(min=1, max=80, metavar="N", help="Validation images shown, at most.")] = 48,
    device: DeviceOption = Device.auto,
    config: ConfigOption = None,
) -> None:
    """Write a page to look at: results, curves, images, settings.

    \b
    decomprec report runs/demo                          # draws its scenes again
    decomprec report runs/mine
    decomprec report runs/mine moved/tags.csv --out mine.html --images 24

    The page is one file that loads nothing else: open it from disk, or send it. The validation images of DATA are
    shown from the worst segmented to the best or, without masks, from the least certain, each with its mask,
    components and reconstruction. Where DATA is not to be found the page has everything but the images.
    """
    from decomprec._devices import torch_device
    from decomprec.cli.train import LIST
    from decomprec.data import eval_transform, load_images
    from decomprec.experiment import synthetic_scenes
    from decomprec.report import read_run, write_report

    out = out or run / "report.html"
    check_config(context, config_beside(out))
    trained = _config_of_training(run / CONFIG)
    if data is None and "data" in trained and Path(trained["data"]).exists():
        data, data_format, classes = (
            Path(trained["data"]),
            Format(trained.get("format", "auto")),
            trained.get("classes"),
        )
        splits = splits or trained.get("splits")
    load: Any = None
    found = None
    if data is not None:
        found = data_format.at(data)
        load = load_images(
            data,
            found,
            classes=names_of(classes),
            splits=pair_of(splits),
            seed=trained.get("seed", 0),
            list_file=run / LIST,
            on_error="skip" if trained.get("skip-unreadable") else "raise",
        )
    on = torch_device(device)
    record = read_run(run)
    if data is None and record.facts.get("data") == "synthetic":
        load = synthetic_scenes(record.preset.image_size)
    whole = eval_transform(record.preset.image_size, crop=False)
    dataset = None if load is None else load("val", transform=whole, masks=True)
    write_report(record, out, dataset, images=images, device=on)
    save_config(context, config_beside(out), data=data, format=found, classes=classes, splits=splits, out=out)
    if dataset is None:
        typer.echo("no images: give the DATA that the run was trained on to see them")
    typer.echo(f"report: {out}")


def _config_of_training(path: Path) -> Mapping[str, Any]:
    """Read the data options from a run's config; empty without one.

    Raises:
        ValueError: if it says it in other types than `train` writes.
    """
    config = load_config(path) if path.is_file() else {}
    types: dict[str, tuple[type, ...]] = {
        "data": (str,),
        "format": (str,),
        "classes": (str, type(None)),
        "splits": (str, type(None)),
        "seed": (int,),
        "skip-unreadable": (bool,),
    }
    for key, fitting in types.items():
        if key in config and not isinstance(config[key], fitting):
            raise ValueError(f"Expected {key} in {path} to be as `train` writes it, but got {config[key]!r:.200}.")
    return config
