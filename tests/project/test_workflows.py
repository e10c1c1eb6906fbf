"""The workflows of GitHub: what they call exists, and a release is published only after it has been tried."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"


def workflow(name: str) -> dict[str, Any]:
    read: dict[Any, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in read.items()}  # YAML 1.1 reads `on` as true


def jobs(name: str) -> dict[str, Any]:
    found: dict[str, Any] = workflow(name)["jobs"]
    return found


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yml")), ids=lambda file: file.name)
def test_what_jobs_call_exists(file: Path) -> None:
    for job in jobs(file.name).values():
        assert job.get("needs") in {None, *jobs(file.name)}
        for step in job.get("steps", []):
            for script in re.findall(r"(?<!\S)\.ci/\w+", step.get("run", "")):
                assert os.access(ROOT / script, os.X_OK), script


def test_a_release_is_tried_before_it_is_published() -> None:
    release = jobs("release.yml")
    assert any(step.get("run", "").startswith(".ci/wheel dist") for step in release["build"]["steps"])
    assert release["publish"]["needs"] == "build"
    assert release["docs"]["needs"] == "publish"
    assert workflow("release.yml")["on"] == {"push": {"tags": ["v*"]}}


def test_only_the_job_that_publishes_can() -> None:
    """Trusted publishing: PyPI asks who runs, so there is no password to lose."""
    release = jobs("release.yml")
    may = {name for name, job in release.items() if job.get("permissions", {}).get("id-token") == "write"}
    assert may == {"publish"}
    assert "secrets." not in (FOLDER / "release.yml").read_text(encoding="utf-8")
    assert workflow("release.yml")["permissions"] == {"contents": "read"}


def test_the_release_gives_the_documentation_its_version() -> None:
    call = jobs("release.yml")["docs"]
    assert ROOT / call["uses"] == FOLDER / "docs.yml"
    asked = workflow("docs.yml")["on"]["workflow_call"]["inputs"]
    assert set(call["with"]) == set(asked)
