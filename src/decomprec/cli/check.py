"""`decomprec check`."""

from __future__ import annotations

import json
import logging
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decomprec.cli.common import (
    ClassesOption,
    Format,
    FormatOption,
    SplitsOption,
    chosen_preset,
    names_of,
    pair_of,
    printable,
)
from decomprec.cli.config import CONFIG, ConfigOption, check_config, save_config
from decomprec.cli.surroundings import check_apart
from decomprec.cli.train import LIST

if TYPE_CHECKING:
    from decomprec.data.findings import Finding
    from decomprec.data.inspection import Inspected

FINDINGS = "findings.json"
SHEETS = "contact_sheets"

_SHOWN = 12  # images of a contact sheet
_LISTED = 3  # groups of images that are printed for a warning or a note


def check(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Tagged images: a folder, or a CSV or COCO file.")],
    data_format: FormatOption = Format.auto,
    classes: ClassesOption = None,
    splits: SplitsOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write findings.json and a contact sheet per class."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Preset whose image size is wanted.  [default: robust]"),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Look at the data before training.

    \b
    decomprec check images
    decomprec check VOCdevkit/VOC2012 --classes dog,person
    decomprec check tags.csv --out looked

    Prints what `train` would read: splits, classes, images with and without each, masks. Then reads every image once
    and prints its findings: images that are equal or look alike, across splits or within one; classes that few, all or
    no images have; tags that always come together; images that cannot be read or are small; missing masks, and
    masks without a class that the image is tagged with.

    Exits with 1 if there are errors, such as unreadable images or equal images in both splits.

    DIR gets findings.json, which lists all images of each finding, and contact_sheets/, with up to 12 training
    images of each class and of none.

    Near duplicates, images that look alike, are found with one more package: pip install imagehash
    """
    from decomprec.data import load_images
    from decomprec.data.duplicates import duplicate_findings
    from decomprec.data.findings import constant_findings, tag_findings
    from decomprec.data.inspection import can_compare, file_findings, inspect_images
    from decomprec.data.overview import heading, overview_rows
    from decomprec.evaluation.comparison import text_table

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if out is not None:
        check_apart(data, out)
        check_config(context, out / CONFIG)
    elif data_format is Format.imagenet:
        raise ValueError("Expected --out with --format imagenet, where the images that are drawn are listed; add it.")
    found = data_format.at(data)
    list_file = None if out is None else out / LIST
    load = load_images(data, found, classes=names_of(classes), splits=pair_of(splits), list_file=list_file)
    seen, unseen = (load(split, transform=None, masks=split == "val") for split in ("train", "val"))
    typer.echo(f"{printable(heading(found, seen))}\n\n{printable(text_table(overview_rows(seen, unseen)))}\n")

    image_size = chosen_preset(context, preset, None, "robust").image_size
    images = [*inspect_images(seen, "train"), *inspect_images(unseen, "val")]
    findings = [
        *file_findings(images, image_size),
        *duplicate_findings(images),
        *constant_findings(seen),
        *tag_findings(seen, unseen, most_masks=None),
    ]
    typer.echo(_printed(findings, images))
    if not can_compare():
        typer.echo("\nimages that look alike were not searched for: pip install imagehash")
    if out is not None:
        _write(out, found, seen, images, findings)
        save_config(context, out / CONFIG, format=found)
        typer.echo(f"\nfindings and contact sheets: {printable(str(out))}")
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def _printed(findings: Sequence[Finding], images: Sequence[Inspected]) -> str:
    """The table of findings, the worst first, then the images that errors and warnings are about."""
    from decomprec.evaluation.comparison import text_table

    levels = ("error", "warning", "note")
    ordered = sorted(findings, key=lambda finding: levels.index(finding.level))
    problems = {image.file: image.problem for image in images if image.problem is not None}
    lines = [text_table([["level", "check", "finding"], *([d.level, d.check, d.text] for d in ordered)])]
    for finding in ordered:
        shown = finding.files if finding.level == "error" else finding.files[:_LISTED]
        if shown:
            lines += ["", f"{finding.check}:"]
            lines += [f"  {problems.get(group[0]) or ' = '.join(map(str, group))}" for group in shown]
        if len(finding.files) > len(shown):
            lines.append(f"  and {len(finding.files) - len(shown)} more")
    counts = [sum(finding.level == level for finding in findings) for level in levels]
    summary = ", ".join(f"{count} {level}{'s' * (count != 1)}" for count, level in zip(counts, levels, strict=True))
    return printable("\n".join([*lines, "", summary]))


def _write(out: Path, found: str, seen: Any, images: Sequence[Inspected], findings: Sequence[Finding]) -> None:
    """Write findings.json, and a contact sheet of each class and of none."""
    import dataclasses

    from decomprec._files import write_text
    from decomprec.viz import contact_sheet, save_image

    content = {
        "format": found,
        "classes": list(seen.class_names),
        "images": {split: sum(image.split == split for image in images) for split in ("train", "val")},
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }
    write_text(out / FINDINGS, json.dumps(content, indent=2, default=str) + "\n")
    readable = [i for i, image in enumerate(images[: len(seen)]) if image.problem is None]
    for number, name in enumerate(("no class", *seen.class_names)):
        members = [i for i in readable if (name in images[i].tags if number else not images[i].tags)]
        if members:
            chosen = sorted(random.Random(0).sample(members, min(_SHOWN, len(members))))
            plain = re.sub(r"\W+", "_", name)[:40]
            save_image(contact_sheet([seen.original(i) for i in chosen]), out / SHEETS / f"{number}_{plain}.png")
