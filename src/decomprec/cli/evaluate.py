"""`decomprec evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from decomprec.cli.common import printable
from decomprec.cli.config import ConfigOption, check_config, config_beside, save_config

_NAMED = 20


def evaluate(
    context: typer.Context,
    masks: Annotated[
        Path,
        typer.Argument(metavar="MASKS", help="Predictions: folder of label PNGs (DIR/masks of predict), or COCO file."),
    ],
    truth: Annotated[
        Path, typer.Argument(metavar="TRUTH", help="Ground truth: folder of label PNGs, COCO file, or VOC devkit.")
    ],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the scores, and the IoU of each image.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Compare masks with the ground truth.

    \b
    decomprec evaluate drawn/masks images/val_masks
    decomprec evaluate drawn/masks instances_val2017.json --json scores.json
    decomprec evaluate drawn.json VOCdevkit/VOC2012

    The table shows the intersection over union of each class, counted over the pixels of all images. Pixels of 255 in
    the ground truth are left out.

    Each ground truth is paired with the mask of the same path or, without one, of the same file name, which may be
    NAME_mask.png or the like. Masks without a ground truth are ignored. Of a VOC devkit, the split val is compared.

    Classes are named by MASKS/classes.txt or by the categories of a COCO file. Categories and VOC classes in TRUTH are
    matched to them by name, and so are those in a TRUTH/classes.txt; other objects are background. Without it, equal
    numbers mean equal classes.

    A file that cannot be compared does not stop the others: it is named at the end, and the exit code is 1.

    COCO files require one more package: pip install pycocotools
    """
    import json

    from decomprec._files import write_text
    from decomprec.evaluation.label_files import label_table, score_pairs
    from decomprec.evaluation.label_pairs import match_label_files

    if json_file is not None:
        check_config(context, config_beside(json_file))
    matched = match_label_files(masks, truth, on_error="skip")
    typer.echo("\n".join(matched.notes) + "\n")
    scores, names, problems = score_pairs(matched, on_error="skip")
    typer.echo(f"{label_table(scores, names)}\n\n{scores.images} images")
    if scores.images_without_mask:
        typer.echo(f"{scores.images_without_mask} others are not measured: every pixel of their ground truth is 255")
    if not any(scores.images_with):
        typer.echo(
            "\nwarning: the ground truth is all background, as exports without annotations are, so every class has an "
            "IoU of 0: write the number of the class where it is"
        )
    if json_file is not None:
        content = {"class_names": list(names[1:]), **scores.to_dict(), "problems": list(problems)}
        write_text(json_file, json.dumps(content, indent=2, allow_nan=False) + "\n")
        save_config(context, config_beside(json_file))
    if problems:
        more = [f"and {len(problems) - _NAMED} more"] if len(problems) > _NAMED else []
        lines = [f"{len(problems)} others are not compared:", *problems[:_NAMED], *more]
        typer.echo("\n" + printable("\n".join(lines)))
        raise typer.Exit(1)
