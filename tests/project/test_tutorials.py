"""The tutorials: their blocks run one after the other, and what they say of the outcome is true.

python tests/project/test_tutorials.py    # draws their pictures anew
"""

import json
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from decomprec.cli import app
from decomprec.data.image_io import rgb_image
from decomprec.trained_model import load
from decomprec.viz import overlay

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
PICTURES = ROOT / "docs" / "assets" / "tutorials"


def run_line(line: str) -> None:
    """Run a command line of a page: `uv run decomprec ...` or `uv run examples/...py ...`."""
    uv, run, program, *words = shlex.split(line, comments=True)
    assert (uv, run) == ("uv", "run"), line
    words = [str(ROOT / word) if word.startswith("examples/") else word for word in words]
    if program == "decomprec":
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [program, *words])
        runpy.run_path(str(ROOT / program), run_name="__main__")


def follow(page: str, folder: Path) -> dict[str, Any]:
    """Do in a folder what a page says; returns the names that its Python leaves."""
    text = (TUTORIALS / f"{page}.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "page"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for language, block in re.findall(r"^```(bash|py)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            if language == "py":
                exec(compile(block, f"{page}.md", "exec"), names)
            else:
                for line in block.replace("\\\n", " ").splitlines():
                    run_line(line)
    return names


def scores(folder: Path, method: str, tags: bool) -> list[float]:
    """The IoU of each class, without the background, in a run's table."""
    rows = json.loads((folder / "results.json").read_text(encoding="utf-8"))["rows"]
    (found,) = (row["iou"][1:] for row in rows if row["method"] == method and row["tags"] is tags)
    return list(found)


def check_far_above_nothing(run: Path) -> None:
    ours = fmean(scores(run, "decomprec, PAMR, guide's tags", True))
    for nothing in ("centred ellipse", "every pixel"):
        assert ours > 2 * fmean(scores(run, nothing, True))


@pytest.fixture(scope="module")
def apples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("apples")
    follow("your_folder", folder)
    return folder


@pytest.fixture
def apples_again(apples: Path, tmp_path: Path) -> Path:
    """Where the page has ended, for the pages that go on from there."""
    return shutil.copytree(apples, tmp_path / "apples")


def test_your_folder(apples: Path) -> None:
    run = apples / "runs" / "apples"
    check_far_above_nothing(run)
    (verdict,) = json.loads((run / "verdicts.json").read_text(encoding="utf-8"))
    assert verdict["grade"] == "good"
    assert len(list((apples / "drawn" / "overlays").rglob("*.png"))) == 40
    predicted = json.loads((apples / "scores.json").read_text(encoding="utf-8"))["mean_foreground_iou"]
    assert predicted == pytest.approx(scores(run, "decomprec, PAMR, guide's tags", False)[0], abs=0.1)
    assert (run / "report.html").is_file()


def test_surface_defects(tmp_path: Path) -> None:
    names = follow("surface_defects", tmp_path)
    assert load(tmp_path / "runs" / "surface").class_names == ("rust", "scratch")  # "good" is no class
    check_far_above_nothing(tmp_path / "runs" / "surface")
    assert json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["mean_foreground_iou"] > 0.4
    assert len(names["wrongly"]) + len(names["missed"]) <= 6
    assert len(names["files"]) == 40


def test_several_tags(tmp_path: Path) -> None:
    names = follow("several_tags", tmp_path)
    check_far_above_nothing(tmp_path / "runs" / "fruit")
    told, alone = (
        json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))["mean_foreground_iou"]
        for name in ("with_tags", "without_tags")
    )
    assert told == pytest.approx(alone, abs=0.1)
    classes = names["model"].classes
    for file, tags in zip(names["files"], names["tags"], strict=True):
        drawn = np.unique(np.array(Image.open(tmp_path / "told" / file.name)))
        assert {classes[k] for k in drawn if k} <= set(tags)


def test_labelling_tool(apples_again: Path) -> None:
    names = follow("labelling_tool", apples_again)
    corrected = sorted((apples_again / "corrected").glob("*.png"))
    assert len(corrected) == 20
    changed = [file for file in corrected if (np.array(Image.open(file)) == 1).sum() == 400]
    truth = np.zeros((48, 48), dtype=bool)
    truth[10:30, 10:30] = True  # the polygon
    assert any(((np.array(Image.open(file)) == 1) == truth).all() for file in changed)
    per_image = json.loads((apples_again / "changed.json").read_text(encoding="utf-8"))["per_image"]
    assert sum(iou == 1 for _, iou in per_image) == 19
    assert names["first"]["area"] == 400


def test_own_loss(apples_again: Path) -> None:
    names = follow("own_loss", apples_again)
    first, last = (sum(part) for part in (names["history"][:3], names["history"][-3:]))
    assert last < first
    before = load(apples_again / "runs" / "apples")
    after = load(apples_again / "smooth")
    image = torch.rand(1, 3, 48, 48)
    assert not torch.equal(before.segmenter.mask_logits(image), after.segmenter.mask_logits(image))


STRIPS = {  # page: its images, and the folders of label maps below them
    "your_folder": ("images/val/apple", "drawn/masks/apple", "images/val_masks"),
    "surface_defects": ("images/val", "drawn/masks", "images/val_masks"),
    "several_tags": ("images/images", "told", "drawn/masks", "images/masks"),
}


def strip(folder: Path, images: str, *label_maps: str, columns: int = 8, zoom: int = 2) -> Image.Image:
    """Images of one size, and below each of them its label maps as overlays."""
    files = sorted(file for file in (folder / images).rglob("*.png") if file.parent.name != "good")
    truth = {file.name for file in (folder / label_maps[-1]).glob("*.png")}
    files = [file for file in files if file.name in truth]
    files = files[:: max(1, len(files) // columns)][:columns]
    sheet = Image.new("RGB", (columns * (48 * zoom + 4), (1 + len(label_maps)) * (48 * zoom + 4)), "white")
    for column, file in enumerate(files):
        image = rgb_image(file).float()[None] / 255
        tiles = [image]
        for maps in label_maps:
            (match,) = (found for found in (folder / maps).rglob(file.name) if found.stem == file.stem)
            labels = torch.from_numpy(np.array(Image.open(match)).astype(np.int64))[None]
            tiles.append(overlay(image, labels, alpha=0.65))
        for row, tile in enumerate(tiles):
            pixels = Image.fromarray((tile[0].permute(1, 2, 0) * 255).byte().numpy())
            place = (column * (48 * zoom + 4) + 2, row * (48 * zoom + 4) + 2)
            sheet.paste(pixels.resize((48 * zoom, 48 * zoom), Image.Resampling.NEAREST), place)
    return sheet.quantize(200, dither=Image.Dither.NONE)


if __name__ == "__main__":
    import tempfile

    PICTURES.mkdir(exist_ok=True)
    for page, folders in STRIPS.items():
        with tempfile.TemporaryDirectory() as scratch:
            follow(page, Path(scratch))
            strip(Path(scratch), *folders).save(PICTURES / f"{page}.png", optimize=True)
