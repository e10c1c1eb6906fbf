"""A run that stops after the guide: its model draws the guide's evidence, and the segmenter can go on from it."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from support.cli_run import SETTINGS, call, data, sentence
from support.tiny import QUIET, tiny

from decomprec.data import SyntheticScenes
from decomprec.evidence import EvidenceMasks
from decomprec.models.evidence_decoder import EvidenceDecoder
from decomprec.report import read_run, write_report
from decomprec.trained_model import load
from decomprec.training import GuideModule, train

__all__ = ["data"]  # fixture
PRESET = tiny({"segmenter.seeds": 0.3})
FIXED = {"seed": 5, "trainer_options": QUIET}


def scenes() -> SyntheticScenes:
    return SyntheticScenes(16, 2, size=32, seed=1)


def test_the_segmenter_goes_on_from_the_guide_as_if_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(PRESET, scenes(), scenes(), tmp_path / "whole", **FIXED)
    evidence = train(PRESET, scenes(), scenes(), tmp_path / "run", evidence_only=True, **FIXED)
    assert isinstance(evidence.segmenter.mask_decoder, EvidenceDecoder)
    assert not (tmp_path / "run" / "segmenter").exists()
    with monkeypatch.context() as patched:
        patched.setattr(GuideModule, "training_step", None)  # the guide is not trained again
        resumed = train(PRESET, scenes(), scenes(), tmp_path / "run", resume=True, **FIXED)
    expected, found = whole.segmenter.state_dict(), resumed.segmenter.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not load(tmp_path / "run").masks_only
    with pytest.raises(ValueError, match="no trained segmenter for `evidence_only`"):
        train(PRESET, scenes(), scenes(), tmp_path / "run", resume=True, evidence_only=True, **FIXED)


def test_a_finished_guide_goes_on_with_its_own_seed_only(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(PRESET, scenes(), scenes(), run, evidence_only=True, **FIXED)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for evidence_only in (True, False):
        with pytest.raises(ValueError, match=r"Expected to resume with the run's `seed` 5, but got 6\."):
            train(
                PRESET,
                scenes(),
                scenes(),
                run,
                resume=True,
                evidence_only=evidence_only,
                seed=6,
                trainer_options=QUIET,
            )
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("enlarge", [1, 2])
def test_the_saved_model_draws_the_evidence_of_the_guide(tmp_path: Path, enlarge: int) -> None:
    preset = PRESET.override({"segmenter.enlarge": enlarge, "guide.encoder_options": {"widths": [4, 8, 8, 8]}})
    train(preset, scenes(), scenes(), tmp_path / "run", evidence_only=True, **FIXED)
    model = load(tmp_path / "run")
    assert model.masks_only
    assert model.guide.encoder is model.segmenter.encoder
    assert "no segmenter was trained" in (tmp_path / "run" / "model" / "README.md").read_text()
    images = torch.rand(2, 3, 32, 64)
    with torch.no_grad():
        logits = model.segmenter.mask_logits(images)
    coarse = EvidenceMasks(model.guide, scale=enlarge).logits(images)
    torch.testing.assert_close(logits, F.interpolate(coarse, size=(32, 64), mode="bilinear"), rtol=1e-4, atol=1e-4)
    result = model((255 * images[0]).byte(), tags=[])
    assert not result.label_map.any()
    with pytest.raises(ValueError, match="image decoder"):
        model.components((255 * images[0]).byte())


def test_a_guide_without_evidence_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"such as robust or fast, but got demo"):
        train(tiny(), scenes(), scenes(), tmp_path / "run", evidence_only=True, **FIXED)
    assert not (tmp_path / "run").exists()


def test_the_command_shows_the_evidence_and_says_how_to_go_on(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "my run"
    words = ["--out", run, "--preset", "demo", *SETTINGS, "--set", "segmenter.seeds=0.3", "--device", "cpu"]
    result = call("train", data, *words, "--evidence-only")
    assert result.exit_code == 0, result.output
    lines = result.stdout.strip().splitlines()
    assert lines[-1] == f"train the segmenter: decomprec train --config '{run}/config.yaml' --resume"
    assert f"images with their masks: {run}/figures/predictions.png" in lines
    with Image.open(run / "figures" / "predictions.png") as figure:
        assert figure.width == 6 * 194 + 2
    methods = [row["method"] for row in json.loads((run / "results.json").read_text())["rows"]]
    assert methods[:3] == ["evidence", "evidence, guided filter", "evidence, PAMR, guide's tags"]
    assert not (run / "diagnostics.json").exists()
    assert json.loads((run / "verdicts.json").read_text())[0]["name"] == "red"

    assert call("predict", run, data / "val", "--out", tmp_path / "drawn", "--device", "cpu").exit_code == 0
    assert len(list((tmp_path / "drawn" / "masks").rglob("*.png"))) == 8
    assert "image decoder" in sentence("predict", run, data / "val", "--out", tmp_path / "parts", "--components")
    assert call("report", run, "--device", "cpu").exit_code == 0
    page = (run / "report.html").read_text()
    assert page.count('class="card"') == 8
    assert "component: " not in page

    result = call("train", "--config", run / "config.yaml", "--resume")
    assert result.exit_code == 0, result.output
    assert "the guide is trained already" not in result.stdout.partition("class")[0]
    methods = [row["method"] for row in json.loads((run / "results.json").read_text())["rows"]]
    assert methods[0] == "decomprec"
    assert not load(run).masks_only
    refused = sentence("train", "--config", run / "config.yaml", "--resume", "--evidence-only")
    assert "Expected no trained segmenter for --evidence-only" in refused


def test_a_report_of_evidence_has_masks_alone(tmp_path: Path) -> None:
    train(PRESET, scenes(), scenes(), tmp_path / "run", evidence_only=True, **FIXED)
    write_report(read_run(tmp_path / "run"), tmp_path / "page.html", SyntheticScenes(4, 2, size=32, seed=2, masks=True))
    page = (tmp_path / "page.html").read_text()
    assert 'data-kind="truth"' in page
    assert 'data-kind="components"' not in page
