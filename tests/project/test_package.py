"""The package as it would be released: what the wheel and the source archive hold, and what their metadata say.

`.ci/wheel` also installs the wheel into an empty environment and trains there.
"""

import itertools
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import decomprec

ROOT = Path(__file__).parents[2]
TABLE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, GROUPS = TABLE["project"], TABLE["dependency-groups"]
VERSION = decomprec.__version__
REPOSITORY = "https://github.com/someone/Decomp"
ELSEWHERE = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
INSTALL = ROOT / "docs" / "get_started" / "install.md"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a source archive, built as a workflow of a repository does, and of the wheel built from it."""
    folder = tmp_path_factory.mktemp("dist")
    workflow = {"GITHUB_REPOSITORY": "someone/Decomp", "GITHUB_REF_NAME": "v7"}
    hatchling("sdist", ROOT, folder, ELSEWHERE | workflow)
    with tarfile.open(folder / f"decomprec-{VERSION}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    hatchling("wheel", folder / f"decomprec-{VERSION}", folder, ELSEWHERE)
    return folder


def hatchling(target: str, source: Path, folder: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(built / f"decomprec-{VERSION}-py3-none-any.whl")


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    return message_from_string(wheel.read(f"decomprec-{VERSION}.dist-info/METADATA").decode())


def sources() -> set[str]:
    files = (file.relative_to(ROOT / "src") for file in (ROOT / "src" / "decomprec").rglob("*") if file.is_file())
    return {file.as_posix() for file in files if "__pycache__" not in file.parts}


def test_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if not name.startswith(f"decomprec-{VERSION}.dist-info/")}
    assert held == sources()
    assert "decomprec/py.typed" in held
    assert wheel.read(f"decomprec-{VERSION}.dist-info/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_source_archive_holds_what_the_wheel_is_built_from(built: Path) -> None:
    with tarfile.open(built / f"decomprec-{VERSION}.tar.gz") as archive:
        held = {file.name.partition("/")[2] for file in archive.getmembers() if file.isfile()}
    extra = held - {f"src/{name}" for name in sources()}
    assert extra - {".gitignore"} == {
        "CHANGELOG.md",
        "CITATION.cff",
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "hatch_build.py",
        "pyproject.toml",
    }
    assert held >= {f"src/{name}" for name in sources()}


def test_commands(wheel: zipfile.ZipFile) -> None:
    text = wheel.read(f"decomprec-{VERSION}.dist-info/entry_points.txt").decode()
    assert text.split() == ["[console_scripts]", "decomprec", "=", "decomprec.cli:app"]


def test_requirements_and_extras(metadata: Message) -> None:
    required = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    base = {str(requirement) for requirement in required if requirement.marker is None}
    assert base == {str(Requirement(line)) for line in PROJECT["dependencies"]}
    assert set(metadata.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert metadata["Version"] == VERSION


def test_addresses_are_those_of_the_repository_it_was_built_in(metadata: Message) -> None:
    addresses = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL", []))
    assert addresses["Repository"] == REPOSITORY
    assert addresses["Issues"] == f"{REPOSITORY}/issues"
    assert addresses["Documentation"] == "https://someone.github.io/Decomp/"


def test_readme_leads_to_files_of_the_repository(metadata: Message) -> None:
    """A package index shows the README alone: a relative link would lead nowhere."""
    text = metadata.get_payload()
    assert isinstance(text, str)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert all(link.startswith("https://") for link in links)
    inside = [link for link in links if link.startswith(REPOSITORY)]
    assert len(inside) > 10
    for link in inside:
        kind, ref, path = link.removeprefix(f"{REPOSITORY}/").partition("#")[0].split("/", 2)
        assert (kind, ref) == ("raw" if re.search(r"\.(png|svg)$", path) else "blob", "v7")
        assert (ROOT / path).exists(), path


def test_package_built_elsewhere_names_no_address(tmp_path: Path) -> None:
    hatchling("wheel", ROOT, tmp_path, ELSEWHERE)
    with zipfile.ZipFile(tmp_path / f"decomprec-{VERSION}-py3-none-any.whl") as wheel:
        metadata = message_from_string(wheel.read(f"decomprec-{VERSION}.dist-info/METADATA").decode())
    assert not metadata.get_all("Project-URL")
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_version_option() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "decomprec", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"decomprec {VERSION} (Python {sys.version.split()[0]}, torch ")
    assert "| torch\n" not in done.stderr  # in a moment: torch is not imported


def names(lines: list[str]) -> set[str]:
    return {Requirement(line).name for line in lines}


def test_table_of_extras_is_the_one_of_the_metadata() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| `pip install (.+)` \|", INSTALL.read_text(encoding="utf-8"), re.MULTILINE)
    extras = {extra: names(lines) for extra, lines in PROJECT["optional-dependencies"].items()}
    assert {extra: set(packages.split()) for extra, packages in rows} == extras


ADVICE = [
    *(ROOT / "src" / "decomprec").rglob("*.py"),
    *({*(ROOT / "docs").rglob("*.md")} - {ROOT / "docs" / "results" / "peers.md"}),  # which quotes other libraries
    *(ROOT / "examples").rglob("*.md"),
    *ROOT.glob("*.md"),
    *(ROOT / ".github").rglob("*.yml"),
]
EXTRAS = PROJECT["optional-dependencies"]
HEIC = "pillow-heif"  # what an error about such an image advises
KNOWN = names([HEIC, *PROJECT["dependencies"], *itertools.chain(*EXTRAS.values(), *GROUPS.values())])


def wrong(text: str) -> list[str]:
    """What `pip install` is said to install and cannot: no index has decomprec yet.

    From a clone, "." and its extras can be installed, and anything else by its own name.
    """
    options = r"(?:(?:--(?:torch-backend|target|python[\w-]*) \S+|-\S+) )*"
    targets = re.findall(rf"\bpip install {options}[\"'`]*(\.\[[\w,]+\]|[^\s\"'`,;:)]+)", text)
    return [target for target in targets if not installable(target.rstrip("."))]


def installable(target: str) -> bool:
    if target in ("", "uv", "dist/*.whl") or "{" in target:  # "." and names that a message fills in, too
        return True
    clone = re.fullmatch(r"\.\[([\w,]+)\]", target)
    return set(clone[1].split(",")) <= set(EXTRAS) if clone else re.split(r"[\[<>=]", target)[0] in KNOWN


def test_every_advised_install_works_today() -> None:
    found = {str(page.relative_to(ROOT)): wrong(page.read_text(encoding="utf-8")) for page in ADVICE}
    assert not {page: targets for page, targets in found.items() if targets}, (
        'name the packages, as in "pip install pycocotools"; in a clone: pip install ".[coco]"'
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('do pip install "decomprec[coco]", or', ["decomprec[coco]"]),
        ("pip install decomprec", ["decomprec"]),
        ('pip install ".[coco,wings]"', [".[coco,wings]"]),
        ('pip install ".[coco,onnx]"; `pip install pycocotools`; pip install uv && uv sync', []),
        ("do pip install pycocotools.", []),
    ],
)
def test_a_wrong_install_would_be_noticed(text: str, found: list[str]) -> None:
    assert wrong(text) == found
