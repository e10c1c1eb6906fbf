"""Training curves: from the CSV logs of a run's stages to lines in an image."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 320, 150
"""Of a chart, in its own units."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 8, 20
_MOST_POINTS = 160  # more than this on 264 units is only noise and bytes
_LAST_STEP, _LARGEST = 10**12, 1e100  # what is beyond has no place on an axis
_DOTS = 12  # so few points are drawn as dots too, a single one would be invisible otherwise

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
        steps: of training, rising.
        values: finite.
    """

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Tick:
    """A tick of an axis: its place in the chart's units, and what stands there."""

    place: float
    text: str


@dataclass(frozen=True)
class Drawn:
    """A line in the chart's units: `points` of an SVG polyline, and the few points that get a dot."""

    line: Line
    points: str
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """The lines of one quantity, such as a loss in training and validation.

    Attributes:
        title: what the quantity is.
        lines: one or two.
    """

    title: str
    lines: tuple[Line, ...]

    def x_ticks(self) -> list[Tick]:
        """A few steps of training."""
        low, high = self._steps
        return [Tick(self._x(step), f"{step:g}") for step in _ticks(low, high, integer=True)]

    def y_ticks(self) -> list[Tick]:
        """A few values."""
        low, high = self._values
        return [Tick(self._y(value), f"{value:.4g}") for value in _ticks(low, high)]

    def drawn(self) -> list[Drawn]:
        """All lines; long ones are averaged over neighbouring steps."""
        drawn = []
        for line in self.lines:
            steps, values = _thinned(line.steps), _thinned(line.values)
            places = [(self._x(step), self._y(value)) for step, value in zip(steps, values, strict=True)]
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            drawn.append(Drawn(line, points, tuple(places) if len(places) <= _DOTS else ()))
        return drawn

    @property
    def _steps(self) -> tuple[float, float]:
        return _range(step for line in self.lines for step in line.steps)

    @property
    def _values(self) -> tuple[float, float]:
        return _range(value for line in self.lines for value in line.values)

    def _x(self, step: float) -> float:
        low, high = self._steps
        return _LEFT + (step - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        low, high = self._values
        return HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _BOTTOM - _TOP)


def read_charts(stage: Path) -> tuple[Chart, ...]:
    r"""The charts of a stage's folder, the known ones first; none if there is no log.

    A run that was resumed has left several logs. What a later one repeats of an earlier one counts once.

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
            if quantity and cell and abs(float(cell)) < _LARGEST:  # NaN is not
                logged.setdefault((quantity, name), {})[int(row["step"])] = float(cell)


def _thinned(values: Sequence[float]) -> list[float]:
    parts = np.array_split(np.asarray(values, dtype=float), min(len(values), _MOST_POINTS))
    return [float(part.mean()) for part in parts]


def _range(values: Iterable[float]) -> tuple[float, float]:
    known = list(values)
    low, high = min(known), max(known)
    margin = 0.5 * abs(low) or 0.5
    return (low, high) if low < high else (low - margin, high + margin)


def _ticks(low: float, high: float, integer: bool = False) -> list[float]:
    ticks = MaxNLocator(4, integer=integer).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]
