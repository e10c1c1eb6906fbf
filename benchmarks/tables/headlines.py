"""The few rows that a page opens with, picked from several experiments."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tables.domains import EVIDENCE, MAPS, REFINED
from benchmarks.tables.markdown import figure, markdown

Runs = list[dict[str, Any]]

DOGS = "quality/dogs_seed*.json"
MACHINES = {"AMD EPYC": "cpu", "Xeon": "xeon"}  # name of the machine: first part of its files' names
STEPS = (  # label, name of the benchmark, subject, K, our way
    ("recomposition, K = 21", "recompose", None, 21, "compiled"),
    ("L_cls, K = 21", "guide", None, 21, "sampled"),
    ("L_cls, K = 81", "guide", None, 81, "sampled"),
    ("train step, K = 2", "train_step", "paper", 2, "bf16"),
    ("train step, K = 21", "train_step", "paper", 21, "bf16, sampled"),
)


def load(results: Path, pattern: str) -> Runs:
    """The files that match a pattern, in the order of their names."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(results.glob(pattern))]


def scores(runs: Sequence[dict[str, Any]], method: str, tags: bool, key: str = "mean_foreground_iou") -> list[float]:
    """A figure of one method, from each run that has the method."""
    rows = [row for run in runs for row in run["rows"] if row["method"] == method and row["tags"] is tags]
    return [row[key] for row in rows]


def timed(results: Path, machine: str, step: str, subject: str | None, num_classes: int) -> dict[str, dict[str, Any]]:
    """The rows of one step at one size on one machine, by their way."""
    sizes = [part for part in (subject, f"K = {num_classes}", "batch ") if part]
    return {
        row["extra_info"]["way"]: row
        for run in load(results, f"speed/{MACHINES[machine]}_*.json")
        for row in run["benchmarks"]
        if row["name"].startswith(f"test_{step}[") and row["extra_info"]["group"].startswith(", ".join(sizes))
    }


def compared(results: Path) -> list[tuple[str, str, str, dict[str, Any], dict[str, Any]]]:
    """Each step and machine with the rows of the loop and of our way."""
    found = []
    for label, step, subject, num_classes, way in STEPS:
        for machine in MACHINES:
            rows = timed(results, machine, step, subject, num_classes)
            if "loop" in rows and way in rows:
                found.append((label, machine, way, rows["loop"], rows[way]))
    return found


def speed(results: Path) -> str:
    """The library against a loop over the classes."""
    head = ["step", "machine", "way", "loop", "this library", "faster", "peak memory"]
    lines = []
    for label, machine, way, loop, ours in compared(results):
        seconds = [row["stats"]["median"] for row in (loop, ours)]
        peaks = [row["extra_info"]["peak_bytes"] for row in (loop, ours)]
        times = [f"{figure(1000 * second)} ms" for second in seconds]
        lines.append(
            [label, machine, f"`{way}`", *times, f"{seconds[0] / seconds[1]:.1f}×", f"{peaks[1] / peaks[0]:.0%}"]
        )
    return f"{markdown(head, lines)}\n\npeak memory: share of the loop's; 2 CPU cores each"


def reliability(results: Path) -> str:
    """What is injected and what survives, a row for each kind of trial."""
    (tests,), (fuzz,) = load(results, "robustness/tests.json"), load(results, "robustness/fuzz.json")
    (kills,), (processes,) = load(results, "robustness/kills.json"), load(results, "robustness/processes.json")
    inputs, failed = (sum(row[key] for row in tests["robustness"]) for key in ("inputs", "failed"))
    cases = sum(row["cases"] for row in fuzz["fuzz"])
    injected, survived = (sum(fault[key] for fault in processes["faults"].values()) for key in ("injected", "survived"))
    rows = [
        ("inputs and faults of the tests", inputs, failed),
        ("files, rows and arguments changed at random for an hour", cases, len(fuzz["failures"])),
        ("trainings killed at a random moment", kills["kills"], kills["kills"] - kills["weights equal byte by byte"]),
        ("processes killed that train or load together", injected, injected - survived),
    ]
    return markdown(["trial", "cases", "failures"], [[name, f"{count:,}", str(failed)] for name, count, failed in rows])


def scale(results: Path) -> str:
    """The calculation for ImageNet's classes, without the rows for fewer."""
    (run,) = load(results, "speed/scale_calculation.json")
    head = ["way, K = 1001", "shown to the guide", "MB an image", "images in 80 GB", "GPU-hours an epoch"]
    lines = [
        [row["way"], f"{row['shown']:,}", f"{row['MB an image']:,.0f}", str(row["batch"]), f"{row['hours']:.2f}"]
        for row in run["scale"]
        if row["K"] == max(row["K"] for row in run["scale"])
    ]
    return markdown(head, lines)


def trained_backbones(results: Path) -> str:
    """Dogs by `robust` with each backbone, seed 0: IoU with tags and without."""
    head = ["backbone", "accuracy", "best map", "evidence", "`robust`", "minutes"]
    lines = []
    for name in ("lite2_seed0", "lite0", "resnet18"):
        (run,) = runs = load(results, f"quality/dogs_{name}.json")
        cells = []
        for methods in ([f"{one} (best threshold)" for one in MAPS], [EVIDENCE], [REFINED]):
            pair = [max(value for method in methods for value in scores(runs, method, tags)) for tags in (True, False)]
            cells.append(" / ".join(f"{value:.3f}" for value in pair))
        accuracy, minutes = run["guide_accuracy"]["mean"], run["minutes"]["ours"]
        lines.append([f"`{run['preset']['guide']['encoder']}`", f"{accuracy:.3f}", *cells, f"{minutes:.0f}"])
    return markdown(head, lines)


HEADLINES: dict[str, Callable[[Path], str]] = {
    "speed": speed,
    "reliability": reliability,
    "scale": scale,
    "trained_backbones": trained_backbones,
}
