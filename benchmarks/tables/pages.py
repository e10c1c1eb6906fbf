"""Fill the tables and draw the charts of the documentation from the JSON files in benchmarks/results.

    python -m benchmarks.tables           # rewrite the pages and the charts
    python -m benchmarks.tables --check   # exit 1 if a page or a chart is stale

A page marks the place of a table by `<!-- table: NAME -->` and `<!-- end table -->`. The lines between them are
replaced and take the marker's indentation, so a table can stand in a folded block. NAME is one of

- a file below benchmarks/results, such as `quality/demo.json`;
- a pattern such as `quality/dogs_seed*.json`, which takes several runs of one experiment together: mean ± standard
  deviation;
- a table of `benchmarks.tables.headlines` or `summary`, which pick a few rows of several experiments;
- `settings`, the settings of a preset, or `zoo`, the models in examples/models.

Every JSON file must be shown on some page.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.files import RESULTS, ROOT
from benchmarks.tables.charts import CHARTS, draw, is_fresh
from benchmarks.tables.corrected_masks import corrected_masks_table
from benchmarks.tables.domains import domains_table, supervised_table, trials_table
from benchmarks.tables.gpu import stages_table, timed_trainings_table
from benchmarks.tables.headlines import HEADLINES
from benchmarks.tables.quality import (
    ablation_table,
    backbones_table,
    companions_table,
    how_many_table,
    precision_table,
    pseudo_labels_table,
    question_table,
    scores_table,
)
from benchmarks.tables.robustness import fuzz_table, kills_table, processes_table, robustness_table, versions_table
from benchmarks.tables.settings import settings_table
from benchmarks.tables.speed import (
    against_table,
    checks_table,
    class_memory_table,
    contention_table,
    imports_table,
    large_image_table,
    scale_table,
    speed_table,
)
from benchmarks.tables.summary import summary_table
from benchmarks.tables.zoo import MODELS, zoo_table

MARKER = re.compile(r"^( *)<!-- table: (\S+) -->\n.*?^\1<!-- end table -->$", re.DOTALL | re.MULTILINE)
SHORT = {**HEADLINES, "summary": summary_table}


def pages() -> list[Path]:
    """README.md and every page of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def fill(text: str, results: Path) -> str:
    """A page's text with every marked table made anew from the files in `results`."""

    def fresh(match: re.Match[str]) -> str:
        indent, name = match[1], match[2]
        # In an indented block, Markdown takes a comment and the line after it for one paragraph.
        apart = [""] if indent else []
        table = [*apart, *named(name, results).splitlines(), *apart]
        lines = [f"<!-- table: {name} -->", *table, "<!-- end table -->"]
        return "\n".join(f"{indent}{line}".rstrip() for line in lines)

    return MARKER.sub(fresh, text)


def named(name: str, results: Path) -> str:
    """The table that a marker names."""
    if name == "settings":
        return settings_table()
    if name == "zoo":
        return zoo_table(MODELS)
    if name in SHORT:
        return SHORT[name](results)
    files = sorted(results.glob(name))
    return render(files) if files else "*Not measured yet.*"


def render(files: Sequence[Path]) -> str:
    """The table of one experiment, and under it the protocol."""
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    tables = {
        "benchmarks": speed_table,
        "against": against_table,
        "contention": contention_table,
        "large image": large_image_table,
        "imports": imports_table,
        "checks": checks_table,
        "scale": scale_table,
        "gpu_stages": stages_table,
        "timed_training": timed_trainings_table,
        "class memory": class_memory_table,
        "question": question_table,
        "ablation": ablation_table,
        "sets": domains_table,
        "supervised": supervised_table,
        "trials": trials_table,
        "backbones": backbones_table,
        "companions": companions_table,
        "corrected_masks": corrected_masks_table,
        "pseudo_labels": pseudo_labels_table,
        "precision_curves": precision_table,
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
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if a page or a chart is stale")
    check = parser.parse_args().check
    texts = {page: page.read_text(encoding="utf-8") for page in pages()}
    shown = {file for text in texts.values() for match in MARKER.finditer(text) for file in RESULTS.glob(match[2])}
    if unshown := sorted(file.name for file in set(RESULTS.rglob("*.json")) - shown):
        sys.exit(f"error: no page has a marker for {', '.join(unshown)}")
    stale = {page: fresh for page, text in texts.items() if (fresh := fill(text, RESULTS)) != text}
    old = {path: chart for path, make in CHARTS.items() if not is_fresh(chart := make(RESULTS), path)}
    if check and (stale or old):
        names = ", ".join(str(path.relative_to(ROOT)) for path in (*stale, *old))
        sys.exit(f"error: stale tables or charts in {names}; run python -m benchmarks.tables")
    for page, fresh in stale.items():
        page.write_text(fresh, encoding="utf-8")
    for path, chart in old.items():
        draw(chart, path)
    for path in (*stale, *old):
        print(f"wrote {path.relative_to(ROOT)}")
