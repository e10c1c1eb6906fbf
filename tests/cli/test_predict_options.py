"""`decomprec predict`: tags of each image, refinement, confidence, and pixels that are left out."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.predict_images import SHAPES, call, images, model, read

import decomprec
from decomprec.refine import guided_filter, pamr

__all__ = ["images", "model"]  # fixtures

STEMS = [name.partition(".")[0] for name in SHAPES]


def shown(out: Path) -> dict[str, set[int]]:
    """The classes whose mask is not zero."""
    masks = {stem: np.load(out / "probabilities" / f"{stem}.npz")["masks"] for stem in STEMS}
    return {stem: {k for k in (1, 2) if values[k].any()} for stem, values in masks.items()}


def test_a_table_or_a_folder_for_each_class_has_the_tags_of_each_image(
    model: Path, images: Path, tmp_path: Path
) -> None:
    tags = {"a": {1}, "b": {1, 2}, "c": set(), "d": {2}, "e": {1}, "f": {2}}
    names = {frozenset({1}): "cat", frozenset({2}): "dog", frozenset({1, 2}): "dog;cat", frozenset(): ""}
    rows = [f"{name},{names[frozenset(tags[name[0]])]}" for name in SHAPES]
    table = images.parent / "tags.csv"
    table.write_text("\n".join(["image,tags", *(f"{images.name}/{row}" for row in rows)]))
    words = ["--no-overlay", "--probabilities"]
    assert call("predict", model, images, "--out", tmp_path / "table", "--tags", table, *words).exit_code == 0
    assert shown(tmp_path / "table") == tags

    by_class = tmp_path / "by_class"
    for name in SHAPES:
        kind = {1: "cat", 2: "dog", 0: "other"}[sum(tags[name[0]]) % 3]
        (by_class / kind).mkdir(parents=True, exist_ok=True)
        (by_class / kind / name).write_bytes((images / name).read_bytes())
    assert call("predict", model, by_class, "--out", tmp_path / "folders", "--tags", by_class, *words).exit_code == 0
    for file in (tmp_path / "folders" / "probabilities").rglob("*.npz"):
        masks = np.load(file)["masks"]
        assert [masks[k].any() for k in (1, 2)] == [file.parent.name == "cat", file.parent.name == "dog"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.png,cat", "tags of every image, but it lacks"),
        ("\n".join(f"{name},bird" for name in SHAPES), "among cat, dog, but got bird"),
    ],
)
def test_tags_that_do_not_fit_are_refused(rows: str, message: str, model: Path, images: Path, tmp_path: Path) -> None:
    table = tmp_path / "tags.csv"
    shutil.copytree(images, tmp_path / "images")
    table.write_text(f"image,tags\n{rows}\n")
    result = call("predict", model, tmp_path / "images", "--out", tmp_path / "out", "--tags", table)
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_refinements_are_those_of_the_library(model: Path, images: Path, tmp_path: Path) -> None:
    loaded, image = decomprec.load(model), images / "a.png"
    found = {}
    for name, refine in {"none": None, "pamr": pamr, "guided": guided_filter}.items():
        words = ["--refine", name, "--probabilities", "--no-overlay"]
        assert call("predict", model, image, "--out", tmp_path / name, *words).exit_code == 0
        found[name] = np.load(tmp_path / name / "probabilities" / "a.npz")["masks"].astype(np.float32)
        expected = loaded(image, refine=refine).masks.half().float().numpy()
        np.testing.assert_allclose(found[name], expected, atol=1e-3)
    assert call("predict", model, image, "--out", tmp_path / "default", "--probabilities").exit_code == 0
    default = np.load(tmp_path / "default" / "probabilities" / "a.npz")["masks"].astype(np.float32)
    np.testing.assert_allclose(default, (found["none"] + found["pamr"]) / 2, atol=2e-3)  # float16
    assert not np.allclose(found["none"], found["guided"], atol=0.02)
    assert call("predict", model, image, "--out", tmp_path / "wrong", "--refine", "crf").exit_code == 2


def test_confidence_and_what_lies_below_it(model: Path, images: Path, tmp_path: Path) -> None:
    words = ["--probabilities", "--confidence"]
    assert call("predict", model, images, "--out", tmp_path / "all", *words).exit_code == 0
    assert call("predict", model, images, "--out", tmp_path / "sure", "--ignore-below", "0.7").exit_code == 0
    left_out = 0
    for stem in STEMS:
        winning = np.load(tmp_path / "all" / "probabilities" / f"{stem}.npz")["masks"].astype(np.float32).max(axis=0)
        with Image.open(tmp_path / "all" / "confidence" / f"{stem}.png") as file:
            assert file.mode == "L"
            np.testing.assert_allclose(np.array(file), 255 * winning, atol=0.7)  # rounded, and float16
        labels, all_labels = (read(tmp_path / out / "masks" / f"{stem}.png") for out in ("sure", "all"))
        certain = np.abs(winning - 0.7) > 1e-3
        np.testing.assert_array_equal(labels[certain], np.where(winning < 0.7, 255, all_labels)[certain])
        left_out += int((labels == 255).sum())
    assert left_out > 100
    assert call("predict", model, images, "--out", tmp_path / "wrong", "--ignore-below", "70").exit_code == 2
    labels = decomprec.load(model)(images / "a.png", ignore_below=0.7).label_map.numpy()
    assert (labels != read(tmp_path / "sure" / "masks" / "a.png")).mean() < 1e-3  # but for ties
