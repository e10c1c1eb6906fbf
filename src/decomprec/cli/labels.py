"""`decomprec export-labels` and `decomprec import-labels`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from decomprec.cli.common import names_of
from decomprec.cli.config import CONFIG, ConfigOption, check_config, config_beside, load_config, save_config
from decomprec.cli.predict_inputs import find_images


class Tool(StrEnum):
    """Tools of `decomprec.labelling.TOOLS`."""

    label_studio = "label-studio"
    cvat = "cvat"
    fiftyone = "fiftyone"
    yolo = "yolo"
    coco = "coco"
    coco_polygons = "coco-polygons"


def export_labels(
    context: typer.Context,
    drawn: Annotated[
        Path, typer.Argument(metavar="DRAWN", help="DIR of predict, or a folder of label PNGs with classes.txt.")
    ],
    to: Annotated[Tool, typer.Option("--to", metavar="TOOL", help=f"Tool or format: {', '.join(Tool)}.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="PATH", help="File for cvat (.zip) and coco (.json), else a new folder.")
    ],
    images: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="The images; may be repeated.  [default: those that predict was given]"),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Write masks for a labelling tool, to correct them there.

    \b
    decomprec export-labels drawn --to label-studio --out tasks
    decomprec export-labels drawn --to cvat --out drawn.zip
    decomprec export-labels drawn/masks --images holiday/ --to coco --out drawn.json

    \b
    label-studio   PATH/tasks.json (brush strokes as predictions) and label_config.xml; images as local files
    cvat           "segmentation mask 1.1"; COCO is read by CVAT too
    fiftyone       a dataset on disk, of the type FiftyOneDataset
    yolo           data.yaml, labels (a polygon for each part of a class) and copies of the images
    coco           one file: RLE, box and area of each class in each image
    coco-polygons  the same with polygons

    If DRAWN has probabilities (predict --probabilities), images get a score in Label Studio and FiftyOne: the mean over
    the pixels of the highest class probability. Start with the lowest.

    coco, coco-polygons and yolo need more packages: pip install pycocotools contourpy
    """
    from decomprec.labelling import TOOLS
    from decomprec.labelling import export_labels as write

    config_file = config_beside(out) if TOOLS[to].ending else out / CONFIG
    check_config(context, config_file)
    masks = drawn / "masks" if (drawn / "masks").is_dir() else drawn
    given = images or _images_of(drawn)
    probabilities = drawn / "probabilities"
    count = write(
        masks, find_images(given, masks), to, out, probabilities=probabilities if probabilities.is_dir() else None
    )
    save_config(context, config_file)
    typer.echo(f"{count} label maps for {to}: {out}")


def import_labels(
    context: typer.Context,
    export: Annotated[Path, typer.Argument(metavar="EXPORT", help="File, zip or folder that the tool has exported.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the label PNGs.")],
    classes: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Use only these classes of EXPORT; others are background.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Write the masks of a labelling tool as label PNGs.

    \b
    decomprec import-labels project-1.json --out corrected
    decomprec import-labels task_3_segmentation_mask.zip --out corrected
    decomprec train images --out runs/better --start runs/mine --masks corrected

    EXPORT is Label Studio's JSON, CVAT's "segmentation mask 1.1" or "COCO 1.0", a COCO file, a YOLO folder with its
    images, or a FiftyOne dataset on disk; folders may be zipped. The format is detected.

    DIR gets NAME.png for each image, and classes.txt, names of the labels from 0: train --masks, evaluate and the
    formats of DATA read it. Pixels where regions of different classes overlap are 255 (unknown), and so are those
    labelled "ignore". Images without an annotation are left out.

    COCO, YOLO and polygons need more packages: pip install pycocotools contourpy
    """
    from decomprec.labelling import import_labels as read

    check_config(context, out / CONFIG)
    count, names = read(export, out, classes=names_of(classes))
    save_config(context, out / CONFIG)
    typer.echo(f"{count} label maps of {', '.join(names)}: {out}")


def _images_of(drawn: Path) -> list[Path]:
    """The images that predict was given.

    Raises:
        ValueError: if the folder does not say so.
    """
    config = drawn / CONFIG
    values = load_config(config) if config.is_file() else {}
    if values.get("command") != "predict" or not values.get("images"):
        raise ValueError(f"Expected {drawn} to be a folder of predict, whose {CONFIG} names the images; give --images.")
    return [Path(path) for path in values["images"]]
