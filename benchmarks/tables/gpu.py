"""A prepared run on a GPU: what `benchmarks.gpu` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.tables.markdown import describe, figure, markdown


def stages_table(runs: Sequence[dict[str, Any]]) -> str:
    """How the stages of `benchmarks.gpu` ended, from its stages.json."""
    (run,) = runs
    lines = [
        [row["stage"], "done" if row["end"] == 0 else str(row["end"]), f"{row['seconds']:.0f} s"]
        for row in run["gpu_stages"]
    ]
    return f"{markdown(['stage', 'end', 'time'], lines)}\n\n{describe([run['run']])}"


def timed_trainings_table(runs: Sequence[dict[str, Any]]) -> str:
    """Trainings for as long as there was time, each a file of `benchmarks.gpu.timed_training`."""
    lines = []
    for run in (file["timed_training"] for file in runs):
        about, stages = run["run"], run["stages"]
        guide, segmenter = (stages.get(name, {}) for name in ("guide", "segmenter"))
        iou = {row["tags"]: row["mean_foreground_iou"] for row in run["rows"] if row["method"] == "decomprec"}
        lines.append(
            [
                f"{about['preset']}, seed {about['seed']}, {about['precision']}",
                *(f"{stage.get('steps', 0):,}" for stage in (guide, segmenter)),
                *(figure(stage["images_per_s"]) if "images_per_s" in stage else "-" for stage in (guide, segmenter)),
                *("-" if iou.get(tags) is None else f"{iou[tags]:.3f}" for tags in (True, False)),
            ]
        )
    head = ["training", "steps: guide", "segmenter", "images/s: guide", "segmenter", "IoU, tags", "IoU, no tags"]
    keys = ("data", "machine", "torch")
    about = [{key: file["timed_training"]["run"][key] for key in keys} for file in runs]
    return f"{markdown(head, lines)}\n\n{describe(about)}"
