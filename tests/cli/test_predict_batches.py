"""`decomprec predict` on many images at a time: the same as one by one, in any order, and with damaged files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.predict_images import SHAPES, call, images, model, pixels, read
from torchvision.transforms.v2.functional import resize

from decomprec.data.image_io import read_image, stored_size
from decomprec.trained_model import TrainedModel, load

__all__ = ["images", "model"]  # fixtures


def test_the_batch_size_changes_no_result(model: Path, images: Path, tmp_path: Path) -> None:
    for batch in ("1", "2", "4", "automatic"):
        given = [] if batch == "automatic" else ["--batch", batch]
        result = call("predict", model, images, "--out", tmp_path / batch, "--probabilities", *given)
        assert result.exit_code == 0, result.output
        assert "6 of 6 images drawn (cat in " in result.stdout
    seen = set()
    for name, shape in SHAPES.items():
        stem = name.partition(".")[0]
        first = np.load(tmp_path / "1" / "probabilities" / f"{stem}.npz")["masks"]
        assert first.shape == (3, *shape)
        assert first.astype(float).std() > 0.02
        seen.add(first.tobytes())
        for batch in ("2", "4", "automatic"):
            other = np.load(tmp_path / batch / "probabilities" / f"{stem}.npz")["masks"]
            np.testing.assert_allclose(other.astype(float), first.astype(float), atol=1e-3)  # float16
            labels = read(tmp_path / batch / "masks" / f"{stem}.png")
            assert (labels != read(tmp_path / "1" / "masks" / f"{stem}.png")).mean() < 1e-3  # but for ties
            assert read(tmp_path / batch / "overlays" / f"{stem}.png").shape == (*shape, 3)
    assert len(seen) == len(SHAPES)  # no two images have the same masks


def test_components_rebuild_the_image(model: Path, images: Path, tmp_path: Path) -> None:
    assert call("predict", model, images, "--out", tmp_path, "--components", "--precision", "32-true").exit_code == 0
    loaded = load(model)
    for file in sorted(images.iterdir()):
        parts = [read(tmp_path / "components" / file.stem / f"{label}.png").astype(float) for label in range(3)]
        height, width = SHAPES[file.name]
        scale = 32 / min(height, width)
        sides = [4 * round(scale * side / 4) for side in (height, width)]  # 4 is the segmenter's stride
        seen = resize(read_image(file)[None], sides, antialias=True)
        with torch.inference_mode():
            expected = loaded.segmenter(seen.float() / 255).reconstruction[0].permute(1, 2, 0)
        np.testing.assert_allclose(sum(parts), 255 * expected.numpy(), atol=0.5 * 3 + 1e-3)  # three times rounded


def test_a_model_without_image_decoder_has_no_components(model: Path, images: Path, tmp_path: Path) -> None:
    loaded = load(model)
    TrainedModel(loaded.segmenter, loaded.class_names, 32).save_pretrained(tmp_path / "bare", masks_only=True)
    result = call("predict", tmp_path / "bare", images, "--out", tmp_path / "out", "--components")
    assert result.exit_code == 1
    assert "has masks only" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_damaged_image_spoils_nothing_in_its_batch(model: Path, images: Path, tmp_path: Path) -> None:
    call("predict", model, images, "--out", tmp_path / "whole", "--no-overlay", "--batch", "1")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in sorted(images.iterdir()):
        (damaged / file.name).write_bytes(file.read_bytes())
    cut = (images / "c.png").read_bytes()
    (damaged / "c.png").write_bytes(cut[: len(cut) // 2])  # its header is whole: it is planned beside a.png
    (damaged / "d.jpg").write_text("no image")
    result = call("predict", model, damaged, "--out", tmp_path / "out", "--batch", "3")
    assert result.exit_code == 1
    errors = sorted(line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert len(errors) == 2
    assert "c.png to be an image" in errors[0]
    assert "d.jpg to be an image" in errors[1]
    assert "4 of 6 images drawn" in result.stdout
    drawn = {file.name for file in (tmp_path / "out" / "masks").glob("*.png")}
    assert drawn == {"a.png", "b.png", "e.png", "f.png"}
    for name in drawn:
        labels, expected = (read(tmp_path / out / "masks" / name) for out in ("out", "whole"))
        assert (labels != expected).mean() < 1e-3
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "d.jpg").write_text("no image")
    result = call("predict", model, tmp_path / "only", "--out", tmp_path / "none", "--tags", "dog")
    assert result.exit_code == 1
    assert "0 of 1 images drawn" in result.stdout


def test_results_that_cannot_be_written_are_an_error(model: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "overlays").write_text("a file where a folder belongs")
    result = call("predict", model, images, "--out", tmp_path)
    assert result.exit_code == 1
    assert "overlays" in result.stderr
    assert "Traceback" not in result.output


def test_no_image_at_a_time_is_wrong_usage(model: Path, images: Path, tmp_path: Path) -> None:
    assert call("predict", model, images, "--out", tmp_path, "--batch", "0").exit_code == 2


@pytest.mark.parametrize("orientation", range(9))
def test_the_header_tells_the_size_that_is_read(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    Image.fromarray(pixels(0, 20, 30)).save(path, exif=exif)
    assert stored_size(path) == tuple(read_image(path).shape[1:])
