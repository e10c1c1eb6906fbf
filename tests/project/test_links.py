"""Links that lead out of the documentation, and what keeps those inside it whole.

Pages, anchors, cross-references and images are checked by `mkdocs build --strict` in `.ci/run`. Nothing here asks the
network: a new host is noticed, and someone looks at it.
"""

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
HOSTS = {
    "creativecommons.org",
    "flickr.com",
    "www.flickr.com",
    "github.com",
    "arxiv.org",
    "huggingface.co",
    "ieeexplore.ieee.org",
    "www.gradio.app",
}
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
URL = re.compile(r"(?:\bhttps?|\bftp):[^\s<>)\]\"'`]*|\bwww\.[^\s<>)\]\"'`]+", re.IGNORECASE)


def wrong(text: str) -> list[str]:
    """What is wrong with the outside links of a text, a sentence each."""
    found = []
    for url in URL.findall(text):
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.netloc or parts.netloc != parts.hostname:
            found.append(f"{url} is not https://host/...")
        elif parts.hostname not in HOSTS:
            found.append(f"{parts.hostname} is not among the hosts of tests/project/test_links.py: {url}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_outside_links_are_https_and_of_known_hosts(page: Path) -> None:
    assert not wrong(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a](https://github.com/owner/name)", None),
        ("see https://creativecommons.org/licenses/by/2.0/.", None),
        ("[a](http://github.com/owner/name)", "not https"),
        ("[a](https:/github.com/owner)", "not https"),
        ("[a](https://user@github.com/)", "not https"),
        ("www.flickr.com/photos", "not https"),
        ("[a](https://github.com.example.org/)", "not among the hosts"),
    ],
)
def test_a_wrong_link_would_be_noticed(text: str, fault: str | None) -> None:
    assert bool(wrong(text)) == (fault is not None)
    assert fault is None or fault in wrong(text)[0]


def test_links_of_notebooks_lead_somewhere() -> None:
    for notebook in sorted((ROOT / "examples").rglob("*.ipynb")):
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        assert not wrong(text)
        links = re.findall(r"\]\(([^)#\s]+)", text)
        assert links
        for link in links:
            assert (notebook.parent / link).is_file(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_written_as_html(page: Path) -> None:
    """mkdocs doesn't look at those."""
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"<(a|img)\s[^>]*(href|src)\s*=", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_versions_of_images_for_phones_are_there(page: Path) -> None:
    """mkdocs doesn't look at those, either."""
    for source in re.findall(r'<source [^>]*srcset="([^"]*)"', page.read_text(encoding="utf-8")):
        assert (page.parent / source).is_file()


def test_the_site_is_built_so_that_a_broken_link_stops_it() -> None:
    """`--strict` counts the warnings that are logged, and `--quiet` logs none: together they pass anything."""
    (call,) = re.findall(r"mkdocs build.*", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert "--strict" in call
    assert not re.search(r"--quiet|-q\b", call)
