"""Named encoders and their local weights."""

import os
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from decomprec import DecompositionSegmenter
from decomprec.models.decoders import UnetDecoder
from decomprec.models.encoders import NamedEncoder
from decomprec.models.weights import load_local

MOBILENET = "mobilenetv1_100"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole set of weights of timm's smallest MobileNet v3, with a head that an encoder has no use for."""
    path = tmp_path_factory.mktemp("weights") / "mobilenet.safetensors"
    torch.manual_seed(1)
    save_file(timm.create_model("mobilenetv3_small_050", pretrained=False).state_dict(), path)
    return path


@pytest.mark.parametrize(("name", "stem"), [("resnet18", 64), ("mobilenetv3_small_050", 16), ("tu-resnet10t", 64)])
def test_features_are_what_is_promised(name: str, stem: int) -> None:
    encoder = NamedEncoder(name).eval()
    features = encoder(torch.rand(1, 3, 64, 96))
    assert encoder.stride == 32
    assert encoder.out_channels[0] == stem
    expected = [(1, c, 64 // 2**i, 96 // 2**i) for i, c in enumerate(encoder.out_channels, start=1)]
    assert [tuple(f.shape) for f in features] == expected


def test_images_are_normalised_as_the_weights_expect(images: Tensor) -> None:
    for name, mean, std in (
        ("resnet18", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        (MOBILENET, [0.5] * 3, [0.5] * 3),
    ):
        encoder = NamedEncoder(name).eval()
        normalised = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        torch.testing.assert_close(encoder(images)[0], encoder.network(normalised)[1])


def test_depth_and_options_reach_the_network() -> None:
    encoder = NamedEncoder(MOBILENET, depth=3, pad_type="same").eval()
    assert (len(encoder.out_channels), encoder.stride) == (3, 8)
    assert any(type(module).__name__ == "Conv2dSame" for module in encoder.modules())
    decoder = UnetDecoder(encoder.out_channels, out_channels=5)
    assert decoder(encoder(torch.rand(1, 3, 16, 24))).shape == (1, 5, 16, 24)


def test_local_weights_are_loaded(file: Path) -> None:
    encoder = NamedEncoder("mobilenetv3_small_050", weights=file)
    tensors = load_file(file)
    for name, value in encoder.network.model.state_dict().items():
        assert torch.equal(value, tensors[name]), name
    segmenter = DecompositionSegmenter(2, "mobilenetv3_small_050", str(file))
    assert torch.equal(segmenter.encoder.network.model.conv_stem.weight, tensors["conv_stem.weight"])


def test_blocks_that_the_file_lacks_at_the_end_of_a_stage_are_dropped(file: Path, tmp_path: Path) -> None:
    whole = NamedEncoder("mobilenetv3_small_050", weights=file).eval()
    last = len(whole.network.model.blocks[4]) - 1
    path = tmp_path / "shorter.safetensors"
    save_file({n: t for n, t in load_file(file).items() if not n.startswith(f"blocks.4.{last}.")}, path)
    shorter = NamedEncoder("mobilenetv3_small_050", weights=path).eval()
    assert len(shorter.network.model.blocks[4]) == last
    images = torch.rand(1, 3, 32, 32)
    assert [f.shape for f in shorter(images)] == [f.shape for f in whole(images)]
    torch.testing.assert_close(shorter(images)[:4], whole(images)[:4])


def test_a_network_that_is_itself_a_stage(tmp_path: Path) -> None:
    trained, path = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)), tmp_path / "w.safetensors"
    save_file({n: t for n, t in trained.state_dict().items() if not n.startswith("2.")}, path)
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    load_local(network, path)
    assert len(network) == 2
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in network.state_dict().items())


def edit(tensors: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    if how == "a tensor of another shape":
        return {**tensors, "bn1.weight": torch.zeros(3)}
    if how == "a tensor missing in the middle":
        return {name: t for name, t in tensors.items() if name != "blocks.1.0.conv_pw.weight"}
    return {f"module.{name}": t for name, t in tensors.items()}  # names of another network


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("a tensor of another shape", r"bn1.weight .* to have shape \(16,\), but got \(3,\)"),
        ("a tensor missing in the middle", r"lacks 1, blocks.1.0.conv_pw.weight first"),
        ("names of another network", r"hold every tensor of .*, but it lacks \d+"),
    ],
)
def test_files_that_do_not_fit(file: Path, tmp_path: Path, how: str, message: str) -> None:
    path = tmp_path / "edited.safetensors"
    save_file(edit(load_file(file), how), path)
    with pytest.raises(ValueError, match=message):
        NamedEncoder("mobilenetv3_small_050", weights=path)


@pytest.mark.parametrize("size", [0, 4, 1000])
def test_damaged_file(file: Path, tmp_path: Path, size: int) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"to be a safetensors file, but .*damaged.safetensors is not"):
        NamedEncoder("mobilenetv3_small_050", weights=path)


@pytest.mark.parametrize("missing", ["nowhere.safetensors", "imagnet"])
def test_missing_file(missing: str) -> None:
    with pytest.raises(ValueError, match=f"'imagenet', None or a .safetensors file, but found no {missing}"):
        DecompositionSegmenter(2, "mobilenetv3_small_050", encoder_weights=missing)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
def test_download_that_fails_says_what_to_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("segmentation_models_pytorch.encoders.get_encoder", offline)
    message = f"Could not download the ImageNet weights of '{name}' .* local .safetensors file .*, or use weights=None"
    with pytest.raises(ConnectionError, match=message):
        DecompositionSegmenter(2, encoder=name, encoder_weights="imagenet")


def test_wrong_options_are_no_download_error() -> None:
    with pytest.raises(ValueError, match=r"encoder options to be plain values.*got colour=1"):
        DecompositionSegmenter(2, MOBILENET, "imagenet", encoder_options={"colour": 1})


@pytest.mark.skipif("DECOMPREC_PHOTOS" not in os.environ, reason="DECOMPREC_PHOTOS is not set")
def test_shared_trunk_as_an_encoder() -> None:
    path = Path(os.environ["DECOMPREC_PHOTOS"]).parent / "weights" / "mobilenet_v1_trunk.safetensors"
    model = DecompositionSegmenter(2, MOBILENET, path, encoder_options={"pad_type": "same"}).eval()
    network, tensors = model.encoder.network.model, load_file(path)
    assert len(network.blocks[4]) == 1  # the file ends before blocks.4.1
    own = {n: t for n, t in network.state_dict().items() if not n.endswith("num_batches_tracked")}
    assert own.keys() == {n for n in tensors if not n.endswith("num_batches_tracked")}
    assert all(torch.equal(own[name], tensors[name]) for name in own)
    assert model.predict(torch.rand(1, 3, 40, 50)).shape == (1, 40, 50)
