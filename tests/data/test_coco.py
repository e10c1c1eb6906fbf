"""COCO files, in and out, against loops by hand and pycocotools' own reader."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO
from torch import Tensor
from typer.testing import CliRunner

from decomprec import DecompositionSegmenter
from decomprec.cli import app
from decomprec.data import CocoInstances
from decomprec.data.formats.coco import coco_label_maps
from decomprec.data.image_io import read_labels
from decomprec.labelling.coco import CocoWriter
from decomprec.models import SmallEncoder
from decomprec.trained_model import TrainedModel

HEIGHT, WIDTH = 6, 8
CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}, {"id": 17, "name": "cat"}]


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def run_lengths(region: NDArray[Any]) -> dict[str, Any]:
    """Uncompressed RLE: column by column, lengths of 0 and 1 in turn, by hand."""
    counts, value = [0], 0
    for pixel in region.T.flatten().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": list(region.shape), "counts": counts}


def write(root: Path, annotations: list[dict[str, Any]], **changes: Any) -> Path:
    """A file with the images a.png and deep/b.png, which are there, and these annotations."""
    images = []
    for number, name in ((7, "a.png"), (4, "deep/b.png")):
        file = root / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), number, dtype=np.uint8)).save(file)
        images.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
    content = {"images": images, "categories": CATEGORIES, "annotations": annotations, **changes}
    path = root / "instances.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def annotation(category: int, segmentation: Any = None, image: int = 7, **more: Any) -> dict[str, Any]:
    given = {} if segmentation is None else {"segmentation": segmentation}
    return {"image_id": image, "category_id": category, **given, **more}


def test_tags_are_the_categories_of_an_image(tmp_path: Path) -> None:
    path = write(tmp_path, [annotation(18), annotation(18), annotation(3), annotation(17, image=4)])
    data = CocoInstances(path)
    assert data.class_names == ("car", "cat", "dog")  # by id
    assert data.tags.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert [data[i]["name"] for i in range(2)] == ["a", "deep/b"]
    assert "mask" not in data[0]
    assert (data[1]["image"] == 4 / 255).all()
    chosen = CocoInstances(path, classes=["dog", "car"])
    assert chosen.tags.tolist() == [[1, 1], [0, 0]]


def test_masks_of_polygons_and_of_both_kinds_of_rle(tmp_path: Path) -> None:
    region = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    region[1:4, 5] = region[3, 2:6] = 1
    writer = CocoWriter(["x"])
    writer.add("a.png", torch.from_numpy(region))
    writer.save(tmp_path / "rle.json")
    compressed = json.loads((tmp_path / "rle.json").read_text())["annotations"][0]["segmentation"]
    expected = torch.from_numpy(region).long()
    for segmentation in (run_lengths(region), compressed):
        data = CocoInstances(write(tmp_path, [annotation(17, segmentation)]), masks=True)
        assert torch.equal(data[0]["mask"], 2 * expected)
        assert (data[1]["mask"] == 0).all()
    two_boxes = box(0, 0, 2, 2) + box(5, 3, 8, 6)
    mask = CocoInstances(write(tmp_path, [annotation(3, two_boxes)]), masks=True)[0]["mask"]
    expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.int64)
    expected[:2, :2] = expected[3:, 5:] = 1
    assert torch.equal(mask, expected)


def test_where_the_class_is_unknown_masks_are_255(tmp_path: Path) -> None:
    crowd = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    crowd[4:] = 1
    path = write(
        tmp_path,
        [
            annotation(3, box(0, 0, 4, 3)),
            annotation(3, box(1, 1, 4, 3)),  # the same class: no conflict
            annotation(18, box(2, 2, 6, 6)),
            annotation(17, run_lengths(crowd), iscrowd=1),
            annotation(17, image=4),  # no segmentation
            annotation(18, box(0, 0, 1, 1), image=4),
        ],
    )
    expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.int64)
    expected[4:] = 255
    expected[:3, :4] = 1
    expected[2:6, 2:6] = 3
    expected[2, 2:4] = 255
    data = CocoInstances(path, masks=True)
    assert torch.equal(data[0]["mask"], expected)
    assert data[1]["mask"].flatten().tolist() == [3] + [255] * (HEIGHT * WIDTH - 1)
    # Classes that were not chosen are background, and what is not known of them doesn't matter.
    dogs = CocoInstances(path, classes=["dog"], masks=True)
    assert set(dogs[0]["mask"].unique().tolist()) == {0, 1}
    assert (dogs[0]["mask"] == 1).sum() == 16
    assert dogs[1]["mask"].sum() == 1
    assert [torch.equal(drawn, data[i]["mask"]) for i, (_, drawn) in enumerate(coco_label_maps(path))] == [True, True]


@pytest.mark.parametrize(
    ("annotations", "changes", "message"),
    [
        ([], {"images": None}, "COCO's instance annotations"),
        ([annotation(99, id=6)], {}, r"instance annotations, but: annotation 6 is of category 99, which"),
        ([annotation(3, image=5)], {}, r"no annotation is of a listed image; annotations\[0\] is of image 5"),
        ([], {"categories": []}, "Expected `classes` to be among"),
    ],
)
def test_files_that_are_wrong(annotations: Any, changes: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        CocoInstances(write(tmp_path, annotations, **changes))


def test_masks_that_are_wrong(tmp_path: Path) -> None:
    for segmentation in ({"size": [2, 2], "counts": [1, 3]}, {"counts": "?"}, [[1, 2, 3]]):
        data = CocoInstances(write(tmp_path, [annotation(3, segmentation)]), masks=True)
        with pytest.raises(ValueError, match=r"Expected a segmentation of a\.png"):
            data[0]
    data = CocoInstances(write(tmp_path, []), masks=True)
    Image.new("RGB", (HEIGHT, WIDTH)).save(tmp_path / "images" / "a.png")
    with pytest.raises(ValueError, match=r"height and width of its annotations, \(6, 8\), but got \(8, 6\)"):
        data[0]
    (tmp_path / "images" / "a.png").unlink()
    for missing in ({}, {"images": tmp_path}):
        with pytest.raises(FileNotFoundError, match=r"a\.png"):
            CocoInstances(tmp_path / "instances.json", **missing)
    with pytest.raises(FileNotFoundError, match="Expected `annotations` to be a file"):
        coco_label_maps(tmp_path / "nowhere.json")


def test_without_pycocotools_tags_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, [annotation(3, box(0, 0, 4, 3))])
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    assert CocoInstances(path).tags.tolist() == [[1, 0, 0], [0, 0, 0]]
    for call in (lambda: CocoInstances(path, masks=True), lambda: CocoWriter(["car"])):
        with pytest.raises(ValueError, match=r"pip install pycocotools"):
            call()


def label_maps() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    maps = {f"{i}.png": torch.randint(0, 4, (5 + i, 9 - i), generator=random) for i in range(4)}
    maps["0.png"][0] = 255
    maps["none.png"] = torch.zeros(3, 3, dtype=torch.int64)
    return maps


def test_written_masks_are_read_by_pycocotools(tmp_path: Path) -> None:
    writer = CocoWriter(["car", "cat", "dog"])
    for name, labels in label_maps().items():
        writer.add(name, labels)
    writer.save(tmp_path / "annotations.json")
    coco = COCO(tmp_path / "annotations.json")
    assert {k: c["name"] for k, c in coco.cats.items()} == {1: "car", 2: "cat", 3: "dog"}
    assert len(coco.imgs) == 5
    for image in coco.loadImgs(coco.getImgIds()):
        labels = label_maps()[image["file_name"]]
        found = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert [a["category_id"] for a in found] == [k for k in (1, 2, 3) if (labels == k).any()]
        for entry in found:
            region = labels == entry["category_id"]
            assert torch.equal(torch.from_numpy(coco.annToMask(entry)).bool(), region)
            rows, columns = region.nonzero().unbind(dim=1)
            assert entry["area"] == len(rows)
            left, top = columns.min(), rows.min()
            assert entry["bbox"] == [left, top, columns.max() - left + 1, rows.max() - top + 1]
    for name, labels in coco_label_maps(tmp_path / "annotations.json"):
        assert torch.equal(labels, label_maps()[name].masked_fill(label_maps()[name] == 255, 0))


@pytest.mark.parametrize("label", [-1, 4, 254])
def test_labels_that_are_no_class_are_not_written(label: int) -> None:
    with pytest.raises(ValueError, match="Expected `labels` to lie in 0 to 3"):
        CocoWriter(["car", "cat", "dog"]).add("a.png", torch.tensor([[0, label]]))


def test_images_are_sorted_by_name(tmp_path: Path) -> None:
    writer = CocoWriter(["car", "cat", "dog"])
    for name in reversed(label_maps()):
        writer.add(name, label_maps()[name])
    writer.save(tmp_path / "written.json")
    content = json.loads((tmp_path / "written.json").read_text())
    names = ["0.png", "1.png", "2.png", "3.png", "none.png"]
    assert [(image["id"], image["file_name"]) for image in content["images"]] == list(enumerate(names, 1))
    owners = [annotation["image_id"] for annotation in content["annotations"]]
    assert owners == sorted(owners)
    assert [annotation["id"] for annotation in content["annotations"]] == list(range(1, len(owners) + 1))


def test_an_image_is_added_once() -> None:
    writer = CocoWriter(["car"])
    writer.add("a.png", torch.ones(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"not added before, but got 'a\.png'"):
        writer.add("a.png", torch.zeros(2, 2, dtype=torch.int64))


def test_masks_of_predict_are_the_same_in_a_coco_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    segmenter = DecompositionSegmenter(3, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
    segmenter.mask_decoder.head[0].bias.data[0] = -9  # no background
    TrainedModel(segmenter, ["cat", "dog"], 16).save_pretrained(tmp_path / "model")
    rng = np.random.default_rng(0)
    for name in ("park.jpg", "day1/beach.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "broken.jpg").write_text("no image")
    words = ["predict", tmp_path / "model", tmp_path / "photos", "--out", tmp_path / "drawn", "--no-overlay"]
    result = CliRunner().invoke(app, [*map(str, words), "--device", "cpu"])
    assert result.exit_code == 1  # of the broken one
    words = ["export-labels", tmp_path / "drawn", "--to", "coco", "--out", tmp_path / "masks.json"]
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0, result.output
    drawn = dict(coco_label_maps(tmp_path / "masks.json"))
    assert sorted(drawn) == ["day1/beach.png", "park.jpg"]
    for name, labels in drawn.items():
        assert torch.equal(labels, read_labels((tmp_path / "drawn" / "masks" / name).with_suffix(".png")).long())
        assert labels.all()
    (tmp_path / "photos" / "broken.jpg").unlink()
    data = CocoInstances(tmp_path / "masks.json", images=tmp_path / "photos", masks=True)
    assert data.class_names == ("cat", "dog")
    assert {item["name"]: item["mask"].sum().item() for item in data} == {
        name.partition(".")[0]: labels.sum().item() for name, labels in drawn.items()
    }
