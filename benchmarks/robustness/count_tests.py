"""Run the tests that do harm, and count what they inject and what survives.

    uv run python -m benchmarks.robustness.count_tests --json benchmarks/results/robustness/tests.json

A test is one input or fault, even if it tries several; one that Hypothesis makes the inputs of counts as many as it
made. What a test expects is written in it: to be read, to be refused in a sentence, or to end as if nothing had been.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from pathlib import Path

import hypothesis
import pytest
import torch

from benchmarks.files import save
from benchmarks.robustness.case_counter import CountedCases

TESTS = Path(__file__).parents[2] / "tests"
GROUPS = {
    "bad images": ("robustness/test_bad_images.py",),
    "bad tags, lists and masks": ("robustness/test_bad_labels.py",),
    "hostile files": ("robustness/test_hostile.py",),
    "files, calls and rows changed at random": ("robustness/test_fuzz.py", "robustness/test_fuzz_runs.py"),
    "runs that are killed": ("robustness/test_kills.py",),
    "runs that are stopped: signals, full disk, memory, NaN": ("training/test_interruptions.py",),
    "several processes that train": ("training/test_processes.py",),
    "processes that load": ("training/test_workers.py",),
    "checkpoints of another version": ("training/test_old_checkpoint.py",),
    "numbers: precisions, extremes, seeds": ("core/test_numerics.py",),
}


class Outcomes(CountedCases):
    """What became of each test."""

    def __init__(self) -> None:
        super().__init__()
        self.outcome: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test has failed if any of its parts has."""
        if report.when == "call" or report.outcome != "passed":
            self.outcome[report.nodeid] = report.outcome if self.outcome.get(report.nodeid) != "failed" else "failed"


def counts(outcomes: Outcomes, files: tuple[str, ...]) -> dict[str, int]:
    """Of the tests in some files."""
    nodes = tuple(f"tests/{file}::" for file in files)
    found = {node: how for node, how in outcomes.outcome.items() if node.startswith(nodes)}
    tried = {node: how for node, how in found.items() if how != "skipped"}
    made = sum(outcomes.count[node] for node in tried)
    inputs = made + sum(not outcomes.count[node] for node in tried)
    failed = Counter(tried.values())["failed"]
    return {
        "tests": len(tried),
        "inputs": inputs,
        "made": made,
        "survived": inputs - failed,
        "failed": failed,
        "not run": len(found) - len(tried),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where the counts go")
    args = parser.parse_args()
    start, outcomes = time.monotonic(), Outcomes()
    paths = [str(TESTS / file) for files in GROUPS.values() for file in files]
    code = pytest.main(["-q", "-p", "no:cacheprovider", *paths], plugins=[outcomes])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(f"error: pytest ended with {code!r}")
    table = {
        "robustness": [{"group": group, **counts(outcomes, files)} for group, files in GROUPS.items()],
        "failures": sorted(node for node, how in outcomes.outcome.items() if how == "failed"),
        "minutes": round((time.monotonic() - start) / 60, 1),
        "machine": f"{os.cpu_count()} CPU cores",
        "torch": torch.__version__,
        "hypothesis": hypothesis.__version__,
    }
    save(table, args.json)


if __name__ == "__main__":
    main()
