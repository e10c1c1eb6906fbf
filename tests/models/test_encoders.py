"""Networks of timm as encoders: names, options, normalisation and local weights."""

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
from decomprec.models.encoders import TimmEncoder
from decomprec.models.weights import load_local

MOBILENET = "mobilenetv1_100"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole set of weights of timm's smallest MobileNet v3, with a head that an encoder has no use for."""
    path = tmp_path_factory.mktemp("weights") / "mobilenet.safetensors"
    torch.manual_seed(1)
    save_file(timm.create_model("mobilenetv3_small_050", pretrained=False).state_dict(), path)
    return path


def test_images_are_normalised_as_the_weights_expect(images: Tensor) -> None:
    for name, mean, std in (
        ("resnet18", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        (MOBILENET, [0.5] * 3, [0.5] * 3),
        ("tf_efficientnet_lite0", [0.5] * 3, [0.5] * 3),
    ):
        encoder = TimmEncoder(name).eval()
        normalised = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        expected = encoder.network.forward_intermediates(normalised, intermediates_only=True)
        torch.testing.assert_close(encoder(images)[0], expected[0])
    siglip, clip = (timm.get_pretrained_cfg(f"vit_base_patch16_{name}_224") for name in ("siglip", "clip"))
    assert siglip.mean == (0.5, 0.5, 0.5) != clip.mean


def test_options_reach_the_network() -> None:
    encoder = TimmEncoder(MOBILENET, output_stride=16, pad_type="same").eval()
    assert encoder.strides == (2, 4, 8, 16, 16)
    assert any(type(module).__name__ == "Conv2dSame" for module in encoder.modules())
    decoder = UnetDecoder(encoder.out_channels, out_channels=5)
    assert decoder(encoder(torch.rand(1, 3, 16, 32))).shape == (1, 5, 16, 32)


@pytest.mark.parametrize(
    ("widths", "expected"),
    [(None, [64, 32, 16]), ((8,), [8, 8, 8]), ((8, 4), [8, 8, 4]), ((9, 8, 7, 6), [8, 7, 6])],
)
def test_decoder_widths_fit_every_number_of_maps(widths: tuple[int, ...] | None, expected: list[int]) -> None:
    assert UnetDecoder((4, 5, 6), 2, widths).config["widths"] == expected


@pytest.mark.parametrize("widths", [(), (8, 0), (8, 2.5), 8])
def test_decoder_widths_that_are_none(widths: Any) -> None:
    with pytest.raises(ValueError, match=r"numbers of channels from 1 to \d+, at least one, but got"):
        UnetDecoder((4, 5), 2, widths)


@pytest.mark.parametrize("name", ["hiera_tiny_224", "coat_tiny", "maxvit_nano_rw_256", "legacy_xception"])
def test_networks_that_do_not_take_any_size(name: str) -> None:
    with pytest.raises(ValueError, match=rf"images of any size, but timm's '{name}' fails .* such as a resnet"):
        TimmEncoder(name)


@pytest.mark.parametrize("name", ["tu-resnet18", "resnet81"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ValueError, match=rf"network of timm, but got '{name}'; did you mean one of .*'resnet18'"):
        TimmEncoder(name)


def test_options_that_the_network_does_not_take() -> None:
    with pytest.raises(ValueError, match=r"takes the options {'pad_type': 'same'}, but timm refuses 'resnet18'"):
        TimmEncoder("resnet18", pad_type="same")
    with pytest.raises(ValueError, match=r"timm refuses 'resnet18.nobody': Invalid pretrained tag"):
        TimmEncoder("resnet18.nobody")


def test_strides_for_which_there_is_no_u_net() -> None:
    encoder = TimmEncoder("resnet18")
    encoder.strides = (4, 8, 16, 32, 64)
    with pytest.raises(ValueError, match=r"first feature map to be at stride 2.*got strides \(4, 8, 16, 32, 64\)"):
        DecompositionSegmenter(2, encoder)


def test_local_weights_are_loaded(file: Path) -> None:
    encoder = TimmEncoder("mobilenetv3_small_050", weights=file)
    tensors = load_file(file)
    for name, value in encoder.network.state_dict().items():
        assert torch.equal(value, tensors[name]), name
    segmenter = DecompositionSegmenter(2, "mobilenetv3_small_050", str(file))
    assert torch.equal(segmenter.encoder.network.conv_stem.weight, tensors["conv_stem.weight"])


def test_blocks_that_the_file_lacks_at_the_end_of_a_stage_are_dropped(file: Path, tmp_path: Path) -> None:
    whole = TimmEncoder("mobilenetv3_small_050", weights=file).eval()
    last = len(whole.network.blocks[4]) - 1
    path = tmp_path / "shorter.safetensors"
    save_file({n: t for n, t in load_file(file).items() if not n.startswith(f"blocks.4.{last}.")}, path)
    shorter = TimmEncoder("mobilenetv3_small_050", weights=path).eval()
    assert len(shorter.network.blocks[4]) == last
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
        TimmEncoder("mobilenetv3_small_050", weights=path)


@pytest.mark.parametrize("size", [0, 4, 1000])
def test_damaged_file(file: Path, tmp_path: Path, size: int) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"to be a safetensors file, but .*damaged.safetensors is not"):
        TimmEncoder("mobilenetv3_small_050", weights=path)


@pytest.mark.parametrize("missing", ["nowhere.safetensors", "imagnet"])
def test_missing_file(missing: str) -> None:
    with pytest.raises(ValueError, match=f"'imagenet', None or a .safetensors file, but found no {missing}"):
        DecompositionSegmenter(2, "mobilenetv3_small_050", encoder_weights=missing)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
def test_download_that_fails_says_what_to_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            raise OSError("no network")
        return create(name, **options)

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", offline)
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
    network, tensors = model.encoder.network, load_file(path)
    assert len(network.blocks[4]) == 1  # the file ends before blocks.4.1
    own = {n: t for n, t in network.state_dict().items() if not n.endswith("num_batches_tracked")}
    assert own.keys() == {n for n in tensors if not n.endswith("num_batches_tracked")}
    assert all(torch.equal(own[name], tensors[name]) for name in own)
    assert model.predict(torch.rand(1, 3, 40, 50)).shape == (1, 40, 50)
