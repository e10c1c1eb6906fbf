"""Render a run as one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from tqdm import tqdm

from decomprec._files import written_whole
from decomprec.evaluation.comparison import number_cell
from decomprec.evaluation.verdict import HEAD, verdict_rows
from decomprec.report.gallery import Card, Score, choose, draw, least_certain, measure, most_wrong
from decomprec.report.record import RunRecord, results_table
from decomprec.viz import voc_palette

_PAGE = Path(__file__).parent / "page"
_FAILURES = 6
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
    """Write an HTML page with the table of results, the training curves, validation images and all settings.

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
    scores = [] if dataset is None else measure(record, dataset, device)
    chosen = tqdm(choose(scores, images), "drawing", disable=not scores)
    text = page(record, [draw(record, dataset, score, device) for score in chosen], scores)
    with written_whole(path) as partial:
        # File names can hold bytes that are not text.
        partial.write_text(text, encoding="utf-8", errors="replace")


def page(record: RunRecord, cards: Sequence[Card], scores: Sequence[Score]) -> str:
    """Render the HTML.

    Args:
        record: of the run.
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
        cards=cards,
        failures=sorted([p for p in cards if p.score.wrong], key=lambda p: most_wrong(p.score))[:_FAILURES],
        uncertain=sorted(cards, key=lambda p: least_certain(p.score))[:_FAILURES],
        measured=len(scores),
        median=statistics.median(ious) if ious else None,
        sorts=[*sorts, ("uncertain", "Least certain"), ("name", "Name")],
        kinds=[kind for kind in ("photograph", "mask", "truth", "components", "reconstruction") if kind in kinds],
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
    cam = [row for row in rows if row["method"].startswith("CAM")][:1]
    numbers = [(number_cell(row["mean_foreground_iou"]), f"foreground IoU, {row['method']}") for row in [rows[0], *cam]]
    guide = results.get("guide_accuracy")
    return [*numbers, *([(number_cell(guide["mean"]), "accuracy of the guide")] if guide else [])]
