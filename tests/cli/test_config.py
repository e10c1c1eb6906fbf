"""config.yaml beside every result repeats its call; what such a file may not hold."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from support.cli_run import SETTINGS, TINY, call, data, run, save, sentence, weights

from decomprec import experiment
from decomprec.cli.config import parse_settings
from decomprec.trained_model import load
from decomprec.training import PRESETS, Preset

__all__ = ["data", "run"]  # fixtures


CHANGES = parse_settings(TINY)
SAID = (
    'image_size=32 guide.encoder_options={"widths": [4, 8]} guide.learning_rate=0.01 guide.batch_size=4 '
    "guide.epochs=4 segmenter.decoder_widths=[8, 4] segmenter.learning_rate=0.01 segmenter.batch_size=2 "
    "segmenter.epochs=1"
)


def good(*words: str | Path) -> str:
    result = call(*words)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def content(path: Path) -> dict[str, Any]:
    values = yaml.safe_load(path.read_text())
    assert isinstance(values, dict)
    return values


def test_train_is_repeated(run: Path, data: Path, tmp_path: Path) -> None:
    config = content(run / "config.yaml")
    assert Preset.load(run / "preset.yaml") == PRESETS["demo"].override(CHANGES)
    assert config["preset"] == yaml.safe_load((run / "preset.yaml").read_text())
    kept = {
        "command": "train",
        "data": str(data),
        "format": "folder",
        "seed": 0,
        "device": "cpu",
        "workers": 0,
        "logger": "csv",
    }
    kept |= {"precision": "auto", "devices": 1, "nodes": 1, "strategy": "auto"}
    kept |= dict.fromkeys(("skip-unreadable", "in-memory", "download", "compile"), False)
    assert {**kept, "out": str(run), "preset": config["preset"]} == config
    again = tmp_path / "again"
    good("train", "--config", run / "config.yaml", "--out", again)
    assert {**content(again / "config.yaml"), "out": str(run)} == config
    first, second = weights(run), weights(again)
    assert all(torch.equal(first[name], second[name]) for name in first)
    results = [json.loads((folder / "results.json").read_text()) for folder in (run, again)]
    assert results[0]["rows"] == results[1]["rows"]
    assert results[0]["run"]["settings"] == results[1]["run"]["settings"] == SAID


def test_images_in_memory_train_to_the_same_weights(run: Path, tmp_path: Path) -> None:
    good("train", "--config", run / "config.yaml", "--out", tmp_path / "held", "--in-memory")
    first, second = weights(run), weights(tmp_path / "held")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert content(tmp_path / "held" / "config.yaml")["in-memory"] is True


def test_flags_win_over_the_file(run: Path, tmp_path: Path) -> None:
    words = ["--seed", "3", "--set", "guide.epochs=1", "--set", "segmenter.lambda_cls=0.2"]
    good("train", "--config", run / "config.yaml", "--out", tmp_path / "run", *words)
    config = content(tmp_path / "run" / "config.yaml")
    assert config["seed"] == 3
    assert config["preset"]["guide"]["epochs"] == 1
    expected = PRESETS["demo"].override({**CHANGES, "guide.epochs": 1, "segmenter.lambda_cls": 0.2})
    assert Preset.load(tmp_path / "run" / "preset.yaml") == expected
    # Another preset replaces the file's, all of it.
    message = sentence("train", "--config", run / "config.yaml", "--out", tmp_path / "b", "--preset", "best")
    assert "got 'best'" in message


def test_a_run_goes_on_with_its_config(run: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(run, tmp_path / "run")
    for name in ("finished.safetensors", "last.ckpt"):
        (copied / "segmenter" / name).unlink()
    good("train", "--config", copied / "config.yaml", "--out", copied, "--resume")
    first, second = weights(run), weights(copied)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert "resume" not in content(copied / "config.yaml")
    before = (copied / "config.yaml").read_bytes()
    other = sentence(
        "train", "--config", copied / "config.yaml", "--out", copied, "--resume", "--set", "guide.epochs=9"
    )
    assert "got other settings" in other
    assert "holds a run; resume it" in sentence("train", "--config", copied / "config.yaml", "--out", copied)
    assert (copied / "config.yaml").read_bytes() == before


def test_demo_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "SCENES", {"train": (16, 1), "val": (8, 3)})
    monkeypatch.chdir(tmp_path)
    first, second = Path("runs/a"), Path("runs/b")
    assert "| decomprec " in good("demo", "--out", first, *SETTINGS, "--device", "cpu", "--seed", "2")
    assert load(first / "model").class_names[0] == "striped disc"
    assert "striped disc" in (first / "model" / "README.md").read_text()
    facts = json.loads((first / "results.json").read_text())["run"]
    assert (facts["preset"], facts["settings"], facts["seed"]) == ("demo", SAID, 2)
    text = (first / "config.yaml").read_text()
    assert str(tmp_path) not in text
    good("demo", "--config", first / "config.yaml", "--out", second)
    assert (second / "config.yaml").read_text() == text.replace("runs/a", "runs/b")
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())


def test_predict_is_repeated(run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data.parent)
    out = tmp_path / "drawn"
    words = ["images/val/red", "images/val/other/4.png", "--tags", "red", "--no-overlay", "--probabilities"]
    good("predict", "run", *words, "--out", out, "--size", "16", "--device", "cpu")
    config = content(out / "config.yaml")
    assert config["model"] == "run"
    assert config["images"] == ["images/val/red", "images/val/other/4.png"]
    assert (config["overlay"], config["probabilities"], config["size"], config["tags"]) == (False, True, 16, "red")
    before = {file.relative_to(out): file.read_bytes() for file in out.rglob("*.png")}
    assert len(before) == 7
    shutil.rmtree(out / "masks")
    good("predict", "--config", out / "config.yaml")
    assert {file.relative_to(out): file.read_bytes() for file in out.rglob("*.png")} == before
    other = ["run", "images/val/other/0.png", "--overlay", "--out", tmp_path / "other"]
    good("predict", "--config", out / "config.yaml", *other)
    assert [file.name for file in (tmp_path / "other" / "overlays").iterdir()] == ["0.png"]


def test_evaluate_report_and_export_are_repeated(run: Path, data: Path, tmp_path: Path) -> None:
    page, file = tmp_path / "page.html", tmp_path / "masks.pt2"
    for i in range(8):
        save(tmp_path / "masks" / f"{i}.png", np.full((36, 48), i % 2, dtype=np.uint8))
    good("evaluate", tmp_path / "masks", data / "val_masks", "--json", tmp_path / "scores.json")
    good("report", run, "--out", page, "--images", "3", "--device", "cpu")
    good("export", run, "--out", file)
    assert content(tmp_path / "scores.config.yaml")["json"] == str(tmp_path / "scores.json")
    assert content(tmp_path / "page.config.yaml")["images"] == 3
    assert content(tmp_path / "page.config.yaml")["data"] == str(data)  # which the run knows
    images = torch.rand(1, 3, 40, 33)
    expected = torch.export.load(file).module()(images)
    before = {path: path.read_bytes() for path in (tmp_path / "scores.json", page)}
    for path in (*before, file):
        path.unlink()
    for command, name in (("evaluate", "scores"), ("report", "page"), ("export", "masks")):
        good(command, "--config", tmp_path / f"{name}.config.yaml")
    assert {path: path.read_bytes() for path in before} == before
    assert torch.equal(torch.export.load(file).module()(images), expected)


def test_the_report_finds_the_data_of_the_run(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert "no images" not in good("report", run, "--out", page, "--device", "cpu")
    with_images = page.stat().st_size
    moved = shutil.copytree(run, tmp_path / "run")
    config = content(moved / "config.yaml")
    (moved / "config.yaml").write_text(yaml.safe_dump({**config, "data": str(tmp_path / "gone")}))
    assert "no images: give the DATA" in good("report", moved, "--out", page, "--device", "cpu")
    assert page.stat().st_size < with_images


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("command: predict\nseed: 1", "to be a config of train, but got one of predict"),
        ("seed: 1", "to be a config of train, but got one of None"),
        ("command: train\nsed: 1", "to be among data, out, format, classes, splits, preset, set, "),
        ("command: train\nconfig: x.yaml", "but got 'config'"),
        ("command: train\n1: 2", "but got 1"),
        ("command: train\nseed: few", "Expected seed in FILE to be a whole number, but got 'few'"),
        ("command: train\nseed: true", "Expected seed in FILE to be a whole number, but got True"),
        ("command: train\nseed: 1.5", "Expected seed in FILE to be a whole number, but got 1.5"),
        ("command: train\nworkers: 1e3", "Expected workers in FILE to be a whole number, but got 1000.0"),
        ("command: train\nout: 3", "Expected out in FILE to be text, but got 3"),
        ("command: train\nout:", "Expected out in FILE to be text, but got None"),
        ("command: train\nresume: 1", "Expected resume in FILE to be true or false, but got 1"),
        (
            "command: train\nset: guide.epochs=1",
            "set in FILE to be a list, each text, but got 'guide.epochs=1'",
        ),
        ("command: train\nset: [1]", "Expected set in FILE to be a list, each text, but got [1]"),
        ("command: train\ndevice: tpu", "Expected device in FILE to be one of auto, cpu, gpu, mps, but got 'tpu'"),
        ("command: train\npreset: [demo]", "Expected preset in FILE to be text, but got ['demo']"),
        ("command: [train", "Expected FILE to be a config in YAML, but it is not YAML"),
        ("command: !!python/object/apply:os.getcwd []", "it has values that are not plain"),
        ("train", "Expected FILE to hold arguments, such as seed: 1, but got 'train'"),
        ("", "to hold arguments"),
        ("command: train\npreset: {guide: {epoch: 1}}", "a setting such as guide.epochs, but got 'guide.epoch'"),
        ("command: train\npreset: {guide: {epochs: few}}", "guide.epochs to be a valid integer, but got 'few'"),
        (
            "command: train\npreset: {guide: 3}",
            "Expected guide to be a valid dictionary or instance of GuideSettings, but got 3",
        ),
        ("command: train\npreset: {}\nset: [a]", "but got 'a'"),
    ],
)
def test_what_a_config_may_not_hold(text: str, message: str, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    words = ["--device", "cpu"] if "device" not in text else []
    words = [*words, "--out", str(tmp_path / "run")] if "out:" not in text else words
    said = sentence("train", data, "--config", file, *words)
    assert message.replace("FILE", str(file)) in said
    assert not (tmp_path / "run").exists()


def test_a_config_that_is_not_there(tmp_path: Path) -> None:
    assert "found no nowhere.yaml" in sentence("demo", "--config", "nowhere.yaml")
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    assert "it is not text in UTF-8" in sentence("demo", "--config", tmp_path / "config.yaml")


def test_values_out_of_range_and_missing_arguments_are_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    for text in ("command: train\ndata: x\nout: y\nworkers: -1", "command: train\ndata: x"):
        file.write_text(text)
        result = call("train", "--config", file)
        assert result.exit_code == 2
        assert "Usage: " in result.output


def test_no_result_is_written_over_the_config_of_another_command(run: Path, data: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(run, tmp_path / "run")
    before = (copied / "config.yaml").read_bytes()
    message = "to hold no result of train, but got"
    assert message in sentence("predict", run, data / "val", "--out", copied, "--device", "cpu")
    assert message in sentence("demo", "--out", copied, "--device", "cpu")
    assert (copied / "config.yaml").read_bytes() == before
    assert not (copied / "masks").exists()


def test_nothing_is_written_next_to_the_config_of_another_command(run: Path, data: Path, tmp_path: Path) -> None:
    masks = shutil.copytree(data / "val_masks", tmp_path / "masks")
    (masks / "classes.txt").write_text("background\nred\n")
    good(
        "export-labels",
        masks,
        "--images",
        data / "val" / "red",
        "--images",
        data / "val" / "other",
        "--to",
        "cvat",
        "--out",
        tmp_path / "a.zip",
    )
    place = tmp_path / "place"
    place.mkdir()
    for name in ("config.yaml", "x.config.yaml"):
        (place / name).write_text("command: check\n")
    before = sorted(tmp_path.rglob("*"))
    for words in (
        ("evaluate", masks, masks, "--json", place / "x.json"),
        ("export", run, "--out", place / "x.pt2"),
        ("report", run, "--out", place / "x.html"),
        ("export-labels", masks, "--images", data / "val", "--to", "coco", "--out", place / "x.json"),
        ("import-labels", tmp_path / "a.zip", "--out", place),
    ):
        assert "to hold no result of check, but got" in sentence(*words)
        assert sorted(tmp_path.rglob("*")) == before
