"""A model as a folder: what comes back, what is refused, and the example that draws photographs with it."""

import copy
import json
import pickle
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from decomprec import DecompositionSegmenter
from decomprec.models import PaperDecoder, PaperEncoder, PooledClassifier, SmallEncoder, TimmEncoder
from decomprec.trained_model import TrainedModel, load

EXAMPLE = Path(__file__).parents[2] / "examples" / "segment_a_photo.py"


def small(num_classes: int = 3) -> DecompositionSegmenter:
    return DecompositionSegmenter(num_classes, SmallEncoder((4, 8)), decoder_widths=(8, 4))


def lived_in(network: DecompositionSegmenter) -> DecompositionSegmenter:
    """The network with batch statistics that are not those it was built with."""
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return network.eval()


def save(folder: Path, network: DecompositionSegmenter, **options: Any) -> Path:
    names = ["dog", "cat"][: network.num_classes - 1]
    model(network, **{"class_names": names, **options}).save_pretrained(folder, **how(options))
    return folder


def model(
    network: DecompositionSegmenter,
    class_names: list[str],
    image_size: int = 64,
    classifier: PooledClassifier | None = None,
    card: str = "",
    **_: Any,
) -> TrainedModel:
    return TrainedModel(network, class_names, image_size, classifier, card=card)


def how(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in ("half", "masks_only")}


def edit_config(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    edit(config)
    (folder / "config.json").write_text(json.dumps(config))


def equal(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


BUILD: dict[str, Callable[[], DecompositionSegmenter]] = {
    "small": small,
    "paper": lambda: DecompositionSegmenter(2),
    "resnet18": lambda: DecompositionSegmenter(2, "resnet18", decoder_widths=(8,)),
    "timm": lambda: DecompositionSegmenter(2, TimmEncoder("mobilenetv1_100", pad_type="same"), decoder_widths=(8, 8)),
    "enlarged": lambda: DecompositionSegmenter(2, SmallEncoder((4, 8, 16)), decoder_widths=(8, 4), enlarge=2),
}


@pytest.mark.parametrize("kind", BUILD)
def test_without_half_every_bit_comes_back(kind: str, tmp_path: Path, images: Tensor) -> None:
    network = lived_in(BUILD[kind]())
    read = load(save(tmp_path, network, half=False))
    assert equal(read.segmenter, network)
    assert not any(module.training for module in read.segmenter.modules())
    with torch.no_grad():
        assert torch.equal(read.segmenter(images).mask_logits, network(images).mask_logits)
        assert torch.equal(read.segmenter(images).imagelets, network(images).imagelets)
    assert (read.class_names, read.image_size) == (("dog", "cat")[: network.num_classes - 1], 64)
    assert read.classifier is None


def test_half_rounds_the_weights_to_float16_and_nothing_else(tmp_path: Path, images: Tensor) -> None:
    network = lived_in(BUILD["timm"]())
    read = load(save(tmp_path, network)).segmenter
    rounded = copy.deepcopy(network)
    for tensor in rounded.state_dict().values():
        if tensor.ndim > 1:  # not the biases, nor the norms' weights and statistics
            tensor.copy_(tensor.half())
    assert equal(read, rounded)
    assert {t.dtype for t in read.state_dict().values()} == {torch.float32, torch.int64}
    stored = sum(t.numel() * t.element_size() for t in load_file(tmp_path / "model.safetensors").values())
    assert stored < 0.55 * sum(t.numel() * t.element_size() for t in network.state_dict().values())


def test_half_gives_the_same_masks_and_labels(tmp_path: Path) -> None:
    """Rounding to 11 bits changes a weight by at most 2^-11 = 5e-4 of itself; masks, through ten layers, by about that.

    Labels must agree wherever the two best classes are further apart than two such errors.
    """
    network, images, tolerance = lived_in(BUILD["timm"]()), torch.rand(2, 3, 50, 70), 2e-3
    read = load(save(tmp_path, network)).segmenter
    with torch.no_grad():
        masks, expected = (m.mask_logits(images).softmax(dim=1) for m in (read, network))
    torch.testing.assert_close(masks, expected, atol=tolerance, rtol=0)
    best = expected.topk(2, dim=1).values
    clear = best[:, 0] - best[:, 1] > 2 * tolerance
    assert clear.float().mean() > 0.9
    assert torch.equal(read.predict(images)[clear], network.predict(images)[clear])


@pytest.mark.parametrize("standardise", [False, True])
def test_an_equal_encoder_is_stored_once_and_shared(standardise: bool, tmp_path: Path, images: Tensor) -> None:
    network = lived_in(small())
    classifier = PooledClassifier(copy.deepcopy(network.encoder), 3, standardise=standardise)
    classifier.norm(torch.rand(4, 16, 2, 2))  # statistics that differ
    classifier.eval()
    alone = len(load_file(save(tmp_path / "alone", network) / "model.safetensors"))
    tensors = load_file(save(tmp_path, network, classifier=classifier, half=False) / "model.safetensors")
    assert len(tensors) == alone + (6 if standardise else 3)  # the statistics, the last layer and its floor
    read = load(tmp_path)
    assert read.classifier is not None
    assert read.classifier.encoder is read.segmenter.encoder
    assert torch.equal(read.classifier(images), classifier(images))


@pytest.mark.parametrize("change", ["a weight", "batch statistics", "another kind"])
def test_different_encoders_are_both_stored(change: str, tmp_path: Path, images: Tensor) -> None:
    network = lived_in(small())
    classifier = PooledClassifier(copy.deepcopy(network.encoder), 3)
    if change == "another kind":
        classifier = PooledClassifier(SmallEncoder((4,)), 3, standardise=True)
    elif change == "a weight":
        classifier.encoder.stages[1][0].weight.data[0, 0, 0, 0] += 1
    else:
        classifier.encoder.stages[1][1].running_mean[0] += 1
    classifier.eval()
    read = load(save(tmp_path, network, classifier=classifier, half=False))
    assert read.classifier is not None
    assert torch.equal(read.classifier(images), classifier(images))
    assert equal(read.segmenter, network)


def test_a_trunk_that_ends_early_comes_back_as_short(tmp_path: Path, images: Tensor) -> None:
    whole = TimmEncoder("mobilenetv1_100", output_stride=16).network
    last = f"blocks.4.{len(whole.blocks[4]) - 1}."
    save_file({n: t for n, t in whole.state_dict().items() if not n.startswith(last)}, tmp_path / "cut.safetensors")
    encoder = TimmEncoder("mobilenetv1_100", tmp_path / "cut.safetensors", output_stride=16)
    network = lived_in(DecompositionSegmenter(2, copy.deepcopy(encoder), decoder_widths=(8,) * 5))
    classifier = PooledClassifier(copy.deepcopy(network.encoder), 2).eval()
    read = load(save(tmp_path, network, classifier=classifier, half=False))
    assert read.classifier is not None
    assert len(read.segmenter.encoder.network.blocks[4]) == len(whole.blocks[4]) - 1
    assert torch.equal(read.segmenter.mask_logits(images), network.mask_logits(images))
    assert torch.equal(read.classifier(images), classifier(images))


def test_masks_only(tmp_path: Path, images: Tensor) -> None:
    network = lived_in(small())
    read = load(save(tmp_path, network, masks_only=True, half=False)).segmenter
    assert torch.equal(read.mask_logits(images), network.mask_logits(images))
    assert torch.equal(read.predict(images), network.predict(images))
    with pytest.raises(ValueError, match=r"saved with masks_only=True; call `mask_logits` or `predict`"):
        read(images)
    again = load(save(tmp_path / "again", read, half=False)).segmenter
    assert torch.equal(again.mask_logits(images), network.mask_logits(images))


def test_the_short_form_and_the_card(tmp_path: Path) -> None:
    network = small()
    save(tmp_path, network, half=False, card="# Dogs\n")
    assert equal(load(tmp_path).segmenter, network)
    assert (tmp_path / "README.md").read_text() == "# Dogs\n"
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors", "README.md"}


def test_random_numbers_go_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    network = small()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load(save(tmp_path, network))
    assert torch.equal(torch.rand(3), expected)


WRONG_CONFIGS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown encoder": (
        lambda c: c["encoder"].update(kind="os.system"),
        "encoder is wrong: .*'os.system'.*'paper', 'small', 'timm'",
    ),
    "no encoder": (lambda c: c.update(encoder=[1]), r"encoder should be an object, and is \[1\]"),
    "unknown decoder": (
        lambda c: c["mask_decoder"].update(kind="mlp"),
        "mask_decoder is wrong: .*'mlp'.*'paper', 'unet'",
    ),
    "extra key": (lambda c: c.update(colour=1), "but colour is unknown"),
    "missing key": (lambda c: c.pop("image_size"), "but image_size is missing"),
    "extra value": (lambda c: c["encoder"].update(weights="imagenet"), "but encoder.small.weights is unknown"),
    "widths that are none": (
        lambda c: c["encoder"].update(widths=[4, "8"]),
        "encoder.small.widths.1 should be a valid integer, and is '8'",
    ),
    "too few widths": (lambda c: c["mask_decoder"].update(widths=[8]), r"mask_decoder.* to have shape .*, but got"),
    "size as text": (lambda c: c.update(image_size="64"), "image_size should be a valid integer, and is '64'"),
    "no size": (lambda c: c.update(image_size=0), "image_size should be greater than or equal to 1, and is 0"),
    "equal names": (lambda c: c.update(class_names=["a", "a"]), "class_names should be different names"),
    "one class more": (lambda c: c["class_names"].append("cow"), r"segmenter\.\w+_decoder.* to have shape .*, but got"),
    "other widths": (lambda c: c["encoder"].update(widths=[4, 9]), r"to have shape \(.*\), but got \("),
    "a classifier": (
        lambda c: c.update(classifier={"encoder": None, "standardise": False, "pooling": "mean", "levels": [-1]}),
        "lacks 3, classifier.floor",
    ),
    "half a classifier": (lambda c: c.update(classifier={"encoder": None}), "classifier.standardise is missing"),
}


@pytest.mark.parametrize("case", WRONG_CONFIGS)
def test_configs_that_are_not_the_models(case: str, tmp_path: Path) -> None:
    edit, message = WRONG_CONFIGS[case]
    edit_config(save(tmp_path, small()), edit)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"checkpoint_path": "evil.pth"}, {"pretrained_cfg": {"file": "evil.pth"}}, {"act_layer": ["os", "system"]}],
)
def test_options_cannot_make_timm_read_other_files(options: dict[str, Any], tmp_path: Path) -> None:
    save(tmp_path, BUILD["timm"]())
    edit_config(tmp_path, lambda config: config["encoder"]["options"].update(options))
    with pytest.raises(
        ValueError, match=f"(plain values that read no files, but got |encoder.timm.options.){next(iter(options))}"
    ):
        load(tmp_path)


@pytest.mark.parametrize("name", ["weights", "colour"])
def test_options_that_the_encoder_does_not_take(name: str, tmp_path: Path) -> None:
    save(tmp_path, BUILD["timm"]())
    edit_config(tmp_path, lambda config: config["encoder"]["options"].update({name: "imagenet"}))
    with pytest.raises(ValueError, match=f"(?s)options.*{name}"):
        load(tmp_path)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


def test_a_pickle_in_place_of_the_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, small())
    monkeypatch.chdir(tmp_path)
    for content in (pickle.dumps(Bomb()), b"", (tmp_path / "model.safetensors").read_bytes()[:1000]):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match="to be a safetensors file, but"):
            load(tmp_path)
    assert not Path("exploded").exists()


def test_files_that_are_missing(tmp_path: Path) -> None:
    save(tmp_path, small())
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"that `save_pretrained` wrote, but no model\.safetensors"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match=r"config\.json to describe a model, but it is not JSON"):
        load(tmp_path)


def test_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, asked = small(), []

    def fetch(repo_id: str, allow_patterns: list[str]) -> str:
        asked.append((repo_id, sorted(allow_patterns)))
        if repo_id == "someone/dogs":
            return str(save(tmp_path, network, half=False))
        raise OSError("no network")

    monkeypatch.setattr("decomprec.trained_model.loading.snapshot_download", fetch)
    assert equal(load("someone/dogs").segmenter, network)
    with pytest.raises(FileNotFoundError, match=r"no folder else/where, and the hub gave none \(OSError\); check"):
        load("else/where")
    for source in ("nowhere", "examples/models/nowhere", "./nowhere", "/no/where"):
        with pytest.raises(FileNotFoundError, match=f"folder or an id of the hub .* found no {source}"):
            load(source)
    assert asked == [
        (name, ["README.md", "config.json", "model.safetensors"]) for name in ("someone/dogs", "else/where")
    ]


class OwnEncoder(SmallEncoder):
    """Inherits everything, but nobody can know that from a file."""


def with_weight(network: DecompositionSegmenter, value: float) -> DecompositionSegmenter:
    network.encoder.stages[0][0].weight.data[0, 0, 0, 0] = value
    return network


def with_another_layer(network: DecompositionSegmenter) -> DecompositionSegmenter:
    network.encoder.another = nn.Linear(2, 2)
    return network


UNFIT: dict[str, tuple[Callable[[], DecompositionSegmenter], dict[str, Any], str]] = {
    "own encoder": (
        lambda: DecompositionSegmenter(3, OwnEncoder((4, 8)), decoder_widths=(8, 4)),
        {},
        "but got OwnEncoder; save the model's state dict instead",
    ),
    "own decoder": (
        lambda: DecompositionSegmenter(3, PaperEncoder(), mask_decoder=nn.Identity(), image_decoder=PaperDecoder(9)),
        {},
        "a PaperDecoder or UnetDecoder or EvidenceDecoder, which can .* but got Identity",
    ),
    "changed later": (lambda: with_another_layer(small()), {}, "built it, but segmenter.encoder.another.bias differs"),
    "too large": (lambda: with_weight(small(), 1e5), {}, r"stages.0.0.weight to fit into float16, .* half=False"),
    "too few names": (small, {"class_names": ["dog"]}, r"the 2 classes, but got \['dog'\]"),
    "equal names": (
        small,
        {"class_names": ["dog", "dog"]},
        "can be read back, but class_names should be different names",
    ),
    "no size": (small, {"image_size": 0}, "can be read back, but image_size should be greater than or equal to 1"),
    "classifier of others": (
        small,
        {"classifier": PooledClassifier(SmallEncoder((4,)), 2)},
        "`classifier` to have 2 outputs, but got 1",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_models_that_cannot_be_saved_leave_the_old_one(case: str, tmp_path: Path) -> None:
    build, options, message = UNFIT[case]
    save(tmp_path, small())
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=message):
        model(build(), **{"class_names": ["dog", "cat"], **options}).save_pretrained(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def reddish(height: int, width: int, box: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """A bluish noise image (3, H, W) in [0, 1] with a red box (top, left, bottom, right), and the box's mask."""
    image, mask = 0.3 * torch.rand(3, height, width), torch.zeros(height, width, dtype=torch.int64)
    top, left, bottom, right = box
    mask[top:bottom, left:right] = 1
    image[0] += 0.6 * mask
    image[2] += 0.6 * (1 - mask)
    return image, mask


@pytest.fixture(scope="module")
def red_finder(tmp_path_factory: pytest.TempPathFactory) -> tuple[DecompositionSegmenter, Path]:
    """A tiny segmenter that has learnt to find what is red, and a folder to save it in."""
    torch.manual_seed(0)
    network = DecompositionSegmenter(2, SmallEncoder((8, 8)), decoder_widths=(8, 8))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(60):
        corners = torch.randint(0, 24, (8, 2)).tolist()
        pairs = [reddish(48, 48, (top, left, top + 24, left + 24)) for top, left in corners]
        images, masks = (torch.stack(part) for part in zip(*pairs, strict=True))
        optimiser.zero_grad()
        F.cross_entropy(network.mask_logits(images), masks).backward()
        optimiser.step()
    return network.eval(), tmp_path_factory.mktemp("models")


def save_finder(red_finder: tuple[DecompositionSegmenter, Path], present: bool) -> Path:
    """Its model with a classifier that says of every image that the class is there, or is not."""
    network, folder = red_finder
    classifier = PooledClassifier(network.encoder, 2)
    nn.init.zeros_(classifier.head.weight)
    nn.init.constant_(classifier.head.bias, 5.0 if present else -5.0)
    TrainedModel(network, ["red"], 48, classifier).save_pretrained(folder / str(present), masks_only=True)
    return folder / str(present)


def to_image(pixels: Tensor) -> Image.Image:
    return Image.fromarray((255 * pixels).byte().permute(1, 2, 0).numpy())


def run_example(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> Any:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    return ended.value.code


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, tuple[Path, Tensor]]:
    """Two photos by name, with the masks that belong to them as they are looked at."""
    pixels, mask = reddish(90, 60, (50, 6, 84, 40))
    to_image(pixels).save(tmp_path / "see-through.png")
    image = Image.open(tmp_path / "see-through.png")
    image.putalpha(128)
    image.save(tmp_path / "see-through.png")
    stored, stored_mask = reddish(100, 160, (10, 20, 60, 80))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    to_image(stored).save(tmp_path / "turned.jpg", exif=exif, quality=95, subsampling=0)
    turned = torch.from_numpy(np.rot90(stored_mask.numpy(), k=-1).copy())
    return {"see-through": (tmp_path / "see-through.png", mask), "turned": (tmp_path / "turned.jpg", turned)}


def test_example_draws_photos(
    photos: dict[str, tuple[Path, Tensor]],
    red_finder: tuple[DecompositionSegmenter, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, out = save_finder(red_finder, present=True), tmp_path / "out"
    paths = [path for path, _ in photos.values()]
    assert run_example(monkeypatch, *paths, "--model", model, "--out", out) == 0
    assert {file.name for file in out.iterdir()} == {f"{n}_{kind}.png" for n in photos for kind in ("mask", "overlay")}
    lines = capsys.readouterr().out.splitlines()
    for (name, (path, truth)), line in zip(photos.items(), lines, strict=True):
        with Image.open(out / f"{name}_mask.png") as file:
            assert file.mode == "P"
            assert file.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
            mask = torch.from_numpy(np.array(file)).long()
        assert mask.shape == truth.shape
        assert ((mask & truth).sum() / (mask | truth).sum()).item() > 0.8
        assert line.startswith(f"{path}: red {100 * mask.float().mean():.1f}% (")

        drawn = torch.from_numpy(np.array(Image.open(out / f"{name}_overlay.png"))).float()
        photo = Image.open(path)
        photo = photo.transpose(Image.Transpose.ROTATE_270) if name == "turned" else photo
        on_white = Image.new("RGBA", photo.size, "white")
        on_white.alpha_composite(photo.convert("RGBA"))
        expected = torch.from_numpy(np.array(on_white.convert("RGB"))).float()
        expected[mask == 1] = (expected[mask == 1] + torch.tensor([128.0, 0, 0])) / 2
        torch.testing.assert_close(drawn, expected, atol=1, rtol=0)


def test_example_asks_the_classifier_unless_it_is_given_tags(
    photos: dict[str, tuple[Path, Tensor]],
    red_finder: tuple[DecompositionSegmenter, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, (path, _) = save_finder(red_finder, present=False), photos["turned"]
    assert run_example(monkeypatch, path, "--model", model) == 0
    assert "turned.jpg: nothing found (" in capsys.readouterr().out
    assert run_example(monkeypatch, path, "--model", model, "--tags", "red") == 0
    assert "turned.jpg: red " in capsys.readouterr().out
    assert path.with_name("turned_overlay.png").is_file()  # beside the photo
    assert "among red, but got ['dog']" in run_example(monkeypatch, path, "--model", model, "--tags", "dog")


def test_example_says_what_is_missing(
    photos: dict[str, tuple[Path, Tensor]],
    red_finder: tuple[DecompositionSegmenter, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, _ = photos["turned"]
    assert "found no" in run_example(monkeypatch, path, "--model", tmp_path / "no model")
    (tmp_path / "note.jpg").write_text("no image")
    model = save_finder(red_finder, present=True)
    unreadable = [tmp_path / "nowhere.jpg", tmp_path / "note.jpg"]
    assert run_example(monkeypatch, *unreadable, path, "--model", model) == 1
    printed = capsys.readouterr()
    assert "turned.jpg: red " in printed.out  # all the same
    assert [line.partition(": ")[0] for line in printed.err.splitlines()] == ["error", "error"]
    assert "nowhere.jpg to be an image, but there is no such file." in printed.err
    (tmp_path / "other").mkdir()
    namesake = path.rename(tmp_path / "other" / "see-through.jpg")
    arguments = [photos["see-through"][0], namesake, "--model", model, "--out", tmp_path / "out"]
    assert "photos with different names" in run_example(monkeypatch, *arguments)
