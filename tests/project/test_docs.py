"""The documentation: its code runs, its links lead somewhere, and every public name has a place in it."""

import importlib.util
import json
import pkgutil
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from benchmarks.tables.pages import fill

from decomprec.evaluation import Results, SegmentationScores
from decomprec.evaluation.comparison import Row
from decomprec.training import PRESETS, Preset

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
PACKAGES = [
    "decomprec",
    "decomprec.functional",
    "decomprec.models",
    "decomprec.data",
    "decomprec.training",
    "decomprec.evaluation",
    "decomprec.report",
    "decomprec.testing",
]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page, each behind as many newlines as put it on its own line of the file."""
    text = page.read_text(encoding="utf-8")
    fences = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return ["\n" * text.count("\n", 0, match.start(1)) + match[1] for match in fences]


def by_path(page: Path) -> str:
    return str(page.relative_to(ROOT))


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=by_path)
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)
    assert not list(tmp_path.iterdir()), "an example leaves files behind"


def calls_of_the_example() -> Iterator[str]:
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                if "dogs_imagenet.py" in line:
                    yield " ".join(line.split())


@pytest.mark.parametrize("call", sorted(set(calls_of_the_example())))
def test_example_takes_what_the_pages_say(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    example = load("examples/dogs_imagenet.py")
    words = shlex.split(call, comments=True)
    monkeypatch.setattr(sys, "argv", words[words.index("examples/dogs_imagenet.py") :])
    args = example.parse_arguments()
    assert args.data[0] in example.FORMATS
    assert isinstance(example.choose_preset(args), Preset)


def headings(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=by_path)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


@pytest.mark.parametrize("page", PAGES, ids=by_path)
def test_files_that_are_run_exist(page: Path) -> None:
    for script in re.findall(r"(?:\buv run|\bpython) ([\w./-]+\.py)\b", page.read_text(encoding="utf-8")):
        assert (ROOT / script).is_file(), script


def test_every_page_is_in_the_navigation() -> None:
    def pages(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for child in entry.values() if isinstance(entry, dict) else entry:
                yield from pages(child)

    nav = list(pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    assert sorted(nav) == sorted(page.relative_to(ROOT / "docs").as_posix() for page in DOCS)


def test_every_public_name_is_documented() -> None:
    directives = {
        name for page in DOCS for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    documented = [pkgutil.resolve_name(name) for name in directives]
    undocumented = []
    for package in map(importlib.import_module, PACKAGES):
        for name in getattr(package, "__all__", ()):
            value = getattr(package, name)
            home = getattr(value, "__module__", None)  # a module's page holds all that is defined in it
            if home not in directives and not any(value is found for found in documented):
                undocumented.append(f"{package.__name__}.{name}")
    assert not undocumented


def test_presets_of_the_pages_are_all_there_are() -> None:
    text = (ROOT / "docs" / "example.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| `--preset`"))
    assert set(PRESETS) <= set(re.findall(r"`(\w+)`", row))


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
