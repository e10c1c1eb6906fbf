"""What corrected masks buy, as a table and a chart's data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.tables.domains import title
from benchmarks.tables.markdown import describe, markdown

RESULTS = "quality/corrected_masks.json"


def ways_of(rows: Sequence[dict[str, Any]]) -> dict[int | None, str]:
    """Names of what was trained on by the number of masks, None first, which is training on tags alone.

    Examples:
        >>> ways_of([{"masks": 5, "used": 5}, {"masks": None}, {"masks": 20, "used": 13}, {"masks": 0, "used": 0}])
        {None: 'tags alone', 0: 'longer', 5: '5 masks', 20: 'up to 20 masks'}
    """
    fewer = {row["masks"] for row in rows if _fewer(row)}
    counts = sorted({row["masks"] for row in rows}, key=lambda count: -1 if count is None else count)
    named = {None: "tags alone", 0: "longer"}
    return {count: named.get(count, f"{'up to ' * (count in fewer)}{count} masks") for count in counts}


def corrected_masks_table(runs: Sequence[dict[str, Any]]) -> str:
    """One line for each set, one column for each number of masks: IoU with the tags / without.

    Where a set has fewer masks, their number follows.

    Examples:
        >>> row = {"set": "dogs", "seed": 0, "machine": "CPU", "torch": "2"}
        >>> rows = [{**row, "masks": 20, "used": 13, "iou": {"tags": 0.5, "no tags": 0.4}}]
        >>> print(corrected_masks_table([{"corrected_masks": rows}]))
        | set  | up to 20 masks     |
        | ---- | ------------------ |
        | dogs | 0.500 / 0.400 (13) |
        <BLANKLINE>
        seed: 0; machine: CPU; torch: 2
    """
    (run,) = runs
    rows = run["corrected_masks"]
    cells = {(row["set"], row["masks"]): _cell(row) for row in rows}
    ways = ways_of(rows)
    lines = [
        [title(name), *(cells.get((name, count), "-") for count in ways)]
        for name in dict.fromkeys(row["set"] for row in rows)
    ]
    about = [{key: row[key] for key in ("seed", "machine", "torch")} for row in rows]
    return f"{markdown(['set', *ways.values()], lines)}\n\n{describe(about)}"


def _fewer(row: dict[str, Any]) -> bool:
    """Whether the set has fewer masks than were asked for."""
    return bool(row["masks"] and row["used"] < row["masks"])


def _cell(row: dict[str, Any]) -> str:
    iou = row["iou"]
    pair = " / ".join("-" if iou[name] is None else f"{iou[name]:.3f}" for name in ("tags", "no tags"))
    return f"{pair} ({row['used']})" if _fewer(row) else pair
