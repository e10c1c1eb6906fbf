"""The table of all settings in the documentation."""

from pathlib import Path

from benchmarks.tables.pages import fill
from benchmarks.tables.settings import settings_table

from decomprec.training import GuideSettings, Preset, SegmenterSettings


def rows() -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.split(" | ")] for line in settings_table().splitlines()[2:]]
    return {row[0].strip("|` "): row[1:] for row in cells}


def test_each_setting_has_a_row_with_its_values_and_range() -> None:
    stages = {"": Preset, "guide.": GuideSettings, "segmenter.": SegmenterSettings}
    names = {prefix + name for prefix, group in stages.items() for name in group.model_fields}
    found = rows()
    assert found.keys() == names - {"name", "guide", "segmenter"}
    assert found["guide.occlusion"][:3] == ["`0.0`", "demo: `0.5`", "number ≥ 0 and ≤ 1"]
    assert found["guide.levels"][:3] == ["`[-1]`", "robust: `[-2, -1]`", "list, each whole number < 0"]
    assert found["segmenter.absent"][:3] == [
        "`ignore`",
        "demo, robust: `reject`",
        "`ignore`, `reject`",
    ]
    assert found["segmenter.area_range"][2] == "pair, each number ≥ 0 and ≤ 1, or null"
    assert found["guide.encoder"][0] == "`resnet18`"
    assert found["accumulate"][1] == "robust: `2`"
    assert found["guide.batch_size"][1] == ""


def test_pages_take_it_by_its_marker() -> None:
    text = "before\n<!-- table: settings -->\nold\n<!-- end table -->\nafter\n"
    assert fill(text, Path()) == f"before\n<!-- table: settings -->\n{settings_table()}\n<!-- end table -->\nafter\n"
