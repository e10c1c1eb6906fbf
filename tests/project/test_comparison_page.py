"""docs/results/peers.md: what its tables say of other packages holds for those that are installed."""

import importlib
import pkgutil
import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytorch_grad_cam
import segmentation_models_pytorch as smp
import timm
import torchmetrics
from packaging.version import Version
from pytorch_grad_cam.base_cam import BaseCAM

import decomprec
from decomprec.trained_model import TrainedModel

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "results" / "peers.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PEERS = {
    "smp": "segmentation-models-pytorch",
    "torchmetrics": "torchmetrics",
    "timm": "timm",
    "pytorch-grad-cam": "grad-cam",
}


def table() -> dict[str, dict[str, str]]:
    """The cells of both tables by row and column."""
    lines = [line.strip() for line in TEXT.partition("## Table")[2].partition("## ")[0].splitlines()]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    (_, *head), *rows = cells
    return {name: dict(zip(head, row, strict=True)) for name, *row in rows if name.strip("- ")}


def first_contact(number: int) -> dict[str, dict[str, str]]:
    """One of the tables of first contact: the cells by library and column."""
    blocks = re.findall(r"(?:^\|.*\n)+", TEXT.partition("## First contact")[2].partition("## ")[0], re.MULTILINE)
    (_, *head), _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in blocks[number].splitlines()
    )
    return {name: dict(zip(head, cells, strict=True)) for name, *cells in rows}


def row(name: str) -> dict[str, str]:
    """A row, without the paper's repository, which is no package."""
    cells = table()[name]
    assert list(cells) == ["decomprec", *PEERS, "the paper's repository"]
    return {column: cell for column, cell in cells.items() if column != "the paper's repository"}


def test_versions() -> None:
    looked_at = row("version looked at")
    assert looked_at.pop("decomprec") == decomprec.__version__
    # A later release alone is no fault of the page: the other tests see what it changed.
    for name, version in looked_at.items():
        assert Version(distribution(PEERS[name]).version) >= Version(version), name


def test_install_names_the_packages() -> None:
    cells = row("install")
    assert {name: cells[name] for name in PEERS} == {
        name: f"`pip install {package}`" for name, package in PEERS.items()
    }


def test_licences() -> None:
    cells = row("licence")
    assert cells.pop("decomprec") == PROJECT["license"]
    for name, licence in cells.items():
        metadata = distribution(PEERS[name]).metadata
        said = [metadata["License-Expression"], metadata["License"], *(metadata.get_all("Classifier") or [])]
        assert any(re.search(rf"\b{licence}\b", text) for text in said if text), name


def test_command_lines() -> None:
    scripts = {
        name: distribution(package).entry_points.select(group="console_scripts") for name, package in PEERS.items()
    }
    cells = row("command line")
    assert [cells.pop("decomprec")] == [f"`{script}`" for script in PROJECT["scripts"]]
    assert {name: cell.startswith("none") for name, cell in cells.items()} == {
        name: not entries for name, entries in scripts.items()
    }


def test_save_pretrained() -> None:
    classes = {
        "decomprec": TrainedModel,
        "smp": smp.Unet,
        "torchmetrics": torchmetrics.Metric,
        "timm": timm.models.ResNet,
        "pytorch-grad-cam": pytorch_grad_cam.GradCAM,
    }
    assert {name: "`save_pretrained`" in cell for name, cell in row("save and load").items()} == {
        name: hasattr(home, "save_pretrained") for name, home in classes.items()
    }


def test_types() -> None:
    typed = {
        name: any(str(file).endswith("/py.typed") for file in distribution(package).files or [])
        for name, package in PEERS.items()
    }
    typed = {"decomprec": (ROOT / "src" / "decomprec" / "py.typed").is_file(), **typed}
    assert row("types (`py.typed`)") == {name: "yes" if found else "no" for name, found in typed.items()}


def test_number_of_maps() -> None:
    exported = [value for value in vars(pytorch_grad_cam).values() if isinstance(value, type)]
    maps = {value for value in exported if issubclass(value, BaseCAM)}
    assert row("baselines in the same run")["pytorch-grad-cam"] == f"{len(maps)} kinds of maps"


def test_first_contact_installs() -> None:
    cells = {name: cells["install"] for name, cells in first_contact(0).items()}
    assert all(cells[name].startswith(f"`pip install {package}`") for name, package in PEERS.items())


def test_first_contact_of_this_library() -> None:
    ours = first_contact(0)["decomprec"] | first_contact(1)["decomprec"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert int(ours["badges"]) == len(re.findall(r"assets/badges/\w+\.svg", readme))
    models, notebooks = (ROOT / "examples" / "models").iterdir(), (ROOT / "examples").glob("*.ipynb")
    assert int(ours["trained models"].split(",")[0]) == len(list(models))
    pages = {*(ROOT / "docs" / "tutorials").glob("*.md")} - {ROOT / "docs" / "tutorials" / "index.md"}
    assert [int(count) for count in re.findall(r"\d+", ours["tutorials"])] == [len(pages), len(list(notebooks))]
    forms = {*(ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")} - {
        ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"
    }
    assert ours["issue templates"] == f"{len(forms)}, and pull requests"
    assert (ROOT / ".github" / "pull_request_template.md").is_file()
    assert (ROOT / "CHANGELOG.md").is_file()
    assert (ROOT / "CITATION.cff").is_file()
    assert "bibtex" in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")


def test_names_exist() -> None:
    names = re.findall(r"`((?:decomprec|smp|torchmetrics|timm|pytorch_grad_cam)(?:\.\w+)+)`", TEXT)
    assert len(set(names)) > 15
    for name in names:
        package, _, inner = name.partition(".")
        module = "segmentation_models_pytorch" if package == "smp" else package
        importlib.import_module(module)
        assert pkgutil.resolve_name(f"{module}.{inner}") is not None
