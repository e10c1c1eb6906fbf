"""`decomprec evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from decomprec.cli.config import ConfigOption, config_beside, save_config


def evaluate(
    context: typer.Context,
    masks: Annotated[
        Path, typer.Argument(metavar="MASKS", help="Folder of label PNGs, such as DIR/masks of predict, or COCO file.")
    ],
    truth: Annotated[
        Path, typer.Argument(metavar="TRUTH", help="Folder of true label PNGs, COCO file, or VOC2012 devkit.")
    ],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the scores, and the IoU of each image.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Compare masks with the truth.

    \b
    decomprec evaluate drawn/masks images/val_masks
    decomprec evaluate drawn/masks instances_val2017.json --json scores.json
    decomprec evaluate drawn/annotations.json VOCdevkit/VOC2012

    The table has the intersection over union of each class, pixel by pixel over all images; pixels that are 255 in the
    truth are left out.

    Each truth needs a mask of its path or, in other folders, of its name; masks without a truth are passed over.
    Classes are called as in MASKS/classes.txt, if there is one. In two folders the same numbers must mean the same
    classes: nothing is renumbered. A COCO file's categories and VOC's classes are found by their names; objects that
    are none of the masks' classes are background, and of VOC the split val is compared.

    COCO files need one more package: pip install "decomprec[coco]"
    """  # noqa: D301
    import json

    from decomprec._files import written_whole
    from decomprec.cli.label_folders import label_folders
    from decomprec.evaluation.label_files import label_table, score_label_files

    with label_folders(masks, truth) as folders:
        scores, names = score_label_files(*folders)
    typer.echo(f"{label_table(scores, names)}\n\n{scores.images} images")
    if json_file is not None:
        with written_whole(json_file) as partial:
            text = json.dumps({"class_names": list(names[1:]), **scores.to_dict()}, indent=2, allow_nan=False)
            partial.write_text(text + "\n", encoding="utf-8")
        save_config(context, config_beside(json_file))
