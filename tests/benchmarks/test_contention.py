"""The benchmark of memory and threads: its ways run, and its table says them."""

from benchmarks.speed.contention import WAYS, busy, step_seconds
from benchmarks.tables.speed import contention_table


def test_a_step_runs_and_the_table_shows_it() -> None:
    found = step_seconds(at_once=1, kept=False, batch=2, steps=1)
    assert found["seconds"] > 0
    assert found["peak_bytes"] > 2**27  # torch alone takes more
    rows = [{**way, "other programs": 0, **found} for way in WAYS]
    lines = contention_table([{"contention": rows, "run": {"machine": "2 CPU cores"}}]).splitlines()
    assert len([line for line in lines if line.startswith("| 0 ")]) == len(WAYS)


def test_other_programs_end_with_the_block() -> None:
    with busy(1):
        pass
    with busy(0):
        pass
