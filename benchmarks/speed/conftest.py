"""Every benchmark takes the machine and one row of `grid.GRID`."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.speed.grid import cases
from benchmarks.speed.timing import Machine


def machine_of(config: pytest.Config) -> Machine:
    if config.getoption("--quick"):
        return Machine("quick")
    return Machine("cuda" if torch.cuda.is_available() else "cpu")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        step = metafunc.function.__name__.removeprefix("test_")
        rows = cases(step, machine_of(metafunc.config).name)
        metafunc.parametrize("case", rows, ids=[case.id for case in rows])


@pytest.fixture(scope="session")
def machine(pytestconfig: pytest.Config) -> Machine:
    return machine_of(pytestconfig)


@pytest.fixture(autouse=True)
def _same_images_and_weights_for_every_way() -> None:
    torch.manual_seed(0)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Keep what a reader of the numbers needs: the machine's kind, not its name, and no state of the checkout."""
    del output_json["commit_info"]
    machine = output_json["machine_info"]
    output_json["machine_info"] = {
        "cpu": {key: machine["cpu"].get(key) for key in ("brand_raw", "count")},
        "python_version": machine["python_version"],
        "system": machine["system"],
        "ceilings": machine_of(config).ceilings,
    }
    for benchmark in output_json["benchmarks"]:
        if "not_run" in benchmark["extra_info"]:
            del benchmark["stats"]
        else:
            benchmark["stats"].pop("data", None)
        del benchmark["params"], benchmark["param"]  # extra_info has the case
