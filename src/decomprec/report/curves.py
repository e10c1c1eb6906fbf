"""Training curves: the CSV logs of a stage as SVG charts."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_MOST_POINTS = 160  # more are noise and bytes on a chart of this size
_LAST_STEP, _LARGEST = 10**12, 1e100  # steps and values that an axis can show
_DOTS = 12  # lines of few points get dots: a single point would be invisible

# Placeholders in matplotlib's output for the variables of style.css, which differ between light and dark pages.
_COLOURS = {"train": "#010101", "val": "#010102", "quiet": "#010103", "edge": "#010104"}
_STYLE: Any = {
    "axes.edgecolor": _COLOURS["edge"],
    "axes.formatter.useoffset": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": False,
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11.0,
    "grid.color": _COLOURS["edge"],
    "svg.fonttype": "none",  # text, not outlines
    "svg.hashsalt": "decomprec",  # ids do not change from run to run
    "xtick.color": _COLOURS["quiet"],
    "ytick.color": _COLOURS["quiet"],
}

_TITLES = {
    "loss": "Loss (Eq. 9)",
    "accuracy": "Accuracy",
    "total": "Overall loss (Eq. 7)",
    "mean_iou": "Mean IoU with background",
    "recon": "Reconstruction, L_recon (Eq. 2)",
    "mask": "Areas, L_mask",
    "cls": "Guide, L_cls (Eq. 6)",
    "area_present": "Area of present classes",
    "area_absent": "Area of absent classes",
    "area_smallest": "Smallest area of a slot",
    "area_largest": "Largest area of a slot",
    "mask_entropy": "Entropy of the masks, of ln K",
    "confidence": "Guide's confidence in components",
    "adversarial_gap": "Adversarial gap",
}


@dataclass(frozen=True)
class Line:
    """What was logged under one name.

    Attributes:
        name: "train" or "val".
        steps: of training, ascending.
        values: finite.
    """

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Chart:
    """One quantity, such as a loss.

    Attributes:
        title: name of the quantity.
        lines: in training, in validation, or both.
    """

    title: str
    lines: tuple[Line, ...]

    def svg(self) -> str:
        """The lines over the steps, 320 x 150 points, as an SVG element that takes its colours from the page.

        Long lines are averaged over neighbouring steps. The element holds numbers only, not the title.
        """
        with mpl.rc_context(_STYLE):
            figure = Figure(figsize=(320 / 72, 150 / 72), layout="constrained")
            axes = figure.add_subplot()
            for line in self.lines:
                steps, values = _thinned(line.steps), _thinned(line.values)
                marker = "o" if len(steps) <= _DOTS else ""
                dashes = "--" if line.name == "val" else "-"
                axes.plot(steps, values, dashes, marker=marker, ms=5, color=_COLOURS[line.name], clip_on=False)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.tick_params(length=0)
            axes.grid(axis="y", clip_on=False)
            file = io.StringIO()
            metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            figure.savefig(file, format="svg", transparent=True, metadata=metadata)
        svg = file.getvalue()
        for variable, placeholder in _COLOURS.items():
            svg = svg.replace(placeholder, f"var(--{variable})")
        return svg[svg.index("<svg") :]  # HTML takes neither the XML declaration nor the document type


def read_charts(stage: Path) -> tuple[Chart, ...]:
    r"""The charts of a stage's folder, known quantities first; none without a log.

    A resumed run has several logs. Where a later one repeats steps of an earlier one, the later one counts.

    Args:
        stage: such as `run/"segmenter"`.

    Raises:
        ValueError: if a log can't be read.

    Examples:
        >>> import tempfile
        >>> stage = Path(tempfile.mkdtemp())
        >>> for version, rows in enumerate([("0,9,4", "1,19,3"), ("1,19,2",)]):
        ...     (stage / f"log/version_{version}").mkdir(parents=True)
        ...     lines = "\n".join(["epoch,step,val/loss", *rows])
        ...     _ = (stage / f"log/version_{version}/metrics.csv").write_text(lines)
        >>> read_charts(stage)[0].lines
        (Line(name='val', steps=(9, 19), values=(4.0, 2.0)),)
    """
    files = sorted(stage.glob("log/version_*/metrics.csv"), key=lambda file: (len(file.parent.name), file.parent.name))
    logged: dict[tuple[str, str], dict[int, float]] = {}
    for file in files:
        try:
            _add(logged, file)
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise ValueError(f"Expected {file} to be a log with epoch, step and numbers, but: {error}.") from error
    quantities = sorted({quantity for quantity, _ in logged}, key=lambda q: ([*_TITLES, q].index(q), q))
    charts = []
    for quantity in quantities:
        named = [(name, logged.get((quantity, name))) for name in ("train", "val")]
        lines = [Line(name, tuple(points), tuple(points.values())) for name, points in named if points]
        if lines:
            charts.append(Chart(_TITLES.get(quantity, quantity), tuple(lines)))
    return tuple(charts)


def _add(logged: dict[tuple[str, str], dict[int, float]], file: Path) -> None:
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    if not rows:
        return
    if any(None in row or not 0 <= int(row["step"]) <= _LAST_STEP for row in rows):
        raise ValueError("a row has more cells than the header, or a step that is none")
    start = min(int(row["step"]) for row in rows)
    for points in logged.values():
        for step in [step for step in points if step >= start]:
            del points[step]
    for row in rows:
        for column, cell in row.items():
            name, _, quantity = column.partition("/")
            if quantity and cell and abs(float(cell)) < _LARGEST:  # leaves out NaN too
                logged.setdefault((quantity, name), {})[int(row["step"])] = float(cell)


def _thinned(values: tuple[float, ...]) -> list[float]:
    parts = np.array_split(np.asarray(values, dtype=float), min(len(values), _MOST_POINTS))
    return [float(part.mean()) for part in parts]
