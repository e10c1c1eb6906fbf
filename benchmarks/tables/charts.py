"""The chart that a result page opens with: bars from the JSON files in benchmarks/results, as an SVG.

A chart brings its own background and follows the reader's light or dark mode. It holds a digest of its data, by which
`python -m benchmarks.tables --check` sees whether it is stale, for any version of matplotlib.
"""

from __future__ import annotations

import hashlib
import io
import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.files import ROOT
from benchmarks.tables.corrected_masks import RESULTS, ways_of
from benchmarks.tables.domains import SETS, SUPERVISED, scores_of_sets, title
from benchmarks.tables.headlines import DOGS, MACHINES, compared, load, scores
from decomprec._files import written_whole

FOLDER = ROOT / "docs" / "assets" / "charts"
# Stand-ins in matplotlib's output for colours that depend on the mode: light, dark.
MODES = {
    "#010203": ("--ink", "#1f2328", "#e6edf3"),
    "#fdfcfb": ("--paper", "#f6f8fa", "#22272e"),
    "#a0a1a2": ("--grid", "#d0d7de", "#444c56"),
}
INK, PAPER, GRID = MODES
COLOURS = ("#009688", "#e08a1e", "#7a68c4", "#c2185b", "#5c7cfa")  # teal first, as the site


@dataclass(frozen=True)
class Chart:
    """Groups of horizontal bars.

    Attributes:
        axis: what the bars measure, with its unit.
        labels: of the groups, from above.
        series: for each name in the legend, the value and the spread of each group; None where there is none.
        log: whether the axis is logarithmic.
        digits: of the number at the end of a bar.
    """

    axis: str
    labels: tuple[str, ...]
    series: Mapping[str, tuple[tuple[float, float] | None, ...]]
    log: bool = False
    digits: int = 2

    @property
    def digest(self) -> str:
        """The same for the same data."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def is_fresh(chart: Chart, path: Path) -> bool:
    """Whether the file was drawn from the same data."""
    return path.exists() and f"data {chart.digest}" in path.read_text(encoding="utf-8")


def draw(chart: Chart, path: Path) -> None:
    """Write the chart as an SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {"svg.hashsalt": "decomprec", "svg.fonttype": "none", "font.size": 11, "text.color": INK}
    style |= {"axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": GRID}
    with matplotlib.rc_context(style):
        bars = len(chart.series) * len(chart.labels)
        # Text widths of the reader's font are unknown, so the labels get a fixed part of the width.
        figure = Figure(figsize=(6.8, 0.9 + 0.24 * bars + 0.16 * len(chart.labels)), facecolor=PAPER)
        height = figure.get_figheight()
        axes = figure.add_axes((0.43, 0.62 / height, 0.5, 1 - 0.95 / height), facecolor=PAPER)
        _bars(axes, chart)
        axes.set_xlabel(chart.axis)
        if len(chart.series) > 1:
            figure.legend(
                loc="upper right",
                ncols=len(chart.series),
                frameon=False,
                bbox_to_anchor=(0.98, 1.0),
                borderaxespad=0.2,
                columnspacing=1.2,
                handlelength=1.2,
            )
        text = io.StringIO()
        figure.savefig(text, format="svg", facecolor=PAPER, metadata={"Date": None, "Creator": None})
    with written_whole(path) as whole:
        whole.write_text(_coloured(text.getvalue(), chart), encoding="utf-8")


def _wrapped(label: str) -> str:
    return label if "\n" in label else textwrap.fill(label, 28)


def _bars(axes: Any, chart: Chart) -> None:
    width = 0.8 / len(chart.series)
    values = [value for row in chart.series.values() for value, _ in filter(None, row)]
    for i, (name, row) in enumerate(chart.series.items()):
        for group, bar in enumerate(row):
            if bar is None:
                continue
            value, error = bar
            y = group + (i - (len(chart.series) - 1) / 2) * width
            label = name if bar is next(filter(None, row)) else None
            axes.barh(y, value, 0.88 * width, color=COLOURS[i], label=label)
            if error:
                axes.errorbar(value, y, xerr=error, color=INK, lw=1, capsize=2)
            axes.annotate(
                f"{value:,.{chart.digits}f}",
                (value + error, y),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9.5,
            )
    axes.set_yticks(range(len(chart.labels)), [_wrapped(label) for label in chart.labels])
    axes.invert_yaxis()
    axes.set_ylim(len(chart.labels) - 0.5, -0.5)
    if chart.log:
        axes.set_xscale("log")
        axes.set_xlim(min(1.0, min(values) / 2), max(values) * 3)
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        axes.set_xlim(0, max(values) * 1.12)
    axes.grid(axis="x", color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.minorticks_off()
    axes.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _coloured(svg: str, chart: Chart) -> str:
    """The stand-ins replaced by variables that follow the mode, and the digest put in."""
    for colour, (variable, *_) in MODES.items():
        svg = svg.replace(colour, f"var({variable})")
    light, dark = ("".join(f"{variable}:{pair[mode]};" for variable, *pair in MODES.values()) for mode in (0, 1))
    style = f"<style>:root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    head, end, rest = svg.partition("<defs>")
    lines = f"{head}<!-- data {chart.digest} -->\n {style}\n {end}{rest}".split("\n")
    return "\n".join(line.rstrip() for line in lines)


def mean_and_spread(values: list[float]) -> tuple[float, float] | None:
    """None for no value; no spread for one."""
    if not values:
        return None
    return round(fmean(values), 4), round(stdev(values), 4) if len(values) > 1 else 0.0


def masks(results: Path) -> Chart:
    """IoU on sets of several kinds: our masks, their seeds and the best map of the same guide."""
    sets = scores_of_sets(load(results, SETS))
    series = {
        name: tuple(mean_and_spread([pair["tags"] for pair in getattr(scores, part)]) for scores in sets.values())
        for name, part in (("this library", "ours"), ("evidence", "evidence"), ("best map", "best_map"))
    }
    return Chart("foreground IoU, tags given", tuple(sets), series)


def standing(results: Path) -> Chart:
    """IoU of dogs with tags, from the paper's objective to a few true masks, on both backbones."""
    ways = {
        "every pixel": ("every pixel",),
        "the paper's objective": ("paper's recipe",),
        "best class activation map": ("CAM", "Grad-CAM++", "LayerCAM", "CAM + PAMR"),
        "evidence, no segmenter": ("guide's evidence, PAMR",),
        "robust (the default)": ("ours, PAMR",),
        "supervised by 406 masks": ("supervised (masks of the other half), PAMR",),
    }
    series = {}
    for name, pattern in {"MobileNet v1": DOGS, "EfficientNet-Lite2 (today)": "quality/dogs_lite2_seed*.json"}.items():
        runs = load(results, pattern)
        series[name] = tuple(_best(runs, methods) for methods in ways.values())
    (run,) = load(results, "quality/supervised.json")
    masks = [one["iou"][f"{SUPERVISED}, PAMR"]["tags"] for one in run["supervised"] if one["set"] == "dogs"]
    series[name] = (*series[name][:-1], mean_and_spread(masks))  # a file of its own has those of today's backbone
    return Chart("IoU of dogs, tags given, ± standard deviation", tuple(ways), series)


def _best(runs: Sequence[dict[str, Any]], methods: Sequence[str]) -> tuple[float, float] | None:
    """Mean and spread of the method with the highest mean."""
    found = [scores(runs, name + suffix, True) for name in methods for suffix in ("", " (best threshold)")]
    return max(filter(None, map(mean_and_spread, found)), default=None)


def corrected_masks(results: Path) -> Chart:
    """IoU by the number of corrected masks that a segmenter was trained on with."""
    (run,) = load(results, RESULTS)
    rows = run["corrected_masks"]
    sets = tuple(dict.fromkeys(row["set"] for row in rows))
    found = {(row["masks"], row["set"]): (round(row["iou"]["tags"], 4), 0.0) for row in rows}
    series = {way: tuple(found.get((count, name)) for name in sets) for count, way in ways_of(rows).items()}
    return Chart("foreground IoU, tags given", tuple(map(title, sets)), series)


def speed(results: Path) -> Chart:
    """How many times as fast as the loop each step is."""
    found = compared(results)
    labels = tuple(dict.fromkeys(f"{label}\n({way})" for label, _, way, *_ in found))
    ratios = {
        (f"{label}\n({way})", machine): round(loop["stats"]["median"] / ours["stats"]["median"], 3)
        for label, machine, way, loop, ours in found
    }
    series = {
        machine: tuple((ratios[label, machine], 0.0) if (label, machine) in ratios else None for label in labels)
        for machine in MACHINES
    }
    return Chart("times as fast as a loop over the classes", labels, series, log=True, digits=1)


def scale(results: Path) -> Chart:
    """Hours of a GPU for an epoch of ImageNet-1k."""
    (run,) = load(results, "speed/scale_calculation.json")
    ways = tuple(dict.fromkeys(row["way"] for row in run["scale"]))
    hours = {(row["way"], row["K"]): round(row["hours"], 4) for row in run["scale"]}
    series = {f"K = {k}": tuple((hours[way, k], 0.0) for way in ways) for k in sorted({k for _, k in hours})}
    labels = tuple(way.replace("`", "") for way in ways)
    return Chart("GPU-hours for an epoch of ImageNet-1k (calculated)", labels, series, log=True)


def reliability(results: Path) -> Chart:
    """Cases of each kind that were tried and survived."""
    (tests,), (fuzz,) = load(results, "robustness/tests.json"), load(results, "robustness/fuzz.json")
    (kills,), (processes,) = load(results, "robustness/kills.json"), load(results, "robustness/processes.json")
    counts = {row["group"].partition(":")[0]: row["survived"] for row in tests["robustness"]}
    cases = sum(row["cases"] for row in fuzz["fuzz"]) - len(fuzz["failures"])
    counts["an hour of random changes"] = cases
    counts["trainings killed at random"] = kills["weights equal byte by byte"]
    counts["killed processes of a group"] = sum(fault["survived"] for fault in processes["faults"].values())
    order = sorted(counts, key=lambda name: -counts[name])
    series = {"survived": tuple((float(counts[name]), 0.0) for name in order)}
    return Chart("cases that the library survived", tuple(order), series, log=True, digits=0)


CHARTS: dict[Path, Callable[[Path], Chart]] = {
    FOLDER / f"{make.__name__}.svg": make for make in (masks, standing, corrected_masks, speed, scale, reliability)
}
