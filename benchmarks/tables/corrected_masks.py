"""What corrected masks buy, as a table and a chart's data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.tables.domains import title
from benchmarks.tables.markdown import describe, markdown

RESULTS = "quality/corrected_masks.json"


def way(masks: int | None) -> str:
    """Name of what was trained on.

    Examples:
        >>> way(None), way(0), way(5)
        ('tags alone', 'longer', '5 masks')
    """
    return {None: "tags alone", 0: "longer"}.get(masks, f"{masks} masks")


def corrected_masks_table(runs: Sequence[dict[str, Any]]) -> str:
    """One line for each set, one column for each number of masks: IoU with the tags / without.

    Where a set has fewer masks, their number follows.

    Examples:
        >>> row = {"set": "dogs", "seed": 0, "machine": "CPU", "torch": "2"}
        >>> rows = [{**row, "masks": 20, "used": 13, "iou": {"tags": 0.5, "no tags": 0.4}}]
        >>> print(corrected_masks_table([{"corrected_masks": rows}]))
        | set  | 20 masks           |
        | ---- | ------------------ |
        | dogs | 0.500 / 0.400 (13) |
        <BLANKLINE>
        seed: 0; machine: CPU; torch: 2
    """
    (run,) = runs
    rows = run["corrected_masks"]
    cells = {(row["set"], row["masks"]): _cell(row) for row in rows}
    counts = counts_of(rows)
    lines = [
        [title(name), *(cells.get((name, count), "-") for count in counts)]
        for name in dict.fromkeys(row["set"] for row in rows)
    ]
    about = [{key: row[key] for key in ("seed", "machine", "torch")} for row in rows]
    return f"{markdown(['set', *map(way, counts)], lines)}\n\n{describe(about)}"


def counts_of(rows: Sequence[dict[str, Any]]) -> list[int | None]:
    """The numbers of masks that were tried, None first, which is training on tags alone."""
    return sorted({row["masks"] for row in rows}, key=lambda count: -1 if count is None else count)


def _cell(row: dict[str, Any]) -> str:
    iou = row["iou"]
    pair = " / ".join("-" if iou[name] is None else f"{iou[name]:.3f}" for name in ("tags", "no tags"))
    return f"{pair} ({row['used']})" if row["used"] < (row["masks"] or 0) else pair
