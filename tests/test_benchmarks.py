"""The benchmarks of speed and memory at tiny sizes: every way runs, and says the same; times mean nothing here."""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.grid import GRID, WAYS, cases
from benchmarks.timing import Machine, flops, peak_bytes
from torch import Tensor, nn

ROOT = Path(__file__).parents[1]
ESTIMATES = {"sampled"}  # ways whose value is drawn at random, on less than all slots


def quick(path: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    """The JSON of a smoke test in a process of its own."""
    command = ["pytest", "--benchmark", "--quick", "-q", f"--benchmark-json={path}", *arguments]
    ran = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_benchmark_runs_and_all_ways_agree(tmp_path: Path) -> None:
    written = quick(tmp_path / "quick.json", *(f"benchmarks/test_{step}.py" for step in WAYS))
    values, work, ways = defaultdict(set), defaultdict(set), defaultdict(set)
    for row in written["benchmarks"]:
        extra = row["extra_info"]
        step = row["name"].partition("[")[0].removeprefix("test_")
        assert "not_run" not in extra, extra
        assert extra["peak_bytes"] > 0
        assert extra["images_per_s"] == pytest.approx(extra["batch"] / row["stats"]["median"])
        rate = extra["amount"] / row["stats"]["median"]
        ceiling = written["machine_info"]["ceilings"][extra["ceiling"]]
        assert extra["share_of_ceiling"] == pytest.approx(rate / ceiling)
        ways[step].add(extra["way"])
        if extra["way"] in ESTIMATES:
            continue
        values[step, extra["group"]].add(extra["value"])
        if extra["way"] != "whole network":  # which has more to do
            work[step, extra["group"]].add(extra["amount"])
    assert {step: set(names) for step, names in WAYS.items()} == dict(ways)
    for group, found in values.items():
        assert max(found) == pytest.approx(min(found), rel=1e-4), group
    assert all(len(amounts) == 1 for amounts in work.values())
    assert {"node", "commit_info"}.isdisjoint(written["machine_info"] | written)


def test_a_way_that_cannot_run_says_so(tmp_path: Path) -> None:
    written = quick(tmp_path / "quick.json", "benchmarks/test_recompose.py", "-k", "compiled", CXX="no-such-compiler")
    rows = written["benchmarks"]
    assert len(rows) == 2
    for row in rows:
        assert row["extra_info"]["not_run"] == "no C++ compiler: no-such-compiler not found"
        assert "stats" not in row


def test_peak_memory_counts_what_is_held_at_once() -> None:
    size = 2**20
    held = torch.zeros(size)

    def step() -> Tensor:
        first, second = torch.zeros(size), held + 1  # both at once
        total = first + second  # a third
        del first, second
        return total.exp()  # `total` and its exponential

    for _ in range(2):
        assert peak_bytes(Machine("cpu"), step) == pytest.approx(3 * held.nbytes, rel=1e-3)


def test_operations_of_a_convolution() -> None:
    images = torch.rand(2, 3, 8, 8)
    counted = flops(lambda: nn.Conv2d(3, 5, kernel_size=3, padding=1, bias=False)(images))
    assert counted == 2 * (2 * 8 * 8 * 5) * (3 * 3 * 3)


def test_every_step_has_a_file_and_a_row_for_each_machine() -> None:
    assert {f"test_{step}.py" for step in WAYS} == {path.name for path in (ROOT / "benchmarks").glob("test_*.py")}
    for machine, sizes in GRID.items():
        assert sizes.keys() == WAYS.keys()
        for step in sizes:
            rows = cases(step, machine)
            assert len({(row.group, row.way) for row in rows}) == len(rows)


def test_the_page_shows_the_grid() -> None:
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    for step in WAYS:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{step}`"))
        cells = [re.sub("`", "", cell).strip() for cell in row.split("|")[3:-1]]
        expected = []
        for machine in ("cuda", "cpu"):
            sizes = GRID[machine][step]
            expected += [", ".join(map(str, part)) for part in (sizes.num_classes, sizes.batches, sizes.encoders)]
            assert sizes.size == 224
        assert cells == expected
    for way in {way for ways in WAYS.values() for way in ways}:
        assert re.search(rf"^\| `{re.escape(way)}` ", page, re.MULTILINE), way
