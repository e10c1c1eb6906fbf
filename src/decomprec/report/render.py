"""Render a run as one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from tqdm import tqdm

from decomprec._files import written_whole
from decomprec.evaluation.comparison import DRAWN, number_cell
from decomprec.evaluation.verdict import HEAD, verdict_rows
from decomprec.report.gallery import Card, Score, choose, draw, highlights, measure
from decomprec.report.record import RunRecord, results_table
from decomprec.viz import voc_palette

_PAGE = Path(__file__).parent / "page"
_BY_IOU = {"best": "Best", "median": "Median", "worst": "Worst"}
_BY_CERTAINTY = {"best": "Most certain", "median": "Median", "worst": "Least certain"}
_LINE_NAMES = {"train": "training", "val": "validation"}
_DIAGNOSTICS = {
    "recon_error": "reconstruction error (Eq. 2)",
    "present_recognised": "present classes recognised in their component",
    "background_empty": "background components without any class",
    "mask_entropy": "entropy of the masks (per pixel)",
    "background_area": "area of the background",
    "present_area": "area of present classes",
    "absent_area": "area of absent classes",
}


def write_report(
    record: RunRecord, path: str | Path, dataset: Any = None, *, images: int = 48, device: str = "cpu"
) -> None:
    """Write an HTML page with the best and worst masks, the table of results, training curves, images and settings.

    The page contains its images and loads nothing; its content security policy blocks everything else.

    Args:
        record: of a finished run, see `read_run`.
        path: of the HTML file; a reader sees the old file or the whole new one.
        dataset: validation images, like `decomprec.data.TaggedImages`, with masks if known; None leaves them out.
        images: number of images shown, at most; all are scored.
        device: of the networks.

    Raises:
        ValueError: if the classes of the data set differ from those of the run.
    """
    class_names = record.model.class_names
    if dataset is not None and tuple(dataset.class_names) != class_names:
        raise ValueError(
            f"Expected `dataset` to have the classes of the run, {', '.join(class_names)}, but got "
            f"{', '.join(dataset.class_names)}; pass the data of its training."
        )
    record.model.to(device)
    scores = [] if dataset is None else measure(record, dataset)
    chosen, extremes = choose(scores, images), highlights(scores)
    wanted = {score.index: score for score in (*chosen, *(score for group in extremes.values() for score in group))}
    progress = tqdm(wanted.items(), "drawing", unit="image", disable=not scores)
    cards = {index: draw(record, dataset, score) for index, score in progress}
    text = page(
        record,
        {name: [cards[score.index] for score in group] for name, group in extremes.items()},
        [cards[score.index] for score in chosen],
        scores,
    )
    with written_whole(path) as partial:
        # File names can hold bytes that are not text.
        partial.write_text(text, encoding="utf-8", errors="replace")


def page(
    record: RunRecord, extremes: Mapping[str, Sequence[Card]], cards: Sequence[Card], scores: Sequence[Score]
) -> str:
    """Render the HTML.

    Args:
        record: of the run.
        extremes: what the page opens on: the best, median and worst images.
        cards: images to show, in their initial order.
        scores: of all images.
    """
    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = (_PAGE / "script.js").read_text(encoding="utf-8")
    ious = [score.iou for score in scores if score.iou is not None]
    sorts = [("worst", "Lowest IoU"), ("best", "Highest IoU")] if ious else []
    kinds = {view.kind: None for card in cards for view in card.views}  # an ordered set
    preset = {"data": "-", "preset": record.preset.name, "image_size": record.preset.image_size}
    return environment.get_template("template.html").render(
        name=record.folder.resolve().name,
        class_names=("background", *record.model.class_names),
        palette=(255 * voc_palette()).int().tolist(),
        numbers=_numbers(record.results),
        table=results_table(record.results) if record.results else None,
        image_count=record.results["rows"][0]["images"] if record.results else 0,
        without_mask=record.results["rows"][0].get("images_without_mask", 0) if record.results else 0,
        verdicts={"head": HEAD, "rows": verdict_rows(record.verdicts)} if record.verdicts else None,
        diagnostics=[(_DIAGNOSTICS.get(name, name), number_cell(x)) for name, x in record.diagnostics.items()],
        stages=record.charts,
        line_names=_LINE_NAMES,
        drawn=DRAWN,
        extremes=[((_BY_IOU if ious else _BY_CERTAINTY)[name], group) for name, group in extremes.items()],
        cards=cards,
        measured=len(scores),
        median=statistics.median(ious) if ious else None,
        sorts=[*sorts, ("uncertain", "Least certain"), ("name", "Name")],
        kinds=[kind for kind in ("image", "mask", "truth", "components", "reconstruction") if kind in kinds],
        facts=record.facts or preset,
        preset=yaml.safe_dump(
            record.preset.without_folders().model_dump(mode="json"), sort_keys=False, allow_unicode=True
        ),
        style=Markup((_PAGE / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


def _numbers(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The most important numbers, each with a label."""
    if not results:
        return []
    rows = [row for row in results["rows"] if not row["tags"]] or results["rows"]
    drawn = next((row for row in rows if row["method"].endswith(DRAWN)), rows[0])
    cam = [row for row in rows if row["method"].startswith("CAM")][:1]
    numbers = [
        (drawn, "foreground IoU of what predict draws"),
        *((row, f"foreground IoU, {row['method']}") for row in cam),
    ]
    guide = results.get("guide_accuracy")
    return [
        *((number_cell(row["mean_foreground_iou"]), text) for row, text in numbers),
        *([(number_cell(guide["mean"]), "accuracy of the guide")] if guide else []),
    ]
