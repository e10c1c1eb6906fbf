"""The documentation: its code runs, its links lead somewhere, and every public name has a place in it."""

import importlib
import pkgutil
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from decomprec.training import PRESETS

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
SUBPACKAGES = ("functional", "models", "data", "training", "evaluation", "testing")
PACKAGES = ["decomprec", *(f"decomprec.{name}" for name in SUBPACKAGES)]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page, each behind as many newlines as put it on its own line of the file."""
    text = page.read_text(encoding="utf-8")
    fences = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return ["\n" * text.count("\n", 0, match.start(1)) + match[1] for match in fences]


def by_path(page: Path) -> str:
    return str(page.relative_to(ROOT))


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
def test_example_takes_what_the_pages_say(
    call: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "examples/dogs_imagenet.py"
    words = shlex.split(call, comments=True)
    given = words[words.index(name) + 1 :]
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / name), run_name="__main__")
    options = set(re.findall(r"^  (--[\w-]+)", capsys.readouterr().out, re.MULTILINE))
    assert set(given[1:]) <= options | {given[i + 1] for i, word in enumerate(given[:-1]) if word in options}


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

    class Config(yaml.SafeLoader):
        """YAML with mkdocs' !ENV, whose values the navigation has none of."""

    Config.add_constructor("!ENV", lambda loader, node: None)
    nav = list(pages(yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Config)["nav"]))
    assert sorted(nav) == sorted(page.relative_to(ROOT / "docs").as_posix() for page in DOCS)


def directives() -> set[str]:
    return {
        name for page in DOCS for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }


def test_every_public_name_is_documented() -> None:
    documented = [pkgutil.resolve_name(name) for name in directives()]
    undocumented = []
    for package in map(importlib.import_module, PACKAGES):
        for name in getattr(package, "__all__", ()):
            value = getattr(package, name)
            home = getattr(value, "__module__", None)  # a module's page holds all that is defined in it
            if home not in directives() and not any(value is found for found in documented):
                undocumented.append(f"{package.__name__}.{name}")
    assert not undocumented


@pytest.mark.parametrize("name", sorted(directives()))
def test_documented_names_are_exported(name: str) -> None:
    value = pkgutil.resolve_name(name)
    home, _, short = name.rpartition(".")
    if home in PACKAGES and not isinstance(value, ModuleType):
        assert short in importlib.import_module(home).__all__


def test_presets_of_the_page_are_all_there_are() -> None:
    text = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    assert set(PRESETS) == set(re.findall(r"^\| `(\w+)` ", text.partition("## Presets")[2], re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=by_path)
def test_tables_that_are_not_folded_are_narrow(page: Path) -> None:
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            assert re.sub(r"\\\||`[^`]*`", "", line).count("|") - 1 <= 7, line
