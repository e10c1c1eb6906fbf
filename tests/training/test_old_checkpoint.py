"""What earlier versions wrote loads, and shows what it showed then. How `data/earlier` came about: its README."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from decomprec.models.pretrained import load_pretrained
from decomprec.training import load_run

EARLIER = Path(__file__).parents[1] / "data" / "earlier"
CLOSE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(scope="module")
def then() -> dict[str, Tensor]:
    return load_file(EARLIER / "outputs.safetensors")


def copy_of_run(folder: Path) -> Path:
    return Path(shutil.copytree(EARLIER / "run", folder / "run"))


def assert_shows_what_it_showed(run: Path, then: dict[str, Tensor]) -> None:
    read = load_run(run)
    assert read.class_names == ("striped disc", "checked square")
    with torch.no_grad():
        torch.testing.assert_close(read.segmenter(then["image"]).masks, then["run.masks"], **CLOSE)
        torch.testing.assert_close(read.classifier(then["image"]), then["run.tags"], **CLOSE)


def test_outputs_differ_from_class_to_class_and_place_to_place(then: dict[str, Tensor]) -> None:
    for name in ("run.masks", "model.masks"):
        assert then[name].shape == (1, 3, 32, 32)
        assert then[name].std(dim=(2, 3)).min() > 0.01
    assert (then["run.masks"] - then["model.masks"]).abs().max() > CLOSE["atol"]  # the model's weights are float16


def test_model_of_an_earlier_version(then: dict[str, Tensor]) -> None:
    read = load_pretrained(EARLIER / "model")
    assert (read.class_names, read.image_size, read.masks_only) == (("striped disc", "checked square"), 32, False)
    assert read.classifier is not None
    with torch.no_grad():
        torch.testing.assert_close(read.segmenter(then["image"]).masks, then["model.masks"], **CLOSE)
        torch.testing.assert_close(read.classifier(then["image"]), then["model.tags"], **CLOSE)


def test_run_of_an_earlier_version(then: dict[str, Tensor]) -> None:
    assert "self_training" in (EARLIER / "run" / "preset.yaml").read_text()  # a stage that was left out
    assert_shows_what_it_showed(EARLIER / "run", then)


def test_run_of_the_first_version(tmp_path: Path, then: dict[str, Tensor]) -> None:
    run = copy_of_run(tmp_path)
    shutil.copy(EARLIER / "preset_of_the_first_runs.yaml", run / "preset.yaml")
    assert_shows_what_it_showed(run, then)


@pytest.mark.parametrize(
    ("setting", "unused", "used"), [("self_training", "epochs: 0", "epochs: 1"), ("entropy", " 0.0", " 0.1")]
)
def test_a_setting_that_is_gone_and_was_used_is_refused(tmp_path: Path, setting: str, unused: str, used: str) -> None:
    run = copy_of_run(tmp_path)
    before, name, after = (run / "preset.yaml").read_text().partition(f"{setting}:")
    assert unused in after
    (run / "preset.yaml").write_text(before + name + after.replace(unused, used, 1))
    with pytest.raises(ValueError, match=setting):
        load_run(run)
