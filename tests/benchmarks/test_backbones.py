"""The comparison of backbones, on a few scenes and with random weights."""

import json
from pathlib import Path

import pytest
from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image

from decomprec.data import SyntheticScenes

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Scenes with a class and without, in the layout of a folder per class; the first class counts."""
    scenes = SyntheticScenes(24, 2, size=64, seed=0, masks=True)
    for i in range(len(scenes)):
        split, scene = ("train" if i % 2 else "val"), scenes[i]
        label = "disc" if scene["tags"][0] else "other"
        file = tmp_path / split / label / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        to_pil_image(scene["image"]).save(file)
        if split == "val" and label == "disc":
            (tmp_path / "val_masks").mkdir(exist_ok=True)
            mask = (scene["mask"] == 1).byte()
            Image.fromarray(mask.numpy()).save(tmp_path / f"val_masks/{i}.png")
    return tmp_path


def test_every_backbone_has_a_row_of_scores(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.quality.backbones import main
    from benchmarks.tables.quality import backbones_table

    file = tmp_path / "backbones.json"
    main(
        [
            "mobilenetv3_small_050=null",
            "resnet18=null",
            "--data",
            str(folder),
            "--half",
            "all",
            "--size",
            "64",
            "--json",
            str(file),
        ]
    )
    result = json.loads(file.read_text())
    assert [row["backbone"] for row in result["backbones"]] == ["mobilenetv3_small_050", "resnet18"]
    for row in result["backbones"]:
        assert 0 <= row["accuracy"] <= 1
        assert list(row["iou"]) == ["CAM", "evidence", "evidence, walk", "evidence, walk, PAMR"]
        assert all(0 <= value <= 1 for value in row["iou"].values())
    table = backbones_table([result])
    assert "| `resnet18`" in table
    assert "random" in table
