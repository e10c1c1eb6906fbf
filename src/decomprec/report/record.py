"""A run folder without its images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decomprec.evaluation.comparison import number_cell
from decomprec.evaluation.verdict import Verdict, verdicts_from_json
from decomprec.report.curves import Chart, read_charts
from decomprec.trained_model import TrainedModel, load
from decomprec.training import Preset


@dataclass(frozen=True)
class Table:
    """The table of results as text.

    Attributes:
        head: of all columns but the first.
        groups: rows without and with tags: whether the tags were given, and the method and cells of each row.
    """

    head: tuple[str, ...]
    groups: tuple[tuple[bool, tuple[tuple[str, tuple[str, ...]], ...]], ...]


@dataclass(frozen=True)
class RunRecord:
    """A finished run.

    Attributes:
        folder: of the run.
        preset: its settings.
        model: that was trained.
        charts: training curves of each stage, by its name.
        results: content of results.json; empty if there were no true masks.
        diagnostics: content of diagnostics.json; empty without one.
        verdicts: content of verdicts.json; empty without one.
    """

    folder: Path
    preset: Preset
    model: TrainedModel
    charts: dict[str, tuple[Chart, ...]]
    results: dict[str, Any]
    diagnostics: dict[str, Any]
    verdicts: tuple[Verdict, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """Provenance of the results: data, settings, seed, machine."""
        facts: dict[str, Any] = self.results.get("run", {})
        return facts


def read_run(run_dir: str | Path) -> RunRecord:
    """Read a run's settings, networks, logs and results; nothing is downloaded or unpickled.

    Args:
        run_dir: folder of a finished run.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no finished run, or a file is malformed.
    """
    folder = Path(run_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f"Expected `run_dir` to be a run folder, but found no {folder}.")
    if not (folder / "preset.yaml").is_file():
        raise ValueError(f"Expected {folder} to hold a finished run, but it has no preset.yaml.")
    model = load(folder)
    results = _read_json(folder / "results.json")
    if results:
        _check_results(results, folder / "results.json")
    diagnostics = _read_json(folder / "diagnostics.json")
    if unfit := [name for name, value in diagnostics.items() if not _is_number(value)]:
        raise ValueError(f"Expected {folder / 'diagnostics.json'} to hold numbers, but {unfit[0]!r} is not one.")
    return RunRecord(
        folder,
        Preset.load(folder / "preset.yaml"),
        model,
        {stage: read_charts(folder / stage) for stage in ("guide", "segmenter")},
        results,
        diagnostics,
        _read_verdicts(folder / "verdicts.json"),
    )


def results_table(results: dict[str, Any]) -> Table:
    """The rows of results.json, grouped by whether the tags were given.

    Examples:
        >>> row = {"method": "decomprec", "tags": False, "iou": [0.9, 0.5], "mean_foreground_iou": 0.5}
        >>> row |= {"mean_iou": 0.7, "mean_false_area": None}
        >>> results_table({"class_names": ["dog"], "rows": [row]}).groups
        ((False, (('decomprec', ('0.500', '0.700', '-', '0.500')),)),)
    """
    means = ("mean_foreground_iou", "mean_iou", "mean_false_area")
    groups = []
    for tags in (False, True):
        rows = [
            (str(row["method"]), tuple(map(number_cell, [*(row[mean] for mean in means), *row["iou"][1:]])))
            for row in results["rows"]
            if row["tags"] is tags
        ]
        if rows:
            groups.append((tags, tuple(rows)))
    head = ("foreground IoU", "IoU with background", "area where absent", *results["class_names"])
    return Table(head, tuple(groups))


def _check_results(results: dict[str, Any], path: Path) -> None:
    """Raise a ValueError unless results.json holds everything the page shows."""
    rows, guide = results.get("rows"), results.get("guide_accuracy")
    means = ("mean_foreground_iou", "mean_iou", "mean_false_area", "images")
    fits = {
        "run": isinstance(results.get("run", {}), dict),
        "class_names": isinstance(results.get("class_names"), list),
        "guide_accuracy": not guide or (isinstance(guide, dict) and "mean" in guide and _is_number(guide["mean"])),
        "rows": isinstance(rows, list) and bool(rows) and all(isinstance(row, dict) for row in rows),
    }
    for row in rows if isinstance(rows, list) and fits["rows"] else ():
        fits |= {
            "method": isinstance(row.get("method"), str),
            "tags": isinstance(row.get("tags"), bool),
            "iou": isinstance(row.get("iou"), list) and all(map(_is_number, row["iou"])),
            **{mean: mean in row and _is_number(row[mean]) for mean in means},
        }
        if not all(fits.values()):
            break
    if unfit := [name for name, fit in fits.items() if not fit]:
        raise ValueError(f"Expected {path} to be the results of a run, but {unfit[0]!r} is missing or malformed.")


def _is_number(value: Any) -> bool:
    """Whether a JSON value can be shown as a number; None counts as undefined."""
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return value is None or whole or isinstance(value, float)


def _read_verdicts(path: Path) -> tuple[Verdict, ...]:
    if not path.is_file():
        return ()
    values = _parsed(path)
    try:
        return verdicts_from_json(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    values = _parsed(path)
    if not isinstance(values, dict):
        raise ValueError(f"Expected {path} to hold an object, but got a {type(values).__name__}.")
    return values


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected {path} to be JSON, but it can't be read: {error}.") from error
