"""The first page: its order, what its badges claim, and the lines that need files to run on."""

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
import yaml
from PIL import Image

import decomprec

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODEL = "examples/models/dogs-small"
PAGES = ["README.md", "docs/index.md", "docs/get_started/your_images.md"]


def blocks(page: str) -> list[str]:
    """The blocks that are Python and need a photograph or a run."""
    return re.findall(r"^```py\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_lines_that_use_a_trained_model(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for model in (MODEL, "runs/mine/model"):
        shutil.copytree(ROOT / MODEL, model)
    image = Image.effect_noise((48, 32), 64).convert("RGB")
    image.save("photo.jpg")
    (block,) = blocks(page)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(block, page, "exec"), names)
    result = names["result"]
    assert result.label_map.shape == (32, 48)
    assert result.classes[1] == "dog"
    assert torch.allclose(result.masks.sum(dim=0), torch.ones(32, 48), atol=1e-5)
    if Path("photo_mask.png").exists():
        assert Image.open("photo_mask.png").size == (48, 32)
    else:
        assert set(names["labels"].unique().tolist()) <= {0, 1, 255}


def test_order() -> None:
    """An image with its mask, two sentences, badges, install, a model, training, results, two commands, links."""
    landmarks = [
        "assets/dogs_small.png",
        "Train a segmentation network from image tags",
        "assets/badges/",
        "## Install",
        "decomprec.load(",
        "uv run decomprec train images",
        "<!-- table:",
        "pip install uv && uv run examples/dogs_imagenet.py\n",
        "pip install uv && uv run pytest\n",
        "](CONTRIBUTING.md)",
    ]
    places = [README.index(landmark) for landmark in landmarks]
    assert places == sorted(places)


def test_one_table_of_at_most_seven_rows() -> None:
    (table,) = re.findall(r"<!-- table: \S+ -->\n(.*?)<!-- end table -->", README, re.DOTALL)
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert 3 <= len(rows) <= 2 + 7
    assert rows[0].count("|") - 1 <= 7
    assert README.count("\n|") == len(rows)


def badge(name: str) -> str:
    tree = ElementTree.parse(ROOT / "docs" / "assets" / "badges" / f"{name}.svg")
    label, value = [text.text for text in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert label == name
    assert value is not None
    return value


def test_badges_are_true() -> None:
    said = badge("python").split(" | ")
    prefix = "Programming Language :: Python :: "
    assert said == [line.removeprefix(prefix) for line in PROJECT["classifiers"] if line.startswith(prefix)]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert said == workflow["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert badge("licence") == PROJECT["license"]
    assert (ROOT / badge("checks")).is_file()
    assert (ROOT / badge("docs")).is_dir()


def test_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == decomprec.__version__
    assert cited["license"] == PROJECT["license"]
    assert [author["name"] for author in cited["authors"]] == [author["name"] for author in PROJECT["authors"]]


@pytest.mark.parametrize("form", ["bug", "own_data"])
def test_forms_of_issues(form: str) -> None:
    """GitHub shows a form with these keys, and drops one without."""
    asked = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{form}.yml").read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(asked)
    fields = [field for field in asked["body"] if field["type"] != "markdown"]
    ids = [field["id"] for field in fields]
    assert len(set(ids)) == len(ids)
    assert all(field["attributes"]["label"] for field in fields)
    for page in re.findall(r"(?:docs/)?[\w/]+\.md", str(asked)):
        assert (ROOT / page).is_file(), page
