"""The page on which images are dropped: what it is asked, what it answers, and how it behaves in a real browser."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.browser import Browser, opened
from support.cli_run import call, sentence

from decomprec.app import REFINEMENTS, build_app, segment, serve
from decomprec.data.image_io import read_image
from decomprec.models import DecompositionSegmenter, SmallEncoder
from decomprec.refine import half_pamr, pamr
from decomprec.trained_model import TrainedModel

NAMES = ["red", "<b>green</b>"]


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    file = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(pixels).save(file)
    return file


@pytest.fixture(scope="module")
def model(photo: Path) -> TrainedModel:
    """Knows nothing, and finds each class somewhere in the photo: its logits are centred and spread out."""
    torch.manual_seed(0)
    segmenter = DecompositionSegmenter(len(NAMES) + 1, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
    with torch.no_grad():
        logits = segmenter.mask_logits(read_image(photo)[None].float() / 255)
    layer = segmenter.mask_decoder.head[0]
    layer.bias.data -= logits.mean(dim=(0, 2, 3))
    for parameter in layer.parameters():
        parameter.data.mul_(3 / logits.std(dim=(0, 2, 3)).mean())
    return TrainedModel(segmenter, NAMES, image_size=32)


def label_map(path: str | Path) -> np.ndarray:
    with Image.open(path) as file:
        assert file.mode == "P"
        return np.array(file)


def test_tags_refinement_and_threshold_reach_the_model(model: TrainedModel, photo: Path, tmp_path: Path) -> None:
    folder = str(tmp_path)

    def labels(tags: list[str], refinement: str = "none", threshold: float = 0.0) -> np.ndarray:
        drawn, file = segment(model, str(photo), tags, refinement, threshold, folder)
        assert drawn is not None
        assert file is not None
        assert Path(file).name == "photo_mask.png"
        image, masks = drawn
        assert image.shape == (60, 90, 3)
        found = label_map(file)
        numbers = {"red": 1, "<b>green</b>": 2, "not sure": 255}
        assert {numbers[name] for _, name in masks} == set(np.unique(found)) - {0}
        for mask, name in masks:
            assert np.array_equal(mask > 0, found == numbers[name])
        return found

    assert set(np.unique(labels([]))) <= {0, 1, 2}
    for tags, allowed in ((["red"], {0, 1}), (["<b>green</b>"], {0, 2})):
        assert set(np.unique(labels(tags))) <= allowed
    soft = model(photo, tags=NAMES, refine=None).masks.amax(dim=0).numpy()
    half = float(np.median(soft))
    assert np.array_equal(labels(NAMES, threshold=half) == 255, soft < half)
    assert 0 < (soft < half).mean() < 1
    for name, refine in (("half-pamr", half_pamr), ("pamr", pamr), ("none", None)):
        assert np.array_equal(labels(NAMES, name), model(photo, tags=NAMES, refine=refine).label_map.numpy())


def test_what_predict_draws_comes_first() -> None:
    assert next(iter(REFINEMENTS.values())) is half_pamr


def test_no_image_no_result(model: TrainedModel, tmp_path: Path) -> None:
    assert segment(model, None, [], "none", 0.0, str(tmp_path)) == (None, None)


def test_the_page_asks_for_what_can_be_switched(model: TrainedModel) -> None:
    config: Any = build_app(model).get_config_file()
    parts = {part["props"].get("label"): part["props"] for part in config["components"]}
    assert parts.keys() >= {"Image", "Tags", "Refinement", "Threshold", "Masks"}
    assert [name for name, _ in parts["Tags"]["choices"]] == NAMES
    assert [name for name, _ in parts["Refinement"]["choices"]] == list(REFINEMENTS)
    colours = parts["Masks"]["color_map"]
    assert [colours[name] for name in NAMES] == ["#800000", "#008000"]  # those of Pascal VOC


def test_without_gradio_one_sentence_says_what_to_install(
    model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decomprec.app.find_spec", lambda name: None)
    model.save_pretrained(tmp_path / "model")
    assert "pip install gradio" in sentence("app", tmp_path / "model", "--device", "cpu")
    assert call("app", tmp_path / "model", "--port", "0").exit_code == 2


@pytest.fixture(scope="module")
def address(model: TrainedModel) -> str:
    return serve(model, browser=False, wait=False)


def test_the_server_answers_with_masks(address: str, photo: Path) -> None:
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False, httpx_kwargs={"timeout": 120})  # a busy machine takes long
    drawn, file = client.predict(handle_file(photo), ["red"], "none", 0.0, api_name="/segment")
    assert [part["label"] for part in drawn["annotations"]] in ([], ["red"])
    assert set(np.unique(label_map(file["value"] if isinstance(file, dict) else file))) <= {0, 1}
    with urllib.request.urlopen(f"{address}config") as answer:
        assert json.load(answer)["title"] == "decomprec"


def test_a_taken_port_is_said(model: TrainedModel, address: str) -> None:
    taken = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(OSError, match=rf"Expected `port` to be free, but {taken} is not"):
        serve(model, port=taken, browser=False, wait=False)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def predicted(model: TrainedModel, photo: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The label map that `decomprec predict` writes for the photo."""
    folder = tmp_path_factory.mktemp("predicted")
    model.save_pretrained(folder / "model", half=False)
    result = call("predict", folder / "model", photo, "--out", folder / "drawn", "--device", "cpu")
    assert result.exit_code == 0, result.output
    labels = label_map(folder / "drawn" / "masks" / "photo.png")
    assert set(np.unique(labels)) == {0, 1, 2}
    return labels


@pytest.mark.parametrize("width", [390, 1400])
def test_an_image_is_dropped_and_the_label_map_of_predict_is_downloaded(
    address: str, browser: Browser, photo: Path, predicted: np.ndarray, tmp_path: Path, width: int
) -> None:
    browser.open(address, width)
    browser.wait("document.querySelector('input[type=file]')?.isConnected")
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelectorAll('main b').length") == 0  # names stay text
    masks = "document.querySelector('img.base-image')?.src ?? ''"
    assert browser.run(masks) == ""
    browser.give("input[type=file]", photo)
    assert browser.wait(masks).startswith(address)
    button = "[...document.querySelectorAll('button, a')].find(e => e.textContent.includes('Download the label map'))"
    assert browser.wait(f"{button} && !{button}.disabled")
    assert browser.run("document.documentElement.scrollWidth") <= width
    downloaded = browser.download(f"{button}.click()", tmp_path / "downloads")
    assert downloaded.name == "photo_mask.png"
    assert (label_map(downloaded) != predicted).mean() < 1e-3  # but for ties
    assert all(url.startswith((address, f"blob:{address}")) for url in browser.requests())  # nobody else is asked
