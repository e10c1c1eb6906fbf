"""Time and memory: what `pytest benchmarks/ --benchmark` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from benchmarks.tables.markdown import describe, figure, markdown, spread


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
    measured = "; ".join(
        f"{name} {figure(rate / 1e9)} {'GB/s' if name == 'copy' else 'GFLOP/s'}" for name, rate in ceilings.items()
    )
    steps: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        steps.setdefault(row["name"].partition("[")[0].removeprefix("test_"), []).append(row)
    tables = [f"**{step}**\n\n{_step(rows)}" for step, rows in steps.items()]
    return "\n\n".join([f"*{machine}*; ceilings: {measured}", *tables])


def _step(rows: Sequence[dict[str, Any]]) -> str:
    head = ["sizes", "way", "time", "rounds", "images/s", "peak memory", "speed-up", "less memory"]
    ceiling = next((row["extra_info"]["ceiling"] for row in rows if "ceiling" in row["extra_info"]), "ceiling")
    shares = {
        "share_of_ceiling": f"of {ceiling} rate",
        "share_of_matmul": "of matmul rate",
        "waiting_share": "waiting for data",
    }
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


def imports_table(runs: Sequence[dict[str, Any]]) -> str:
    """Interpreters that import something and end, from one file of `benchmarks.speed.import_time`."""
    (run,) = runs
    lines = [[f"`{row['statement']}`", f"{row['seconds']:.2f} ± {row['iqr'] / 2:.2f} s"] for row in run["imports"]]
    about = describe([{"median ratio of a round": f"{run['ratio']:.3f}"} | run["run"]])
    return f"{markdown(['statement', 'time'], lines)}\n\n{about}"


def checks_table(runs: Sequence[dict[str, Any]]) -> str:
    """What the checks of a data set cost, from one file of `benchmarks.speed.data_checks`."""
    (run,) = runs
    lines = [[row["part"], f"{row['seconds']:.2f} ± {row['iqr'] / 2:.2f} s"] for row in run["checks"]]
    return f"{markdown(['part', 'CPU time'], lines)}\n\n{describe([run['run']])}"


def scale_table(runs: Sequence[dict[str, Any]]) -> str:
    """The calculated cost of a step, from one file of `benchmarks.speed.scale_calculation`."""
    (run,) = runs
    head = ["way", "K", "shown to the guide", "GFLOP an image", "MB an image", "weights and Adam, MB"]
    keys = ("shown", *head[3:])
    lines = [
        [row["way"], str(row["K"]), *(f"{row[key]:,.0f}" for key in keys), str(row["batch"]), f"{row['hours']:.2f}"]
        for row in run["scale"]
    ]
    about = describe([{key: f"{value:,.0f}" for key, value in run["run"].items()}])
    return f"{markdown([*head, 'images in 80 GB', 'GPU-hours an epoch'], lines)}\n\n{about}"


def class_memory_table(runs: Sequence[dict[str, Any]]) -> str:
    """The peak memory of a training step by the number of classes, from `benchmarks.speed.class_memory`."""
    (run,) = runs
    classes = sorted({row["K"] for row in run["class memory"]})
    rows = {(row["shown slots only"], row["K"]): row for row in run["class memory"]}
    lines = [
        [
            name,
            *(f"{rows[only, k]['peak_bytes'] / 1e6:,.0f}, {rows[only, k]['step_bytes'] / 1e6:,.0f}" for k in classes),
        ]
        for only, name in ((False, "all slots"), (True, "`shown_slots_only`"))
    ]
    head = ["MB at the peak, and of these with the steps", *(f"K = {k}" for k in classes)]
    return f"{markdown(head, lines)}\n\n{describe([run['run']])}"


def contention_table(runs: Sequence[dict[str, Any]]) -> str:
    """A training step by memory, threads and other programs, from one file of `benchmarks.speed.contention`."""
    (run,) = runs
    lines = [
        [
            str(row["other programs"]),
            str(row["at once"]),
            "kept" if row["kept"] else "returned",
            str(row["threads"] or "all cores"),
            row["wait"] or "default",
            f"{1000 * row['seconds']:.0f} ms",
            f"{row['faults']:,.0f}",
            f"{row['peak_bytes'] / 2**20:,.0f} MiB",
        ]
        for row in run["contention"]
    ]
    head = ["other programs", "images at once", "freed memory", "threads", "waiting", "an image", "page faults", "peak"]
    return f"{markdown(head, lines)}\n\n{describe([run['run']])}"


def large_image_table(runs: Sequence[dict[str, Any]]) -> str:
    """The memory of a prediction of a large image, from one file of `benchmarks.speed.large_image`."""
    (run,) = runs
    lines = [
        [row["way"], f"{row['peak_bytes'] / 2**20:,.0f} MiB", f"{row['processor seconds']:.0f} s"]
        for row in run["large image"]
    ]
    about = {"image": f"{run['run']['height']} x {run['run']['width']}", **run["run"]}
    shown = {key: value for key, value in about.items() if key not in ("height", "width")}
    return f"{markdown(['way', 'peak memory', 'processor time'], lines)}\n\n{describe([shown])}"


def against_table(runs: Sequence[dict[str, Any]]) -> str:
    """Two versions of the code, stage by stage and seed by seed, from one file of `benchmarks.speed.against`.

    Times are means over the seeds that both versions have; each ratio is that of the means.
    """
    (run,) = runs
    found: dict[str, dict[int, dict[str, dict[str, Any]]]] = {}
    for row in run["against"]:
        found.setdefault(row["part"], {}).setdefault(row["seed"], {})[row["side"]] = row
    costs, scores = [], []
    for part, seeds in found.items():
        pairs = [(pair["before"], pair["after"]) for pair in seeds.values() if len(pair) == 2]
        if not pairs:
            continue
        label = f"{part}, {' + '.join(f'{count:,}' for count in pairs[0][0]['images'].values())} images"
        for name, unit, values in _costs(pairs):
            before, after = (spread(list(column), digits=0) for column in zip(*values, strict=True))
            means = [fmean(column) for column in zip(*values, strict=True)]
            ratio = f"{means[0] / means[1]:.2f}×" if means[1] else "-"
            costs.append([label, name, f"{before} {unit}", f"{after} {unit}", ratio])
        for seed, pair in seeds.items():
            if len(pair) == 2 and "iou" in pair["before"]:
                keys = ("with tags", "without tags")
                figures = [f"{pair[side]['iou'][key]:.3f}" for key in keys for side in ("before", "after")]
                scores.append([part, str(seed), *figures])
    loads = [load for row in run["against"] for load in row["load"]]
    about = describe([run["run"] | {"load average": f"{min(loads)} to {max(loads)}"}])
    tables = [markdown(["part", "what", "before", "after", "less"], costs)]
    if scores:
        head = ["part", "seed", "tags, before", "tags, after", "no tags, before", "no tags, after"]
        tables.append(f"Foreground IoU of PAMR-refined masks:\n\n{markdown(head, scores)}")
    return "\n\n".join([*tables, about])


def _costs(
    pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]],
) -> list[tuple[str, str, list[tuple[float, float]]]]:
    """Name, unit, and values before and after of each pair: the stages, then the whole."""
    stages = [s for s in pairs[0][0]["stages"] if all(s in row["stages"] for pair in pairs for row in pair)]
    rows = [(s, "s", [(a["stages"][s], b["stages"][s]) for a, b in pairs]) for s in stages]
    return [
        *rows,
        ("**total**", "s", [(a["seconds"], b["seconds"]) for a, b in pairs]),
        ("processor time", "s", [(a["cpu_seconds"], b["cpu_seconds"]) for a, b in pairs]),
        ("peak memory", "MiB", [(a["peak_bytes"] / 2**20, b["peak_bytes"] / 2**20) for a, b in pairs]),
    ]
