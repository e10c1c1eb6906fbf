"""How good masks are: what the benchmarks of trainings wrote."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from benchmarks.tables.markdown import describe, markdown, spread

MAX_CLASS_COLUMNS = 7
MAX_CLASSES_BESIDE_MEANS = 4
MAX_FIGURES = 6


def scores_table(runs: Sequence[dict[str, Any]]) -> str:
    """Rows of methods, from runs that differ in their seed; the first may have rows that the others left out."""
    names = runs[0]["class_names"]
    if any(run["class_names"] != names for run in runs):
        raise ValueError("classes differ between the files")
    per_class = names if len(names) <= MAX_CLASS_COLUMNS else []
    means = ["foreground IoU", "IoU with background", "area where absent"]
    methods: dict[tuple[str, bool], list[dict[str, Any]]] = {
        (row["method"], row["tags"]): [] for row in runs[0]["rows"]
    }
    for run in runs:
        for row in run["rows"]:
            methods[row["method"], row["tags"]].append(row)
    lines = []
    for (method, tags), rows in methods.items():
        columns = [[row["iou"][1 + j] for row in rows] for j in range(len(per_class))]
        columns += [[row[key] for row in rows] for key in ("mean_foreground_iou", "mean_iou", "mean_false_area")]
        settings = [f", {key} {spread([row['settings'][key] for row in rows], 2)}" for key in rows[0]["settings"]]
        lines.append(["".join([method, *settings]), "yes" if tags else "no", *map(spread, columns)])
    head, count = ["method", "tags at test time"], len(per_class)
    if count > MAX_CLASSES_BESIDE_MEANS:
        tables = [markdown([*head, *means], [[*line[:2], *line[2 + count :]] for line in lines])]
        tables.append(markdown([*head, *per_class], [line[: 2 + count] for line in lines]))
    else:
        tables = [markdown([*head, *per_class, *means], lines)]
    guide = [run["guide_accuracy"] for run in runs]
    accuracy = f"guide accuracy: {spread([g['mean'] for g in guide])} on {guide[0]['images']} images"
    opinions = f"\n\n{opinions_table(runs)}" if "diagnostics" in runs[0] else ""
    about = [dict(run.get("run", {})) for run in runs]
    for run in about if len(runs) > 1 else ():
        run.pop("command", None)  # the page says which
    return "\n\n".join([*tables, f"{accuracy}; {describe(about)}{opinions}"])


def opinions_table(runs: Sequence[dict[str, Any]]) -> str:
    """What the guide and an unseen second one see in the components of each segmenter."""
    head = ["components of", "shown as", "present, by the guide", "by a second guide", "gap"]
    lines = []
    for name, views in runs[0]["diagnostics"].items():
        for view in views:
            every = [run["diagnostics"][name][view] for run in runs if name in run["diagnostics"]]
            # A gap is of runs with both guides, and so are the values in its row.
            both = [row for row in every if "second guide" in row]
            judged = both or every
            seen = [[row[guide]["present_recognised"] for row in judged] for guide in judged[0]]
            gap = [[first - second for first, second in zip(*seen, strict=True)]] if both else []
            cells = [*map(spread, [*seen, *gap]), *["-"] * (2 - 2 * len(gap))]
            lines.append([name, view, *cells, spread([row["guide"]["background_empty"] for row in judged])])
    accuracy = [run["second_guide_accuracy"]["mean"] for run in runs if "second_guide_accuracy" in run]
    table = markdown([*head, "nothing in the background"], lines)
    return f"{table}\n\nsecond guide's accuracy: {spread(accuracy)}" if accuracy else table


def ablation_table(runs: Sequence[dict[str, Any]]) -> str:
    """Rows of single changes, from one file of `benchmarks.quality.ablation`."""
    (run,) = runs
    measures = ("tags, no bias", "tags", "tags, PAMR", "guide's tags, PAMR")
    head = ["changed", "tags, no bias", "best bias", "tags", "tags, PAMR", "guide's tags, PAMR", "area where absent"]
    lines = []
    for row in run["ablation"]:
        if "collapsed" in row:
            lines.append([row["name"], "collapsed", *["-"] * (len(head) - 2)])
            continue
        first, *others = (f"{row[name]['iou']:.3f}" for name in measures)
        absent = f"{row[measures[-1]]['area_where_absent']:.3f}"
        lines.append([row["name"], first, f"{row['background_bias']:+.1f}", *others, absent])
    about = {"guide accuracy": f"{run['guide_accuracy']:.3f}"} | {
        key: run[key] for key in ("all rows", "half", "images", "seed", "machine", "torch")
    }
    return f"{markdown(head, lines)}\n\n{describe([about])}"


def question_table(runs: Sequence[dict[str, Any]]) -> str:
    """Rows of variants, from one file of `benchmarks.questions.experiments`; collapsed variants have no figures."""
    (run,) = runs
    head = list(run["variants"][0]["runs"][0]["figures"])
    tables = [
        markdown(
            ["variant", *part],
            [
                [
                    variant["name"],
                    *(spread([seed["figures"].get(figure) for seed in variant["runs"]]) for figure in part),
                ]
                for variant in run["variants"]
            ],
        )
        for part in (head[i : i + MAX_FIGURES] for i in range(0, len(head), MAX_FIGURES))
    ]
    return "\n\n".join([*tables, describe([run["run"]])])


def companions_table(runs: Sequence[dict[str, Any]]) -> str:
    """Area of a class where only its company is, and where neither is; from `benchmarks.quality.cooccurrence`."""
    (run,) = runs
    rows = run["companions"]
    ways = [key for key, value in rows[0].items() if isinstance(value, dict)]
    head = ["class", "company", "on its training images"]
    head += [f"{way}: {where}" for way in ways for where in ("only company", "neither")]
    lines = [
        [
            row["class"],
            row["company"],
            f"{row['together']:.0%}",
            *(
                f"{row[way][where]:.3f} ({count})"
                for way in ways
                for where, count in zip(("with company", "with neither"), row["images"], strict=True)
            ),
        ]
        for row in rows
    ]
    return f"{markdown(head, lines)}\n\n{describe([{key: run[key] for key in ('images', 'machine', 'torch')}])}"


def pseudo_labels_table(runs: Sequence[dict[str, Any]]) -> str:
    """Masks and what was trained on them, from one file of `examples/train_on_pseudo_labels.py`."""
    (run,) = runs
    keys = ("mean_foreground_iou", "mean_false_area")
    lines = [
        [row["method"], *("-" if row[key] is None else f"{row[key]:.3f}" for key in keys)]
        for row in run["pseudo_labels"]
    ]
    return f"{markdown(['masks', 'foreground IoU', 'area where absent'], lines)}\n\n{describe([run['run']])}"


def backbones_table(runs: Sequence[dict[str, Any]]) -> str:
    """What frozen backbones say, from one file of `benchmarks.quality.backbones`."""
    (run,) = runs
    rows = run["backbones"]
    ways = list(rows[0]["iou"])
    head = ["backbone", "weights", "million parameters", "ms an image", "stride", "accuracy", *ways]
    lines = [
        [
            f"`{row['backbone']}`",
            "random" if row["weights"] == "null" else row["weights"],
            f"{row['million_parameters']:.1f}",
            f"{row['ms_per_image']:.0f}",
            str(row["stride"]),
            f"{row['accuracy']:.3f}",
            *(f"{row['iou'][way]:.3f}" for way in ways),
        ]
        for row in rows
    ]
    return f"{markdown(head, lines)}\n\n{describe([run['run']])}"


def precision_table(runs: Sequence[dict[str, Any]]) -> str:
    """Where training ends in each precision, from one file of `benchmarks.quality.bfloat16_curves`."""
    (run,) = runs
    ways: dict[str, list[dict[str, Any]]] = {}
    for row in run["precision_curves"]:
        ways.setdefault(row["way"], []).append(row)
    lines = []
    for way, rows in ways.items():
        last_tenth = [[value for _, value in row["loss"][-max(1, len(row["loss"]) // 10) :]] for row in rows]
        cells = [spread([row["foreground_iou"] for row in rows]), spread([fmean(values) for values in last_tenth], 4)]
        lines.append([way, *cells, spread([row["seconds"] for row in rows], 0)])
    head = ["way", "foreground IoU", "loss in the last tenth of the steps", "seconds"]
    return f"{markdown(head, lines)}\n\n{describe([run['run']])}"


def how_many_table(runs: Sequence[dict[str, Any]]) -> str:
    """What both presets give on fewer images, from one file of `benchmarks.quality.training_set_size`."""
    (run,) = runs
    measures = ("guide_accuracy", "iou_with_tags", "iou_without", "area_where_absent")
    lines = [
        [
            f"{row['images']:,}",
            f"`{row['preset']}`",
            f"{row['core_minutes']:.1f}",
            *("-" if row[key] is None else f"{row[key]:.3f}" for key in measures),
        ]
        for row in run["how_many"]
    ]
    head = ["images", "preset", "processor minutes", "guide accuracy", "IoU, tags", "IoU, no tags", "area where absent"]
    return f"{markdown(head, lines)}\n\n{describe([run['run']])}"
