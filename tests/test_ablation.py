"""The table of single changes, and that of the guides' opinions."""

from pathlib import Path

import pytest

from decomprec.training import PRESETS

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_only_settings_that_differ_are_named() -> None:
    from benchmarks.ablation import difference

    base = PRESETS["robust"]
    changed = base.with_values(["image_size=96", "guide.weight_decay=0", "segmenter.fills=[mean]"])
    assert difference(base, base) == {}
    expected = {"image_size": 96, "guide.weight_decay": 0, "segmenter.fills": ("mean",)}
    assert difference(base, changed) == expected


def test_the_ablation_table_has_a_row_for_each_run() -> None:
    from benchmarks.tables import ablation_table

    figures = {
        name: {"iou": 0.1 * i, "area_where_absent": 0.01 * i}
        for i, name in enumerate(
            ("tags, no bias", "tags", "tags, PAMR", "guide's tags, PAMR", "no tags, PAMR"), start=1
        )
    }
    rows = [
        {"settings": s, "background_bias": b, "guide_accuracy": 0.9, **figures}
        for s, b in (({}, 0.4), ({"a.b": 2}, -0.2))
    ]
    table = ablation_table([{"ablation": rows, "half": "tune", "machine": "a machine", "torch": "2"}])
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    assert cells[2] == ["nothing", "0.900", "+0.4", "0.100", "0.200", "0.300", "0.400", "0.500", "0.040"]
    assert cells[3][:3] == ["a.b=2", "0.900", "-0.2"]
    assert "half: tune; machine: a machine" in table


def test_the_gap_is_between_the_guides() -> None:
    from benchmarks.tables import opinions_table

    first, second = ({"present_recognised": seen, "background_empty": 0.75} for seen in (0.875, 0.5))
    run = {
        "diagnostics": {"ours": {"filled view": {"guide": first, "second guide": second}}},
        "second_guide_accuracy": {"mean": 0.8},
    }
    table = opinions_table(run)
    assert "| 0.875 " in table
    assert "| 0.375 " in table
    assert table.endswith("second guide's accuracy: 0.800")
    del run["diagnostics"]["ours"]["filled view"]["second guide"]
    assert "| - " in opinions_table(run)
