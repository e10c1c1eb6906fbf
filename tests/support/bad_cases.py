"""Cases of bad input, each a row of docs/results/bad_input.md."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "results" / "bad_input.md"


@dataclass(frozen=True)
class Case:
    """What comes in, what the library does ("read", "refused" or "warned"), and what it says then."""

    name: str
    outcome: str
    message: str
    run: Callable[[Path], Any]

    def check(self, folder: Path) -> None:
        if self.outcome == "read":
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                self.run(folder)
        elif self.outcome == "warned":
            with pytest.warns(UserWarning, match=self.message):
                self.run(folder)
        else:
            with pytest.raises((ValueError, FileNotFoundError), match=self.message) as caught:
                self.run(folder)
            text = str(caught.value)
            assert text.startswith("Expected ")
            assert len(text.splitlines()) == 1
            assert "Traceback" not in text


class Cases(list[Case]):
    """Cases in the order of the page's table."""

    def __call__(self, name: str, outcome: str = "read", message: str = "") -> Callable[..., Any]:
        assert outcome in ("read", "warned", "refused")
        assert bool(message) == (outcome != "read")

        def add(run: Callable[[Path], Any]) -> Callable[[Path], Any]:
            self.append(Case(name, outcome, message, run))
            return run

        return add

    def parametrize(self) -> pytest.MarkDecorator:
        return pytest.mark.parametrize("case", self, ids=[case.name for case in self])


def table_of_page(heading: str) -> list[tuple[str, str]]:
    """What comes in and its outcome, of each row of the tables below a heading."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^ *\| (.+?) \| (read|warned|refused) \| .+ \|$", section, re.MULTILINE)
    assert len(rows) == section.count("\n    | ") - 2 * section.count("| what comes in |")
    return rows


def save(path: Path, pixels: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path, **options)
    return path
