"""`decomprec evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    masks: Annotated[Path, typer.Argument(metavar="MASKS", help="Folder of label PNGs, such as DIR/masks of predict.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="Folder of true label PNGs; 255 is left out.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the scores, and the IoU of each image.")
    ] = None,
) -> None:
    """Compare label PNGs with the truth.

    \b
    decomprec evaluate drawn/masks pictures/val_masks
    decomprec evaluate drawn/masks VOC2012/SegmentationClass --json scores.json

    The table has the intersection over union of each class, pixel by pixel over all images.

    Each truth needs a mask of its path or, in other folders, of its name; masks without a truth are passed over. The
    same numbers must mean the same classes in both: nothing is renumbered. Classes are called as in MASKS/classes.txt,
    if there is one.
    """  # noqa: D301
    import json

    from decomprec.evaluation.label_files import label_table, score_label_files
    from decomprec.files import written_whole

    scores, names = score_label_files(masks, truth)
    typer.echo(f"{label_table(scores, names)}\n\n{scores.images} images")
    if json_file is not None:
        with written_whole(json_file) as partial:
            text = json.dumps({"class_names": list(names[1:]), **scores.to_dict()}, indent=2, allow_nan=False)
            partial.write_text(text + "\n", encoding="utf-8")
