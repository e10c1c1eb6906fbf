"""A model that was saved once still loads and shows what it showed then; tests/data/model/README.md says what it is."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import decomprec

SAVED = Path(__file__).parents[1] / "data" / "model"
CLOSE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(scope="module")
def then() -> dict[str, Tensor]:
    return load_file(SAVED / "outputs.safetensors")


def test_outputs_differ_from_class_to_class_and_place_to_place(then: dict[str, Tensor]) -> None:
    for name in ("run.masks", "model.masks"):
        assert then[name].shape == (1, 3, 32, 32)
        assert then[name].std(dim=(2, 3)).min() > 0.01
    assert (then["run.masks"] - then["model.masks"]).abs().max() > CLOSE["atol"]  # one of them is rounded to float16


@pytest.mark.parametrize(("folder", "prefix"), [("full", "run"), ("half", "model")])
def test_a_saved_model_shows_what_it_showed(folder: str, prefix: str, then: dict[str, Tensor]) -> None:
    model = decomprec.load(SAVED / folder)
    assert (model.class_names, model.image_size, model.masks_only) == (("striped disc", "checked square"), 32, False)
    with torch.no_grad():
        torch.testing.assert_close(model.segmenter(then["image"]).masks, then[f"{prefix}.masks"], **CLOSE)
        torch.testing.assert_close(model.guide(then["image"]), then[f"{prefix}.tags"], **CLOSE)
