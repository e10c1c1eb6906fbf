"""The short table of README.md: our masks and the best class activation map, on three sets of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.tables.markdown import markdown, spread

SETS = (
    ("dogs", "quality/dogs_lite2_seed*.json", "ours, PAMR"),
    ("six classes of VOC", "quality/voc_mini.json", "ours, PAMR"),
    ("synthetic scenes", "quality/demo.json", "decomprec, PAMR, guide's tags"),
)
HEAD = ("images", "masks", "IoU, tags given", "IoU, tags not given", "seeds")


def summary_table(results: Path) -> str:
    """Two rows per set of images, from the files in `results`."""
    lines = []
    for name, pattern, ours in SETS:
        runs = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(results.glob(pattern))]
        maps = [row["method"] for row in runs[0]["rows"] if row["method"].endswith("(best threshold)")]
        best = [max((ious(runs, method, tags) for method in maps), key=sum) for tags in (True, False)]
        seeds = str(len(runs))
        lines.append([name, "decomprec", *(spread(ious(runs, ours, tags)) for tags in (True, False)), seeds])
        lines.append([name, "best CAM", *map(spread, best), seeds])
    return markdown(HEAD, lines)


def ious(runs: list[dict[str, Any]], method: str, tags: bool) -> list[float]:
    """The foreground IoU of a method in each run."""
    return [
        row["mean_foreground_iou"]
        for run in runs
        for row in run["rows"]
        if row["method"] == method and row["tags"] is tags
    ]
