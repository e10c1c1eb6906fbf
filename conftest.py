"""Benchmarks run only when asked for."""

from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--benchmark", action="store_true", help="run benchmarks/ (on the GPU where there is one)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--benchmark"):
        return
    measured = [item for item in items if item.path.is_relative_to(BENCHMARKS)]
    if measured:
        config.hook.pytest_deselected(items=measured)
        items[:] = [item for item in items if item not in measured]


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """Keep what a reader of the numbers needs: the machine's kind, not its name, and no state of the checkout."""
    del output_json["commit_info"]
    machine = output_json["machine_info"]
    output_json["machine_info"] = {
        "cpu": {key: machine["cpu"].get(key) for key in ("brand_raw", "count")},
        "python_version": machine["python_version"],
        "system": machine["system"],
    }
    for benchmark in output_json["benchmarks"]:
        benchmark["stats"].pop("data", None)
