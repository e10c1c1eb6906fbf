"""The page of a run: its numbers, its images, hostile names, and how it behaves in a real browser."""

import base64
import csv
import hashlib
import io
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support.browser import Browser, opened
from support.cli_run import call, sentence
from support.tiny import set_options, tiny_words

from decomprec import experiment
from decomprec.data import SyntheticScenes
from decomprec.report import read_run, write_report
from decomprec.report.curves import Chart, Line, read_charts
from decomprec.report.gallery import Score, choose, confusions, data_uri, draw, highlights
from decomprec.trained_model import load

TINY = tiny_words(
    {
        "guide.epochs": 2,
        "guide.batch_size": 4,
        "segmenter.epochs": 2,
        "segmenter.batch_size": 2,
        "segmenter.learning_rate": 0.01,
    }
)
VAL = (12, 3)


class Page(HTMLParser):
    """The elements of a page in their order: tag, attributes, and the text inside."""

    VOID = ("img", "input", "meta")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[tuple[str, list[str]]] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        text: list[str] = []
        self.elements.append((tag, {name: value or "" for name, value in attrs}, text))
        if tag not in self.VOID:
            self.open.append((tag, text))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, text in self.open:
            text.append(data)

    def text(self, tag: str) -> list[str]:
        return [" ".join("".join(text).split()) for name, _, text in self.elements if name == tag]

    def attributes(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        found = [attrs for name, attrs, _ in self.elements if name == tag]
        return [attrs for attrs in found if all(attrs.get(key) == value for key, value in wanted.items())]

    def cards(self) -> list[dict[str, str]]:
        return self.attributes("li", **{"class": "card"})


def pixels(uri: str) -> np.ndarray:
    kind, _, data = uri.partition(",")
    assert kind == "data:image/webp;base64"
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def rewrite(weights: Path, changed: dict[str, torch.Tensor]) -> None:
    """Change some weights in a file."""
    tensors = load_file(weights)
    assert changed.keys() <= tensors.keys()
    save_file({**tensors, **changed}, weights)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of the demo that has learnt nothing; its masks and its guide are made to find every class somewhere."""
    out = tmp_path_factory.mktemp("report") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "SCENES", {"train": (16, 1), "val": VAL})
        assert call("demo", "--out", out, *set_options(TINY), "--device", "cpu").exit_code == 0
        random = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(0))
        head, bias = "segmenter.mask_decoder.head.0.", torch.tensor([1.0, 0, 0, 0, 0])
        classes = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
        found = {"classifier.head.weight": 20 * classes, "classifier.head.bias": torch.ones(4)}
        rewrite(out / "model" / "model.safetensors", {f"{head}weight": random, f"{head}bias": bias, **found})
        assert call("report", out, "--device", "cpu").exit_code == 0
        yield out


def scenes() -> SyntheticScenes:
    return SyntheticScenes(VAL[0], size=32, seed=VAL[1], masks=True)


def renamed(run: Path, folder: Path, names: list[str]) -> Path:
    """A copy of a run whose classes are called otherwise."""
    shutil.copytree(run, folder)
    config = json.loads((folder / "model" / "config.json").read_text())
    (folder / "model" / "config.json").write_text(json.dumps({**config, "class_names": names}))
    results = json.loads((folder / "results.json").read_text())
    results["class_names"] = names
    results["run"]["data"] = "folder"
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def image_folder(root: Path, names: list[str], stem: str = "p{}", masks: bool = True) -> Path:
    """Scenes in the folder of their first class."""
    data = scenes()
    for split in ("train", "val"):
        for name in names:
            (root / split / name).mkdir(parents=True)
    (root / "val_masks").mkdir()
    for i in range(len(data)):
        item = data[i]
        if not item["tags"].any():
            continue
        image = Image.fromarray((255 * item["image"]).round().byte().permute(1, 2, 0).numpy())
        name = stem.format(i)
        for split in ("train", "val"):
            image.save(root / split / names[int(item["tags"].argmax())] / f"{name}.png", "PNG")
        if masks:
            Image.fromarray(item["mask"].byte().numpy()).save(root / "val_masks" / f"{name}.png", "PNG")
    return root


def test_the_table_is_that_of_results_json(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    page = Page(run / "report.html")
    rows, group = [], ""
    about = [attrs.get("aria-describedby") for _, attrs, _ in page.elements]
    elements = page.elements[: about.index("about-verdicts")]
    for tag, attrs, text in elements:
        if attrs.get("scope") == "rowgroup":
            group = "".join(text)
        elif attrs.get("scope") == "row":
            rows.append([group, "".join(text)])
        elif tag == "td":
            rows[-1].append("".join(text))
    assert len(rows) == len(results["rows"]) == 12
    for row in results["rows"]:
        numbers = [row["mean_foreground_iou"], row["mean_iou"], row["mean_false_area"], *row["iou"][1:]]
        cells = ["-" if number is None else f"{number:.3f}" for number in numbers]
        assert ["With tags at test time" if row["tags"] else "Without tags at test time", row["method"], *cells] in rows
    columns = ["method", "foreground IoU", "IoU with background", "area where absent", *results["class_names"]]
    assert ["".join(text) for _, attrs, text in elements if attrs.get("scope") == "col"] == columns
    assert any(f"on {results['rows'][0]['images']} validation images" in text for text in page.text("p"))
    assert (run / "preset.yaml").read_text().split() == page.text("pre")[0].split()


def test_how_far_to_trust_the_masks_is_what_verdicts_json_says(run: Path) -> None:
    page = Page(run / "report.html")
    about = [attrs.get("aria-describedby") for _, attrs, _ in page.elements]
    rows: list[list[str]] = []
    for tag, attrs, text in page.elements[about.index("about-verdicts") :]:
        if attrs.get("scope") == "row":
            rows.append(["".join(text)])
        elif tag == "td" and rows:
            rows[-1].append("".join(text))
    verdicts = {entry["name"]: entry for entry in json.loads((run / "verdicts.json").read_text())}
    assert {row[0] for row in rows} == set(verdicts)
    for name, *cells in rows:
        assert cells[:3] == [str(verdicts[name][k]) for k in ("images_with", "images_without")] + [
            f"{verdicts[name]['accuracy']:.3f}"
        ]
        assert cells[5:] == [verdicts[name]["grade"], "; ".join(verdicts[name]["advice"])]


def test_a_file_of_verdicts_that_is_none_is_refused(run: Path, tmp_path: Path) -> None:
    folder = renamed(run, tmp_path / "run", ["a", "b", "c", "d"])
    (folder / "verdicts.json").write_text('[{"name": 1}]')
    result = call("report", folder, "--out", tmp_path / "page.html")
    assert result.exit_code == 1
    assert "verdicts.json" in result.stderr


def image_of(item: dict[str, Any]) -> torch.Tensor:
    return (255 * item["image"]).round().byte()


def test_images_are_sorted_by_what_numpy_finds_in_the_masks_that_predict_draws(run: Path) -> None:
    data, model = scenes(), load(run)
    ious, tagged, uncertainties = {}, set(), {}
    for i in range(len(data)):
        item = data[i]
        name, truth = item["name"], item["mask"].numpy()
        result = model(image_of(item))
        masks, labels = result.masks.double().numpy(), result.label_map.numpy()
        present = sorted({*labels.flat, *truth.flat})
        ious[name] = np.mean(
            [((labels == k) & (truth == k)).sum() / ((labels == k) | (truth == k)).sum() for k in present]
        )
        uncertainties[name] = -(masks * np.log(np.maximum(masks, 1e-30))).sum(axis=0).mean() / math.log(5)
        if item["tags"].any():
            tagged.add(name)
    assert len({round(iou, 6) for iou in ious.values()}) > 4
    page = Page(run / "report.html")
    cards = page.cards()
    assert sorted(card["data-name"] for card in cards) == sorted(ious)
    for card in cards:
        assert float(card["data-iou"]) == pytest.approx(ious[card["data-name"]], abs=1e-6)
        assert float(card["data-uncertainty"]) == pytest.approx(uncertainties[card["data-name"]], abs=1e-5)
    assert [card["data-name"] for card in cards] == sorted(ious, key=ious.__getitem__)
    assert any(f"The median IoU of all images is {np.median(list(ious.values())):.3f}." in t for t in page.text("p"))

    # The page opens on the two best, median and worst images that have a class.
    ranked = sorted(tagged, key=ious.__getitem__)
    middle = (len(ranked) - 2) // 2
    expected = [*ranked[::-1][:2], *ranked[middle : middle + 2], *ranked[:2]]
    about = [f"{name}: IoU {ious[name]:.3f}" for name in expected]
    assert [text for text in page.text("p") if ": IoU " in text] == about
    assert [text for text in page.text("h3") if text in ("Best", "Median", "Worst")] == ["Best", "Median", "Worst"]
    assert page.text("h2")[0] == "Masks"


def test_the_headline_is_the_number_of_what_predict_draws(run: Path) -> None:
    rows = json.loads((run / "results.json").read_text())["rows"]
    (drawn,) = (row for row in rows if row["method"] == "decomprec, PAMR, guide's tags" and not row["tags"])
    numbers = [text for text in Page(run / "report.html").text("li") if "foreground IoU" in text]
    assert numbers[0] == f"{drawn['mean_foreground_iou']:.3f} foreground IoU of what predict draws"
    assert "CAM" in numbers[1]


def test_the_best_and_worst_images_have_a_class_and_a_mask() -> None:
    def chosen(*scores: tuple[bool, float | None, float]) -> dict[str, list[int]]:
        values = [Score(i, tagged, iou, 0.0, uncertainty) for i, (tagged, iou, uncertainty) in enumerate(scores)]
        return {name: [score.index for score in group] for name, group in highlights(values).items()}

    easy = [(False, 1.0, 0.0)] * 5  # nothing there, and nothing found
    assert chosen(*easy, (True, 0.7, 0), (True, 0.2, 0), (True, 0.5, 0)) == {"best": [5], "median": [7], "worst": [6]}
    unknown = [(True, None, 0.9)] * 5
    assert chosen((True, 0.7, 0), *unknown, (True, 0.2, 0)) == {"best": [0], "worst": [6]}
    assert chosen((True, None, 0.3), (True, None, 0.1), (True, None, 0.2)) == {
        "best": [1],
        "median": [2],
        "worst": [0],
    }
    assert chosen((False, 0.5, 0)) == {"best": [0]}
    assert highlights([]) == {}


def test_the_slider_shows_what_the_model_made_of_the_image(run: Path) -> None:
    data, model = scenes(), load(run)
    page = Page(run / "report.html")
    for i in range(len(data)):
        item = data[i]
        photograph = image_of(item).permute(1, 2, 0).numpy().astype(float)
        with torch.no_grad():
            out = model.segmenter(image_of(item)[None].float() / 255)
        labels = model(image_of(item)).label_map
        views = [a for a in page.attributes("img") if "data-kind" in a and a["alt"].endswith(f" of {item['name']}")]
        assert [view.get("hidden") for view in views] == [None, *[""] * (len(views) - 1)]
        by_title = {view["data-title"]: pixels(view["src"]) for view in views}
        kinds = list(dict.fromkeys(view["data-kind"] for view in views))
        assert kinds == ["image", "mask", "truth", "components", "reconstruction"]
        assert np.array_equal(by_title["image"], photograph)
        for title, drawn_labels in (("mask", labels), ("ground truth", item["mask"])):
            drawn = drawn_labels.numpy() > 0
            colours = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]])[drawn_labels.numpy()]
            assert np.array_equal(by_title[title][~drawn], photograph[~drawn])
            np.testing.assert_allclose(by_title[title][drawn], (photograph + colours)[drawn] / 2, atol=0.51)
        titles = [f"component: {name}" for name in ("background", *data.class_names)]
        assert titles[0] in by_title
        for k, title in enumerate(titles):
            if title in by_title:
                expected = 255 * out.components[0, k].permute(1, 2, 0).numpy()
                np.testing.assert_allclose(by_title[title], expected, atol=0.51)
            else:
                assert not item["tags"][k - 1] or item["tags"].sum() > 3
        expected = 255 * out.reconstruction[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(by_title["reconstruction"], expected, atol=0.51)


class Blob:
    """Stands for a model that finds one class in a part of every image."""

    classes, masks_only = ("background", "dog"), True

    def __init__(self, pixels_of_dog: int) -> None:
        self.label_map = torch.zeros(40, 40, dtype=torch.int64)
        self.label_map.view(-1)[:pixels_of_dog] = 1

    def __call__(self, image: torch.Tensor) -> Any:
        return self


@pytest.mark.parametrize(("count", "found"), [(0, ()), (7, ()), (8, (1,)), (1600, (1,))])
def test_a_few_pixels_are_not_called_a_class(count: int, found: tuple[int, ...]) -> None:
    record: Any = SimpleNamespace(model=Blob(count))
    item = {"image": torch.rand(3, 40, 40), "tags": torch.ones(1), "name": "a"}
    card = draw(record, [item], Score(0, True, None, 0.0, 0.0))
    assert card.found == found  # from 0.5 % of the 1600 pixels
    assert [view.kind for view in card.views] == ["image", "mask"]


def test_a_image_in_the_page_is_small() -> None:
    assert pixels(data_uri(torch.rand(3, 400, 800))).shape == (96, 192, 3)
    assert len(data_uri(torch.rand(3, 800, 800))) < 40_000


def test_few_images_are_chosen_of_many() -> None:
    numbers = np.random.default_rng(0).random((1010, 3))
    scores = [Score(i, True, *row) for i, row in enumerate(numbers[:1000].tolist())]
    scores += [Score(i, True, None, 0.0, numbers[i, 2]) for i in range(1000, 1010)]
    chosen = choose(scores, 60)
    ious = [score.iou for score in chosen if score.iou is not None]
    assert len(chosen) == len({score.index for score in chosen}) == 60
    assert ious == sorted(ious)
    assert ious[:10] == sorted(numbers[:1000, 0])[:10]
    shown = {score.index for score in chosen}
    assert {*np.argsort(-numbers[:1000, 1])[:10]} <= shown
    assert {*np.argsort(-numbers[:, 2])[:10]} <= shown
    for low in (0.2, 0.4, 0.6, 0.8):
        assert any(low <= iou < low + 0.2 for iou in ious)
    everything = choose(scores, 2000)
    assert len(everything) == 1010
    assert [score.iou for score in everything[-11:]].count(None) == 10
    assert len(choose(scores, 1)) == 1


def test_confusions_are_shares_of_the_known_pixels() -> None:
    truth = torch.full((10, 10), 1)
    truth[0] = 255
    labels = torch.full((10, 10), 1)
    labels[0] = 2
    labels[1, :9] = 0
    labels[2, :3] = 2
    assert confusions(labels, truth, ["background", "cat", "<dog>"]) == (
        "10 % of the image: cat drawn as background",
        "3 % of the image: cat drawn as <dog>",
    )
    assert confusions(truth.clamp(max=1), truth, ["background", "cat", "<dog>"]) == ()


def log_of(stage: Path, version: int, rows: list[dict[str, Any]]) -> None:
    folder = stage / f"log/version_{version}"
    folder.mkdir(parents=True)
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", "step", "train/total", "val/total", "val/new"])
        writer.writeheader()
        writer.writerows(rows)


def test_curves_are_those_of_the_logs(tmp_path: Path, run: Path) -> None:
    log_of(tmp_path, 0, [{"epoch": 0, "step": i, "train/total": 10 - i} for i in range(8)])
    log_of(tmp_path, 1, [{"epoch": 0, "step": i, "train/total": 1} for i in range(6, 7)])  # resumed after step 5
    log_of(tmp_path, 10, [{"epoch": 0, "step": 9, "val/total": "nan", "train/total": "inf", "val/new": 7}])
    total, new = read_charts(tmp_path)
    assert total.lines == (Line("train", tuple(range(7)), (10, 9, 8, 7, 6, 5, 1)),)
    assert (new.title, new.lines) == ("new", (Line("val", (9,), (7.0,)),))

    with next((run / "guide").glob("log/*/metrics.csv")).open() as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]]
    label = next(
        image["aria-label"]
        for image in Page(run / "report.html").attributes("div", role="img")
        if "Eq. 9" in image["aria-label"]
    )
    assert f"validation from {losses[0]:.4g} to {losses[-1]:.4g}" in " ".join(label.split())


class Drawn:
    """What an SVG chart shows, in the units of its own ticks."""

    def __init__(self, chart: Chart) -> None:
        self.svg = chart.svg()
        self.root = ElementTree.fromstring(self.svg)
        self.frame = [float(side) for side in self.root.attrib["viewBox"].split()[2:]]
        ticks = {
            axis: [group for group in self.root.iter(SVG + "g") if group.attrib.get("id", "").startswith(axis)]
            for axis in ("xtick_", "ytick_")
        }
        texts = {axis: [next(group.iter(SVG + "text")) for group in groups] for axis, groups in ticks.items()}
        self.ticks = {axis: [float(text.text or "") for text in found] for axis, found in texts.items()}
        self.places = [(float(text.attrib["x"]), float(text.attrib["y"])) for found in texts.values() for text in found]
        columns = [float(text.attrib["x"]) for text in texts["xtick_"]]
        rows = [self.points(next(group.iter(SVG + "path")).attrib["d"])[0][1] for group in ticks["ytick_"]]
        self.x = np.polynomial.Polynomial.fit(columns, self.ticks["xtick_"], 1)
        self.y = np.polynomial.Polynomial.fit(rows, self.ticks["ytick_"], 1)

    @staticmethod
    def points(path: str) -> list[list[float]]:
        return [[float(number) for number in pair.split()] for pair in re.findall(r"[\d.]+ [\d.]+", path)]

    def line(self, name: str) -> list[tuple[float, float]]:
        """The points of a line, in steps and values."""
        paths = (path.attrib for path in self.root.iter(SVG + "path"))
        lines = [path["d"] for path in paths if f"fill: none; stroke: var(--{name})" in path["style"]]
        points = max(map(self.points, lines), key=len)
        assert all(0 <= x <= self.frame[0] and 0 <= y <= self.frame[1] for x, y in points)
        return [(self.x(x), self.y(y)) for x, y in points]

    def dots(self, name: str) -> list[tuple[float, float]]:
        uses = [use.attrib for use in self.root.iter(SVG + "use") if f"var(--{name})" in use.attrib["style"]]
        return [(self.x(float(use["x"])), self.y(float(use["y"]))) for use in uses]


def test_a_chart_shows_the_values_at_its_ticks() -> None:
    steps = (0, 100, 250, 300)
    drawn = Drawn(Chart("loss", (Line("train", steps, (-2.0, 0.5, 3.0, 1.0)), Line("val", (150, 200), (4.0, 0.0)))))
    expected = list(zip(steps, (-2.0, 0.5, 3.0, 1.0), strict=True))
    np.testing.assert_allclose(drawn.line("train"), expected, atol=0.02 * 6)
    np.testing.assert_allclose(drawn.dots("train"), expected, atol=0.02 * 6)
    np.testing.assert_allclose(drawn.dots("val"), [(150, 4), (200, 0)], atol=0.02 * 6)
    assert all(len(ticks) >= 2 for ticks in drawn.ticks.values())
    assert all(0 <= x <= drawn.frame[0] and 0 <= y <= drawn.frame[1] for x, y in drawn.places)


def test_long_lines_are_averaged_and_single_points_are_seen() -> None:
    noise = Line("train", tuple(range(1000)), tuple(float(i % 2) for i in range(1000)))
    drawn = Drawn(Chart("loss", (noise, Line("val", (999,), (4.0,)))))
    train = drawn.line("train")
    assert len(train) <= 200
    assert not drawn.dots("train")
    np.testing.assert_allclose(drawn.dots("val"), [(999, 4)], atol=1)
    assert all(abs(value - 0.5) < 0.1 for _, value in train)
    assert train[0][0] == pytest.approx(3, abs=2)
    assert train[-1][0] == pytest.approx(996, abs=3)


@pytest.mark.parametrize(
    "values", [(5.0, 5.0), (1e99, -1e99), (1e99, 1e99), (0.0, 1e-320), (1e-300, 2e-300), (0.123456, 0.123457)]
)
@pytest.mark.parametrize("steps", [(0, 1), (0, 10**12), (10**12 - 1, 10**12), (7, 8)])
@pytest.mark.filterwarnings("error")
def test_extreme_ranges_stay_in_the_frame(steps: tuple[int, int], values: tuple[float, float]) -> None:
    root = ElementTree.fromstring(Chart("loss", (Line("train", steps, values),)).svg())
    uses = [(float(use.attrib["x"]), float(use.attrib["y"])) for use in root.iter(SVG + "use")]
    assert len(uses) == 2
    assert all(0 <= x <= 320 and 0 <= y <= 150 for x, y in uses)


def test_a_chart_is_the_same_twice_and_holds_no_markup_of_others() -> None:
    chart = Chart("</svg><script>hacked()</script>", (Line("train", (0, 1), (2.0, 3.0)),))
    assert chart.svg() == chart.svg()
    assert "hacked" not in chart.svg()
    assert not re.search(r"\d{4}-\d\d-\d\d|<metadata|<\?xml|<!DOCTYPE|url\(|#0101", chart.svg())


SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = ['"><img src=x onerror=hacked()>', "'-hacked()-'", "<script>hacked()<", "{{ 7 * 7 }}"]
END = "</script></pre></title></style><script>hacked()</script>"


@pytest.fixture(scope="module")
def hostile(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose run, classes, images, methods and settings have names that want to be markup."""
    root = tmp_path_factory.mktemp("hostile")
    folder = renamed(run, root / "<b onclick=hacked()>run", HOSTILE)
    results = json.loads((folder / "results.json").read_text())
    results["rows"][0]["method"] = END
    results["run"] |= {"settings": END, END: 1}
    (folder / "results.json").write_text(json.dumps(results))
    preset = (folder / "preset.yaml").read_text()
    (folder / "preset.yaml").write_text(preset.replace("name: demo", f"name: {json.dumps(END)}"))
    log_of(folder / "guide", 99, [{"epoch": 9, "step": 10**6, "val/new": 1}])
    log = folder / "guide/log/version_99/metrics.csv"
    log.write_text(log.read_text().replace("val/new", f"val/{END}"))
    data = image_folder(root / "data", HOSTILE, '<svg onload=hacked()>" x={}')
    for file in list((data / "val").rglob("*.png"))[:1]:
        shutil.copy(file, os.fsencode(file.parent) + b"/caf\xe9.png")  # a name that is no text
    result = call("report", folder, data, "--device", "cpu")
    assert result.exit_code == 0, result.output
    return folder / "report.html"


def test_hostile_names_stay_text(hostile: Path) -> None:
    page = Page(hostile)
    assert len(page.attributes("script")) == 1
    assert "hacked" not in page.text("script")[0]
    assert "49" not in page.text("header")[0]
    handlers = [name for _, attrs, _ in page.elements for name in attrs if name.startswith("on")]
    assert not handlers
    assert all(image["src"].startswith("data:image/webp;base64,") for image in page.attributes("img"))
    assert not page.attributes("b", onclick="hacked()")
    assert page.text("h1") == ["<b onclick=hacked()>run"]
    for name in HOSTILE:
        assert name in page.text("header")[0]
    assert END in page.text("table")[0]
    assert END in page.text("pre")[0]
    assert END in page.text("figcaption")
    assert any(END in image["aria-label"] for image in page.attributes("div", role="img"))
    assert page.text("dd").count(END) == 1
    assert END in page.text("dt")
    assert any(name.startswith('<svg onload=hacked()>" x=') for name in page.text("h3"))
    assert "caf?" in page.text("h3")


@pytest.mark.parametrize("which", ["run", "hostile"])
def test_nothing_is_loaded(which: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(which)
    page = Page(path / "report.html" if which == "run" else path)
    for tag, attrs, _ in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            if name in attrs:
                assert attrs[name].startswith(("data:image/webp;base64,", "#")), tag
    assert not page.attributes("link")
    styles = "".join(page.text("style")) + "".join(attrs.get("style", "") for _, attrs, _ in page.elements)
    assert not re.search(r"url\(|@import|expression", styles)
    (policy,) = (m["content"] for m in page.attributes("meta") if m.get("http-equiv") == "Content-Security-Policy")
    script = page.source.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}';" in policy
    assert not {"fetch(", "innerHTML", "eval(", "import("} & set(
        re.findall(r"fetch\(|innerHTML|eval\(|import\(", script)
    )


def test_a_run_without_its_images(run: Path, tmp_path: Path) -> None:
    folder = renamed(run, tmp_path / "run", ["a", "b", "c", "d"])
    (folder / "results.json").unlink()
    (folder / "verdicts.json").unlink()
    result = call("report", folder, "--out", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    assert "give the DATA" in result.stdout
    page = Page(tmp_path / "page.html")
    assert not page.cards()
    assert not page.attributes("table")
    assert "decomprec report RUN DATA" in page.text("code")
    assert any("contains no results.json" in text for text in page.text("p"))


def test_images_without_masks_are_sorted_by_uncertainty(run: Path, tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    folder = renamed(run, tmp_path / "run", names)
    data = image_folder(tmp_path / "data", names, masks=False)
    assert call("report", folder, data, "--images", "5", "--device", "cpu").exit_code == 0
    page = Page(folder / "report.html")
    cards = page.cards()
    assert len(cards) == 5
    assert not any("data-iou" in card for card in cards)
    uncertainties = [float(card["data-uncertainty"]) for card in cards]
    assert uncertainties == sorted(uncertainties, reverse=True)
    assert [b["data-sort"] for b in page.attributes("button") if "data-sort" in b] == ["uncertain", "name"]
    assert "truth" not in [b.get("data-show") for b in page.attributes("button")]
    assert [text for text in page.text("h3") if text in ("Most certain", "Median", "Least certain")]


def test_what_report_refuses(run: Path, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "out.html"]
    assert "found no nowhere" in sentence("report", "nowhere", *out)
    missing = sentence("report", run, "nowhere", *out)
    assert "Expected DATA to be a folder, or a CSV or JSON file, but found no nowhere" in missing
    (tmp_path / "empty").mkdir()
    assert "hold a finished run" in sentence("report", tmp_path / "empty", *out)
    unfinished = shutil.copytree(run, tmp_path / "unfinished")
    shutil.rmtree(unfinished / "model")
    assert "resume it first" in sentence("report", unfinished, *out)
    data = image_folder(tmp_path / "data", ["a", "b", "c", "d"])
    assert "classes of the run, striped disc, " in sentence("report", run, data, *out)
    for text in ("{", "[1]", '{"class_names": ["a"], "rows": [{"method": "x", "tags": true}]}'):
        (tmp_path / "broken").mkdir(exist_ok=True)
        broken = shutil.copytree(run, tmp_path / "broken", dirs_exist_ok=True)
        (broken / "results.json").write_text(text)
        assert str(broken / "results.json") in sentence("report", broken, *out)
    broken = shutil.copytree(run, tmp_path / "log")
    next((broken / "guide").glob("log/*/metrics.csv")).write_text("epoch,step,train/loss\n0,0,high\n")
    assert "metrics.csv to be a log" in sentence("report", broken, *out)
    assert call("report", run, "--images", "0").exit_code == 2
    assert not (tmp_path / "out.html").exists()


def test_the_same_in_python(run: Path, tmp_path: Path) -> None:
    record = read_run(run)
    assert record.model.class_names == scenes().class_names
    write_report(record, tmp_path / "page.html", scenes(), images=3)
    first = Page(run / "report.html").cards()[0]
    cards = Page(tmp_path / "page.html").cards()
    assert len(cards) == 3
    assert (cards[0]["data-name"], cards[0]["data-iou"]) == (first["data-name"], first["data-iou"])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


FOCUS = """(e => e.dataset.sort || e.dataset.show || e.closest('.card')?.dataset.name || e.tagName)
  (document.activeElement)"""
CARDS = "[...document.querySelectorAll('.card')].map(card => card.dataset.{})"


def test_the_keyboard_reaches_and_moves_everything(run: Path, browser: Browser) -> None:
    browser.open(run / "report.html")
    reached = [""]
    while reached[-1] != "name":  # the last button that sorts
        browser.press("Tab")
        reached.append(browser.run(FOCUS))
        assert len(reached) < 60
    assert reached[1:3] == ["A", "A"]
    assert "DIV" in reached  # the table, which can be scrolled
    assert reached[-4:] == ["worst", "best", "uncertain", "name"]

    names = browser.run(CARDS.format("name"))
    browser.press("Enter")
    assert browser.run(CARDS.format("name")) == sorted(names)
    assert browser.run(FOCUS) == "name"
    assert browser.run("document.querySelector('[data-sort=name]').ariaPressed") == "true"
    assert browser.run("document.querySelector('[data-sort=worst]').ariaPressed") == "false"
    assert "Name" in browser.run("document.querySelector('[role=status]').textContent")
    for kind in ("image", "mask", "truth", "components", "reconstruction"):
        browser.press("Tab")
        assert browser.run(FOCUS) == kind
    for name in sorted(names)[:2]:  # as they are seen now
        browser.press("Tab")
        assert browser.run(FOCUS) == name

    images = "[...document.activeElement.closest('.card').querySelectorAll('img')]"
    seen = f"{images}.filter(image => image.checkVisibility({{checkOpacity: true}})).map(image => image.alt)"
    name = sorted(names)[1]
    assert browser.run(seen) == [f"image of {name}"]
    for key, title in (
        ("ArrowRight", "mask"),
        ("ArrowRight", "ground truth"),
        ("ArrowLeft", "mask"),
        ("End", "reconstruction"),
    ):
        browser.press(key)
        assert browser.run(seen) == [f"{title} of {name}"]
        assert browser.run("document.activeElement.getAttribute('aria-valuetext')") == title
    browser.press("ArrowRight")
    assert browser.run(seen) == [f"reconstruction of {name}"]
    assert browser.complaints() == []


def test_sorting_sliding_and_showing(run: Path, browser: Browser) -> None:
    browser.open(run / "report.html")
    for key, attribute, sign in (("best", "iou", -1), ("uncertain", "uncertainty", -1), ("worst", "iou", 1)):
        browser.run(f"document.querySelector('[data-sort={key}]').click()")
        values = [sign * float(value) for value in browser.run(CARDS.format(attribute))]
        assert values == sorted(values)
        assert len(set(values)) > 4
    images = "[...document.querySelectorAll('#gallery img')].filter(image => !image.hidden)"
    opacities = f"{images}.map(image => [image.dataset.title, +image.style.opacity])"
    move = "const s = document.querySelector('.card input'); s.value = 0.5; s.dispatchEvent(new Event('input'))"
    browser.run(f"{{ {move} }}")
    assert browser.run(opacities)[:2] == [["image", 1], ["mask", 0.5]]
    pressed = (
        "[...document.querySelectorAll('[data-show]')].filter(b => b.ariaPressed === 'true').map(b => b.textContent)"
    )
    assert browser.run(pressed) == []
    browser.run("document.querySelector('[data-show=components]').click()")
    assert browser.run(pressed) == ["Components"]
    assert browser.run(opacities) == [["component: background", 1]] * VAL[0]
    assert set(browser.run("[...document.querySelectorAll('.card input')].map(s => s.value)")) == {"3"}
    assert browser.requests() == {(run / "report.html").as_uri()}
    assert browser.complaints() == []


def test_twelve_cards_then_more(run: Path, browser: Browser, tmp_path: Path) -> None:
    write_report(read_run(run), tmp_path / "page.html", SyntheticScenes(30, size=32, seed=5, masks=True))
    browser.open(tmp_path / "page.html")
    seen = "[...document.querySelectorAll('.card')].filter(c => c.checkVisibility()).map(c => c.dataset.name)"
    every = browser.run(CARDS.format("name"))
    assert len(every) == 30
    assert browser.run(seen) == every[:12]
    browser.run("document.getElementById('more').click()")
    assert browser.run(seen) == every[:24]
    assert browser.run(FOCUS) == every[12]
    browser.run("document.querySelector('[data-sort=name]').click()")
    assert browser.run(seen) == sorted(every)[:24]
    browser.run("document.getElementById('more').click()")
    assert browser.run(seen) == sorted(every)
    assert not browser.run("document.getElementById('more').checkVisibility()")
    assert browser.complaints() == []


CONTRAST = r"""(() => {
  const light = rgb => rgb.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const rgb = text => text.match(/[\d.]+/g).map(Number);
  const behind = e => {
    const colour = rgb(getComputedStyle(e).backgroundColor);
    return colour[3] === 0 ? behind(e.parentElement) : colour.slice(0, 3);
  };
  const texts = 'p, a, th, td, dt, dd, h1, h2, h3, button, pre, .last span, caption, figcaption, summary';
  return Math.min(...[...document.querySelectorAll(texts)].map(e => {
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    return (a + .05) / (b + .05);
  }));
})()"""
BOXES = "[...document.querySelectorAll('{}')].filter(e => !e.closest('{}')).map(e => e.getBoundingClientRect().{})"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_on_a_phone_and_in_the_dark(run: Path, hostile: Path, browser: Browser, width: int, dark: bool) -> None:
    for path in (run / "report.html", hostile):
        browser.open(path, width, dark)
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert max(browser.run(BOXES.format("main *", ".scroll *, pre, svg, details:not([open]) *", "right"))) <= width
        assert min(browser.run(BOXES.format("button, input", "[hidden]", "height"))) >= 24
        assert browser.run(CONTRAST) >= 4.5  # of WCAG's level AA
        paper = browser.run("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", paper))) < 150) is dark


def test_hostile_names_do_nothing_in_a_browser(hostile: Path, browser: Browser) -> None:
    counter = "window.hacks = 0; window.hacked = () => window.hacks++"
    browser.call("Page.addScriptToEvaluateOnNewDocument", source=counter)
    browser.open(hostile)
    for button in ("sort=name", "sort=best", "show=components", "show=reconstruction"):
        browser.run(f"document.querySelector('[data-{button}]').click()")
    browser.run("document.querySelectorAll('*').forEach(e => e.dispatchEvent(new MouseEvent('mouseover')))")
    assert browser.run("window.hacks") == 0
    assert browser.run("document.title") == "<b onclick=hacked()>run: decomprec report"
    assert browser.run("document.querySelectorAll('script').length") == 1
    assert browser.complaints() == []
    assert len(browser.requests()) == 1


def test_the_policy_stops_what_the_page_does_not_need(run: Path, browser: Browser, tmp_path: Path) -> None:
    """Were a name ever written as markup, it would still run nothing and call nobody."""
    text = (run / "report.html").read_text()
    hack = "document.title='hacked'"
    injected = f"<script>{hack}</script><img src=http://127.0.0.1:9/x onerror={hack}>"
    (tmp_path / "page.html").write_text(text.replace("<h1>", f"{injected}<h1>"))
    browser.open(tmp_path / "page.html")
    assert browser.run("document.title") == "tiny: decomprec report"
    assert len(browser.complaints()) >= 2
