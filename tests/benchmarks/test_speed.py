"""The benchmarks of speed and memory at tiny sizes: every way runs, and says the same; times mean nothing here."""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from benchmarks.quality import bfloat16_curves
from benchmarks.speed import conftest, data_checks, import_time, test_recompose
from benchmarks.speed.grid import GRID, WAYS, cases
from benchmarks.speed.timing import Machine, flops, peak_bytes
from benchmarks.tables.pages import render
from benchmarks.tables.speed import speed_table
from support.layouts import image
from torch import Tensor, nn

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# Ways whose value is drawn at random, on less than all slots or by other processes and libraries, or whose BatchNorm
# sees less than the batch.
ESTIMATES = {
    "sampled",
    "sampled, parts",
    "bf16, sampled, parts",
    "1 worker",
    "2 workers",
    "reduced decode",
    "on the device",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON of the smoke test, in a separate process."""
    path = tmp_path_factory.mktemp("speed") / "quick.json"
    files = [f"benchmarks/speed/test_{step}.py" for step in WAYS]
    command = ["pytest", "--benchmark", "--quick", "-q", f"--benchmark-json={path}", *files]
    # A worker of pytest-xdist marks its environment, and pytest-benchmark measures nothing there.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    ran = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=inherited, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_benchmark_runs_and_all_ways_agree(written: dict[str, Any]) -> None:
    values = defaultdict(lambda: {"float32": set(), "bfloat16": set()})
    work, ways = defaultdict(set), defaultdict(set)
    for row in written["benchmarks"]:
        extra = row["extra_info"]
        step = row["name"].partition("[")[0].removeprefix("test_")
        assert "not_run" not in extra, extra
        assert extra["peak_bytes"] > 0
        batches = {"data": 8, "input": 2}.get(step, 1)
        assert extra["images_per_s"] == pytest.approx(batches * extra["batch"] / row["stats"]["median"])
        if step == "input":
            assert 0 < extra["waiting_share"] < 1
        elif step not in ("data", "images"):
            rate = extra["amount"] / row["stats"]["median"]
            ceiling = written["machine_info"]["ceilings"][extra["ceiling"]]
            assert extra["share_of_ceiling"] == pytest.approx(rate / ceiling)
        ways[step].add(extra["way"])
        if extra["way"] in ESTIMATES:
            continue
        kind = "bfloat16" if "bf16" in extra["way"] else "float32"
        values[step, extra["group"]][kind].add(extra["value"])
        if extra["way"] != "whole network":  # which has more to do
            work[step, extra["group"]].add(extra.get("amount"))
    assert {step: set(names) for step, names in WAYS.items()} == dict(ways)
    for group, found in values.items():
        assert max(found["float32"]) == pytest.approx(min(found["float32"]), rel=1e-4), group
        # bfloat16 rounds to 8 bits.
        assert all(value == pytest.approx(min(found["float32"]), rel=2**-8) for value in found["bfloat16"]), group
    assert all(len(amounts) == 1 for amounts in work.values())
    assert {"node", "commit_info"}.isdisjoint(written["machine_info"] | written)


def test_a_way_that_cannot_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    compiled = next(case for case in cases("recompose", "quick") if case.way == "compiled")
    extra: dict[str, Any] = {}
    benchmark = SimpleNamespace(name="test_recompose[]", extra_info=extra, pedantic=lambda function, rounds: function())
    test_recompose.test_recompose(benchmark, Machine("quick"), compiled)
    assert extra["not_run"] == "no C++ compiler: no-such-compiler not found"
    row = {"extra_info": extra, "stats": {"median": 0.0, "data": [0.0]}, "params": None, "param": None}
    about = {"cpu": {}, "python_version": "3", "system": "any"}
    quick: Any = SimpleNamespace(getoption={"--quick": True}.get)
    conftest.pytest_benchmark_update_json(quick, {"commit_info": {}, "machine_info": about, "benchmarks": [row]})
    assert row == {"extra_info": extra}


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
    assert {f"test_{step}.py" for step in WAYS} == {
        path.name for path in (ROOT / "benchmarks" / "speed").glob("test_*.py")
    }
    for machine, sizes in GRID.items():
        assert sizes.keys() == WAYS.keys()
        for step in sizes:
            rows = cases(step, machine)
            assert len({(row.group, row.way) for row in rows}) == len({row.id for row in rows}) == len(rows)
            assert all(re.fullmatch(r"[\w-]+", row.id) for row in rows)  # a word that -k takes


def test_tables_show_the_time_that_is_waited() -> None:
    rows = []
    for way, seconds, share in (("as it is", 0.2, 0.25), ("resident", 0.1, 0.0125)):
        extra = {"group": "fast guide", "way": way, "images_per_s": 64 / seconds, "peak_bytes": 2**20}
        extra |= {"waiting_share": share, "device": "cpu", "dtype": "float32", "torch": "2", "threads": 2}
        rows.append(
            {"name": f"test_input[{way}]", "stats": {"median": seconds, "iqr": 0.0, "rounds": 3}, "extra_info": extra}
        )
    machine = {"cpu": {"brand_raw": "A", "count": 2}, "ceilings": {}}
    head, _, *lines = speed_table([{"machine_info": machine, "benchmarks": rows}]).splitlines()[-4:]
    table = [dict(zip(*([c.strip() for c in row.split("|")] for row in (head, line)), strict=True)) for line in lines]
    assert [row["waiting for data"] for row in table] == ["25.0%", "1.2%"]
    assert [row["speed-up"] for row in table] == ["1.00×", "2.00×"]
    assert not any("rate" in name for name in table[0])


def test_imports_are_timed_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([9.0, 9.0, 1.0, 1.5, 2.0, 2.0, 4.0, 5.0])  # the first of each is not counted
    asked: list[str] = []
    monkeypatch.setattr(import_time, "seconds", lambda statement: asked.append(statement) or next(times))
    import_time.main(["--rounds", "3", "--json", str(tmp_path / "imports.json")])
    assert asked == ["import torch", "import decomprec"] * 4
    table = render([tmp_path / "imports.json"])
    assert "| `import torch`     | 2.00 ± 1.50 s |" in table
    assert "| `import decomprec` | 2.00 ± 1.75 s |" in table
    assert "median ratio of a round: 1.250; rounds: 3" in table  # of 1.5, 1 and 1.25


def test_checks_of_a_data_set_are_timed(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 2)):
        for i in range(count):
            image(tmp_path / "data" / split / "dog" / f"{i}.png")
    data_checks.main([str(tmp_path / "data"), "--rounds", "2", "--json", str(tmp_path / "checks.json")])
    *parts, total = json.loads((tmp_path / "checks.json").read_text())["checks"]
    assert [row["part"] for row in parts] == list(data_checks.PARTS)
    assert 0 < max(row["seconds"] for row in parts) <= total["seconds"]
    assert "images: 5; rounds: 2" in render([tmp_path / "checks.json"])


def test_precisions_are_compared_from_one_start(tmp_path: Path) -> None:
    tiny = [
        "image_size=16",
        "guide.encoder_options={widths: [4, 8]}",
        "guide.epochs=1",
        "segmenter.decoder_widths=[8, 4]",
    ]
    paths = ["--out", tmp_path, "--json", tmp_path / "curves.json", "--png", tmp_path / "curves.png"]
    words = [*paths, "--scenes", 96, 16, "--seeds", 0, 1, "--set", *tiny, "segmenter.learning_rate=0.01"]
    bfloat16_curves.main([str(word) for word in words])
    written = json.loads((tmp_path / "curves.json").read_text(encoding="utf-8"))
    runs = {(run["way"], run["seed"]): run for run in written["precision_curves"]}
    assert list(runs) == [("float32", 0), ("bf16", 0), ("float32", 1), ("bf16", 1)]
    for seed in (0, 1):
        exact, fast = (dict(runs[way, seed]["loss"]) for way in ("float32", "bf16"))
        assert list(exact) == list(fast) == [4, 9]
        assert fast[4] == pytest.approx(exact[4], rel=0.02)
        assert fast[4] != exact[4]  # it did round
        assert [step for step, _ in runs["bf16", seed]["mean_iou"]] == [5, 11]
    assert runs["float32", 0]["loss"] != runs["float32", 1]["loss"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    _, _, *lines, _, about = render([tmp_path / "curves.json"]).splitlines()
    assert [line.split("|")[1].strip() for line in lines] == ["float32", "bf16"]
    assert " ± " in lines[0]
    assert "seeds: 2" in about


def test_the_page_shows_the_grid() -> None:
    page = (ROOT / "docs" / "results" / "speed.md").read_text(encoding="utf-8")
    for step in WAYS:
        row = next(line for line in page.splitlines() if line.strip().startswith(f"| `{step}`"))
        cells = [re.sub("`", "", cell).strip() for cell in row.split("|")[3:-1]]
        expected = []
        for machine in ("cuda", "cpu"):
            sizes = GRID[machine][step]
            expected += [", ".join(map(str, part)) for part in (sizes.num_classes, sizes.batches, sizes.subjects)]
            assert sizes.size == (160 if step == "images" else 224)
        assert cells == expected
    for way in {way for ways in WAYS.values() for way in ways}:
        assert re.search(rf"^ *\| `{re.escape(way)}` ", page, re.MULTILINE), way
