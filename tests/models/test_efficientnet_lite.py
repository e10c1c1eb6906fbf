"""The packages' weights in timm's networks: names, shapes, and outputs next to an implementation of the paper."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from support import efficientnet_lite
from torch import Tensor, nn

from decomprec.models.efficientnet_lite import DEPTHS, timm_state
from decomprec.models.weights import PACKAGES, imagenet_file, imagenet_state

DOGS = Path(__file__).parents[2] / "docs" / "assets" / "dogs_small.png"
BREEDS = range(151, 269)
"""ImageNet's classes that are dogs."""

on_photographs = pytest.mark.skipif("DECOMPREC_PHOTOS" not in os.environ, reason="DECOMPREC_PHOTOS is not set")


@pytest.fixture(autouse=True)
def _no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DECOMPREC_WEIGHTS", raising=False)


def packaged(name: str) -> dict[str, Tensor]:
    """The installed package's tensors by its own names."""
    file = imagenet_file(name)
    assert file is not None, "the development packages are not installed"
    state: dict[str, Tensor] = torch.load(file, weights_only=True)
    return state


def in_timms_network(name: str) -> nn.Module:
    network: nn.Module = timm.create_model(name).eval()
    network.load_state_dict(imagenet_state(name) or {}, strict=True)
    return network


def normalised(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).movedim(-1, 0)[None] / 255
    return (pixels - 0.5) / 0.5


def photographs() -> Iterator[tuple[str, Image.Image]]:
    """The photographs of the README, without the masks beside them."""
    sheet = Image.open(DOGS)
    for left, breed in ((0, "basenji"), (460, "bull mastiff"), (920, "Pomeranian")):
        yield breed, sheet.crop((left, 0, left + 224, 224))


@pytest.mark.parametrize("name", PACKAGES)
def test_names_and_shapes_are_those_of_the_published_network(name: str) -> None:
    shapes = {n: tuple(t.shape) for n, t in packaged(name).items()}
    assert shapes == efficientnet_lite.shapes(name)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_tensor_of_timms_network_is_given(name: str) -> None:
    state = {n: torch.full(shape, i) for i, (n, shape) in enumerate(efficientnet_lite.shapes(name).items())}
    renamed = timm_state(state, DEPTHS[name])
    own = timm.create_model(name).state_dict()
    assert {n: t.shape for n, t in renamed.items()} == {n: t.shape for n, t in own.items()}
    assert sorted(t.unique().item() for t in renamed.values()) == list(range(len(state)))


@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.parametrize("size", [(64, 64), (45, 70)])
def test_logits_are_those_of_the_published_network(name: str, size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = efficientnet_lite.logits({n: t.double() for n, t in packaged(name).items()}, name, images)
    with torch.inference_mode():
        torch.testing.assert_close(in_timms_network(name).double()(images), expected)
    assert expected.std() > 0.5


@pytest.mark.parametrize("name", PACKAGES)
def test_breeds_of_dogs_are_recognised(name: str) -> None:
    classes = {"basenji": 253, "bull mastiff": 243, "Pomeranian": 259}
    network = in_timms_network(name)
    for breed, image in photographs():
        with torch.inference_mode():
            first = network(normalised(image))[0].topk(5).indices.tolist()
        assert first[0] in BREEDS
        assert classes[breed] in first


@on_photographs
@pytest.mark.parametrize("name", PACKAGES)
def test_shared_weights_are_the_same_in_float16(name: str) -> None:
    shared = load_file(Path(os.environ["DECOMPREC_PHOTOS"]).parent / "weights" / f"{name}.safetensors")
    state = imagenet_state(name) or {}
    assert state.keys() == shared.keys()
    for tensor in state:
        assert torch.equal(state[tensor].to(shared[tensor].dtype), shared[tensor]), tensor
    half = timm.create_model(name).eval()
    half.load_state_dict(shared)
    for _, image in photographs():
        with torch.inference_mode():
            whole = in_timms_network(name)(normalised(image))
            torch.testing.assert_close(half(normalised(image)), whole, atol=0.05, rtol=0)


@on_photographs
def test_most_photographs_of_dogs_are_taken_for_dogs() -> None:
    files = sorted((Path(os.environ["DECOMPREC_PHOTOS"]) / "dogs" / "train" / "dog").glob("breed_*.jpg"))[:20]
    assert len(files) == 20
    with torch.inference_mode():
        logits = in_timms_network("tf_efficientnet_lite2")(torch.cat([normalised(Image.open(file)) for file in files]))
    assert sum(top in BREEDS for top in logits.argmax(dim=1).tolist()) >= 18


@pytest.mark.parametrize(
    "name", ["_fc", "_blocks.16._bn0.bias", "_blocks.0._expand_conv.weight", "_blocks.x._bn1.bias"]
)
def test_names_of_another_network(name: str) -> None:
    with pytest.raises(ValueError, match=f"tensor in an EfficientNet-Lite of 16 blocks, but got '{name}'"):
        timm_state({name: torch.zeros(1)}, DEPTHS["tf_efficientnet_lite0"])
