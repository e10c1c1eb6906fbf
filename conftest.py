"""Benchmarks run only when asked for."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS.parent))  # `benchmarks` is not part of the package


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--benchmark", action="store_true", help="run benchmarks/ (on the GPU where there is one)")
    parser.addoption("--quick", action="store_true", help="run them at tiny sizes, to see that they run at all")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # With several workers, long files first: one that starts last would keep all but one worker waiting.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    if config.getoption("--benchmark"):
        return
    measured = [item for item in items if item.path.is_relative_to(BENCHMARKS)]
    if measured:
        config.hook.pytest_deselected(items=measured)
        items[:] = [item for item in items if item not in measured]
