"""The command line, as it is called: results against numpy, exit codes, and one sentence for what is wrong."""

import contextlib
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from support.cli_run import SETTINGS, call, data, run, sentence, weights
from typer.main import get_command

from decomprec import experiment
from decomprec._devices import precision_of
from decomprec.cli import app
from decomprec.cli.common import Format
from decomprec.data.loading import FORMATS

__all__ = ["data", "run"]  # fixtures

ROOT = Path(__file__).parents[2]
HEAVY = [
    "torch",
    "lightning",
    "timm",
    "segmentation_models_pytorch",
    "torchvision",
    "kornia",
    "matplotlib",
    "torchmetrics",
]


def test_help_is_light_and_teaches_by_example() -> None:
    words = [sys.executable, "-X", "importtime", "-m", "decomprec", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "decomprec train images --out runs/mine\n" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert imported.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "command",
    ["demo", "check", "train", "predict", "evaluate", "report", "app", "export", "export-labels", "import-labels"],
)
def test_every_command_has_examples_in_lines_of_their_own(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    examples = [line for line in result.stdout.splitlines() if line.strip().startswith(f"decomprec {command}")]
    assert len(examples) >= 2
    assert "\b" not in result.stdout


def calls_of_the_pages() -> set[str]:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    blocks = [
        b for page in pages for b in re.findall(r"^```bash\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    ]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return {line.removeprefix("uv run ") for line in lines if line.removeprefix("uv run ").startswith("decomprec ")}


NEEDED = {  # what a config of each command holds at least
    "check": {"data": "images"},
    "train": {"data": "images", "out": "run"},
    "predict": {"model": "run", "images": ["a.jpg"], "out": "drawn"},
    "evaluate": {"masks": "drawn", "truth": "true"},
    "report": {"run": "run"},
    "export": {"model": "run", "out": "mine.onnx"},
}


@pytest.mark.parametrize("line", sorted(calls_of_the_pages()))
def test_commands_of_the_pages_are_understood(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, name, *words = shlex.split(line, comments=True)
    monkeypatch.chdir(tmp_path)
    if name == "--version":
        assert call(name).exit_code == 0
        return
    if "--config" in words:
        config = Path(words[words.index("--config") + 1])
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(yaml.safe_dump({"command": name, **NEEDED.get(name, {})}))
    get_command(app).commands[name].make_context(name, words)  # parses, and raises what is wrong


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["segment"],
        ["train", "images"],
        ["train", "images", "--out", "run", "--device", "tpu"],
        ["train", "images", "--out", "run", "--workers", "few"],
        ["predict", "model", "--out", "drawn"],
        ["predict", "model", "a.jpg", "--out", "drawn", "--size", "0"],
        ["evaluate", "masks"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(words: list[str]) -> None:
    result = call(*words)
    assert result.exit_code == 2
    assert "Usage: " in result.output


def test_wrong_usage_is_2_for_whoever_calls() -> None:
    done = subprocess.run([sys.executable, "-m", "decomprec", "segment"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "segment" in done.stderr


def test_ctrl_c_ends_in_130_and_says_how_to_go_on(data: Path, tmp_path: Path) -> None:
    settings = [*SETTINGS, "--set", "guide.epochs=100000"]
    words = ["train", str(data), "--out", "my run", "--preset", "demo", *settings, "--workers", "0", "--device", "cpu"]
    command = [sys.executable, "-m", "decomprec", *words]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not (tmp_path / "my run" / "guide" / "last.ckpt").is_file():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    last = errors.strip().splitlines()[-1]
    assert last == "interrupted; continue with: decomprec train --config 'my run/config.yaml' --resume"
    assert "Traceback" not in errors


def test_ctrl_c_before_a_run_has_begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "run_experiment", stop)
    result = call("demo", "--out", tmp_path / "run", "--device", "cpu")
    assert (result.exit_code, result.stderr.strip()) == (130, "interrupted")


@pytest.mark.parametrize("then", ["a worker ends", "the next batch comes"])
def test_ctrl_c_that_python_drops(then: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stop(*_: object, callbacks: list[Callback], **__: object) -> None:
        with contextlib.suppress(KeyboardInterrupt):  # as while a process is started
            signal.raise_signal(signal.SIGINT)
        if then == "a worker ends":
            raise RuntimeError("DataLoader worker exited unexpectedly")
        for callback in callbacks:
            callback.on_train_batch_start(None, None, None, 0)

    monkeypatch.setattr(experiment, "run_experiment", stop)
    before = signal.getsignal(signal.SIGINT)
    result = call("demo", "--out", tmp_path / "run", "--device", "cpu")
    assert (result.exit_code, result.stderr.strip()) == (130, "interrupted")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("given", "on_a_gpu", "on_a_cpu"),
    [
        ([], ("bf16-mixed", 6), ("32-true", 0)),
        (["--workers", "2", "--precision", "32-true"], ("32-true", 2), ("32-true", 2)),
        (["--workers", "0", "--precision", "bf16-mixed"], ("bf16-mixed", 0), ("bf16-mixed", 0)),
    ],
)
def test_how_training_is_run(
    given: list[str],
    on_a_gpu: tuple[str, int],
    on_a_cpu: tuple[str, int],
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    calls = []

    def stop(*_: object, **options: Any) -> None:
        calls.append((options["trainer_options"]["precision"], options["num_workers"]))
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "train", stop)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: True)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True})
    for there in (True, False):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        assert call("train", data, "--out", tmp_path / "run", "--preset", "demo", *given).exit_code == 130
    assert call("train", data, "--out", tmp_path / "run", "--device", "cpu", *given).exit_code == 130
    assert calls == [on_a_gpu, on_a_cpu, on_a_cpu]


@pytest.mark.parametrize(
    ("device", "hardware", "expected"),
    [
        ("cpu", {"avx512_f": True, "avx512_bf16": False}, "32-true"),
        ("cpu", {"avx512_f": True, "avx512_bf16": True}, "bf16-mixed"),
        ("cpu", {"amx_bf16": True}, "bf16-mixed"),
        ("cpu", {"neon": True}, "32-true"),
        ("cuda", {"avx512_bf16": True}, "32-true"),  # a GPU that only emulates bfloat16
        ("mps", {"avx512_bf16": True}, "32-true"),
    ],
)
def test_bfloat16_is_for_hardware_that_computes_in_it(
    device: str, hardware: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: hardware)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *, including_emulation: including_emulation)
    assert precision_of(device) == expected


@pytest.mark.parametrize(
    ("given", "gpu", "expected"),
    [
        ([], "cuda", ("gpu", 1, 1, "auto")),
        ([], "mps", ("mps", 1, 1, "auto")),
        (["--device", "gpu"], "mps", ("mps", 1, 1, "auto")),
        (["--device", "mps"], "mps", ("mps", 1, 1, "auto")),
        (["--device", "cpu", "--devices", "3"], "mps", ("cpu", 3, 1, "auto")),
        (["--devices", "auto"], "cuda", ("gpu", "auto", 1, "auto")),
        (["--devices", "2", "--strategy", "ddp_spawn"], "cuda", ("gpu", 2, 1, "ddp_spawn")),
        (["--device", "mps"], "cuda", "Expected a GPU of a Mac for --device mps, but torch finds none; use cpu."),
        (["--device", "gpu"], "", "Expected a GPU for --device gpu, but torch finds none; use cpu."),
        (["--devices", "5"], "cuda", "Expected --devices to be at most 4, the GPUs of this machine, but got 5."),
        (["--strategy", "fsdp"], "cuda", "Expected --strategy to be auto or of the ddp family, such as"),
        (
            ["--nodes", "2"],
            "cuda",
            "Expected a launcher to start the processes of 2 --nodes, but found none; use torch",
        ),
    ],
)
def test_devices_go_to_lightning(
    given: list[str], gpu: str, expected: Any, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = []

    def stop(*_: object, trainer_options: dict[str, Any], **__: object) -> None:
        calls.append(tuple(trainer_options[key] for key in ("accelerator", "devices", "num_nodes", "strategy")))

    monkeypatch.setattr(experiment, "run_experiment", stop)
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu == "cuda")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: gpu == "mps")
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 4 if gpu == "cuda" else 1)
    result = call("train", data, "--out", tmp_path / "run", "--preset", "demo", *given)
    if isinstance(expected, str):
        assert f"error: {expected}" in result.stderr
        assert result.exit_code == 1
    else:
        assert result.exit_code == 0, result.output
        assert calls == [expected]


def test_other_exits_stay_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(experiment, "run_experiment", lambda *_, **__: sys.exit(3))
    assert call("demo", "--out", tmp_path / "run", "--device", "cpu").exit_code == 3


def test_kinds_of_the_command_line_are_those_of_the_library() -> None:
    assert tuple(Format) == ("auto", *FORMATS)


def test_resume_takes_the_preset_of_the_run(run: Path, data: Path) -> None:
    copied = shutil.copytree(run, run.parent / "resumed")
    (copied / "segmenter" / "finished.safetensors").unlink()
    (copied / "segmenter" / "last.ckpt").unlink()
    guide = (copied / "guide" / "finished.safetensors").stat().st_mtime_ns
    result = call("train", data, "--out", copied, "--resume", "--workers", "0", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert (copied / "guide" / "finished.safetensors").stat().st_mtime_ns == guide  # not trained again
    first, second = weights(run), weights(copied)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert "holds a run; resume it" in sentence("train", data, "--out", run, "--preset", run / "preset.yaml")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "Expected DATA to be a folder, or a CSV or JSON file, but found no nowhere"),
        (["DATA", "--format", "voc"], "JPEGImages"),
        (["DATA", "--format", "coco"], "one instances*.json for train"),
        (["DATA", "--classes", "red,blue"], "but got ['blue']"),
        (["BROKEN"], "a folder or end in .csv, .json"),
        (
            ["DATA", "--preset", "best"],
            "the preset to be one of paper, demo, robust, fast or a YAML file, but got 'best'",
        ),
        (["DATA", "--preset", "BROKEN"], "it is not YAML"),
        (["DATA", "--set", "segmenter.epoch=1"], "a setting such as segmenter.epochs, but got 'segmenter.epoch'"),
        (["DATA", "--set", "segmenter.epochs"], "a setting such as segmenter.epochs=3"),
        (["DATA", "--set", "segmenter.epochs=[1"], "Expected YAML after segmenter.epochs=, but it is not YAML"),
        (["DATA", "--set", "segmenter.epochs=few"], "segmenter.epochs to be a valid integer, but got 'few'"),
        (["DATA", "--set", "segmenter.epochs=true"], "segmenter.epochs to be a valid integer, but got True"),
        (["DATA", "--set", "segmenter.epochs=1e3"], "to be a valid integer, but got 1000.0"),
        (["DATA", "--set", "segmenter.absent=none"], "segmenter.absent to be 'ignore' or 'reject', but got 'none'"),
        (["DATA", "--set", "segmenter.area_range=[0.1]"], "another value of segmenter.area_range.1 than [0.1]"),
        (["DATA", "--set", "segmenter.fills=[]"], "segmenter.fills to hold at least one fill"),
        (["CSV"], "to have a column 'image'"),
        (["DATA", "--preset", "demo", "--set", "guide.batch_size=100"], "`batch_size` to be 1 to 96"),
    ],
)
def test_what_train_refuses(words: list[str], message: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("name: [1")
    (tmp_path / "tags.csv").write_text("picture,tags\na,red\n")
    places = {"DATA": str(data), "BROKEN": str(tmp_path / "broken.yaml"), "CSV": str(tmp_path / "tags.csv")}
    words = [places.get(word, word) for word in words]
    assert message in sentence("train", *words, "--out", tmp_path / "run", "--device", "cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(run: Path, data: Path, tmp_path: Path) -> None:
    assert "torch finds none; use cpu" in sentence("predict", run, data, "--out", tmp_path / "out", "--device", "gpu")
    assert "torch finds none; use cpu" in sentence("demo", "--out", tmp_path / "run", "--device", "gpu")


def test_a_damaged_image_is_named_by_the_processes_that_load(data: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data, tmp_path / "images")
    damaged = root / "val" / "red" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:600])
    for file in (root / "train" / "red").iterdir():
        file.write_text("no image")
    words = ["--preset", "demo", *SETTINGS, "--workers", "1", "--device", "cpu"]
    assert "1.png to be an image" in sentence("train", root, "--out", tmp_path / "run", *words)
    shutil.copy(data / "val" / "red" / "1.png", damaged)
    assert ".png to be an image" in sentence("train", root, "--out", tmp_path / "other", *words)


def test_a_csv_file_with_the_masks_beside_it(data: Path, tmp_path: Path) -> None:
    """The images of the folder, listed: the same run."""
    root = shutil.copytree(data, tmp_path / "images")
    lines = ["image,split,tags"]
    for split in ("train", "val"):
        for file in sorted((root / split).rglob("*.png"), key=lambda file: (file.parent.name, file.name)):
            name = file.relative_to(root)
            lines.append(f"{name},{split},{'red' if file.parent.name == 'red' else ''}")
            if split == "val":
                (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / "val_masks" / file.name, tmp_path / "masks" / name)
    (tmp_path / "tags.csv").write_text("\n".join(lines))
    words = ["--out", tmp_path / "run", "--preset", "demo", *SETTINGS, "--workers", "0", "--device", "cpu"]
    result = call("train", tmp_path / "tags.csv", *words)
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["run"]["data"] == "csv"
    assert results["rows"][0]["images_with"] == [6]
