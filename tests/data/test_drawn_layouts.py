"""Layouts drawn from the rules of tools and people: what is read is compared with how each was drawn."""

import random
import tempfile
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.layouts import coco, image, mask, masked, read, tags_by_name, text, xml

SPELLINGS = {
    "train": ("train", "Train", "TRAIN", "training", "trn", "train_set", "Training"),
    "val": ("val", "Val", "valid", "VALID", "validation", "Validation", "dev", "eval"),
    "test": ("test", "Test", "testing", "TEST"),
}
CLASSES = ("cat", "dog", "traffic light", "h\u00fcndin", "Bus_2")
NOTHING = ("other", "Others", "negatives", "_background_", "None", "no_class", "Unlabeled", "NaN")
SYSTEM = ("__MACOSX", ".ipynb_checkpoints", "@eaDir", "#recycle", "$RECYCLE.BIN", ".git")
ENDINGS = (".jpg", ".JPG", ".jpeg", ".png", ".jfif", ".WebP", ".tif", ".bmp")
MASKS = (
    "{}.png",
    "{}_mask.png",
    "{}.jpg.png",
    "{}_label.PNG",
    "{}-seg.png",
    "mask_{}.png",
    "{} (mask).png",
    "{}_GT1.png",
)
ROLES = (("images", "labels"), ("img_dir", "ann_dir"), ("Images_512", "masks_512"), ("imgs", "Ground Truth"))


@dataclass
class Drawn:
    """How a data set was drawn: each image's split and classes."""

    layout: str
    splits: dict[str, str]  # the spelling of each split; none if the data set has none
    listed: bool  # the splits are in lists such as train.txt
    classes: tuple[str, ...]
    nothing: str
    ending: str
    white: bool  # masks hold 0 and 255
    mask_form: str
    roles: tuple[str, str]  # folders of images and of masks, where both are needed
    decomposed: bool
    system: tuple[str, ...]
    above: str
    shown: dict[str, tuple[str, tuple[str, ...]]]  # by name: split and classes

    def of(self, *splits: str) -> dict[str, set[str]]:
        return {name: set(tags) for name, (split, tags) in self.shown.items() if split in splits}


@st.composite
def layouts(draw: st.DrawFn) -> Drawn:
    layout = draw(st.sampled_from(["folder", "classes first", "csv", "coco", "voc", "masks", "masks outside", "xml"]))
    needed = layout in ("classes first", "coco", "masks outside", "xml")
    wanted = draw(st.sampled_from([("train", "val"), ("train", "val", "test"), ("train", "test"), ("train",)]))
    splits = {s: draw(st.sampled_from(SPELLINGS[s])) for s in wanted} if needed or draw(st.booleans()) else {}
    classes = tuple(sorted(draw(st.sets(st.sampled_from(CLASSES), min_size=1, max_size=3))))
    several = layout in ("csv", "coco", "voc", "xml")
    sets = [(), *((name,) for name in classes), *([classes] if several and len(classes) > 1 else [])]
    shown = {}
    for split in splits or ("train",):
        for number, tags in enumerate(sets):
            for i in range(3):
                shown[f"{split}_{number}_{i}"] = (split, tags)
    return Drawn(
        layout,
        splits,
        layout in ("folder", "csv", "masks") and draw(st.booleans()),
        classes,
        draw(st.sampled_from(NOTHING)),
        draw(st.sampled_from(ENDINGS)),
        (len(classes) == 1 or layout in ("folder", "classes first")) and draw(st.booleans()),
        draw(st.sampled_from(MASKS)),
        draw(st.sampled_from(ROLES)),
        draw(st.booleans()),
        tuple(sorted(draw(st.sets(st.sampled_from(SYSTEM), max_size=3)))),
        draw(st.sampled_from(["", "unpacked", "my data/v2"])),
        shown,
    )


def write(drawn: Drawn, root: Path) -> Path:
    """Write a data set; returns the path that a user would give."""
    base = root / drawn.above
    base.mkdir(parents=True, exist_ok=True)
    WRITERS[drawn.layout](replace(drawn, splits={}) if drawn.listed else drawn, base)
    for split, spelling in drawn.splits.items() if drawn.listed else ():
        names = [name for name, (where, _) in drawn.shown.items() if where == split]
        form = f"{{}}{drawn.ending}" if drawn.decomposed else "{}"
        text(base / ("splits" if drawn.white else "") / f"{spelling}.txt", "\n".join(map(form.format, names)))
    for name in drawn.system:
        for folder in [base, *(folder for folder in sorted(base.rglob("*")) if folder.is_dir())]:
            image(folder / name / "dog" / "copy.jpg")
            text(folder / "._copy.jpg", b"\0\5\26\7")
            text(folder / ".DS_Store", b"\0")
    return root


def mask_of(drawn: Drawn, folder: Path, name: str) -> None:
    tags = drawn.shown[name][1]
    form = drawn.mask_form.format(unicodedata.normalize("NFD", name) if drawn.decomposed else name)
    mask(folder / form, 0 if not tags else 255 if drawn.white else drawn.classes.index(tags[0]) + 1)


def write_folder(drawn: Drawn, root: Path) -> None:
    for name, (split, tags) in drawn.shown.items():
        place = root / drawn.splits.get(split, "") / (tags[0] if tags else drawn.nothing)
        image(place / f"{name}{drawn.ending}")
        mask_of(drawn, root / (f"{drawn.splits[split]}_masks" if drawn.splits else "masks"), name)


def write_classes_first(drawn: Drawn, root: Path) -> None:
    for name, (split, tags) in drawn.shown.items():
        image(root / (tags[0] if tags else drawn.nothing) / drawn.splits[split] / f"{name}{drawn.ending}")
        mask_of(drawn, root / "masks", name)


def write_csv(drawn: Drawn, root: Path) -> None:
    lines = ["File_Name;Set;Labels" if drawn.splits else "image;tags"]
    for name, (split, tags) in drawn.shown.items():
        image(root / "images" / f"{name}{drawn.ending}")
        mask_of(drawn, root / "masks", name)
        of_split = [drawn.splits[split]] if drawn.splits else []
        lines.append(";".join([f"{name}{drawn.ending}", *of_split, ", ".join(tags) or drawn.nothing]))
    text(root / "tags.csv", "\r\n".join(lines).encode("utf-16" if drawn.decomposed else "utf-8-sig"))


def write_coco(drawn: Drawn, root: Path) -> None:
    categories = [{"id": i, "name": name, "supercategory": "things"} for i, name in enumerate(drawn.classes, 1)]
    categories.insert(0, {"id": 0, "name": "things", "supercategory": "none"})
    for split, folder in drawn.splits.items():
        shown = {f"{name}{drawn.ending}": tags for name, (where, tags) in drawn.shown.items() if where == split}
        coco(root / folder, shown, categories, "_annotations.coco.json")


def write_voc(drawn: Drawn, root: Path) -> None:
    for name, (_, tags) in drawn.shown.items():
        image(root / "JPEGImages" / f"{name}{drawn.ending}")
        xml(root / "Annotations" / f"{name}.xml", tags)
        mask_of(drawn, root / "SegmentationClass", name)
    for split, spelling in drawn.splits.items():
        names = [name for name, (where, _) in drawn.shown.items() if where == split]
        form = "{}" if drawn.decomposed else f"/JPEGImages/{{0}}{drawn.ending} /SegmentationClass/{{0}}.png"
        text(root / "ImageSets" / "Segmentation" / f"{spelling}.txt", "\n".join(map(form.format, names)))
    text(root / "class_names.txt", "\n".join([drawn.nothing, *drawn.classes]))


def write_masks(drawn: Drawn, root: Path) -> None:
    for name, (split, _) in drawn.shown.items():
        inner = drawn.splits.get(split, "")
        image(root / drawn.roles[0] / inner / f"{name}{drawn.ending}")
        mask_of(drawn, root / drawn.roles[1] / inner, name)
    text(root / "classes.txt", "\n".join([drawn.nothing, *drawn.classes]))


def write_masks_outside(drawn: Drawn, root: Path) -> None:
    for name, (split, _) in drawn.shown.items():
        image(root / drawn.splits[split] / drawn.roles[0] / f"{name}{drawn.ending}")
        mask_of(drawn, root / drawn.splits[split] / drawn.roles[1], name)
    text(root / "classes.txt", "\n".join([drawn.nothing, *drawn.classes]))


def write_xml(drawn: Drawn, root: Path) -> None:
    for name, (split, tags) in drawn.shown.items():
        image(root / drawn.splits[split] / f"{name}{drawn.ending}")
        xml(root / drawn.splits[split] / f"{name}.xml", tags)


WRITERS: dict[str, Any] = {
    "folder": write_folder,
    "classes first": write_classes_first,
    "csv": write_csv,
    "coco": write_coco,
    "voc": write_voc,
    "masks": write_masks,
    "masks outside": write_masks_outside,
    "xml": write_xml,
}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(layouts(), st.integers(0, 99))
def test_what_is_read_is_what_was_drawn(drawn: Drawn, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(drawn, Path(folder))
        train, val = (read(path, split) for split in ("train", "val"))
        assert set(train.class_names) == set(val.class_names) == set(drawn.classes)
        found = {"train": tags_by_name(train), "val": tags_by_name(val)}
        if "val" in drawn.splits:
            assert found == {"train": drawn.of("train"), "val": drawn.of("val")}
        else:  # a part is held out, and nothing of the test
            assert found["train"]
            assert found["val"]
            assert not set(found["train"]) & set(found["val"])
            assert found["train"] | found["val"] == drawn.of("train")
        if drawn.layout != "xml":
            with_class = {name for name, tags in found["val"].items() if tags}
            assert with_class <= masked(val)
            shown = random.Random(seed).choice(sorted(with_class) or sorted(found["val"]))
            item = val[[record.name for record in val.records].index(shown)]
            tags = drawn.shown[shown][1]
            if drawn.layout != "coco" and len(tags) == 1:
                assert item["mask"][0, 0] == val.class_names.index(tags[0]) + 1
