"""Numbers and rows as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    rows = [head, ["-" * width for width in widths], *lines]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows
    )


def describe(runs: Sequence[dict[str, Any]]) -> str:
    """What is said of the runs, key by key; values that differ are listed."""
    parts = []
    for key in runs[0]:
        values = dict.fromkeys(f"`{run[key]}`" if key == "command" else str(run[key]) for run in runs)
        parts.append(f"{key.replace('_', ' ')}: {', '.join(values)}")
    return "; ".join(parts)


def spread(values: Sequence[float | None], digits: int = 3) -> str:
    """A number, or the mean and the standard deviation of several; "-" where one is undefined."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "-"
    mean = f"{fmean(known):.{digits}f}"
    return mean if len(known) == 1 else f"{mean} ± {stdev(known):.{digits}f}"


def figure(number: float) -> str:
    """Three significant digits, and no exponent for large numbers."""
    return f"{number:.3g}" if number < 999.5 else f"{number:,.0f}"
