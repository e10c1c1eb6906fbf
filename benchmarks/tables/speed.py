"""Time and memory: what `pytest benchmarks/ --benchmark` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.tables.markdown import describe, figure, markdown


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


def imports_table(runs: Sequence[dict[str, Any]]) -> str:
    """Interpreters that import something and end, from one file of `benchmarks.speed.import_time`."""
    (run,) = runs
    lines = [[f"`{row['statement']}`", f"{row['seconds']:.2f} ± {row['iqr'] / 2:.2f} s"] for row in run["imports"]]
    about = describe([{"median ratio of a round": f"{run['ratio']:.3f}"} | run["run"]])
    return f"{markdown(['statement', 'time'], lines)}\n\n{about}"


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
