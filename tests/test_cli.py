"""The command line, as it is called: results against numpy, exit codes, and one sentence for what is wrong."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from typer.main import get_command
from typer.testing import CliRunner

from decomprec import experiment
from decomprec.cli import app
from decomprec.data.pictures import read_image
from decomprec.models import load_pretrained, save_pretrained
from decomprec.predict import picture_masks

ROOT = Path(__file__).parents[1]
HEAVY = ["lightning", "timm", "segmentation_models_pytorch", "torchvision", "kornia", "matplotlib", "torchmetrics"]
TINY = [
    "image_size=32",
    "guide.options={widths: [4, 8]}",
    "guide.epochs=4",
    "guide.batch_size=4",
    "guide.learning_rate=0.01",
    "segmenter.decoder_widths=[8, 4]",
    "segmenter.epochs=1",
    "segmenter.batch_size=2",
    "segmenter.learning_rate=0.01",
]
SETTINGS = [word for setting in TINY for word in ("--set", setting)]


def call(*words: str | Path) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def sentence(*words: str | Path) -> str:
    """The one sentence that a failing call writes on stderr."""
    result = call(*words)
    assert result.exit_code == 1, result.output
    (line,) = (line for line in result.stderr.splitlines() if line and not line.startswith("evaluating:"))  # the bar
    assert line.startswith("error: ")
    assert "Traceback" not in result.output
    return line.removeprefix("error: ")


def save(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as file:
        return np.array(file)


def red_square(seed: int, present: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A noisy picture (36, 48, 3), perhaps with a red square, and its mask with a rim of 255."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 120, (36, 48, 3), dtype=np.uint8)
    mask = np.zeros((36, 48), dtype=np.uint8)
    if present:
        top, left = rng.integers(0, 16), rng.integers(0, 24)
        picture[top : top + 18, left : left + 18, 0] = 255
        mask[top : top + 18, left : left + 18] = 255
        mask[top + 1 : top + 17, left + 1 : left + 17] = 1
    return picture, mask


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "pictures"
    for split, count, first in (("train", 96, 0), ("val", 8, 100)):
        for i in range(count):
            picture, mask = red_square(first + i, present=i % 4 > 0)
            save(root / split / ("red" if i % 4 else "other") / f"{i}.png", picture)
            if split == "val":
                save(root / "val_masks" / f"{i}.png", mask)
    return root


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    out = data.parent / "run"
    result = call("train", data, "--out", out, "--preset", "demo", *SETTINGS, "--workers", "0", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "| decomprec " in result.stdout
    return out


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "segmenter" / "weights.safetensors")


def test_help_is_light_and_teaches_by_example() -> None:
    words = [sys.executable, "-X", "importtime", "-m", "decomprec", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "decomprec train pictures --out runs/mine\n" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert imported.isdisjoint(HEAVY)


@pytest.mark.parametrize("command", ["demo", "train", "predict", "evaluate", "report", "export"])
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


@pytest.mark.parametrize("line", sorted(calls_of_the_pages()))
def test_commands_of_the_pages_are_understood(line: str) -> None:
    _, name, *words = shlex.split(line, comments=True)
    get_command(app).commands[name].make_context(name, words)  # parses, and raises what is wrong


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["segment"],
        ["train", "pictures"],
        ["train", "pictures", "--out", "run", "--device", "tpu"],
        ["train", "pictures", "--out", "run", "--workers", "few"],
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


def test_the_run_folder_says_how_to_repeat_it(run: Path, data: Path) -> None:
    again = run.parent / "again"
    result = call("train", data, "--out", again, "--preset", run / "preset.yaml", "--workers", 0, "--device", "cpu")
    assert result.exit_code == 0, result.output
    first, second = weights(run), weights(again)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert json.loads((run / "results.json").read_text())["run"]["data"] == "folder"


def test_resume_takes_the_preset_of_the_run(run: Path, data: Path) -> None:
    copied = shutil.copytree(run, run.parent / "resumed")
    (copied / "segmenter" / "weights.safetensors").unlink()
    (copied / "segmenter" / "last.ckpt").unlink()
    guide = (copied / "guide" / "weights.safetensors").stat().st_mtime_ns
    result = call("train", data, "--out", copied, "--resume", "--workers", "0", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert (copied / "guide" / "weights.safetensors").stat().st_mtime_ns == guide  # not trained again
    first, second = weights(run), weights(copied)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert "holds a run; resume it" in sentence("train", data, "--out", run, "--preset", run / "preset.yaml")


def test_from_pictures_to_scores(run: Path, data: Path, tmp_path: Path) -> None:
    result = call("predict", run, data / "val", "--out", tmp_path / "drawn", "--tags", "red", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "8 of 8 pictures drawn (red in " in result.stdout
    masks = tmp_path / "drawn" / "masks"
    assert (masks / "classes.txt").read_text() == "background\nred\n"
    result = call("evaluate", masks, data / "val_masks", "--json", tmp_path / "scores.json")
    assert result.exit_code == 0, result.output

    both, either = np.zeros(2), np.zeros(2)
    absent = []
    for i in range(8):
        labels = read(masks / ("red" if i % 4 else "other") / f"{i}.png")
        truth = read(data / "val_masks" / f"{i}.png")
        for k in (0, 1):
            known = truth != 255
            both[k] += ((labels == k) & (truth == k))[known].sum()
            either[k] += ((labels == k) | (truth == k))[known].sum()
        if i % 4 == 0:
            absent.append((labels == 1).mean())
    scores = json.loads((tmp_path / "scores.json").read_text())
    np.testing.assert_allclose(scores["iou"], both / either, atol=1e-6)
    assert scores["iou"][1] > 0.7  # it has learnt to find what is red
    np.testing.assert_allclose(scores["false_area"], [np.mean(absent)], atol=1e-6)
    assert (scores["class_names"], scores["images"], scores["images_with"]) == (["red"], 8, [6])
    line = next(line for line in result.stdout.splitlines() if line.startswith("| red"))
    assert [cell.strip() for cell in line.split("|")[2:4]] == [f"{both[1] / either[1]:.3f}", "6"]


def test_the_run_and_its_model_folder_draw_the_same(run: Path, data: Path, tmp_path: Path) -> None:
    for model, out in ((run, "run"), (run / "model", "model")):
        words = ["--out", tmp_path / out, "--probabilities", "--no-overlay", "--device", "cpu"]
        assert call("predict", model, data / "val", *words).exit_code == 0
    files = sorted(file.relative_to(tmp_path / "run") for file in (tmp_path / "run").rglob("*.*"))
    assert {file.parts[0] for file in files} == {"masks", "probabilities"}
    assert len(files) == 8 + 8 + 1
    for file in files:
        if file.suffix == ".npz":
            first, second = (np.load(tmp_path / out / file)["masks"] for out in ("run", "model"))
            assert first.shape == (2, 36, 48)
            assert np.array_equal(first, second)
        else:
            assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "model" / file).read_bytes()


def voc_colour(label: int) -> list[int]:
    """As in the VOC development kit: bit 3 i + c of the label is bit 7 - i of channel c."""
    return [sum(((label >> (3 * i + channel)) & 1) << (7 - i) for i in range(8)) for channel in range(3)]


def probabilities(model: Path, picture: Path, out: Path, *words: str) -> NDArray[np.float16]:
    result = call("predict", model, picture, "--out", out, "--probabilities", "--device", "cpu", *words)
    assert result.exit_code == 0, result.output
    with Image.open(out / "masks" / f"{picture.stem}.png") as file:
        assert file.mode == "P"
        assert file.getpalette() == [value for label in range(256) for value in voc_colour(label)]
    masks = np.load(out / "probabilities" / f"{picture.stem}.npz")["masks"]
    assert masks.dtype == np.float16
    assert masks.shape[1:] == read(out / "masks" / f"{picture.stem}.png").shape
    assert read(out / "overlays" / f"{picture.stem}.png").shape == (*masks.shape[1:], 3)
    return masks


def test_pictures_of_every_kind_and_orientation(run: Path, tmp_path: Path) -> None:
    picture, _ = red_square(7, present=True)
    grey = np.repeat(picture[..., :1], 3, axis=2)

    def drawn(name: str, pixels: NDArray[Any], **options: Any) -> NDArray[np.float16]:
        path = save(tmp_path / f"{name}.png", pixels, **options)
        return probabilities(run, path, tmp_path / "drawn", "--tags", "red")

    colour = drawn("colour", picture)
    assert colour[1].std() > 1e-3
    alpha = np.full((36, 48, 1), 90, dtype=np.uint8)
    assert np.array_equal(drawn("transparent", np.concatenate([picture, alpha], axis=2)), colour)
    expected = drawn("grey", grey)
    assert np.array_equal(drawn("grey8", picture[..., 0]), expected)
    assert np.array_equal(drawn("grey16", picture[..., 0].astype(np.uint16) * 257), expected)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by 90 degrees
    turned = drawn("turned", picture, exif=exif)
    assert turned.shape == (2, 48, 36)
    assert np.array_equal(turned, drawn("upright", np.rot90(picture, -1)))


def test_overlays_lay_the_colours_over_the_picture(run: Path, data: Path, tmp_path: Path) -> None:
    path = data / "val" / "red" / "1.png"
    assert call("predict", run, path, "--out", tmp_path, "--tags", "red", "--device", "cpu").exit_code == 0
    expected, labels = read(path).astype(float), read(tmp_path / "masks" / "1.png")
    expected[labels == 1] = (expected[labels == 1] + [128, 0, 0]) / 2
    np.testing.assert_allclose(read(tmp_path / "overlays" / "1.png"), expected, atol=0.51)


def test_the_classifier_decides_unless_tags_are_given(run: Path, data: Path, tmp_path: Path) -> None:
    model = load_pretrained(run / "model")
    assert model.classifier is not None
    torch.nn.init.constant_(model.classifier.head.bias, -1e3)  # sees nothing anywhere
    blind = tmp_path / "blind"
    save_pretrained(blind, model.segmenter, ["red"], image_size=32, classifier=model.classifier, half=False)
    path = data / "val" / "red" / "1.png"
    assert not probabilities(blind, path, tmp_path / "blindly")[1].any()
    told = probabilities(blind, path, tmp_path / "told", "--tags", "red")
    assert told[1].any()
    assert np.array_equal(told, probabilities(run, path, tmp_path / "run", "--tags", "red"))


def test_size_is_the_short_side_that_the_model_sees(run: Path, data: Path, tmp_path: Path) -> None:
    path = data / "val" / "red" / "1.png"
    masks = probabilities(run, path, tmp_path, "--tags", "red", "--size", "16")
    model, picture = load_pretrained(run / "model"), read_image(path)
    seen = []
    model.segmenter.encoder.register_forward_pre_hook(lambda _, images: seen.append(tuple(images[0].shape)))
    expected = picture_masks(picture, model, torch.ones(1, 1), size=16)
    assert seen == [(1, 3, 16, 24)]  # 36 x 48 at 16 x 21, padded for the encoder
    assert np.array_equal(masks, expected.half().numpy())


def test_a_picture_that_cannot_be_read_stops_no_other(run: Path, tmp_path: Path) -> None:
    good = save(tmp_path / "in" / "good.png", red_square(1, present=True)[0])
    (tmp_path / "in" / "cut.png").write_bytes(good.read_bytes()[:600])
    (tmp_path / "in" / "note.jpg").write_text("no picture")
    (tmp_path / "in" / "note.txt").write_text("passed over")
    result = call("predict", run, tmp_path / "in", "--out", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "cut.png to be a picture" in errors[0]
    assert "note.jpg to be a picture" in errors[1]
    assert "1 of 3 pictures drawn" in result.stdout
    assert [file.name for file in (tmp_path / "out" / "masks").glob("*.png")] == ["good.png"]


def test_what_predict_refuses(run: Path, data: Path, tmp_path: Path) -> None:
    path, out = data / "val" / "red" / "1.png", tmp_path / "out"
    (tmp_path / "empty").mkdir()
    assert "found no nowhere" in sentence("predict", "nowhere", path, "--out", out)
    assert "none at nowhere.jpg" in sentence("predict", run, "nowhere.jpg", "--out", out)
    assert "none at" in sentence("predict", run, tmp_path / "empty", "--out", out)
    assert "among red, but got 'dog'" in sentence("predict", run, path, "--out", out, "--tags", "dog")
    assert "different names" in sentence("predict", run, path, data / "train" / "red" / "1.png", "--out", out)
    shutil.copy(run / "preset.yaml", tmp_path / "empty")
    assert "resume it first" in sentence("predict", tmp_path / "empty", path, "--out", out)
    assert not out.exists()


def test_results_within_the_pictures_are_not_drawn_again(run: Path, tmp_path: Path) -> None:
    save(tmp_path / "a.png", red_square(1, present=True)[0])
    for _ in range(2):
        result = call("predict", run, tmp_path, "--out", tmp_path / "drawn", "--device", "cpu")
        assert "1 of 1 pictures drawn" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "DATA to be a folder or a CSV file, but found no nowhere"),
        (
            ["DATA", "--preset", "best"],
            "--preset to be one of paper, demo, robust, fast or a YAML file, but got 'best'",
        ),
        (["DATA", "--preset", "BROKEN"], "it is not YAML"),
        (["DATA", "--set", "segmenter.epoch=1"], "a setting such as segmenter.epochs=3"),
        (["DATA", "--set", "segmenter.epochs"], "a setting such as segmenter.epochs=3"),
        (["DATA", "--set", "segmenter.epochs=[1"], "'segmenter.epochs=[1' is not YAML"),
        (["DATA", "--set", "segmenter.epochs=few"], "segmenter.epochs to be int, but got 'few'"),
        (["DATA", "--set", "segmenter.epochs=true"], "segmenter.epochs to be int, but got True"),
        (["DATA", "--set", "guide.learning_rate=1e-3"], "in YAML 1e-3 is a text, 0.001 a number"),
        (["DATA", "--set", "segmenter.prior=none"], "segmenter.prior to be"),
        (["DATA", "--set", "segmenter.area_range=[0.1]"], "segmenter.area_range to be tuple[float, float]"),
        (["CSV"], "to have a column 'split'"),
        (["DATA", "--preset", "demo", "--set", "guide.batch_size=100"], "`batch_size` to be 1 to 96"),
    ],
)
def test_what_train_refuses(words: list[str], message: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("name: [1")
    (tmp_path / "tags.csv").write_text("image,tags\na.png,red\n")
    places = {"DATA": str(data), "BROKEN": str(tmp_path / "broken.yaml"), "CSV": str(tmp_path / "tags.csv")}
    words = [places.get(word, word) for word in words]
    assert message in sentence("train", *words, "--out", tmp_path / "run", "--device", "cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(run: Path, data: Path, tmp_path: Path) -> None:
    assert "--device cpu" in sentence("predict", run, data, "--out", tmp_path / "out", "--device", "cuda")
    assert "--device cpu" in sentence("demo", "--out", tmp_path / "run", "--device", "cuda")


def test_a_damaged_picture_is_named_by_the_processes_that_load(data: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data, tmp_path / "pictures")
    damaged = root / "val" / "red" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:600])
    for file in (root / "train" / "red").iterdir():
        file.write_text("no picture")
    words = ["--preset", "demo", *SETTINGS, "--workers", "1", "--device", "cpu"]
    assert "1.png to be a picture" in sentence("train", root, "--out", tmp_path / "run", *words)
    shutil.copy(data / "val" / "red" / "1.png", damaged)
    assert ".png to be a picture" in sentence("train", root, "--out", tmp_path / "other", *words)


def test_a_csv_file_with_the_masks_beside_it(data: Path, tmp_path: Path) -> None:
    """The pictures of the folder, listed: the same run."""
    lines = ["image,split,tags"]
    for split in ("train", "val"):
        files = sorted((data / split).rglob("*.png"), key=lambda file: (file.parent.name, file.name))
        lines += [f"{f},{split},{'red' if f.parent.name == 'red' else ''}" for f in files]
    (tmp_path / "tags.csv").write_text("\n".join(lines))
    shutil.copytree(data / "val_masks", tmp_path / "masks")
    words = ["--out", tmp_path / "run", "--preset", "demo", *SETTINGS, "--workers", "0", "--device", "cpu"]
    result = call("train", tmp_path / "tags.csv", *words)
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["run"]["data"] == "csv"
    assert results["rows"][0]["images_with"] == [6]


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "SCENES", {"train": (16, 1), "val": (8, 3)})
    result = call("demo", "--out", tmp_path / "run", *SETTINGS, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "| decomprec " in result.stdout
    assert load_pretrained(tmp_path / "run" / "model").class_names[0] == "striped disc"
    assert "striped disc" in (tmp_path / "run" / "model" / "README.md").read_text()
    run = json.loads((tmp_path / "run" / "results.json").read_text())["run"]
    assert (run["preset"], run["settings"]) == ("demo", " ".join(TINY))


def random_labels(folder: Path, names: list[str], seed: int, ignored: bool) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    maps = [rng.choice([0, 1, 2, 4, *([255] if ignored else [])], (9, 7)).astype(np.uint8) for _ in names]
    for name, labels in zip(names, maps, strict=True):
        save(folder / f"{name}.png", labels)
    return maps


def test_evaluate_by_number_path_or_name(tmp_path: Path) -> None:
    truths = random_labels(tmp_path / "truth", ["a", "b", "deep/a"], 1, ignored=True)
    # b's mask lies elsewhere, c is too many, and both a have a path of their own.
    masks = random_labels(tmp_path / "masks", ["a", "other/b", "deep/a", "c"], 2, ignored=False)
    result = call("evaluate", tmp_path / "masks", tmp_path / "truth", "--json", tmp_path / "s.json")
    assert result.exit_code == 0, result.output
    expected, per_image = [], []
    labels, truth = np.stack(masks[:3]), np.stack(truths)
    for k in range(5):
        both, either = (labels == k) & (truth == k), ((labels == k) | (truth == k)) & (truth != 255)
        expected.append(both.sum() / either.sum() if either.any() else None)
        per_image.append(both.sum(axis=(1, 2)) / either.sum(axis=(1, 2)) if k != 3 else [np.nan] * 3)
    scores = json.loads((tmp_path / "s.json").read_text())
    assert expected[3] is scores["iou"][3] is None  # no pixel anywhere
    np.testing.assert_allclose(np.delete(scores["iou"], 3).astype(float), np.delete(expected, 3).astype(float))
    assert scores["class_names"] == ["class 1", "class 2", "class 3", "class 4"]
    names, values = zip(*scores["per_image"], strict=True)
    assert names == ("a", "b", "deep/a")
    np.testing.assert_allclose(values, np.nanmean(per_image, axis=0), rtol=1e-6)
    assert "| class 3         | -     | 0 " in result.stdout


def test_what_evaluate_refuses(tmp_path: Path) -> None:
    masks, truth = tmp_path / "masks", tmp_path / "truth"
    masks.mkdir()
    true = save(truth / "a.png", np.array([[0, 1, 255]], dtype=np.uint8))
    assert "found no nowhere" in sentence("evaluate", "nowhere", truth)
    assert "to hold label PNGs, but got none" in sentence("evaluate", masks, truth)
    other = save(masks / "b.png", np.zeros((1, 3), dtype=np.uint8))
    assert f"got none for {true}" in sentence("evaluate", masks, truth)
    for name in ("x", "y"):
        (masks / name).mkdir()
        shutil.copy(other, masks / name / "a.png")
    assert "one mask for" in sentence("evaluate", masks, truth)
    mask = save(masks / "a.png", np.zeros((3, 1), dtype=np.uint8))
    assert f"{mask} to have the size of {true}, 3 x 1, but got 1 x 3" in sentence("evaluate", masks, truth)
    save(mask, np.zeros((1, 3, 3), dtype=np.uint8))
    assert "one 8-bit channel, but got mode RGB" in sentence("evaluate", masks, truth)
    save(mask, np.array([[0, 255, 0]], dtype=np.uint8))
    assert f"{mask} to hold labels of 0 to 1, but got 255" in sentence("evaluate", masks, truth)
    save(mask, np.array([[0, 1, 0]], dtype=np.uint8))
    (masks / "classes.txt").write_text("background\n")
    assert "at least one class" in sentence("evaluate", masks, truth)
    (masks / "classes.txt").write_text("background\ndog\n")
    save(true, np.array([[0, 7, 255]], dtype=np.uint8))
    assert f"{true} to hold labels of 0 to 1, but got 7" in sentence("evaluate", masks, truth)
    mask.write_text("no picture")
    assert f"{mask} to be a picture" in sentence("evaluate", masks, truth)
