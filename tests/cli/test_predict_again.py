"""`decomprec predict` in several jobs, and a call that is repeated: nothing is drawn twice, and nothing is mixed."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import cli_run
from support.predict_images import SHAPES, call, images, model, read

from decomprec.data import CocoInstances
from decomprec.trained_model import TrainedModel, load

__all__ = ["images", "model"]  # fixtures


def files(out: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of all results but the config."""
    found = (file for file in out.rglob("*") if file.is_file() and file.suffix not in (".yaml", ".txt"))
    return {file.relative_to(out).as_posix(): (file.stat().st_mtime_ns, file.read_bytes()) for file in found}


def contents(out: Path) -> dict[str, bytes]:
    return {name: content for name, (_, content) in files(out).items()}


@pytest.fixture(scope="module")
def whole(model: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one call; image by image, whose order changes no rounding."""
    out = tmp_path_factory.mktemp("whole") / "drawn"
    assert call("predict", model, images, "--out", out, "--batch", "1").exit_code == 0
    return out


def test_jobs_that_share_a_folder_draw_each_image_once(model: Path, images: Path, whole: Path, tmp_path: Path) -> None:
    words, seen = ["predict", model, images, "--out", tmp_path, "--batch", "1"], []
    for shard in ("2/4", "1/4", "4/4", "3/4"):
        before = set(contents(tmp_path))
        result = call(*words, "--shard", shard)
        assert result.exit_code == 0, result.output
        seen.append({Path(name).stem for name in set(contents(tmp_path)) - before})
    assert [len(names) for names in seen] == [2, 2, 1, 1]
    assert seen[0] == {"b", "f"}  # of a to f, dealt by position
    assert contents(tmp_path) == contents(whole)
    assert "shard" not in (tmp_path / "config.yaml").read_text()
    drawn = files(tmp_path)
    assert "6 of 6 images drawn (6 earlier; " in call(*words).stdout
    assert files(tmp_path) == drawn
    exported = tmp_path / "masks.json"
    assert cli_run.call("export-labels", tmp_path, "--to", "coco", "--out", exported).exit_code == 0
    masks = {item["name"]: item["mask"] for item in CocoInstances(exported, images=images, masks=True)}
    for name in SHAPES:
        stem = name.partition(".")[0]
        assert (masks[stem].numpy() == read(tmp_path / "masks" / f"{stem}.png")).all()


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "a/b", "1/0"])
def test_a_share_that_is_none_is_refused(shard: str, model: Path, images: Path, tmp_path: Path) -> None:
    result = call("predict", model, images, "--out", tmp_path / "out", "--shard", shard)
    assert result.exit_code == 1
    assert "Expected --shard I/N with I from 1 to N" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_call_that_was_stopped_goes_on(
    model: Path, images: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["predict", model, images, "--out", tmp_path, "--batch", "1"]
    stream = TrainedModel.stream

    def stopped(self: TrainedModel, *args: Any, **options: Any) -> Iterator[Any]:
        for count, result in enumerate(stream(self, *args, **options)):
            if count == 4:
                raise KeyboardInterrupt
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(TrainedModel, "stream", stopped)
        assert call(*words).exit_code == 130
    (tmp_path / "masks" / ".partial-1-a.png").write_bytes(b"half of it")
    before = files(tmp_path)
    assert len([name for name in before if name.startswith("masks/") and ".partial" not in name]) in range(1, 5)
    result = call(*words)
    assert "6 of 6 images drawn (" in result.stdout
    after = files(tmp_path)
    masks = {name for name in before if name.startswith("masks/")}
    assert {name: after[name] for name in masks} == {name: before[name] for name in masks}
    (tmp_path / "masks" / ".partial-1-a.png").unlink()
    assert contents(tmp_path) == contents(whole)


def test_what_has_changed_is_drawn_again(model: Path, images: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in ("a.png", "c.png"):
        (photos / name).write_bytes((images / name).read_bytes())
    words = ["predict", model, photos, "--out", out, "--no-overlay"]
    call(*words)
    first = files(out)
    assert "2 of 2 images drawn (2 earlier; " in call(*words).stdout
    assert files(out) == first

    (photos / "a.png").write_bytes((images / "f.png").read_bytes())  # another image
    os.utime(photos / "a.png", (10**9, 10**9))
    assert "(1 earlier; " in call(*words).stdout
    assert read(out / "masks" / "a.png").shape == SHAPES["f.png"]
    assert files(out)["masks/c.png"] == first["masks/c.png"]

    call(*words, "--overlay")  # adds what is lacking
    assert set(files(out)) == {"masks/a.png", "masks/c.png", "overlays/a.png", "overlays/c.png"}
    assert files(out)["masks/c.png"][1] == first["masks/c.png"][1]

    call(*words, "--tags", "dog")  # for which the overlays, which are not wanted, would be wrong
    assert set(files(out)) == {"masks/a.png", "masks/c.png"}
    assert set(read(out / "masks" / "c.png").flatten().tolist()) <= {0, 2}


def test_what_a_stopped_call_has_left_does_not_stay_beside_another_mask(
    model: Path, images: Path, tmp_path: Path
) -> None:
    words = ["predict", model, images / "a.png", "--out", tmp_path, "--no-overlay"]
    call(*words, "--probabilities", "--confidence", "--components")
    (tmp_path / "masks" / "a.png").unlink()  # which is written last
    call(*words, "--tags", "dog")
    assert set(files(tmp_path)) == {"masks/a.png"}


def test_an_image_named_like_a_folder_leaves_its_images_alone(model: Path, images: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name in ("a.png", "a/c.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes((images / Path(name).name).read_bytes())
    words = ["predict", model, photos, "--out", out, "--no-overlay", "--components"]
    call(*words)
    first = set(files(out))
    assert {"components/a/0.png", "components/a/c/0.png"} < first
    os.utime(photos / "a.png", (10**9, 10**9))
    assert "(1 earlier; " in call(*words).stdout
    assert set(files(out)) == first


def test_masks_of_other_settings_are_not_mixed(model: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call("predict", model, images / "a.png", images / "c.png", "--out", out).exit_code == 0
    before = files(out)
    other = ["predict", model, images / "c.png", images / "d.jpg", "--out", out]
    for words, said in (
        (("--size", "16"), "size as by default, not 16"),
        (("--refine", "none"), "refine half-pamr, not none"),
    ):
        result = call(*other, *words)
        assert result.exit_code == 1
        assert f"a.png was drawn with {said}; " in result.stderr
        assert "choose another --out" in result.stderr
    loaded = load(model)
    TrainedModel(loaded.segmenter, ["cat", "cow"], 32, loaded.classifier).save_pretrained(tmp_path / "cow", half=False)
    assert "was drawn with weights" in call("predict", tmp_path / "cow", images / "d.jpg", "--out", out).stderr
    assert files(out) == before
    assert call(*other).exit_code == 0  # the same settings: other images go beside them
    assert {Path(name).stem for name in contents(out)} == {"a", "c", "d"}
    assert "3 of 3" in call("predict", model, *(images / n for n in ("a.png", "c.png", "d.jpg")), "--out", out).stdout
    every = call("predict", model, *(images / n for n in ("a.png", "c.png", "d.jpg")), "--out", out, "--size", "16")
    assert "3 of 3 images drawn (" in every.stdout  # all that is there is replaced
    (out / "config.yaml").unlink()
    assert "was drawn with weights unknown" in call("predict", model, images / "f.png", "--out", out).stderr
