"""Fill the tables of the documentation and README.md from the JSON files in benchmarks/results.

    python -m benchmarks.tables           # rewrite the pages
    python -m benchmarks.tables --check   # exit 1 if a page is stale

A page marks the place of a table by `<!-- table: NAME.json -->` and `<!-- end table -->`. NAME.json is what
`decomprec.evaluation.Results.save` wrote plus a "run" that describes it, what `pytest benchmarks/ --benchmark` wrote,
or what another module of benchmarks wrote. A pattern such as `dogs_*.json` takes several runs of one experiment
together: mean ± standard deviation. `<!-- table: settings -->` is the table of all settings of a preset.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tables.quality import (
    ablation_table,
    companions_table,
    how_many_table,
    precision_table,
    pseudo_labels_table,
    question_table,
    savings_table,
    scores_table,
)
from benchmarks.tables.robustness import fuzz_table, kills_table, processes_table, robustness_table, versions_table
from benchmarks.tables.settings import settings_table
from benchmarks.tables.speed import imports_table, speed_table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (
    *(
        ROOT / "docs" / name
        for name in (
            "results.md",
            "speed.md",
            "questions.md",
            "pseudo_labels.md",
            "never_lose_work.md",
            "robustness.md",
            "your_images.md",
        )
    ),
    ROOT / "README.md",
)
MARKER = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end table -->)", re.DOTALL)


def fill(text: str, results: Path) -> str:
    """A page's text with every marked table made anew from the files in `results`."""

    def fresh(match: re.Match[str]) -> str:
        if match[2] == "settings":
            return f"{match[1]}{settings_table()}\n{match[3]}"
        files = sorted(results.glob(match[2]))
        return f"{match[1]}{render(files) if files else '*Not measured yet.*'}\n{match[3]}"

    return MARKER.sub(fresh, text)


def render(files: Sequence[Path]) -> str:
    """The table of one experiment, and under it how it came about."""
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    tables = {
        "benchmarks": speed_table,
        "imports": imports_table,
        "question": question_table,
        "ablation": ablation_table,
        "companions": companions_table,
        "pseudo_labels": pseudo_labels_table,
        "precision_curves": precision_table,
        "savings": savings_table,
        "how_many": how_many_table,
        "kills": kills_table,
        "robustness": robustness_table,
        "fuzz": fuzz_table,
        "faults": processes_table,
        "versions": versions_table,
    }
    table = next((make for key, make in tables.items() if key in runs[0]), scores_table)
    try:
        return table(runs)
    except (KeyError, TypeError, ValueError) as error:
        names = ", ".join(file.name for file in files)
        raise ValueError(f"Expected {names} to be results of one experiment, but: {error!r}.") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if a page is stale")
    check = parser.parse_args().check
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    shown = {file for text in texts.values() for match in MARKER.finditer(text) for file in RESULTS.glob(match[2])}
    unshown = sorted(file.name for file in set(RESULTS.rglob("*.json")) - shown)
    if unshown:
        sys.exit(f"error: no page has a marker for {', '.join(unshown)}")
    stale = {page: fresh for page, text in texts.items() if (fresh := fill(text, RESULTS)) != text}
    if check and stale:
        sys.exit(f"error: stale tables in {', '.join(page.name for page in stale)}; run python -m benchmarks.tables")
    for page, fresh in stale.items():
        page.write_text(fresh, encoding="utf-8")
        print(f"wrote {page.relative_to(ROOT)}")
