"""`check` prints what would be read and what is doubtful, and fails on errors."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.cli_run import call, save, sentence

from decomprec.data import inspection

SIZE = (24, 32)
COLOURS = {"dog": (200, 30, 30), "other": (30, 30, 200)}


def coarse(seed: int, colour: tuple[int, int, int]) -> np.ndarray:
    """Patches of about one colour, which differ from image to image."""
    rng = np.random.default_rng(seed)
    patches = np.clip(np.array(colour) + rng.integers(-30, 31, (6, 8, 1)), 0, 255).astype(np.uint8)
    return patches.repeat(4, axis=0).repeat(4, axis=1)


def images(root: Path, train: int = 20, val: int = 4) -> Path:
    for split, count, first in (("train", train, 0), ("val", val, 500)):
        for number, (name, colour) in enumerate(COLOURS.items()):
            for i in range(count):
                save(root / split / name / f"{name}{i}.png", coarse(first + 1000 * number + i, colour))
    return root


def lines(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if line[:1] == "|"]


def tiny_preset(folder: Path) -> Path:
    file = folder / "preset.yaml"
    file.write_text("image_size: 16\n")
    return file


def test_nothing_doubtful(tmp_path: Path) -> None:
    result = call("check", images(tmp_path / "data"), "--preset", tiny_preset(tmp_path))
    assert result.exit_code == 0, result.output
    assert "data: folder, 1 class\n" in result.stdout
    table = lines(result.stdout)
    assert table[2:5] == [
        ["dog", "20", "20", "4", "4", "0 of 4"],
        ["no class", "20", "", "4", "", ""],
        ["images", "40", "", "8", "", "0"],
    ]
    assert table[5] == ["level", "check", "finding"]
    assert table[7:] == [["note", "sizes", "24 x 32 smallest, 24 x 32 median, 24 x 32 largest (height x width)"]]
    assert "0 errors, 0 warnings, 1 note" in result.stdout


def test_errors_and_what_is_written(tmp_path: Path) -> None:
    data, out = images(tmp_path / "data"), tmp_path / "looked"
    twin = data / "val" / "dog" / "twin.bmp"
    with Image.open(data / "train" / "dog" / "dog3.png") as image:
        image.save(twin)
    damaged = [data / "train" / "dog" / "dog5.png", data / "val" / "other" / "other1.png"]
    for file in damaged:
        file.write_bytes(file.read_bytes()[:60])
    result = call("check", data, "--out", out)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    for file in damaged:
        assert f"  Expected {file} to be an image" in result.stdout
    assert f"  {data / 'train' / 'dog' / 'dog3.png'} = {twin}" in result.stdout
    assert "2 errors, 1 warning, 1 note" in result.stdout  # all are smaller than 224

    content = json.loads((out / "findings.json").read_text(encoding="utf-8"))
    assert (content["format"], content["classes"], content["images"]) == ("folder", ["dog"], {"train": 40, "val": 9})
    findings = {finding["check"]: finding for finding in content["findings"]}
    assert {tuple(group) for group in findings["unreadable"]["files"]} == {(str(file),) for file in damaged}
    assert [len(findings[check]["files"]) for check in ("equal across splits", "small images")] == [1, 47]

    sheets = {file.name: file for file in (out / "contact_sheets").iterdir()}
    assert sheets.keys() == {"0_no_class.png", "1_dog.png"}
    for file, colour in ((sheets["1_dog.png"], COLOURS["dog"]), (sheets["0_no_class.png"], COLOURS["other"])):
        with Image.open(file) as sheet:
            pixels = np.asarray(sheet).reshape(-1, 3)
        shown = pixels[(pixels < 250).any(axis=1)]
        assert np.abs(shown.mean(axis=0) - colour).max() < 12  # of no other class
        assert len(shown) > 11.5 * 160 * 120  # twelve, whole, on white

    again = call("check", "--config", out / "config.yaml", data, "--out", tmp_path / "again")
    assert again.exit_code == 1
    assert (tmp_path / "again" / "findings.json").read_bytes() == (out / "findings.json").read_bytes()


def test_names_that_are_no_text_are_listed(tmp_path: Path) -> None:
    data, out = images(tmp_path / "data"), tmp_path / "looked"
    folder = data / "train" / "dog"
    (folder / "dog0.png").rename(folder / os.fsdecode(b"\xff.png"))
    (folder / "dog1.png").write_bytes((folder / os.fsdecode(b"\xff.png")).read_bytes())
    result = call("check", data, "--out", out, "--preset", tiny_preset(tmp_path))
    assert result.exit_code == 0, result.output
    findings = json.loads((out / "findings.json").read_text(encoding="utf-8"))["findings"]
    (equal,) = (finding["files"] for finding in findings if finding["check"] == "equal within a split")
    assert [{os.fsencode(file) for file in group} for group in equal] == [
        {os.fsencode(folder) + b"/dog1.png", os.fsencode(folder) + b"/\xff.png"}
    ]


def test_images_that_look_alike_need_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = images(tmp_path / "data", train=3)
    with Image.open(data / "train" / "dog" / "dog1.png") as image:
        image.save(data / "val" / "dog" / "near.jpg", quality=85)
    found = call("check", data)
    assert "near duplicates across splits" in found.stdout
    assert found.exit_code == 0
    monkeypatch.setattr(inspection, "find_spec", lambda name: None)
    missing = call("check", data)
    assert "near duplicates" not in missing.stdout
    assert "pip install imagehash" in missing.stdout
    assert missing.exit_code == 0


def test_refusals(tmp_path: Path) -> None:
    data = images(tmp_path / "data", train=1, val=1)
    assert "found no" in sentence("check", tmp_path / "nowhere")
    assert "apart from the images" in sentence("check", data, "--out", data / "looked")
    assert "Expected --out with --format imagenet" in sentence("check", data, "--format", "imagenet")
    assert "--splits to name two" in sentence("check", data, "--splits", "train")
    assert "--classes" in sentence("check", data, "--classes", "horse")
