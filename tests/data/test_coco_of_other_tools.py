"""COCO files as other tools write them: what is plain is read, and the rest is refused with the annotation's id."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from decomprec.data import CocoInstances, load_images, notices
from decomprec.data.formats.coco import coco_label_maps
from decomprec.labelling.coco import CocoWriter

HEIGHT, WIDTH = 6, 8
SQUARE = [2, 1, 6, 1, 6, 5, 2, 5]
DRAWN = torch.zeros(HEIGHT, WIDTH, dtype=torch.int64)
DRAWN[1:5, 2:6] = 1


@pytest.fixture(autouse=True)
def _nothing_said_yet() -> None:
    notices._said.clear()


def write(
    root: Path,
    annotation: dict[str, Any],
    image: dict[str, Any] | None = None,
    files: tuple[str, ...] = ("images/day1/a.png",),
    **changes: Any,
) -> Path:
    """A file with one image and one annotation of a dog; a value of None takes a key out."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / file)
    listed = {"id": 7, "file_name": "day1/a.png", "height": HEIGHT, "width": WIDTH, **(image or {})}
    found = {"id": 5, "image_id": 7, "category_id": 3, "segmentation": [SQUARE], "bbox": [2, 1, 4, 4], **annotation}
    content = {
        "images": [{key: value for key, value in listed.items() if value is not None}],
        "categories": [{"id": 3, "name": "dog"}],
        "annotations": [{key: value for key, value in found.items() if value is not None}],
        **changes,
    }
    path = root / "instances.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def drawn(path: Path) -> Any:
    data = CocoInstances(path, masks=True)
    assert data.class_names == ("dog",)
    assert data.tags.tolist() == [[1.0]]
    return data[0]["mask"]


@pytest.mark.parametrize(
    "file_name",
    [
        r"day1\a.png",
        r"C:\data\day1\a.png",
        r"\\server\share\day1\a.png",
        "/home/someone/photos/day1/a.png",
        "images/day1/a.png",
        "../images/day1/a.png",
        "file:///data/day1/a.png",
        "https://example.org/day1/a.png",
        "./day1/a.png",
        "day1%2Fa.png",
    ],
)
def test_paths_of_other_machines(tmp_path: Path, file_name: str) -> None:
    path = write(tmp_path, {}, {"file_name": file_name})
    assert CocoInstances(path).records[0].name == "day1/a"
    assert torch.equal(drawn(path), DRAWN)


def test_an_absolute_path_counts_by_its_name(tmp_path: Path) -> None:
    path = write(tmp_path, {}, {"file_name": "D:/x/y/a.png"}, files=("images/a.png",))
    assert CocoInstances(path)[0]["name"] == "a"


def test_one_file_for_both_splits_with_paths_of_another_machine(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(10)]
    images = [{"id": str(i), "file_name": f"C:\\x\\{name}"} for i, name in enumerate(names)]
    found = [{"image_id": i, "category_id": "3"} for i in range(0, 10, 2)]
    path = write(tmp_path, {}, files=tuple(names), images=images, annotations=found)
    load = load_images(path)
    splits = [
        {record.name for record in load(split, transform=None, masks=False).records} for split in ("train", "val")
    ]
    assert [len(split) for split in splits] == [8, 2]
    assert splits[0] | splits[1] == {str(i) for i in range(10)}


@pytest.mark.parametrize(
    ("image", "annotation"), [("7", 7), (7, "7"), (7.0, 7), ("a-7", "a-7"), ("007", "007"), (0, 0)]
)
def test_ids_may_be_text(tmp_path: Path, image: Any, annotation: Any) -> None:
    assert torch.equal(drawn(write(tmp_path, {"image_id": annotation}, {"id": image})), DRAWN)


@pytest.mark.parametrize("key", [0, "0", "dog-1", 2**40])
def test_ids_of_categories(tmp_path: Path, key: Any) -> None:
    path = write(tmp_path, {"category_id": key}, categories=[{"id": key, "name": "dog"}])
    assert torch.equal(drawn(path), DRAWN)


def test_categories_are_ordered_by_number(tmp_path: Path) -> None:
    categories = [{"id": str(i), "name": f"c{i}"} for i in (10, 9, 0, 100)]
    path = write(tmp_path, {"category_id": 9}, categories=categories)
    data = CocoInstances(path)
    assert data.class_names == ("c0", "c9", "c10", "c100")
    assert data.tags.tolist() == [[0, 1, 0, 0]]


def test_a_group_without_objects_is_no_class(tmp_path: Path) -> None:
    """As Roboflow writes it; if it has objects, it is a class."""
    categories = [{"id": 0, "name": "pets", "supercategory": "none"}, {"id": 3, "name": "dog", "supercategory": "pets"}]
    assert torch.equal(drawn(write(tmp_path, {}, categories=categories)), DRAWN)
    assert CocoInstances(write(tmp_path, {"category_id": 0}, categories=categories)).class_names == ("pets", "dog")
    own = [{"id": 3, "name": "dog", "supercategory": "dog"}, {"id": 4, "name": "cat", "supercategory": "dog"}]
    assert CocoInstances(write(tmp_path, {}, categories=own)).class_names == ("dog", "cat")


def test_categories_of_one_name_are_one_class(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "dog", "supercategory": "none"}, {"id": 3, "name": "dog", "supercategory": "dog"}]
    assert torch.equal(drawn(write(tmp_path, {}, categories=categories)), DRAWN)


@pytest.mark.parametrize(
    "size",
    [
        {"height": None, "width": None},
        {"height": None},
        {"height": 0, "width": 0},
        {"height": str(HEIGHT), "width": str(WIDTH)},
        {"height": float(HEIGHT), "width": f"{WIDTH}.0"},
    ],
)
def test_sizes_that_are_missing_or_text(tmp_path: Path, size: dict[str, Any]) -> None:
    path = write(tmp_path, {}, size)
    assert torch.equal(drawn(path), DRAWN)
    ((name, label_map),) = coco_label_maps(path)
    assert name == "day1/a.png"
    assert torch.equal(label_map, DRAWN)
    (tmp_path / "images" / "day1" / "a.png").unlink()
    if None in size.values() or 0 in size.values():
        with pytest.raises(ValueError, match=r"state the height and width of day1/a\.png, or the image to lie next"):
            list(coco_label_maps(path))


REGION = np.asfortranarray(DRAWN.numpy(), dtype=np.uint8)
COMPRESSED = mask_api.encode(REGION)["counts"]
LENGTHS = [WIDTH + 5, 4, 2, 4, 2, 4, 2, 4, 13]
SEGMENTATIONS = {
    "one level too few": SQUARE,
    "points in pairs": [[2, 1], [6, 1], [6, 5], [2, 5]],
    "polygon of points in pairs": [[[2, 1], [6, 1], [6, 5], [2, 5]]],
    "numbers as text": [[str(value) for value in SQUARE]],
    "with an empty polygon": [SQUARE, []],
    "compressed": {"size": [HEIGHT, WIDTH], "counts": COMPRESSED.decode()},
    "compressed, without size": {"counts": COMPRESSED.decode()},
    "compressed, size as text": {"size": [str(HEIGHT), str(WIDTH)], "counts": COMPRESSED.decode()},
    "bytes as Python shows them": {"size": [HEIGHT, WIDTH], "counts": str(COMPRESSED)},
    "counts": {"size": [HEIGHT, WIDTH], "counts": LENGTHS},
    "counts as text or floats": {"size": [HEIGHT, WIDTH], "counts": [str(LENGTHS[0]), *map(float, LENGTHS[1:])]},
    "a list of RLE": [{"size": [HEIGHT, WIDTH], "counts": LENGTHS}],
}


@pytest.mark.parametrize("kind", SEGMENTATIONS)
def test_segmentations(tmp_path: Path, kind: str) -> None:
    assert sum(LENGTHS) == HEIGHT * WIDTH
    assert torch.equal(drawn(write(tmp_path, {"segmentation": SEGMENTATIONS[kind]})), DRAWN)


@pytest.mark.parametrize(
    ("crowd", "value"), [(0, 1), ("0", 1), (False, 1), (None, 1), (1, 255), ("1", 255), (True, 255)]
)
def test_crowds(tmp_path: Path, crowd: Any, value: int) -> None:
    assert torch.equal(drawn(write(tmp_path, {"iscrowd": crowd})), DRAWN * value)


@pytest.mark.parametrize("nothing", [None, [], [[]], [[], []], {}, ""])
def test_a_box_alone_tags_its_image(tmp_path: Path, nothing: Any) -> None:
    path = write(tmp_path, {"segmentation": nothing})
    assert (drawn(path) == 255).all()
    assert [record.mask for record in CocoInstances(path, masks=True).records] == [None]


@pytest.mark.parametrize("polygon", [[2, 1, 6, 5], [6, 5, 2, 1], [[2, 1], [6, 5]]])
def test_a_polygon_of_two_points_is_unknown_around_them(
    tmp_path: Path, polygon: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Not a box [x, y, width, height], as which pycocotools reads four numbers."""
    path = write(tmp_path, {"segmentation": [polygon]})
    for _ in range(2):
        assert torch.equal(drawn(path), DRAWN * 255)
    (said,) = caplog.messages
    assert "fewer than three points in 1 annotations, the first in annotation 5 of day1/a.png: their tags count" in said
    # What is left of an object is drawn, also over what is unknown.
    both = drawn(write(tmp_path, {"segmentation": [SQUARE, [0, 0, 1, 1]]}))
    assert both[0, 0] == 255
    assert torch.equal(both * (both < 255), DRAWN)


def test_annotations_of_images_that_are_not_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, other = {"id": 5, "image_id": 7, "category_id": 3}, {"id": 6, "image_id": 8, "category_id": 3}
    assert CocoInstances(write(tmp_path, {}, annotations=[one, other, other])).tags.tolist() == [[1]]
    assert "2 annotations of images that it does not list" in caplog.text


def test_what_is_listed_twice_alike_counts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = {"id": 7, "file_name": "day1/a.png"}
    path = write(tmp_path, {}, images=[image, image], categories=[{"id": 3, "name": "dog"}] * 2)
    assert CocoInstances(path).tags.tolist() == [[1]]
    assert "repeats 1 entries of images" in caplog.text


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "odd": ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "that of annotation 5 is not: a polygon has 7 numbers"),
    "no numbers": (
        {"segmentation": [["a", "b", "c", "d", "e", "f"]]},
        "annotation 5 is not: a polygon is no list of num",
    ),
    "too deep": ({"segmentation": [[[[1, 2, 3, 4, 5, 6]]]]}, "annotation 5 is not: a polygon is no list of numbers"),
    "a word": ({"segmentation": "mask.png"}, "annotation 5 is not: it is 'mask.png'"),
    "counts too short": ({"segmentation": {"counts": [3, 4]}}, "5 is not: its counts are not of the image's 48 pixels"),
    "text too short": ({"segmentation": {"counts": "52"}}, "5 is not: its counts are not of the image's 48 pixels"),
    "counts of other letters": ({"segmentation": {"counts": "10 5 33"}}, "annotation 5 is not: its counts are '10 5"),
    "no counts": ({"segmentation": {"size": [6, 8]}}, "annotation 5 is not: its counts are None"),
    "without id": ({"id": None, "segmentation": [[1] * 7]}, "one of its annotations is not: a polygon has 7 numbers"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_segmentations_whose_meaning_is_not_plain(tmp_path: Path, kind: str) -> None:
    annotation, message = WRONG[kind]
    data = CocoInstances(write(tmp_path, annotation), masks=True)
    with pytest.raises(ValueError, match=rf"Expected a segmentation of day1/a\.png in .*json .*{message}") as caught:
        data[0]
    assert str(caught.value).endswith("Correct it, or remove it and keep the tag.")


NAMED: dict[str, tuple[dict[str, Any], str]] = {
    "no image's id": ({"images": [{"file_name": "a.png"}]}, r"images\[0\] has no `id`"),
    "no file's name": ({"images": [{"id": 7}]}, "image 7 has no `file_name`"),
    "a list as id": ({"images": [{"id": [7], "file_name": "a.png"}]}, r"images\[0\] has the `id` \[7\]"),
    "an image is a word": ({"images": ["a.png"]}, r"images\[0\] is no mapping"),
    "one id for two": ({"images": [{"id": 7, "file_name": n} for n in "ab"]}, "several images have one id, 7: a and b"),
    "category without a name": ({"categories": [{"id": 3}]}, "category 3 has no `name`"),
    "categories of one id": ({"categories": [{"id": 3, "name": n} for n in "ab"]}, "several categories have one id, 3"),
    "no image of an annotation": ({"annotations": [{"id": 5, "category_id": 3}]}, "annotation 5 has no `image_id`"),
    "no category": ({"annotations": [{"id": 5, "image_id": 7}]}, "annotation 5 has no `category_id`"),
    "other category": ({"annotations": [{"id": 5, "image_id": 7, "category_id": 4}]}, "annotation 5 is of category 4"),
    "no annotations": ({"annotations": None}, "it has no list `annotations`"),
    "a size in words": ({"images": [{"id": 7, "file_name": "a", "height": "x", "width": 1}]}, "a has the size"),
}


@pytest.mark.parametrize("kind", NAMED)
def test_files_whose_meaning_is_not_plain(tmp_path: Path, kind: str) -> None:
    changes, message = NAMED[kind]
    with pytest.raises(
        ValueError, match=rf"instances\.json to hold COCO's instance annotations, but: {message}"
    ) as caught:
        CocoInstances(write(tmp_path, {}, **changes))
    assert "Error" not in str(caught.value)


def test_a_list_of_detections_is_told(tmp_path: Path) -> None:
    (tmp_path / "instances.json").write_text(json.dumps([{"image_id": 7, "category_id": 3, "score": 0.5}]))
    with pytest.raises(ValueError, match="it is a list of detections; give the file with `images`"):
        CocoInstances(tmp_path / "instances.json")


def test_what_is_written_has_all_that_readers_of_coco_look_up(tmp_path: Path) -> None:
    writer = CocoWriter(["dog"])
    writer.add("a.png", DRAWN)
    writer.save(tmp_path / "annotations.json")
    coco = COCO(tmp_path / "annotations.json")
    coco.info()
    assert coco.getCatIds(supNms=["animal"]) == []
    results = coco.loadRes([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}])
    assert len(results.anns) == 1
    assert {"info", "licenses", "images", "annotations", "categories"} == set(coco.dataset)
    (annotation,) = coco.dataset["annotations"]
    assert {"id", "image_id", "category_id", "segmentation", "area", "bbox", "iscrowd"} == set(annotation)
    assert torch.equal(torch.from_numpy(coco.annToMask(annotation)).long(), DRAWN)


def test_panoptic_annotations_are_refused(tmp_path: Path) -> None:
    segments = {"image_id": 7, "file_name": "a.png", "segments_info": [{"id": 1, "category_id": 3, "iscrowd": 0}]}
    path = write(tmp_path, {}, annotations=[segments])
    with pytest.raises(ValueError, match="it is of panoptic segmentation; give the file of instances"):
        CocoInstances(path)
