"""The benchmark of corrected masks, on a few scenes."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.tiny import tiny_words
from torchvision.transforms.v2.functional import to_pil_image

from decomprec.data import SyntheticScenes

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Scenes with the first class and without, and the masks of those for validation."""
    scenes = SyntheticScenes(48, 2, size=48, seed=0, masks=True)
    for i, scene in enumerate(scenes):
        split, label = ("train" if i % 2 else "val"), ("disc" if scene["tags"][0] else "other")
        file = tmp_path / "scenes" / split / label / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        to_pil_image(scene["image"]).save(file)
        if split == "val" and label == "disc":
            (tmp_path / "scenes" / "val_masks").mkdir(exist_ok=True)
            Image.fromarray((scene["mask"] == 1).byte().numpy()).save(tmp_path / "scenes" / "val_masks" / f"{i}.png")
    return tmp_path / "scenes"


def test_the_base_and_every_number_of_masks_is_a_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.quality import corrected_masks
    from benchmarks.quality.photographs import half

    root = folder.parent
    words = [str(folder), "--preset", "demo", "--masks", "0", "100", "--json", str(root / "rows.json")]
    words += [
        "--runs",
        str(root / "runs"),
        "--out",
        str(root / "further"),
        "--set",
        *tiny_words({"segmenter.seeds": 1}),
    ]
    corrected_masks.main(words)
    rows = json.loads((root / "rows.json").read_text())["corrected_masks"]
    assert [row["masks"] for row in rows] == [None, 0, 100]
    names = [file.stem for file in (folder / "val_masks").iterdir()]
    assert [row["used"] for row in rows] == [0, 0, sum(half(name) == "tune" for name in names)]
    assert all(0 <= row["iou"][name] <= 1 for row in rows for name in ("tags", "no tags"))
    monkeypatch.setattr(corrected_masks, "train", None)  # nothing is trained again
    corrected_masks.main(words)
    assert json.loads((root / "rows.json").read_text())["corrected_masks"] == rows


def test_masks_are_of_the_half_that_is_not_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.quality.corrected_masks import joined
    from benchmarks.quality.photographs import evaluation_images, half, of_half, training_images

    images = training_images(folder, None, None)
    tune = of_half(evaluation_images(folder, images.class_names), "tune", None)
    few, many = joined(images, tune, 1, 4, seed=0), joined(images, tune, 3, 4, seed=0)
    assert few.records == many.records  # the same images, with few masks or many
    assert len(few.label_maps) == 1
    assert set(few.label_maps) < set(many.label_maps)
    for index, read in many.label_maps.items():
        record = many.records[index]
        assert half(record.name) == "tune"
        at = next(i for i, other in enumerate(tune.records) if other.image == record.image)
        assert torch.equal(read(), tune[at]["mask"])
