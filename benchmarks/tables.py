"""Fill the tables of the documentation and README.md from the JSON files in benchmarks/results.

    python benchmarks/tables.py           # rewrite the pages
    python benchmarks/tables.py --check   # exit 1 if a page is stale

A page marks the place of a table by `<!-- table: NAME.json -->` and `<!-- end table -->`. NAME.json is what
`decomprec.evaluation.Results.save` wrote plus a "run" that describes it, what `pytest benchmarks/ --benchmark` wrote,
or what another module of benchmarks wrote. A pattern such as `dogs_*.json` takes several runs of one experiment
together: mean ± standard deviation.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (
    *(
        ROOT / "docs" / name
        for name in (
            "results.md",
            "speed.md",
            "questions.md",
            "pseudo_labels.md",
            "never_lose_work.md",
            "robustness.md",
            "your_pictures.md",
        )
    ),
    ROOT / "README.md",
)
MARKER = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end table -->)", re.DOTALL)
MAX_CLASS_COLUMNS = 7


def fill(text: str, results: Path) -> str:
    """A page's text with every marked table made anew from the files in `results`."""

    def fresh(match: re.Match[str]) -> str:
        files = sorted(results.glob(match[2]))
        return f"{match[1]}{render(files) if files else '*Not measured yet.*'}\n{match[3]}"

    return MARKER.sub(fresh, text)


def render(files: Sequence[Path]) -> str:
    """The table of one experiment, and under it how it came about."""
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    tables = {
        "benchmarks": speed_table,
        "question": question_table,
        "ablation": ablation_table,
        "companions": companions_table,
        "pseudo_labels": pseudo_labels_table,
        "precision_curves": precision_table,
        "savings": savings_table,
        "how_many": how_many_table,
        "kills": kills_table,
        "robustness": robustness_table,
        "fuzz": fuzz_table,
        "faults": processes_table,
        "versions": versions_table,
    }
    table = next((make for key, make in tables.items() if key in runs[0]), scores_table)
    try:
        return table(runs)
    except (KeyError, TypeError, ValueError) as error:
        names = ", ".join(file.name for file in files)
        raise ValueError(f"Expected {names} to be results of one experiment, but: {error!r}.") from error


def scores_table(runs: Sequence[dict[str, Any]]) -> str:
    """Rows of methods, from runs that differ in their seed only."""
    names = runs[0]["class_names"]
    per_class = names if len(names) <= MAX_CLASS_COLUMNS else []
    head = ["method", "tags at test time", *per_class, "foreground IoU", "IoU with background", "area where absent"]
    lines = []
    for rows in zip(*(run["rows"] for run in runs), strict=True):
        if len({(row["method"], row["tags"]) for row in rows}) > 1 or any(run["class_names"] != names for run in runs):
            raise ValueError("methods or classes differ between the files")
        columns = [[row["iou"][1 + j] for row in rows] for j in range(len(per_class))]
        columns += [[row[key] for row in rows] for key in ("mean_foreground_iou", "mean_iou", "mean_false_area")]
        settings = [f", {key} {spread([row['settings'][key] for row in rows], 2)}" for key in rows[0]["settings"]]
        yes_no = "yes" if rows[0]["tags"] else "no"
        lines.append(["".join([rows[0]["method"], *settings]), yes_no, *map(spread, columns)])
    guide = [run["guide_accuracy"] for run in runs]
    accuracy = f"guide accuracy: {spread([g['mean'] for g in guide])} on {guide[0]['images']} images"
    opinions = f"\n\n{opinions_table(runs)}" if "diagnostics" in runs[0] else ""
    about = [dict(run.get("run", {})) for run in runs]
    for run in about if len(runs) > 1 else ():
        run.pop("command", None)  # the page says which
    return f"{markdown(head, lines)}\n\n{accuracy}; {describe(about)}{opinions}"


def opinions_table(runs: Sequence[dict[str, Any]]) -> str:
    """What the guide and an unseen second one see in the components of each segmenter."""
    head = ["components of", "shown as", "present, by the guide", "by a second guide", "gap"]
    lines = []
    for name, views in runs[0]["diagnostics"].items():
        for view in views:
            judged = [run["diagnostics"][name][view] for run in runs]
            seen = [[row[guide]["present_recognised"] for row in judged] for guide in views[view]]
            gap = [[first - second for first, second in zip(*seen, strict=True)]] if len(seen) == 2 else []
            cells = [*map(spread, [*seen, *gap]), *["-"] * (2 - 2 * len(gap))]
            lines.append([name, view, *cells, spread([row["guide"]["background_empty"] for row in judged])])
    second = [run["second_guide_accuracy"]["mean"] for run in runs if "second_guide_accuracy" in run]
    table = markdown([*head, "nothing in the background"], lines)
    return f"{table}\n\nsecond guide's accuracy: {spread(second)}" if second else table


def ablation_table(runs: Sequence[dict[str, Any]]) -> str:
    """Rows of single changes, from one file of `benchmarks.ablation`."""
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
        key: run[key] for key in ("all rows", "half", "pictures", "seed", "machine", "torch")
    }
    return f"{markdown(head, lines)}\n\n{describe([about])}"


def pseudo_labels_table(runs: Sequence[dict[str, Any]]) -> str:
    """Masks and what was trained on them, from one file of `examples/train_on_pseudo_labels.py`."""
    (run,) = runs
    keys = ("mean_foreground_iou", "mean_false_area")
    lines = [
        [row["method"], *("-" if row[key] is None else f"{row[key]:.3f}" for key in keys)]
        for row in run["pseudo_labels"]
    ]
    return f"{markdown(['masks', 'foreground IoU', 'area where absent'], lines)}\n\n{describe([run['run']])}"


def precision_table(runs: Sequence[dict[str, Any]]) -> str:
    """Where training ends in each precision, from one file of `benchmarks.precision_curves`."""
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


def savings_table(runs: Sequence[dict[str, Any]]) -> str:
    """What training costs and gives with single savings, from one file of `benchmarks.savings`."""
    (run,) = runs
    return trainings(["saved"], ["name"], run["savings"], run["run"])


def how_many_table(runs: Sequence[dict[str, Any]]) -> str:
    """What training gives on fewer pictures, from one file of `benchmarks.how_many`."""
    (run,) = runs
    return trainings(["pictures", "epochs of the segmenter"], ["pictures", "epochs"], run["how_many"], run["run"])


def trainings(head: list[str], keys: list[str], rows: Sequence[dict[str, Any]], run: dict[str, Any]) -> str:
    """A row for each training that `benchmarks.savings.row` measured."""
    measures = ("guide_accuracy", "iou_with_tags", "iou_without", "area_where_absent")
    lines = [
        [
            *(str(row[key]) for key in keys),
            *(f"{row[key]:.1f}" for key in ("minutes", "core_minutes")),
            *(f"{row[key]:.3f}" for key in measures),
        ]
        for row in rows
    ]
    head = [*head, "minutes", "minutes of all cores", "guide right", "IoU, tags", "IoU, no tags", "area where absent"]
    return f"{markdown(head, lines)}\n\n{describe([run])}"


def kills_table(runs: Sequence[dict[str, Any]]) -> str:
    """What became of killed trainings, from one file of `benchmarks.kill_test`."""
    (run,) = runs
    lines = [
        ["kills", str(run["kills"])],
        *([phase if phase.startswith("between") else f"in {phase}", str(count)] for phase, count in run["hit"].items()),
    ]
    found = ("resumed", "weights equal byte by byte", "logs equal", "half-written files left")
    lines += [[name, str(run[name])] for name in found]
    about = {key: value for key, value in run.items() if key not in ("kills", "hit", *found)}
    return f"{markdown(['killed trainings', 'number'], lines)}\n\n{describe([about])}"


def robustness_table(runs: Sequence[dict[str, Any]]) -> str:
    """What the tests inject and what survives, from one file of `benchmarks.robustness`."""
    (run,) = runs
    keys = ("inputs", "made", "survived", "failed", "not run")
    total = {"group": "**together**"} | {key: sum(row[key] for row in run["robustness"]) for key in keys}
    lines = [[row["group"], *(f"{row[key]:,}" for key in keys)] for row in (*run["robustness"], total)]
    about = {key: run[key] for key in ("minutes", "machine", "torch", "hypothesis")}
    head = ["what is injected", "inputs and faults", "of them by Hypothesis", "survived", "failed", "not run here"]
    return f"{markdown(head, lines)}\n\n{describe([about])}"


def fuzz_table(runs: Sequence[dict[str, Any]]) -> str:
    """The cases of each target and what went wrong, from one file of `benchmarks.fuzz`."""
    (run,) = runs
    targets = [[row["target"].removeprefix("test_").replace("_", " "), f"{row['cases']:,}"] for row in run["fuzz"]]
    targets.append(["**together**", f"{sum(row['cases'] for row in run['fuzz']):,}"])
    found = [
        [
            failure["target"].partition("::test_")[2].replace("_", " "),
            f"`{failure['error'].partition(':')[0]}`",
            f"`{failure['place'].removeprefix('src/decomprec/')}`",
            f"{failure['cases_since']:,}",
            "yes" if failure["mended"] else "no",
        ]
        for failure in run["failures"]
    ]
    head = ["target", "what was raised", "where", "cases since it was last seen", "mended"]
    about = {key: value for key, value in run.items() if key not in ("fuzz", "failures")}
    failures = markdown(head, found) if found else "No failures."
    return f"{markdown(['target', 'cases'], targets)}\n\n{failures}\n\n{describe([about])}"


def processes_table(runs: Sequence[dict[str, Any]]) -> str:
    """What became of trainings whose processes were killed, from one file of `benchmarks.process_faults`."""
    (run,) = runs
    lines = [[name, str(fault["injected"]), str(fault["survived"])] for name, fault in run["faults"].items()]
    memory = run.get("memory", {})
    about = {key: value for key, value in run.items() if key not in ("faults", "memory")}
    table = f"{markdown(['fault', 'injected', 'survived'], lines)}\n\n"
    if memory:
        table += f"memory of a long training: {describe([memory])}\n\n"
    return table + describe([about])


def versions_table(runs: Sequence[dict[str, Any]]) -> str:
    """A row for each entry of "versions", with its own keys as columns."""
    (run,) = runs
    rows = run["versions"]
    head = list(dict.fromkeys(key for row in rows for key in row))
    lines = [[str(row.get(key, "-")) for key in head] for row in rows]
    about = {key: value for key, value in run.items() if not isinstance(value, list | dict)}
    return markdown(head, lines) + (f"\n\n{describe([about])}" if about else "")


def companions_table(runs: Sequence[dict[str, Any]]) -> str:
    """Area of a class where only its company is, and where neither is, from one file of `benchmarks.companions`."""
    (run,) = runs
    rows = run["companions"]
    ways = [key for key, value in rows[0].items() if isinstance(value, dict)]
    head = ["class", "company", "on its training pictures"]
    head += [f"{way}: {where}" for way in ways for where in ("only company", "neither")]
    lines = [
        [
            row["class"],
            row["company"],
            f"{row['together']:.0%}",
            *(
                f"{row[way][where]:.3f} ({count})"
                for way in ways
                for where, count in zip(("with company", "with neither"), row["pictures"], strict=True)
            ),
        ]
        for row in rows
    ]
    return f"{markdown(head, lines)}\n\n{describe([{key: run[key] for key in ('pictures', 'machine', 'torch')}])}"


def speed_table(runs: Sequence[dict[str, Any]]) -> str:
    """For each machine and step a table of ways, from files of `pytest benchmarks/ --benchmark`.

    Ways at the same sizes stand together; the last two columns hold them against the first of them.
    """
    machines: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        cpu = run["machine_info"]["cpu"]
        for row in run["benchmarks"]:
            extra = row["extra_info"]
            on_cpu = f"{cpu['brand_raw']}, {cpu['count']} cores, {extra['threads']} threads"
            device = on_cpu if extra["device"] == "cpu" else extra["device"]
            machines.setdefault(f"{device}, {extra['dtype']}, torch {extra['torch']}", []).append({**row, "run": run})
    return "\n\n".join(_machine(machine, rows) for machine, rows in machines.items())


def _machine(machine: str, rows: Sequence[dict[str, Any]]) -> str:
    ceilings = rows[0]["run"]["machine_info"]["ceilings"]
    units = {"copy": "GB/s", "matmul": "GFLOP/s", "convolution": "GFLOP/s"}
    measured = "; ".join(f"{name} {figure(rate / 1e9)} {units[name]}" for name, rate in ceilings.items())
    steps: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        steps.setdefault(row["name"].partition("[")[0].removeprefix("test_"), []).append(row)
    tables = [f"**{step}**\n\n{_step(rows)}" for step, rows in steps.items()]
    return "\n\n".join([f"*{machine}*; ceilings: {measured}", *tables])


def _step(rows: Sequence[dict[str, Any]]) -> str:
    head = ["sizes", "way", "time", "rounds", "images/s", "peak memory", "speed-up", "less memory"]
    ceiling = next((row["extra_info"]["ceiling"] for row in rows if "ceiling" in row["extra_info"]), "ceiling")
    shares = {"share_of_ceiling": f"of {ceiling} rate", "waiting_share": "waiting for data"}
    shown = [key for key in shares if any(key in row["extra_info"] for row in rows)]
    head[-2:-2] = [shares[key] for key in shown]
    first: dict[str, dict[str, Any]] = {}
    lines = []
    for row in rows:
        extra = row["extra_info"]
        base = first.setdefault(extra["group"], row)
        if "not_run" in extra:
            lines.append([extra["group"], extra["way"], f"not run: {extra['not_run']}", *["-"] * (len(head) - 3)])
            continue
        stats = row["stats"]
        ratios = ["-", "-"]
        if "stats" in base:
            bytes_ratio = base["extra_info"]["peak_bytes"] / extra["peak_bytes"]
            ratios = [f"{base['stats']['median'] / stats['median']:.2f}×", f"{bytes_ratio:.2f}×"]
        lines.append(
            [
                extra["group"],
                extra["way"],
                f"{figure(1000 * stats['median'])} ± {figure(500 * stats['iqr'])} ms",
                str(stats["rounds"]),
                figure(extra["images_per_s"]),
                f"{figure(extra['peak_bytes'] / 2**20)} MiB",
                *(f"{extra[key]:.1%}" for key in shown),
                *ratios,
            ]
        )
    return markdown(head, lines)


def figure(number: float) -> str:
    """Three significant digits, and no exponent for large numbers."""
    return f"{number:.3g}" if number < 999.5 else f"{number:,.0f}"


def question_table(runs: Sequence[dict[str, Any]]) -> str:
    """Rows of variants, from one file of `benchmarks.questions`; a variant that collapsed has no figures."""
    (run,) = runs
    head = list(run["variants"][0]["runs"][0]["figures"])
    lines = [
        [variant["name"], *(spread([seed["figures"].get(figure) for seed in variant["runs"]]) for figure in head)]
        for variant in run["variants"]
    ]
    return f"{markdown(['variant', *head], lines)}\n\n{describe([run['run']])}"


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


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    rows = [head, ["-" * width for width in widths], *lines]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if a page is stale")
    check = parser.parse_args().check
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    shown = {file for text in texts.values() for match in MARKER.finditer(text) for file in RESULTS.glob(match[2])}
    unshown = sorted(file.name for file in set(RESULTS.glob("*.json")) - shown)
    if unshown:
        sys.exit(f"error: no page has a marker for {', '.join(unshown)}")
    stale = {page: fresh for page, text in texts.items() if (fresh := fill(text, RESULTS)) != text}
    if check and stale:
        sys.exit(f"error: stale tables in {', '.join(page.name for page in stale)}; run python benchmarks/tables.py")
    for page, fresh in stale.items():
        page.write_text(fresh, encoding="utf-8")
        print(f"wrote {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
