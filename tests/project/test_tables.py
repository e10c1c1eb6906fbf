"""Tables and charts of the documentation: they are those of the results."""

import json
import re
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from benchmarks.files import RESULTS
from benchmarks.quality.export_model import card
from benchmarks.tables.charts import CHARTS, Chart, draw, is_fresh
from benchmarks.tables.headlines import HEADLINES
from benchmarks.tables.pages import fill
from benchmarks.tables.summary import summary_table
from benchmarks.tables.zoo import zoo_table

from decomprec.evaluation.comparison import Results, Row
from decomprec.evaluation.metrics import SegmentationScores


def saved_results(path: Path, iou: float, seed: int) -> Results:
    scores = SegmentationScores(iou=(0.75, iou), false_area=(0.125,), images=4, images_with=(2,))
    guide = {"per_class": [0.9], "mean": 0.9, "exact_match": 0.9, "images": 4}
    results = Results((Row("decomprec", False, scores), Row("every pixel", True, scores)), ("dog",), guide)
    results.save(path)
    run = {"command": "run me", "seed": seed}
    path.write_text(json.dumps({**json.loads(path.read_text()), "run": run}), encoding="utf-8")
    return results


PAGE = "before\n<!-- table: dogs*.json -->\nold\n<!-- end table -->\nafter\n"


def test_tables_are_those_of_the_results(tmp_path: Path) -> None:
    results = saved_results(tmp_path / "dogs.json", iou=0.5, seed=7)
    filled = fill(PAGE, tmp_path)
    assert results.table() in filled
    assert "guide accuracy: 0.900 on 4 images; command: `run me`; seed: 7" in filled
    assert filled.startswith("before\n<!-- table: dogs*.json -->\n")
    assert filled.endswith("<!-- end table -->\nafter\n")
    assert "old" not in filled
    assert fill(filled, tmp_path) == filled


def test_tables_of_several_seeds_give_mean_and_spread(tmp_path: Path) -> None:
    for seed, iou in enumerate((0.4, 0.5, 0.6)):
        saved_results(tmp_path / f"dogs_{seed}.json", iou, seed)
    filled = fill(PAGE, tmp_path)
    assert "0.500 ± 0.100" in filled
    assert "seed: 0, 1, 2" in filled


def test_rows_that_only_the_first_seed_has_stand_alone(tmp_path: Path) -> None:
    for seed, iou in enumerate((0.4, 0.6)):
        saved_results(tmp_path / f"dogs_{seed}.json", iou, seed)
    first = json.loads((tmp_path / "dogs_0.json").read_text(encoding="utf-8"))
    first["rows"].append({**first["rows"][0], "method": "supervised"})
    (tmp_path / "dogs_0.json").write_text(json.dumps(first), encoding="utf-8")
    rows = [line for line in fill(PAGE, tmp_path).splitlines() if line.startswith("|")]
    assert "0.500 ± 0.141" in rows[2]
    assert rows[-1].startswith("| supervised ")
    assert " 0.400 " in rows[-1]
    (tmp_path / "dogs_0.json").rename(tmp_path / "dogs_2.json")
    with pytest.raises(ValueError, match="results of one experiment"):
        fill(PAGE, tmp_path)


def speed_row(way: str, seconds: float | None, peak_bytes: int = 0, group: str = "K = 2, batch 8") -> dict[str, Any]:
    extra: dict[str, Any] = {"way": way, "group": group, "device": "cpu"}
    extra |= {"dtype": "float32", "torch": "2.0", "threads": 2}
    row = {"name": f"test_recompose[{group}, {way}]", "extra_info": extra}
    if seconds is None:
        extra["not_run"] = "no C++ compiler"
        return row
    extra |= {"images_per_s": 8 / seconds, "peak_bytes": peak_bytes, "ceiling": "copy", "share_of_ceiling": 0.125}
    return {**row, "stats": {"median": seconds, "iqr": 0.0005, "rounds": 5}}


def test_tables_of_benchmarks(tmp_path: Path) -> None:
    machine = {"node": "secret", "cpu": {"brand_raw": "A CPU", "count": 2}, "ceilings": {"copy": 2e10}}
    rows = [
        speed_row("loop", 0.025, 6 * 2**20),
        speed_row("vectorised", 0.0125, 2 * 2**20),
        speed_row("compiled", None),
        speed_row("vectorised", 1.0, 2**20, group="K = 5, batch 8"),
    ]
    (tmp_path / "dogs.json").write_text(json.dumps({"machine_info": machine, "benchmarks": rows}), encoding="utf-8")
    filled = fill(PAGE, tmp_path)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in filled.splitlines() if line[0:1] == "|"]
    assert lines[0][6:] == ["of copy rate", "speed-up", "less memory"]
    both = ["K = 2, batch 8", "vectorised", "12.5 ± 0.25 ms", "5", "640", "2 MiB", "12.5%", "2.00×", "3.00×"]
    assert lines[3] == both
    assert lines[2][-2:] == lines[5][-2:] == ["1.00×", "1.00×"]  # the first of each group
    assert lines[4] == ["K = 2, batch 8", "compiled", "not run: no C++ compiler", *["-"] * 6]
    assert "*A CPU, 2 cores, 2 threads, float32, torch 2.0*; ceilings: copy 20 GB/s" in filled
    assert "secret" not in filled


def test_results_that_are_missing_or_wrong(tmp_path: Path) -> None:
    assert "Not measured yet" in fill(PAGE, tmp_path)
    (tmp_path / "dogs.json").write_text('{"class_names": ["dog"]}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"dogs\.json to be results of one experiment"):
        fill(PAGE, tmp_path)


def test_a_table_in_a_folded_block_keeps_its_indentation(tmp_path: Path) -> None:
    saved_results(tmp_path / "dogs.json", iou=0.5, seed=7)
    flat = fill(PAGE, tmp_path)
    folded = fill("".join(f"    {line}\n" for line in PAGE.splitlines()), tmp_path)
    assert textwrap.dedent(folded).replace("\n\n", "\n") == flat.replace("\n\n", "\n")
    assert fill(folded, tmp_path) == folded


def test_a_table_in_a_folded_block_stands_between_blank_lines(tmp_path: Path) -> None:
    """Otherwise Markdown reads marker and table as one paragraph."""
    saved_results(tmp_path / "dogs.json", iou=0.5, seed=7)
    lines = fill("".join(f"    {line}\n" for line in PAGE.splitlines()), tmp_path).splitlines()
    start, end = (next(i for i, line in enumerate(lines) if mark in line) for mark in ("<!-- table", "<!-- end"))
    assert lines[start + 1] == lines[end - 1] == ""
    assert lines[start + 2].startswith("    | method")


def cells(table: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    assert all(len(row) <= 7 for row in rows)
    assert len(rows) <= 10
    return {name.replace("*", ""): [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for name, *row in rows[2:]}


@pytest.mark.parametrize("name", HEADLINES)
def test_headlines_are_short(name: str) -> None:
    assert cells(HEADLINES[name](RESULTS))


def test_the_summary_compares_with_the_best_map_of_the_same_guide(tmp_path: Path) -> None:
    maps = {"CAM": 0.2, "Grad-CAM++": 0.3, "LayerCAM": 0.1, "CAM + PAMR": 0.25}
    sets = [
        {
            "set": "steel_strip",
            "iou": {
                name: {"tags": value + seed / 10, "no tags": value / 2}
                for name, value in {**maps, "ours, PAMR": 0.5, "guide's evidence, PAMR": 0.4}.items()
            },
        }
        for seed in (0, 2)
    ]
    (tmp_path / "quality").mkdir()
    (tmp_path / "quality" / "domains.json").write_text(json.dumps({"sets": sets}), encoding="utf-8")
    row = cells(summary_table(tmp_path))["steel strip"]
    assert row == ["0.600 ± 0.141", "0.400 ± 0.141", "0.250 ± 0.000", "0.150 ± 0.000", "2"]


def test_headline_of_reliability_counts_all_random_changes() -> None:
    fuzz = json.loads((RESULTS / "robustness" / "fuzz.json").read_text(encoding="utf-8"))["fuzz"]
    row = cells(HEADLINES["reliability"](RESULTS))["files, rows and arguments changed at random for an hour"]
    assert row == [f"{sum(target['cases'] for target in fuzz):,}", "0"]


CHART = Chart("IoU", ("a", "b"), {"tags": ((0.5, 0.1), None), "none": ((0.25, 0.0), (0.75, 0.0))})
SVG = "{http://www.w3.org/2000/svg}"


def test_a_chart_shows_its_data_and_is_the_same_every_time(tmp_path: Path) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    draw(CHART, first)
    draw(CHART, second)
    assert first.read_bytes() == second.read_bytes()
    root = ElementTree.parse(first).getroot()
    texts = ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]
    assert {"a", "b", "tags", "none", "IoU", "0.50", "0.25", "0.75"} <= set(texts)
    (style,) = (element.text or "" for element in root.iter(f"{SVG}style") if "--ink" in (element.text or ""))
    light, dark = re.findall(r":root\{(.*?)\}", style)
    assert light != dark
    for part in (light, dark):
        ink, paper = (luminance(re.findall(rf"--{name}:#(\w+)", part)[0]) for name in ("ink", "paper"))
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) > 7  # WCAG's AAA


def luminance(colour: str) -> float:
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_models_are_listed_with_the_figures_of_their_cards(tmp_path: Path) -> None:
    rows = [
        {"method": "ours, PAMR", "tags": tags, "mean_foreground_iou": iou, "mean_false_area": None}
        for tags, iou in ((True, 0.5), (False, 0.25))
    ]
    run = {"half": "report, 4 images", "image_size": 224, "command": "run me"}
    results = {"run": run, "class_names": ["cat", "dog"], "rows": rows, "guide_accuracy": {"mean": 0.9}}
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "README.md").write_text(card("pets", results, "Ten images.", "All of them."), encoding="utf-8")
    config = {"class_names": ["cat", "dog"], "image_size": 160, "encoder": {"name": "resnet18"}}
    (tmp_path / "pets" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "pets" / "model.safetensors").write_bytes(bytes(2_000_000))
    table = zoo_table(tmp_path)
    cells = [cell.strip() for cell in table.splitlines()[2].strip("|").split("|")]
    assert cells == ["`pets`", "cat, dog", "`resnet18`", "160", "0.500", "0.250", "2.0 MB"]
    assert "**pets**, data: Ten images." in table
    assert "**pets**, limits: All of them." in table


def test_a_chart_of_other_data_is_stale(tmp_path: Path) -> None:
    path = tmp_path / "chart.svg"
    assert not is_fresh(CHART, path)
    draw(CHART, path)
    assert is_fresh(CHART, path)
    assert not is_fresh(replace(CHART, series={**CHART.series, "tags": ((0.5, 0.1), (0.1, 0.0))}), path)
    assert not is_fresh(replace(CHART, axis="mIoU"), path)


@pytest.mark.parametrize(("path", "make"), CHARTS.items(), ids=lambda value: getattr(value, "stem", ""))
def test_committed_charts_are_those_of_the_results(path: Path, make: Callable[[Path], Chart]) -> None:
    assert is_fresh(make(RESULTS), path)
