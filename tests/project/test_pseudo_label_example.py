"""The example that trains smp.Unet on our masks, small."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from decomprec.data import CocoInstances, SyntheticScenes, TaggedCSV

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_on_pseudo_labels.py"
SMALL = ["--scenes", "96", "--unseen", "16", "--epochs", "2"]


def run(*arguments: str | Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(EXAMPLE), *map(str, arguments)])
        runpy.run_path(str(EXAMPLE), run_name="__main__")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pseudo") / "out"
    settings = ["guide.epochs=3", "guide.learning_rate=0.01", "segmenter.epochs=1"]
    run(*SMALL, "--out", out, "--json", out / "scores.json", "--set", *settings)
    return out


def test_the_pseudo_labels_are_one_data_set_in_two_formats(trained: Path) -> None:
    scenes = SyntheticScenes(96, 2, 64, seed=1)
    from_png = TaggedCSV(trained / "labels" / "tags.csv", classes=scenes.class_names, masks=True)
    from_coco = CocoInstances(trained / "labels" / "annotations.json", masks=True)
    assert len(from_png) == len(from_coco) == 96
    assert torch.equal(from_png.tags, scenes.tags)
    for scene, png, coco in zip(scenes, from_png, from_coco, strict=True):
        assert torch.equal(png["image"], coco["image"])
        assert (png["image"] - scene["image"]).abs().max() <= 1 / 255
        assert torch.equal(png["mask"], coco["mask"])
        assert not {k for k in png["mask"].unique().tolist() if k and not scene["tags"][k - 1]}  # only what is tagged
    assert any(item["mask"].any() for item in from_png)


def test_scores_are_of_unseen_scenes_and_the_run_can_be_taken_up(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = json.loads((trained / "scores.json").read_text())
    images = {row["method"]: row["images"] for row in scores["pseudo_labels"]}
    assert images["pseudo labels, on their own scenes"] == 96
    assert images["decomprec"] == images["smp.Unet on the pseudo labels"] == 16
    # The U-Net sees the same masks from either source, so it ends up the same.
    words = ["--run", trained / "run", "--source", "coco", "--out", tmp_path, "--json", tmp_path / "scores.json"]
    run(*SMALL, *words)
    assert "| smp.Unet on the pseudo labels " in capsys.readouterr().out
    again = json.loads((tmp_path / "scores.json").read_text())
    assert again["pseudo_labels"][:3] == scores["pseudo_labels"][:3]
    before, after = (x["pseudo_labels"][3]["mean_foreground_iou"] for x in (scores, again))
    assert after == pytest.approx(before, abs=0.02)


def test_a_run_that_is_none_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: Expected .* to hold a model"):
        run("--run", tmp_path, "--out", tmp_path)
