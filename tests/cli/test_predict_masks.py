"""`decomprec predict`: masks of every kind of image."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from support.cli_run import call, data, read, red_square, run, save, sentence

from decomprec.data.image_io import read_image
from decomprec.trained_model import TrainedModel, load

__all__ = ["data", "run"]  # fixtures


def voc_colour(label: int) -> list[int]:
    """As in the VOC development kit: bit 3 i + c of the label is bit 7 - i of channel c."""
    return [sum(((label >> (3 * i + channel)) & 1) << (7 - i) for i in range(8)) for channel in range(3)]


def probabilities(model: Path, image: Path, out: Path, *words: str) -> NDArray[np.float16]:
    result = call("predict", model, image, "--out", out, "--probabilities", "--device", "cpu", *words)
    assert result.exit_code == 0, result.output
    with Image.open(out / "masks" / f"{image.stem}.png") as file:
        assert file.mode == "P"
        assert file.getpalette() == [value for label in range(256) for value in voc_colour(label)]
    masks = np.load(out / "probabilities" / f"{image.stem}.npz")["masks"]
    assert masks.dtype == np.float16
    assert masks.shape[1:] == read(out / "masks" / f"{image.stem}.png").shape
    assert read(out / "overlays" / f"{image.stem}.png").shape == (*masks.shape[1:], 3)
    return masks


def test_the_run_and_its_model_folder_draw_the_same(run: Path, data: Path, tmp_path: Path) -> None:
    for model, out in ((run, "run"), (run / "model", "model")):
        words = ["--out", tmp_path / out, "--probabilities", "--no-overlay", "--device", "cpu"]
        assert call("predict", model, data / "val", *words).exit_code == 0
    files = sorted(file.relative_to(tmp_path / "run") for file in (tmp_path / "run").rglob("*/*.*"))
    assert {file.parts[0] for file in files} == {"masks", "probabilities"}
    assert len(files) == 8 + 8 + 1
    for file in files:
        if file.suffix == ".npz":
            first, second = (np.load(tmp_path / out / file)["masks"] for out in ("run", "model"))
            assert first.shape == (2, 36, 48)
            assert np.array_equal(first, second)
        else:
            assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "model" / file).read_bytes()


def test_images_of_every_kind_and_orientation(run: Path, tmp_path: Path) -> None:
    image, _ = red_square(7, present=True)
    grey = np.repeat(image[..., :1], 3, axis=2)

    def drawn(name: str, pixels: NDArray[Any], **options: Any) -> NDArray[np.float16]:
        path = save(tmp_path / f"{name}.png", pixels, **options)
        return probabilities(run, path, tmp_path / "drawn", "--tags", "red")

    colour = drawn("colour", image)
    assert colour[1].std() > 1e-3
    for name, alpha, same in (("opaque", 255, image), ("clear", 0, np.full_like(image, 255))):
        with_alpha = np.concatenate([image, np.full((36, 48, 1), alpha, dtype=np.uint8)], axis=2)
        assert np.array_equal(drawn(name, with_alpha), drawn(f"as_{name}", same))
    expected = drawn("grey", grey)
    assert np.array_equal(drawn("grey8", image[..., 0]), expected)
    assert np.array_equal(drawn("grey16", image[..., 0].astype(np.uint16) * 257), expected)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by 90 degrees
    turned = drawn("turned", image, exif=exif)
    assert turned.shape == (2, 48, 36)
    assert np.array_equal(turned, drawn("upright", np.rot90(image, -1)))


def test_overlays_lay_the_colours_over_the_image(run: Path, data: Path, tmp_path: Path) -> None:
    path = data / "val" / "red" / "1.png"
    assert call("predict", run, path, "--out", tmp_path, "--tags", "red", "--device", "cpu").exit_code == 0
    expected, labels = read(path).astype(float), read(tmp_path / "masks" / "1.png")
    expected[labels == 1] = (expected[labels == 1] + [128, 0, 0]) / 2
    np.testing.assert_allclose(read(tmp_path / "overlays" / "1.png"), expected, atol=0.51)


def test_the_classifier_decides_unless_tags_are_given(run: Path, data: Path, tmp_path: Path) -> None:
    model = load(run / "model")
    assert model.classifier is not None
    torch.nn.init.constant_(model.classifier.head.bias, -1e3)  # sees nothing anywhere
    blind = tmp_path / "blind"
    TrainedModel(model.segmenter, ["red"], 32, model.classifier).save_pretrained(blind, half=False)
    path = data / "val" / "red" / "1.png"
    assert not probabilities(blind, path, tmp_path / "blindly")[1].any()
    told = probabilities(blind, path, tmp_path / "told", "--tags", "red")
    assert told[1].any()
    assert np.array_equal(told, probabilities(run, path, tmp_path / "run", "--tags", "red"))


def test_size_is_the_short_side_that_the_model_sees(run: Path, data: Path, tmp_path: Path) -> None:
    path = data / "val" / "red" / "1.png"
    masks = probabilities(run, path, tmp_path, "--tags", "red", "--size", "16", "--precision", "32-true")
    model, image = load(run / "model"), read_image(path)
    seen = []
    model.segmenter.encoder.register_forward_pre_hook(lambda _, images: seen.append(tuple(images[0].shape)))
    expected = model(image, ["red"], size=16).masks
    assert seen == [(1, 3, 16, 20)]  # 36 x 48 at 16 x 21, in multiples of the stride, 4
    assert np.array_equal(masks, expected.half().numpy())


def test_masks_in_bfloat16_are_nearly_those_in_float32(run: Path, data: Path, tmp_path: Path) -> None:
    path = data / "val" / "red" / "1.png"
    exact, near = (
        probabilities(run, path, tmp_path / precision, "--precision", precision).astype(float)
        for precision in ("32-true", "bf16-mixed")
    )
    assert not np.array_equal(near, exact)
    np.testing.assert_allclose(near, exact, atol=0.03)
    np.testing.assert_allclose(near.sum(axis=0), 1, atol=2e-3)  # in float16


def test_a_image_that_cannot_be_read_stops_no_other(run: Path, tmp_path: Path) -> None:
    good = save(tmp_path / "in" / "good.png", red_square(1, present=True)[0])
    (tmp_path / "in" / "cut.png").write_bytes(good.read_bytes()[:600])
    (tmp_path / "in" / "note.jpg").write_text("no image")
    (tmp_path / "in" / "note.txt").write_text("passed over")
    result = call("predict", run, tmp_path / "in", "--out", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "cut.png to be an image" in errors[0]
    assert "note.jpg to be an image" in errors[1]
    assert "1 of 3 images drawn" in result.stdout
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


def test_results_within_the_images_are_not_drawn_again(run: Path, tmp_path: Path) -> None:
    save(tmp_path / "a.png", red_square(1, present=True)[0])
    for _ in range(2):
        result = call("predict", run, tmp_path, "--out", tmp_path / "drawn", "--device", "cpu")
        assert "1 of 1 images drawn" in result.stdout
