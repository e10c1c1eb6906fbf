"""The model folder that is made from a run of benchmarks.quality."""

import json
import sys
from pathlib import Path

import pytest
import torch

from decomprec.data import SyntheticScenes
from decomprec.models.pretrained import load_pretrained
from decomprec.refine import RefinedPredictor
from decomprec.training import PRESETS, train

ROOT = Path(__file__).parents[2]

TINY = PRESETS["demo"].override(
    {
        "image_size": 32,
        "guide.encoder_options": {"widths": [4, 8]},
        "guide.epochs": 1,
        "guide.batch_size": 8,
        "segmenter.decoder_widths": [8, 4],
        "segmenter.epochs": 1,
        "segmenter.batch_size": 8,
    }
)


def test_the_model_is_that_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = SyntheticScenes(16, 1, size=32, seed=1), SyntheticScenes(8, 1, size=32, seed=2, masks=True)
    options = {"accelerator": "cpu", "enable_progress_bar": False}
    trained = train(TINY, *scenes, tmp_path / "ours", trainer_options=options)
    scores = {"method": "ours, PAMR", "tags": False, "mean_foreground_iou": 0.51234, "mean_false_area": 0.02}
    results = {
        "run": {"half": "report, 4 images", "image_size": 32, "command": "python -m benchmarks.quality.comparison"},
        "rows": [scores, {**scores, "method": "another"}],
        "class_names": ["striped disc"],
        "guide_accuracy": {"mean": 0.875},
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.quality import export_model

    folder = tmp_path / "discs"
    words = ["--data", "Drawn discs.", "--limits", "Discs only."]
    monkeypatch.setattr(sys, "argv", ["export_model", str(tmp_path), str(folder), *words])
    export_model.main()

    model = load_pretrained(folder)
    images = torch.rand(4, 3, 32, 32)
    expected = RefinedPredictor(trained.segmenter.mask_logits).masks(images)
    # Weights in half precision have 11 significant bits; a few layers leave about 1e-2 of that at most.
    torch.testing.assert_close(RefinedPredictor(model.segmenter.mask_logits).masks(images), expected, rtol=0, atol=1e-2)
    card = (folder / "README.md").read_text()
    assert "| ours, PAMR | no | 0.512 | 0.020 |" in card
    assert "another" not in card
    assert all(word in card for word in ("Drawn discs.", "Discs only.", "87.5%"))
