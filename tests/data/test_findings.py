"""Findings are about just what was put into the data."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from support.bad_cases import PAGE

from decomprec.data import Record, TaggedImages
from decomprec.data.duplicates import duplicate_findings
from decomprec.data.findings import FEWEST, Finding, constant_findings, tag_findings
from decomprec.data.inspection import Inspected, file_findings, inspect_images


class Tagged:
    """A data set of tags alone, each image given by the words for its classes."""

    def __init__(self, names: list[str], images: list[str]) -> None:
        self.class_names = names
        self.tags = torch.tensor([[float(name in image.split()) for name in names] for image in images])

    def __len__(self) -> int:
        return len(self.tags)


def findings_of(names: list[str], train: list[str], val: list[str]) -> dict[str, str]:
    train_set: Any = Tagged(names, train)
    val_set: Any = Tagged(names, val)
    found = [*tag_findings(train_set, val_set), *constant_findings(train_set)]
    assert len({finding.check for finding in found}) == len(found)
    return {finding.check: finding.text for finding in found}


MANY = FEWEST


@pytest.mark.parametrize(
    ("train", "val", "expected"),
    [
        (["cat"] * MANY + ["dog"] * MANY + [""], ["cat", "dog"], {}),
        (["cat"] * MANY + ["dog"] * (MANY - 1) + [""], ["cat dog"], {"few images": f"dog ({MANY - 1})"}),
        (["cat"] * MANY + ["dog"] * MANY, ["cat", "dog"], {"no class": "every training image"}),
        (["cat dog"] * MANY + [""], ["cat dog"], {"tags together": "cat + dog"}),
        (["cat dog"] * MANY + ["cat"] * MANY, ["cat dog"], {"all images": "have cat"}),
        (["cat"] * MANY + [""], ["cat dog"], {"no images": "has dog"}),
        (["cat"] * MANY + ["dog"] * MANY + [""], ["cat", ""], {"validation": "has dog"}),
    ],
)
def test_tags(train: list[str], val: list[str], expected: dict[str, str]) -> None:
    found = findings_of(["cat", "dog"], train, val)
    assert found.keys() == expected.keys()
    for check, words in expected.items():
        assert words in found[check]


def test_long_lists_are_cut() -> None:
    names = [f"class{k:02}" for k in range(30)]
    assert "class00, class01, class02, class03, class04 and 25 more" in findings_of(names, [""], [""])["no images"]


@given(st.lists(st.frozensets(st.integers(0, 5), min_size=1, max_size=5), min_size=1, max_size=6))
def test_classes_of_the_same_images_are_found(classes: list[frozenset[int]]) -> None:
    names = [f"c{k}" for k in range(len(classes))]
    images = [" ".join(name for name, shown in zip(names, classes, strict=True) if i in shown) for i in range(6)]
    found = findings_of(names, images, images).get("tags together", "")
    same = {shown: [n for n, other in zip(names, classes, strict=True) if other == shown] for shown in classes}
    expected = [" + ".join(group) for group in same.values() if len(group) > 1]
    assert bool(found) == bool(expected)
    assert found.count(" + ") == sum(group.count(" + ") for group in expected)
    assert all(group in found for group in expected)


def scene(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """Smooth patches of colour: like a photograph, most of it is coarse."""
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def written(folder: Path, images: dict[str, Image.Image], tags: dict[str, tuple[str, ...]] | None = None) -> Any:
    folder.mkdir()
    records = []
    for name, image in images.items():
        image.save(folder / name, **({"quality": 70} if name.endswith(".jpg") else {}))
        records.append(Record(folder / name, (tags or {}).get(name, ("dog",)), name))
    return TaggedImages(records, ["cat", "dog"])


def groups(finding: Finding) -> set[frozenset[str]]:
    return {frozenset(Path(file).name for file in group) for group in finding.files}


def test_equal_images_and_images_that_look_alike(tmp_path: Path) -> None:
    others = {f"{seed}.png": scene(seed) for seed in range(20, 60)}
    train = {
        "a.png": scene(0),
        "b.png": scene(1),
        "b2.bmp": scene(1),  # another format, the same pixels
        "c.png": scene(2),
        "d.png": scene(3),
        "d2.png": ImageEnhance.Brightness(scene(3)).enhance(0.8),
        "e.png": scene(4),
        **others,
    }
    val = {
        "A.bmp": scene(0),
        "C.jpg": scene(2),
        "E.png": scene(4).resize((48, 36)),
        "F.png": scene(5),
        **{f"v{seed}.png": scene(seed) for seed in range(60, 80)},
    }
    images = [
        *inspect_images(written(tmp_path / "train", train, {"b.png": ("cat",)}), "train"),
        *inspect_images(written(tmp_path / "val", val), "val"),
    ]
    found = {finding.check: finding for finding in duplicate_findings(images)}
    assert {check: groups(finding) for check, finding in found.items()} == {
        "equal across splits": {frozenset({"a.png", "A.bmp"})},
        "equal within a split": {frozenset({"b.png", "b2.bmp"})},
        "tags that differ": {frozenset({"b.png", "b2.bmp"})},
        "near duplicates across splits": {frozenset({"c.png", "C.jpg"}), frozenset({"e.png", "E.png"})},
        "near duplicates": {frozenset({"d.png", "d2.png"})},
    }
    assert [finding.level for finding in found.values()] == ["error"] + 4 * ["warning"]


def test_a_chain_of_frames_is_one_group() -> None:
    looks = torch.zeros(40, 128, dtype=torch.uint8)
    for i in range(40):  # each two places further from the first, in both halves; from 30 on, far from all of these
        looks[i, : 2 * min(i, 20)] = looks[i, 64 : 64 + 2 * min(i, 20)] = 1
    looks[30:] = 1
    frames = [Inspected("train", str(i), (), content=bytes([i]), look=look) for i, look in enumerate(looks)]
    (finding,) = duplicate_findings(frames)
    assert [len(group) for group in finding.files] == [30, 10]


def test_files(tmp_path: Path) -> None:
    data = written(
        tmp_path / "train",
        {"a.png": scene(0, (40, 30)), "b.png": scene(1, (64, 50)), "c.png": scene(2), "d.png": scene(3)},
    )
    damaged = tmp_path / "train" / "d.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    images = inspect_images(data, "train")
    assert [image.size for image in images] == [(30, 40), (50, 64), (72, 96), (0, 0)]
    unreadable, sizes, small = file_findings(images, image_size=40)
    assert (unreadable.level, groups(unreadable)) == ("error", {frozenset({"d.png"})})
    assert (sizes.level, sizes.text[:55]) == ("note", "30 x 40 smallest, 50 x 64 median, 72 x 96 largest (heig")
    assert (small.level, groups(small)) == ("warning", {frozenset({"a.png"})})


def test_masks_that_cannot_be_used_are_found(tmp_path: Path) -> None:
    for name, size in (("a.png", (96, 72)), ("b.png", (20, 20))):
        scene(0).save(tmp_path / name)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.new("L", size, 1).save(tmp_path / "masks" / name)
    records = [Record(tmp_path / n, ("dog",), n, mask=tmp_path / "masks" / n) for n in ("a.png", "b.png")]
    images = inspect_images(TaggedImages(records, ["dog"], masks=True), "val")
    assert images[0].problem is None
    assert "to have its image's height and width (72, 96)" in str(images[1].problem)


def masked(folder: Path, values: dict[str, tuple[tuple[str, ...], int | None]]) -> Any:
    """Images with tags, and a mask whose upper half has a value."""
    (folder / "masks").mkdir(parents=True)
    records = []
    for name, (tags, value) in values.items():
        scene(len(records)).save(folder / f"{name}.png")
        mask = None if value is None else folder / "masks" / f"{name}.png"
        if mask is not None:
            labels = np.zeros((72, 96), dtype=np.uint8)
            labels[:40] = value
            Image.fromarray(labels).save(mask)
        records.append(Record(folder / f"{name}.png", tags, name, mask))
    return TaggedImages(records, ["cat", "dog"], masks=True)


def test_masks_without_the_class(tmp_path: Path) -> None:
    shown = {"a": (("cat",), 1), "b": (("cat", "dog"), 2), "c": ((), 0), "d": (("dog",), 255), "e": (("dog",), None)}
    good = masked(tmp_path / "good", {"a": (("cat",), 1), "c": ((), 0), "d": (("cat", "dog"), 255)})
    assert all("masks" not in finding.check for finding in tag_findings(good, good))
    some = masked(tmp_path / "some", {**shown, "f": (("dog",), 0)})
    found = {finding.check: finding for finding in tag_findings(some, some)}["masks without the class"]
    assert (found.level, groups(found)) == ("warning", {frozenset({"b.png"}), frozenset({"f.png"})})
    assert found.text.startswith("2 of 4 masks of validation images lack a class that the image is tagged with (1 are")
    black = masked(tmp_path / "black", {"a": (("cat",), 0), "b": (("dog",), 0), "c": ((), 0)})
    (found,) = (finding for finding in tag_findings(black, black) if finding.level == "error")
    assert found.text.startswith("2 of 2 masks of validation images lack")
    assert "2 are all background, as exports without annotations are" in found.text
    (found,) = (finding for finding in tag_findings(black, black, most_masks=1) if finding.level == "error")
    assert "1 of 1 masks" in found.text


def test_the_page_lists_all_findings(tmp_path: Path) -> None:
    """Of data with every fault that is looked for."""
    tagged = [(["cat dog", ""], [""]), (["cat", "cat"], ["cat"]), (["cat", "dog"], ["cat dog"])]
    sets: list[tuple[Any, Any]] = [
        (Tagged(["cat", "dog"], train), Tagged(["cat", "dog"], val)) for train, val in tagged
    ]
    sets[0][1].tags[:] = 1
    sets[0][1].records = [SimpleNamespace(mask=None)]
    unmasked: Any = Tagged(["cat", "dog"], ["cat", "dog"])
    unmasked.records = [SimpleNamespace(mask=None), SimpleNamespace(mask=Path("dog.png"))]
    sets.append((unmasked, unmasked))
    for name, second in (("all", 0), ("some", 2)):
        lacking = masked(tmp_path / name, {"a": (("cat",), 0), "b": (("dog",), second)})
        sets.append((lacking, lacking))
    zeros, ones = torch.zeros(128, dtype=torch.uint8), torch.ones(128, dtype=torch.uint8)
    files = [
        Inspected("train", "a", (), problem="damaged"),
        Inspected("train", "b", ("cat",), size=(9, 9), content=b"1", look=zeros),
        Inspected("val", "c", (), size=(9, 9), content=b"1", look=zeros),
        Inspected("train", "d", (), size=(9, 9), content=b"1", look=zeros),
        Inspected("val", "e", (), size=(9, 9), content=b"2", look=zeros),
        Inspected("val", "f", (), size=(9, 9), content=b"3", look=ones),
        Inspected("val", "g", (), size=(9, 9), content=b"4", look=ones),
    ]
    found = [finding for pair in sets for finding in (*tag_findings(*pair), *constant_findings(pair[0]))]
    found += [*file_findings(files, 32), *duplicate_findings(files)]
    section = PAGE.read_text(encoding="utf-8").split("\n## What `decomprec check` finds\n")[1].split("\n## ")[0]
    rows = re.findall(r"^ *\| (.+?) \| (error|warning|note) \| .+ \|$", section, re.MULTILINE)
    assert len(rows) == 17
    assert set(rows) == {(finding.check, finding.level) for finding in found}
