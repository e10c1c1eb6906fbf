"""Label maps go to every tool and come back as they were, and real exports of the tools are read."""

from __future__ import annotations

import base64
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from support.cli_run import call, save, sentence
from torch import Tensor

from decomprec.data import CocoInstances, load_images
from decomprec.data.image_io import read_labels
from decomprec.evaluation.label_files import score_label_files
from decomprec.labelling import TOOLS, export_labels, import_labels
from decomprec.labelling.brush_rle import encode
from decomprec.viz import save_label_map

DATA = Path(__file__).parents[1] / "data" / "labelling"
NAMES = ("cat", "dog")
WITHOUT_UNKNOWN = ("yolo", "coco", "coco-polygons")

# Of a 5 x 7 mask with the pixels [1:4, 2:5] and [0, 6], by `brush.mask2rle` of label-studio-sdk 2.1.2.
SDK_RLE = [0, 0, 0, 140, 57, 27, 254, 23, 0, 143, 254, 112, 11, 127, 247, 192, 45, 255, 223, 0, 183, 255, 136, 192, 0]
SDK_MASK = np.zeros((5, 7), dtype=np.int64)
SDK_MASK[1:4, 2:5] = SDK_MASK[0, 6] = 1

# A label map [[0, 1], [2, 255]] in a sample, as FiftyOne 1.22.1 serialises it.
FIFTYONE_MASK = (
    "eJyb7BfqGxDJyFDGUK2eklqcXKRupaBeU2qorqOgnpZfVFKUmBefX5SSChJ3S8wpTgWKF2ckFqQC+RpGOgpGmjoKtQpkAy4GRqb/AOXOHLk="
)


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Images and label maps as `predict` leaves them: with a hole, parts, all classes, 255, and nothing at all."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(np.kron(rng.integers(0, 3, (7, 9)), np.ones((4, 5), dtype=np.int64)))
    ring = torch.zeros(28, 45, dtype=torch.int64)
    ring[3:20, 4:30], ring[8:12, 9:20], ring[26:, 40:], ring[:2, :3] = 1, 0, 2, 255
    for name, labels in {"park": coarse, "day1/sea": ring, "day1/empty": torch.zeros(28, 45).long()}.items():
        save(tmp_path / "images" / f"{name}.jpg", rng.integers(0, 255, (28, 45, 3), dtype=np.uint8))
        save_label_map(labels, tmp_path / "masks" / f"{name}.png")
    (tmp_path / "masks" / "classes.txt").write_text("background\ncat\ndog\n")
    return tmp_path


def images_of(root: Path) -> dict[str, Path]:
    files = (root / "images").rglob("*.jpg")
    return {file.relative_to(root / "images").with_suffix("").as_posix(): file for file in files}


def label_maps(folder: Path) -> dict[str, Tensor]:
    return {f.relative_to(folder).with_suffix("").as_posix(): read_labels(f).long() for f in folder.rglob("*.png")}


def annotated(tasks: Path) -> Path:
    """What Label Studio exports when every prediction is accepted."""
    content = json.loads(tasks.read_text())
    for number, task in enumerate(content):
        task |= {
            "id": number,
            "annotations": [{"was_cancelled": False, "result": task.pop("predictions")[0]["result"]}],
        }
    tasks.write_text(json.dumps(content))
    return tasks


@pytest.mark.parametrize("tool", TOOLS)
def test_label_maps_come_back_as_they_were(tool: str, drawn: Path) -> None:
    out = drawn / f"out{TOOLS[tool].ending}"
    assert export_labels(drawn / "masks", images_of(drawn), tool, out) == 3
    source = annotated(out / "tasks.json") if tool == "label-studio" else out
    assert import_labels(source, drawn / "back") == (3, NAMES)
    before, after = label_maps(drawn / "masks"), label_maps(drawn / "back")
    assert set(before) == set(after)
    for name, labels in before.items():
        expected = labels.masked_fill(labels == 255, 0) if tool in WITHOUT_UNKNOWN else labels
        assert torch.equal(after[name], expected), name


def test_other_readers_draw_the_same_from_coco_polygons(drawn: Path) -> None:
    export_labels(drawn / "masks", images_of(drawn), "coco-polygons", drawn / "all.json")
    data = CocoInstances(drawn / "all.json", images=drawn / "images", masks=True)
    for i, record in enumerate(data.records):
        labels = label_maps(drawn / "masks")[record.name]
        assert torch.equal(data[i]["mask"], labels.masked_fill(labels == 255, 0))


def test_imported_label_maps_are_evaluated_by_their_names(drawn: Path) -> None:
    export_labels(drawn / "masks", images_of(drawn), "coco", drawn / "all.json")
    import_labels(drawn / "all.json", drawn / "back", classes=["dog", "cat"])
    scores, names = score_label_files(drawn / "back", drawn / "masks")
    assert names == ("background", "dog", "cat")
    assert scores.iou == (1, 1, 1)


def test_yolo_is_a_data_set_of_images_and_labels_of_the_same_names(drawn: Path) -> None:
    export_labels(drawn / "masks", images_of(drawn), "yolo", drawn / "yolo")
    content = yaml.safe_load((drawn / "yolo" / "data.yaml").read_text())
    assert content["names"] == {0: "cat", 1: "dog"}
    root = Path(content["path"])
    for image in images_of(root):
        lines = (root / "labels" / f"{image}.txt").read_text().splitlines()
        assert (image == "day1/empty") == (not lines)
        for line in lines:
            number, *points = line.split()
            assert number in "01"
            assert all(0 <= float(point) <= 1 for point in points)


def test_a_tag_reader_finds_the_classes_of_yolo(drawn: Path) -> None:
    export_labels(drawn / "masks", images_of(drawn), "yolo", drawn / "yolo")
    shutil.rmtree(drawn / "yolo" / "images" / "day1")
    tagged = load_images(drawn / "yolo", "paired")("train", transform=None, masks=False)
    assert tagged.class_names == NAMES


def test_an_export_of_cvat_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("decomprec.labelling.cvat.say", said.append)
    assert import_labels(DATA / "cvat.zip", tmp_path) == (1, NAMES)
    labels = label_maps(tmp_path)["park"]
    assert labels.shape == (12, 16)
    assert [(labels == k).sum().item() for k in (1, 2)] == [44, 29]
    assert "day1/sea" in said[0]


def task(result: list[dict[str, Any]], **data: Any) -> dict[str, Any]:
    return {"id": 7, "data": data, "annotations": [{"was_cancelled": False, "result": result}]}


def brush(name: str, rle: list[int]) -> dict[str, Any]:
    size = {"original_width": 7, "original_height": 5}
    return {"type": "brushlabels", **size, "value": {"format": "rle", "rle": rle, "brushlabels": [name]}}


def test_an_export_of_label_studio_is_read(tmp_path: Path) -> None:
    polygon = {
        "type": "polygonlabels",
        "original_width": 10,
        "original_height": 4,
        "value": {"points": [[20, 0], [60, 0], [60, 50], [20, 50]], "polygonlabels": ["dog"]},
    }
    choice = {"type": "choices", "value": {"choices": ["good"]}}
    older = {"was_cancelled": False, "updated_at": "2026-01-01", "result": []}
    tasks = [
        task([brush("cat", SDK_RLE), choice], image="/data/upload/3/1a2b3c4d-park.jpg"),
        task([polygon], image="/data/local-files/?d=photos/day%201/sea.jpg"),
        task([], image="https://example.org/x/unknown.jpg"),
        {"id": 9, "data": {"image": "/data/upload/3/9a2b3c4d-later.jpg"}, "annotations": []},
    ]
    tasks[0]["annotations"] = [{**tasks[0]["annotations"][0], "updated_at": "2026-02-02"}, older]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    assert import_labels(tmp_path / "export.json", tmp_path / "masks") == (2, NAMES)
    found = label_maps(tmp_path / "masks")
    assert torch.equal(found["park"], torch.from_numpy(SDK_MASK))
    expected = torch.zeros(4, 10).long()
    expected[:2, 2:6] = 2
    assert torch.equal(found["photos/day 1/sea"], expected)
    assert set(found) == {"park", "photos/day 1/sea"}


def test_regions_that_overlap_are_unknown_and_ignore_is_too(tmp_path: Path) -> None:
    rim = np.zeros((5, 7), dtype=bool)
    rim[3:] = True
    tasks = [task([brush("dog", SDK_RLE), brush("cat", encode(rim))], image="a.jpg")]
    tasks += [task([brush("dog", SDK_RLE), brush("ignore", encode(rim & (SDK_MASK == 0)))], image="b.jpg")]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    assert import_labels(tmp_path / "export.json", tmp_path / "masks", classes=["dog", "cat"])[1] == ("dog", "cat")
    found = label_maps(tmp_path / "masks")
    assert torch.equal(found["a"] == 255, torch.from_numpy(rim & (SDK_MASK == 1)))
    assert torch.equal(found["a"] == 2, torch.from_numpy(rim & (SDK_MASK == 0)))
    assert torch.equal(found["b"] == 255, torch.from_numpy(rim & (SDK_MASK == 0)))
    assert torch.equal(found["b"] == 1, torch.from_numpy(SDK_MASK == 1))


def test_a_dataset_of_fiftyone_is_read(tmp_path: Path) -> None:
    mask = {"_cls": "Segmentation", "tags": [], "mask": {"$binary": {"base64": FIFTYONE_MASK, "subType": "00"}}}
    samples = {"samples": [{"filepath": "/x/park.jpg", "ground_truth": mask, "prediction": {**mask, "mask": None}}]}
    metadata = {"version": "1.22.1", "default_mask_targets": {"1": "cat", "2": "dog"}}
    (tmp_path / "samples.json").write_text(json.dumps(samples))
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    assert import_labels(tmp_path, tmp_path / "masks") == (1, NAMES)
    assert label_maps(tmp_path / "masks")["park"].tolist() == [[0, 1], [2, 255]]


def test_scores_are_the_means_of_the_largest_probabilities(drawn: Path) -> None:
    shares = {"park": (0.5, 0.9), "day1/sea": (0.4, 0.6), "day1/empty": (1.0, 1.0)}
    for name, (low, high) in shares.items():
        soft = np.full((3, 28, 45), 0.1, dtype=np.float16)
        soft[1], soft[2, :14] = low, high
        (drawn / "probabilities" / name).parent.mkdir(parents=True, exist_ok=True)
        np.savez(drawn / "probabilities" / f"{name}.npz", masks=soft)
    expected = {name: (low + high) / 2 for name, (low, high) in shares.items()}
    for tool in ("fiftyone", "label-studio"):
        out = drawn / tool
        export_labels(drawn / "masks", images_of(drawn), tool, out, probabilities=drawn / "probabilities")
    samples = json.loads((drawn / "fiftyone" / "samples.json").read_text())["samples"]
    assert {s["name"]: s["confidence"] for s in samples} == pytest.approx(expected, abs=1e-3)
    tasks = json.loads((drawn / "label-studio" / "tasks.json").read_text())
    assert {t["data"]["name"]: t["predictions"][0]["score"] for t in tasks} == pytest.approx(expected, abs=1e-3)


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)  # 1 x 1
SAMPLES = json.dumps({"samples": [{"filepath": "/park.jpg", "gt": {"_cls": "Segmentation", "mask": {}}}]})


def fiftyone(samples: str, metadata: str = '{"default_mask_targets": {"1": "cat"}}') -> dict[str, str | bytes]:
    return {"samples.json": samples, "metadata.json": metadata}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"a.json": "[{}]"}, "not as JSON-MIN"),
        ({"a.json": json.dumps([task([{"type": "rectanglelabels"}], image="a.jpg")])}, "draw it with the brush"),
        ({"a.json": json.dumps([task([brush("cat", SDK_RLE[:9])], image="a.jpg")])}, "ends early"),
        ({"a.json": json.dumps([task([brush("a\nb", SDK_RLE)], image="a.jpg")])}, "printable"),
        ({"a.json": json.dumps([task([brush("ignore", SDK_RLE)], image="a.jpg")])}, "it has none"),
        ({"a.json": "{"}, "hold JSON"),
        ({"notes.md": "x"}, "none of them"),
        ({"data.yaml": "names: [cat]", "labels/a.txt": "0 0 0 1 0 1 1"}, "put the images into images/"),
        ({"data.yaml": "nc: 1", "labels/a.txt": ""}, "`names`"),
        ({"data.yaml": "names: [", "labels/a.txt": ""}, "data.yaml to be YAML"),
        ({"data.yaml": "names: [cat]", "labels/a.txt": "0 .1 .1 nan .2 .3 .3", "images/a.png": PNG}, "line 1 of a.txt"),
        (fiftyone("{"), "samples.json to hold JSON"),
        (fiftyone(SAMPLES, "["), "metadata.json to hold JSON"),
        (fiftyone(SAMPLES, "[1]"), "metadata.json to name the classes by numbers"),
        (fiftyone(SAMPLES, '{"default_mask_targets": {"#ff0000": "cat"}}'), "metadata.json to name the classes by num"),
        (fiftyone(SAMPLES), "label map of park to be as FiftyOne"),
        (fiftyone(SAMPLES.replace("{}", '{"$binary": {"base64": "eHh4"}}')), "label map of park to be as FiftyOne"),
    ],
)
def test_what_is_wrong_with_an_export_is_said(content: dict[str, str | bytes], said: str, tmp_path: Path) -> None:
    for name, text in content.items():
        (tmp_path / "export" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "export" / name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ValueError, match=said):
        import_labels(tmp_path / "export", tmp_path / "out")


def test_classes_that_are_chosen_are_there_and_named_once(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([task([brush("cat", SDK_RLE)], image="a.jpg")]))
    for classes, said in ((["cat", "cat"], "distinct"), (["cat", "cow"], r"got \['cow'\]"), ([], "got")):
        with pytest.raises(ValueError, match=said):
            import_labels(tmp_path / "a.json", tmp_path / "out", classes=classes)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", ["cut off", "bytes changed", "password"])
def test_a_zip_that_cannot_be_unpacked_is_named(fault: str, tmp_path: Path) -> None:
    file = tmp_path / "export.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("export.json", json.dumps(list(range(5000))))
    content = bytearray(file.read_bytes())
    if fault == "password":  # bit 0 of the flags, in both headers of the entry
        content[6] |= 1
        content[content.index(b"PK\x01\x02") + 8] |= 1
    elif fault == "bytes changed":
        content[200:400:10] = bytes(byte ^ 255 for byte in content[200:400:10])
    file.write_bytes(content[: len(content) // 2] if fault == "cut off" else content)
    with pytest.raises(ValueError, match=f"{file.name} to be a zip that can be unpacked"):
        import_labels(file, tmp_path / "out")


def test_a_box_is_no_mask(tmp_path: Path) -> None:
    save(tmp_path / "yolo" / "images" / "a.png", np.zeros((4, 4, 3), dtype=np.uint8))
    (tmp_path / "yolo" / "labels").mkdir()
    (tmp_path / "yolo" / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "yolo" / "data.yaml").write_text("names: {0: cat}\n")
    with pytest.raises(ValueError, match="boxes are no masks"):
        import_labels(tmp_path / "yolo", tmp_path / "out")


def test_a_hostile_name_stays_in_the_folder(tmp_path: Path) -> None:
    tasks = [task([brush("cat", SDK_RLE)], image="a.jpg", name="../../outside")]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    import_labels(tmp_path / "export.json", tmp_path / "deep" / "masks")
    assert [file.name for file in tmp_path.rglob("*.png")] == ["outside.png"]
    assert (tmp_path / "deep" / "masks" / "outside.png").is_file()


def test_a_folder_gets_more_masks_of_the_same_classes_only(tmp_path: Path) -> None:
    for name, label in (("a", "cat"), ("b", "cat"), ("c", "dog")):
        (tmp_path / f"{name}.json").write_text(json.dumps([task([brush(label, SDK_RLE)], image=f"{name}.jpg")]))
    import_labels(tmp_path / "a.json", tmp_path / "masks")
    import_labels(tmp_path / "b.json", tmp_path / "masks")
    with pytest.raises(ValueError, match="says otherwise"):
        import_labels(tmp_path / "c.json", tmp_path / "masks")
    assert sorted(label_maps(tmp_path / "masks")) == ["a", "b"]


def test_colours_that_no_label_has_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(DATA / "cvat.zip") as archive:
        archive.extractall(tmp_path / "cvat")
    file = tmp_path / "cvat" / "labelmap.txt"
    file.write_text(file.read_text().replace("dog:0,128,0", "dog:0,129,0"))
    with pytest.raises(ValueError, match="#008000"):
        import_labels(tmp_path / "cvat", tmp_path / "masks")


def test_the_command_line_takes_the_images_that_predict_was_given(drawn: Path) -> None:
    folder = drawn / "drawn"
    shutil.move(drawn / "masks", folder / "masks")
    assert "--images" in sentence("export-labels", folder, "--to", "cvat", "--out", drawn / "a.zip")
    config = {"command": "predict", "images": [str(drawn / "images")]}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    result = call("export-labels", folder, "--to", "cvat", "--out", drawn / "a.zip")
    assert result.exit_code == 0, result.output
    assert "--out" in sentence("export-labels", folder, "--to", "cvat", "--out", drawn / "a.json")
    result = call("import-labels", drawn / "a.zip", "--out", drawn / "back", "--classes", "dog")
    assert result.exit_code == 0, result.output
    assert (drawn / "back" / "classes.txt").read_text() == "background\ndog\n"
    before = label_maps(folder / "masks")["park"]
    assert torch.equal(label_maps(drawn / "back")["park"] == 1, before == 2)
    assert {"a.config.yaml", "back"} <= {path.name for path in drawn.iterdir()}


def test_a_mask_without_an_image_is_named(drawn: Path) -> None:
    images = images_of(drawn)
    del images["park"]
    with pytest.raises(FileNotFoundError, match=r"1 of 3 have none, park\.png"):
        export_labels(drawn / "masks", images, "cvat", drawn / "a.zip")


def test_pillow_sees_the_colours_in_the_zip_for_cvat(drawn: Path) -> None:
    export_labels(drawn / "masks", images_of(drawn), "cvat", drawn / "a.zip")
    with zipfile.ZipFile(drawn / "a.zip") as archive, archive.open("SegmentationClass/day1/sea.png") as file:
        pixels = np.array(Image.open(file).convert("RGB"))
        lines = archive.read("labelmap.txt").decode().splitlines()[1:]
    colours = {line.split(":")[0]: [int(part) for part in line.split(":")[1].split(",")] for line in lines}
    labels = label_maps(drawn / "masks")["day1/sea"].numpy()
    for value, name in ((0, "background"), (1, "cat"), (2, "dog"), (255, "ignore")):
        assert (pixels[labels == value] == colours[name]).all()
