"""`decomprec evaluate`: scores against loops in numpy and torchmetrics."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pycocotools import mask as mask_api
from support.cli_run import call, data, read, run, save, sentence
from torchmetrics.classification import MulticlassJaccardIndex

from decomprec.data.formats.voc import VOC_CLASSES
from decomprec.labelling.coco import CocoWriter

__all__ = ["data", "run"]  # fixtures


def test_from_images_to_scores(run: Path, data: Path, tmp_path: Path) -> None:
    result = call("predict", run, data / "val", "--out", tmp_path / "drawn", "--tags", "red", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "8 of 8 images drawn (red in " in result.stdout
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


def test_an_image_of_which_nothing_is_known_lacks_no_class(tmp_path: Path) -> None:
    truths = {"a": [[0, 1], [0, 1]], "b": [[0, 0], [0, 255]], "c": [[255, 255], [255, 255]]}
    masks = {"a": [[0, 1], [1, 1]], "b": [[1, 0], [0, 0]], "c": [[1, 1], [1, 1]]}
    for folder, maps in (("truth", truths), ("masks", masks)):
        for name, labels in maps.items():
            save(tmp_path / folder / f"{name}.png", np.array(labels, dtype=np.uint8))
    result = call("evaluate", tmp_path / "masks", tmp_path / "truth", "--json", tmp_path / "s.json")
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "s.json").read_text())
    assert scores["false_area"] == [1 / 4]  # of b, the only image known to lack the class
    assert (scores["images"], scores["images_without_mask"], scores["images_with"]) == (2, 1, [1])


def named_at_the_end(*words: str | Path) -> str:
    """The one file that is not compared, of a call that compares the others."""
    result = call(*words)
    assert result.exit_code == 1, result.output
    table, _, last = result.stdout.partition("1 others are not compared:\n")
    assert "| mean" in table
    (line,) = last.splitlines()
    return line


@pytest.mark.parametrize("listed", [True, False])
def test_a_file_that_cannot_be_compared_stops_no_other(listed: bool, tmp_path: Path) -> None:
    truths = random_labels(tmp_path / "truth", list("abcdef"), 1, ignored=True)
    masks = random_labels(tmp_path / "masks", list("abcdef"), 2, ignored=False)
    (tmp_path / "masks" / "b.png").write_text("no image")
    save(tmp_path / "truth" / "c.png", np.zeros((3, 3), dtype=np.uint8))
    (tmp_path / "masks" / "e.png").unlink()
    if listed:
        (tmp_path / "masks" / "classes.txt").write_text("background\none\ntwo\nthree\nfour\n")
    result = call("evaluate", tmp_path / "masks", tmp_path / "truth", "--json", tmp_path / "s.json")
    assert result.exit_code == 1
    found = json.loads((tmp_path / "s.json").read_text())
    kept = [0, 3, 5]
    expected = jaccard([masks[i] for i in kept], [truths[i] for i in kept], 5)
    there = [k for k in range(5) if found["iou"][k] is not None]
    np.testing.assert_allclose([found["iou"][k] for k in there], expected[there], atol=1e-6)
    assert found["images"] == 3
    assert [name for name, _ in found["per_image"]] == ["a", "d", "f"]
    assert len(found["problems"]) == 3
    for file, problem in zip(("truth/e.png", "masks/b.png", "masks/c.png"), found["problems"], strict=True):
        assert str(tmp_path / file) in problem
        assert problem in result.stdout


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
    assert f"{mask} to have the height and width of {true}, (1, 3), but got (3, 1)" in sentence(
        "evaluate", masks, truth
    )
    save(mask, np.eye(3, dtype=np.uint8)[None])
    assert "one 8-bit channel, but got mode RGB" in sentence("evaluate", masks, truth)
    save(mask, np.array([[1, 255, 0]], dtype=np.uint8))
    assert f"{mask} to hold labels of 0 to 1, but got 255" in sentence("evaluate", masks, truth)
    save(mask, np.array([[0, 1, 0]], dtype=np.uint8))
    (masks / "classes.txt").write_text("background\n")
    assert "at least one class" in sentence("evaluate", masks, truth)
    (masks / "classes.txt").write_text("background\ndog\n")
    save(true, np.array([[0, 7, 255]], dtype=np.uint8))
    assert f"{true} to hold labels of 0 to 1, but got 7" in sentence("evaluate", masks, truth)
    save(true, np.array([[255, 255, 255]], dtype=np.uint8))
    assert f"{truth} to hold the numbers of classes, 1 to 1, but it holds only 0 and 255" in sentence(
        "evaluate", masks, truth
    )
    mask.write_text("no image")
    assert f"{mask} to be an image" in sentence("evaluate", masks, truth)


def test_a_mask_that_fits_several_ground_truths_is_compared_with_none_or_the_closest(tmp_path: Path) -> None:
    masks, truth = tmp_path / "masks", tmp_path / "truth"
    labels = [[np.array([[0, *row]], dtype=np.uint8)] for row in ([1, 1], [1, 0])]
    folder_of(masks, labels[0], ["b"], ["dog"])
    for folder, maps in zip("xy", labels, strict=True):
        folder_of(truth / folder, maps, ["b"], ["dog"])
    first, second = truth / "x" / "b.png", truth / "y" / "b.png"
    fit = f"Expected one ground truth for {masks / 'b.png'}, but {{}} and {{}} fit; remove one, or put masks and"
    assert fit.format(first, second) in sentence("evaluate", masks, truth)
    folder_of(masks, labels[0], ["other"], ["dog"])
    folder_of(truth, labels[1], ["other"], ["dog"])
    result = call("evaluate", masks, truth)
    assert result.exit_code == 1
    _, _, named = result.stdout.partition("2 others are not compared:\n")
    assert fit.format(first, second) in named
    assert fit.format(second, first) in named
    (masks / "x").mkdir()
    (masks / "b.png").rename(masks / "x" / "b.png")  # the mask of its path, no other's
    named_at_the_end("evaluate", masks, truth, "--json", tmp_path / "s.json")
    content = json.loads((tmp_path / "s.json").read_text())
    # 2 of 2 pixels of x/b, and 1 of 2 of the others' union: (2 + 1) / (2 + 2).
    assert (content["iou"][1], content["images"]) == (0.75, 2)
    assert [name for name, _ in content["per_image"]] == ["other", "x/b"]
    assert [f"got none for {second}" in problem for problem in content["problems"]] == [True]
    second.rename(truth / "x" / "b_mask.png")  # a looser fit than x/b
    assert f"got none for {truth / 'x' / 'b_mask.png'}" in named_at_the_end("evaluate", masks, truth)


def jaccard(masks: list[NDArray[Any]], truths: list[NDArray[Any]], count: int) -> NDArray[Any]:
    """torchmetrics' IoU of `count` labels over all pixels that are not 255."""
    metric = MulticlassJaccardIndex(count, average=None, ignore_index=255)
    for mask, truth in zip(masks, truths, strict=True):
        metric.update(torch.from_numpy(mask).long().flatten(), torch.from_numpy(truth).long().flatten())
    return metric.compute().numpy()


def scores(masks: Path, truth: Path, out: Path) -> dict[str, Any]:
    result = call("evaluate", masks, truth, "--json", out)
    assert result.exit_code == 0, result.output
    return dict(json.loads(out.read_text()))


def random_masks(seed: int, values: list[int]) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return [rng.choice(values, (9, 7)).astype(np.uint8) for _ in range(3)]


def folder_of(folder: Path, maps: list[NDArray[np.uint8]], names: list[str], classes: list[str]) -> Path:
    for name, labels in zip(names, maps, strict=True):
        save(folder / f"{name}.png", labels)
    (folder / "classes.txt").write_text("\n".join(["background", *classes]))
    return folder


def coco_of(path: Path, maps: list[NDArray[np.uint8]], names: list[str], categories: dict[int, str]) -> Path:
    """The regions of each value as a category's; 255 is a crowd of the first."""
    regions = []
    for image, labels in enumerate(maps):
        for number in (*categories, 255):
            code = mask_api.encode(np.asfortranarray(labels == number, dtype=np.uint8))
            code["counts"] = code["counts"].decode()
            crowd = {"iscrowd": 1, "category_id": next(iter(categories))} if number == 255 else {"category_id": number}
            regions.append({"image_id": image, "segmentation": code, **crowd})
    images = [{"id": i, "file_name": f"{name}.jpg", "height": 9, "width": 7} for i, name in enumerate(names)]
    content = {"images": images, "annotations": regions}
    content["categories"] = [{"id": number, "name": name} for number, name in categories.items()]
    path.write_text(json.dumps(content))
    return path


def relabelled(maps: list[NDArray[np.uint8]], table: dict[int, int]) -> list[NDArray[np.uint8]]:
    return [np.vectorize(table.get)(labels).astype(np.uint8) for labels in maps]


def test_truth_in_a_coco_file_is_found_by_name(tmp_path: Path) -> None:
    """Categories in another order than the classes; one is no class, and its objects are background."""
    names = ["a", "deep/b", "c"]
    masks, truths = random_masks(1, [0, 1, 2]), random_masks(2, [0, 18, 5, 3, 255])
    drawn = folder_of(tmp_path / "masks", masks, names, ["dog", "cat"])
    truth = coco_of(tmp_path / "true.json", truths, names, {18: "dog", 5: "sofa", 3: "cat"})
    found = scores(drawn, truth, tmp_path / "s.json")
    expected = jaccard(masks, relabelled(truths, {0: 0, 18: 1, 3: 2, 5: 0, 255: 255}), 3)
    np.testing.assert_allclose(found["iou"], expected, atol=1e-6)
    assert found["class_names"] == ["dog", "cat"]
    assert [name for name, _ in found["per_image"]] == ["a", "c", "deep/b"]


def test_what_is_no_class_hides_nothing(tmp_path: Path) -> None:
    mask = np.zeros((9, 7), dtype=np.uint8)
    mask[:5] = 1
    drawn = folder_of(tmp_path / "masks", [mask], ["a"], ["dog"])
    dog = np.where(mask == 1, 18, 0).astype(np.uint8)
    path = coco_of(tmp_path / "true.json", [dog], ["a"], {18: "dog", 5: "sofa"})
    content = json.loads(path.read_text())
    sofa = {"image_id": 0, "category_id": 5, "segmentation": [[0, 0, 7, 0, 7, 9, 0, 9]]}
    path.write_text(json.dumps({**content, "annotations": [*content["annotations"], sofa]}))
    assert scores(drawn, path, tmp_path / "s.json")["iou"] == [1, 1]


def test_masks_in_a_coco_file(tmp_path: Path) -> None:
    """Those of `export-labels --to coco`, against the same masks in a folder, and against another COCO file."""
    names = ["a", "deep/b", "c"]
    masks, truths = random_masks(3, [0, 1, 2]), random_masks(4, [0, 1, 2, 255])
    writer = CocoWriter(["dog", "cat"])
    for name, labels in zip(names, masks, strict=True):
        writer.add(f"{name}.jpg", torch.from_numpy(labels))
    writer.save(tmp_path / "masks.json")
    truth = folder_of(tmp_path / "truth", truths, names, ["dog", "cat"])
    expected = jaccard(masks, truths, 3)
    first = scores(tmp_path / "masks.json", truth, tmp_path / "s.json")
    assert first["class_names"] == ["dog", "cat"]
    np.testing.assert_allclose(first["iou"], expected, atol=1e-6)
    same = coco_of(tmp_path / "true.json", truths, names, {1: "dog", 2: "cat"})
    assert scores(tmp_path / "masks.json", same, tmp_path / "s.json") == first
    # Numbers mean the categories in the order of their ids, if the masks have no names.
    drawn = folder_of(tmp_path / "numbers", masks, names, [])
    (drawn / "classes.txt").unlink()
    assert scores(drawn, same, tmp_path / "s.json")["iou"] == first["iou"]


def test_truth_of_a_voc_devkit(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    dog, cat = VOC_CLASSES.index("dog") + 1, VOC_CLASSES.index("cat") + 1
    masks, truths = random_masks(5, [0, 1, 2]), random_masks(6, [0, dog, cat, 1, 255])
    root = tmp_path / "VOC2012"
    for name, labels in zip(names, truths, strict=True):
        save(root / "SegmentationClass" / f"{name}.png", labels)
        save(root / "JPEGImages" / f"{name}.jpg", np.zeros((9, 7, 3), dtype=np.uint8))
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text("<annotation/>")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("a\nc\n")
    (lists / "train.txt").write_text("b\n")
    drawn = folder_of(tmp_path / "masks", masks, names, ["dog", "cat"])
    found = scores(drawn, root, tmp_path / "s.json")
    known = relabelled([truths[0], truths[2]], {0: 0, dog: 1, cat: 2, 1: 0, 255: 255})
    np.testing.assert_allclose(found["iou"], jaccard([masks[0], masks[2]], known, 3), atol=1e-6)
    assert found["images"] == 2


def test_what_evaluate_refuses_of_coco(tmp_path: Path) -> None:
    masks = folder_of(tmp_path / "masks", random_masks(1, [0, 1]), ["a", "b", "c"], ["dog"])
    truth = coco_of(tmp_path / "true.json", random_masks(2, [0, 1]), ["a", "b", "d"], {1: "dog"})
    assert f"got none for d.jpg in {truth}" in named_at_the_end("evaluate", masks, truth)
    small = coco_of(tmp_path / "small.json", [np.ones((9, 7), dtype=np.uint8)], ["a"], {1: "dog"})
    save(masks / "a.png", np.zeros((4, 4), dtype=np.uint8))
    assert f"{masks / 'a.png'} to have the height and width of a.jpg in {small}, (9, 7), but got (4, 4)" in sentence(
        "evaluate", masks, small
    )
    (tmp_path / "no.json").write_text("{}")
    assert "to hold COCO's instance annotations" in sentence("evaluate", masks, tmp_path / "no.json")
    assert "to hold COCO's instance annotations" in sentence("evaluate", tmp_path / "no.json", truth)
    (masks / "classes.txt").write_text("background\ndog\ncow")
    assert f"{truth} to have the classes of the masks, but it lacks cow" in sentence("evaluate", masks, truth)


def test_what_evaluate_refuses_names_the_file_that_was_given(tmp_path: Path) -> None:
    """Of COCO masks: a label beyond the truth's size, an image too many, an object that can't be drawn."""
    maps = random_masks(1, [0, 1])
    truth = folder_of(tmp_path / "truth", maps, ["a", "b", "c"], ["dog"])
    masks = coco_of(tmp_path / "masks.json", [np.ones((9, 7), dtype=np.uint8)] * 2, ["a", "b"], {1: "dog"})
    assert f"{masks} to hold a mask for each ground truth, but got none for {truth / 'c.png'}" in named_at_the_end(
        "evaluate", masks, truth
    )
    content = json.loads(masks.read_text())
    content["images"] += [{"id": 7, "file_name": "deep/c.jpg", "height": 9, "width": 7}]
    content["images"] += [{"id": 8, "file_name": "deeper/c.jpg", "height": 9, "width": 7}]
    masks.write_text(json.dumps(content))
    assert (
        f"one mask for {truth / 'c.png'}, but deep/c.jpg in {masks} and deeper/c.jpg in {masks} fit; remove one"
        in named_at_the_end("evaluate", masks, truth)
    )
    (truth / "c.png").unlink()
    save(truth / "a.png", np.zeros((4, 4), dtype=np.uint8))
    assert (
        f"a.jpg in {masks} to have the height and width of {truth / 'a.png'}, (4, 4), but got (9, 7)"
        in named_at_the_end("evaluate", masks, truth)
    )
    save(truth / "a.png", np.full((9, 7), 2, dtype=np.uint8))
    assert f"{truth / 'a.png'} to hold labels of 0 to 1, but got 2" in named_at_the_end("evaluate", masks, truth)
    content["annotations"][0]["segmentation"] = [[1, 2, 3]]
    masks.write_text(json.dumps(content))
    assert f"a segmentation of a.jpg in {masks} to be polygons or RLE" in named_at_the_end("evaluate", masks, truth)


def test_classes_that_voc_lacks(tmp_path: Path) -> None:
    root = tmp_path / "VOC2012"
    for folder in ("JPEGImages", "ImageSets"):
        (root / folder).mkdir(parents=True)
    masks = folder_of(tmp_path / "masks", random_masks(1, [0, 1]), ["a", "b", "c"], ["dragon", "dog"])
    assert f"{root} to have the classes of the masks, but it lacks dragon" in sentence("evaluate", masks, root)


def test_two_coco_files_with_their_categories_in_another_order(tmp_path: Path) -> None:
    names = ["a", "deep/b", "c"]
    masks, truths = random_masks(7, [0, 4, 9]), random_masks(8, [0, 1, 2, 3, 255])
    drawn = coco_of(tmp_path / "masks.json", masks, names, {9: "cat", 4: "dog"})
    true = coco_of(tmp_path / "true.json", truths, names, {1: "cat", 2: "sofa", 3: "dog"})
    found = scores(drawn, true, tmp_path / "s.json")
    known = relabelled(truths, {0: 0, 1: 2, 2: 0, 3: 1, 255: 255})
    np.testing.assert_allclose(found["iou"], jaccard(relabelled(masks, {0: 0, 4: 1, 9: 2}), known, 3), atol=1e-6)
    assert found["class_names"] == ["dog", "cat"]  # by id, in the masks


def test_evaluate_writes_nothing_but_what_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    labels = random_masks(9, [0, 1])
    masks = folder_of(tmp_path / "masks", labels, ["a", "b", "c"], ["dog"])
    truth = coco_of(tmp_path / "true.json", labels, ["a", "b", "c"], {1: "dog"})
    before = sorted(tmp_path.rglob("*"))
    assert call("evaluate", masks, truth).exit_code == 0
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["../../out/a.jpg", "/out/a.jpg"])
def test_images_of_a_coco_file_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    labels = np.ones((9, 7), dtype=np.uint8)
    path = coco_of(tmp_path / "true.json", [labels], ["a"], {1: "dog"})
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = name
    path.write_text(json.dumps(content))
    masks = folder_of(tmp_path / "masks", [labels], ["a"], ["dog"])
    assert scores(masks, path, tmp_path / "s.json")["iou"][1] == 1


def test_ground_truth_of_background_alone_is_mentioned(tmp_path: Path) -> None:
    for folder, value in (("drawn", 1), ("truth", 0)):
        (tmp_path / folder).mkdir()
        for i in range(2):
            save(tmp_path / folder / f"{i}.png", np.full((3, 4), value * i, dtype=np.uint8))
    assert "all background" not in call("evaluate", tmp_path / "drawn", tmp_path / "drawn").stdout
    result = call("evaluate", tmp_path / "drawn", tmp_path / "truth")
    assert "warning: the ground truth is all background, as exports without annotations are" in result.stdout
    assert result.exit_code == 0
