"""`train` and `evaluate` first print what they have read, and count the masks that are missing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.cli_run import SETTINGS, call, red_square, save, sentence
from support.layouts import image, text


def rows(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if line[:1] == "|"]


def test_train_says_what_it_has_read(tmp_path: Path) -> None:
    data = tmp_path / "images"
    for split, count in (("Training", 12), ("Validation", 8)):
        for i in range(count):
            pixels, mask = red_square(i + 100 * (split == "Validation"), present=i % 2 > 0)
            save(data / split / ("red" if i % 2 else "Others") / f"{split}{i}.png", pixels)
            if split == "Validation" and i in (1, 3, 5):
                save(data / "validation_masks" / f"{split}{i}_mask.png", mask)
            text(data / "__MACOSX" / split / "red" / f"._{split}{i}.png", b"\0")
    shutil.copy(data / "Training" / "red" / "Training1.png", data / "Validation" / "red" / "Validation7.png")
    out = tmp_path / "run"
    with pytest.warns(UserWarning, match=r"1 of 8 validation images are trained on too, such as .*Validation7\.png"):
        result = call("train", data, "--out", out, "--preset", "demo", *SETTINGS, "--workers", "0", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "data: folder, 1 class\n" in result.stdout
    table = rows(result.stdout.split("training")[0])
    assert table[0] == ["class", "train with", "without", "val with", "without", "with mask"]
    assert table[2:5] == [
        ["red", "6", "6", "4", "4", "3 of 4"],
        ["no class", "6", "", "4", "", ""],
        ["images", "12", "", "8", "", "3"],
    ]
    assert "1 of 4 validation images with a class have no mask: they are not measured" in result.stdout
    assert "1 validation images have no mask and are not measured" in result.stdout
    for row in json.loads((out / "results.json").read_text())["rows"]:
        assert (row["images"], row["images_with"], row["images_without_mask"]) == (7, [3], 1)
    assert call("report", out, "--images", "1", "--device", "cpu").exit_code == 0
    assert "on 7 validation images; 1 others have no mask." in " ".join((out / "report.html").read_text().split())


@pytest.mark.parametrize(
    ("listed", "words"), [(True, "classes are matched by name"), (False, "equal numbers mean equal")]
)
def test_evaluate_says_what_it_has_read(listed: bool, words: str, tmp_path: Path) -> None:
    labels = np.zeros((6, 8), dtype=np.uint8)
    labels[:3] = 1
    save(tmp_path / "drawn" / "a.png", labels)
    save(tmp_path / "truth" / "A_mask.png", 2 * labels if listed else labels)
    save(tmp_path / "truth" / "__MACOSX" / "a.png", labels)
    text(tmp_path / "truth" / "._A_mask.png", b"\0")
    text(tmp_path / "drawn" / "classes.txt", "background\ndog\n")
    if listed:
        text(tmp_path / "truth" / "classes.txt", "background\ncat\ndog\n")
    result = call("evaluate", tmp_path / "drawn", tmp_path / "truth", "--json", tmp_path / "scores.json")
    assert result.exit_code == 0, result.output
    assert "1 masks and 1 true label maps, 1 of them paired by name" in result.stdout
    assert words in result.stdout
    assert json.loads((tmp_path / "scores.json").read_text())["iou"] == [1, 1]


def test_splits_are_two_names(tmp_path: Path) -> None:
    image(tmp_path / "data" / "dog" / "a.png")
    assert "Expected --splits to name two" in sentence(
        "train", tmp_path / "data", "--out", tmp_path / "run", "--splits", "train"
    )
