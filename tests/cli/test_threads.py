"""How many threads a command takes, from made-up measurements."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from decomprec.cli import threads
from decomprec.cli.threads import (
    Machine,
    cpu_quota,
    describe_threads,
    measure_machine,
    set_threads,
    threads_environment,
)

PASSIVE = {"OMP_WAIT_POLICY": "passive"}


@pytest.mark.parametrize(
    ("machine", "environment", "line"),
    [
        (Machine(2, 2), {}, "2 threads on 2 cores"),
        (Machine(2, 2, busy=0.4), {}, "2 threads on 2 cores"),
        (
            Machine(2, 2, busy=0.5),
            PASSIVE,
            "2 threads: other programs keep 0.5 of 2 cores busy; OMP_NUM_THREADS=2 overrides",
        ),
        (
            Machine(2, 2, busy=1.0),
            {"OMP_NUM_THREADS": "1", **PASSIVE},
            "1 thread: other programs keep 1 of 2 cores busy; OMP_NUM_THREADS=2 overrides",
        ),
        (
            Machine(2, 2, busy=2.0),
            {"OMP_NUM_THREADS": "1", **PASSIVE},
            "1 thread: other programs keep 2 of 2 cores busy; OMP_NUM_THREADS=2 overrides",
        ),
        (Machine(16, 8, busy=7.9), {}, "8 threads on 16 cores"),  # hyper-threads have room
        (
            Machine(16, 8, busy=12.2),
            {"OMP_NUM_THREADS": "4", **PASSIVE},
            "4 threads: other programs keep 12 of 16 cores busy; OMP_NUM_THREADS=8 overrides",
        ),
        (
            Machine(64, 32, quota=2.5),
            {"OMP_NUM_THREADS": "2"},
            "2 threads: the container may use 2.5 of 64 cores; OMP_NUM_THREADS=32 overrides",
        ),
        (
            Machine(64, 32, quota=0.5, busy=60),
            {"OMP_NUM_THREADS": "1"},
            "1 thread: the container may use 0.5 of 64 cores; OMP_NUM_THREADS=32 overrides",
        ),
        (Machine(1, 1, busy=1.0), {}, "1 thread on 1 core"),  # there is nothing to choose
    ],
)
def test_the_choice_and_its_reason(
    machine: Machine, environment: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "measure_machine", lambda: machine)
    chosen = {"HOME": "somewhere"}
    assert set_threads(chosen) == line == describe_threads(machine)
    assert chosen == {"HOME": "somewhere", **environment}
    assert threads_environment(machine) == environment


def test_the_choice_of_the_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "measure_machine", lambda: pytest.fail("measured"))
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        environment = {name: "7"}
        assert set_threads(environment) is None
        assert environment == {name: "7"}


def test_the_quota_of_a_container(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) == math.inf
    old = tmp_path / "cpu"
    old.mkdir()
    (old / "cpu.cfs_period_us").write_text("100000\n")
    for text, quota in (("-1\n", math.inf), ("150000\n", 1.5)):
        (old / "cpu.cfs_quota_us").write_text(text)
        assert cpu_quota(tmp_path) == quota
    for text, quota in (("max 100000\n", math.inf), ("200000 100000\n", 2.0), ("", math.inf)):
        (tmp_path / "cpu.max").write_text(text)
        assert cpu_quota(tmp_path) == quota


def test_the_measured_machine_is_this_one() -> None:
    machine = measure_machine()
    assert 1 <= machine.physical <= machine.cores <= (os.cpu_count() or 1)
    assert 0 <= machine.busy <= machine.cores


def test_commands_choose_before_torch_is_imported(tmp_path: Path) -> None:
    """And say so; errors and help come without it where no command runs."""
    code = (
        "import sys\nfrom decomprec.cli import app, common\n"
        "common.set_threads = lambda: f'torch: {\"torch\" in sys.modules}'\n"
        f"sys.argv = ['decomprec', 'predict', 'nowhere', 'nothing.jpg', '--out', {str(tmp_path)!r}]\napp()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first == "torch: False"
    assert second.startswith("error: Expected IMAGES")
    done = subprocess.run(
        [sys.executable, "-c", code.replace("'--out'", "'--help', '--out'")], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
