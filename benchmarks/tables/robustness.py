"""What was done to the library to break it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.tables.markdown import describe, markdown


def kills_table(runs: Sequence[dict[str, Any]]) -> str:
    """What became of killed trainings, from one file of `benchmarks.robustness.random_kills`."""
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
    """What the tests inject and what survives, from one file of `benchmarks.robustness.count_tests`."""
    (run,) = runs
    keys = ("inputs", "made", "survived", "failed", "not run")
    total = {"group": "**together**"} | {key: sum(row[key] for row in run["robustness"]) for key in keys}
    lines = [[row["group"], *(f"{row[key]:,}" for key in keys)] for row in (*run["robustness"], total)]
    about = {key: run[key] for key in ("minutes", "machine", "torch", "hypothesis")}
    head = ["what is injected", "inputs and faults", "of them by Hypothesis", "survived", "failed", "not run here"]
    return f"{markdown(head, lines)}\n\n{describe([about])}"


def fuzz_table(runs: Sequence[dict[str, Any]]) -> str:
    """The cases of each target and what went wrong, from one file of `benchmarks.robustness.fuzz`."""
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
    """What became of trainings whose processes were killed, from one file of `benchmarks.robustness.process_faults`."""
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
