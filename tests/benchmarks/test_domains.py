"""The table of several sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.quality import domains
from benchmarks.tables.domains import EVIDENCE, MAPS, OURS, REFINED, SUPERVISED, domains_table


def results(ours: float, seed: int = 0) -> dict[str, object]:
    scores = {OURS: ours, REFINED: ours + 0.05, EVIDENCE: 0.3}
    scores |= {SUPERVISED: 0.8, f"{SUPERVISED}, PAMR": 0.85}
    scores |= {f"{method} (best threshold)": 0.2 + 0.01 * i for i, method in enumerate(MAPS)}
    rows = [
        {"method": method, "tags": tags, "mean_foreground_iou": iou - 0.1 * (not tags), "iou": [0.9, iou]}
        for method, iou in scores.items()
        for tags in (True, False)
    ]
    run = {"seed": seed, "half": "report, 9 images", "machine": "2 CPU cores", "torch": "2"}
    more = {"guide_accuracy": {"mean": 0.9}, "minutes": {"ours": 4 + seed}, "trained_on": {"tags": 30, "masks": 7}}
    return {"run": run, "class_names": ["crack"], "rows": rows, **more}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The calls of the comparison, which writes results without a training."""
    calls: list[list[str]] = []

    def write(arguments: list[str]) -> None:
        calls.append(arguments)
        out, seed = Path(arguments[arguments.index("--out") + 1]), int(arguments[arguments.index("--seed") + 1])
        out.mkdir(parents=True, exist_ok=True)
        (out / "results.json").write_text(json.dumps(results(0.5 if "cracks" in out.name else 0.7, seed)))

    monkeypatch.setattr(domains.comparison, "main", write)
    return calls


def test_each_set_and_seed_is_trained_once_with_the_same_settings(trained: list[list[str]], tmp_path: Path) -> None:
    sets = ["cracks", "cells"]
    arguments = [*sets, "--seeds", "0", "1", "--out", str(tmp_path / "runs"), "--json", str(tmp_path / "sets.json")]
    arguments += ["--set", "segmenter.epochs=2"]
    domains.main(arguments)
    assert [call[1] for call in trained] == ["cracks", "cracks", "cells", "cells"]
    assert all(call[call.index("--set") + 1] == "segmenter.epochs=2" for call in trained)
    written = json.loads((tmp_path / "sets.json").read_text())["sets"]
    assert [(one["set"], one["seed"]) for one in written] == [(name, seed) for name in sets for seed in (0, 1)]
    domains.main(arguments)  # everything is measured
    assert len(trained) == 4


def test_the_table_means_over_seeds_then_over_sets(trained: list[list[str]], tmp_path: Path) -> None:
    file = tmp_path / "sets.json"
    domains.main(["cracks", "cells", "--seeds", "0", "1", "--out", str(tmp_path / "runs"), "--json", str(file)])
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in domains_table([json.loads(file.read_text())]).splitlines()[:5]
    ]
    by_set = {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}
    assert by_set["cracks"]["ours"] == "0.500 / 0.400"
    assert by_set["mean"]["ours, refined"] == "0.650 / 0.550"
    assert by_set["mean"]["best map of the guide"] == "0.230 / 0.130"  # the last of the four maps
    assert by_set["cells"]["minutes"] in ("4", "5")  # 4.5


def test_masks_are_compared_with_where_they_are_asked_for(
    trained: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sets.json"
    arguments = ["--out", str(tmp_path / "runs"), "--json", str(file)]
    domains.main(["cracks", *arguments])
    assert "--no-supervised" in trained[0]
    assert "supervised" not in json.loads(file.read_text())
    domains.main(["cells", *arguments, "--supervised"])
    assert "--no-supervised" not in trained[1]
    assert list(json.loads(file.read_text())) == ["supervised"]
    row = capsys.readouterr().out.split("| cells")[-1]
    found = [cell.strip() for cell in row.split("|")[1:6]]
    assert found == ["30", "0.750 / 0.650", "7", "0.800 / 0.700", "0.850 / 0.750"]
