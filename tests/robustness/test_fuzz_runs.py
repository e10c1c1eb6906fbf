"""As test_fuzz.py, of what a run leaves, of calls of the command line with spoilt files, and of lists and rows."""

import contextlib
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import Callback
from PIL import Image
from support.fuzzing import IMAGES, TINY, encoded, fuzzed, mutated_bytes, mutated_values, plain, survives
from support.tiny import QUIET
from typer.testing import CliRunner

from decomprec import DecompositionSegmenter
from decomprec.cli import app
from decomprec.data import OxfordPets, SyntheticScenes, TaggedFolder, TaggedRows
from decomprec.models import SmallEncoder
from decomprec.report import read_run
from decomprec.report.render import page
from decomprec.trained_model import TrainedModel, load
from decomprec.training import train
from decomprec.training.checkpoints import WholeCheckpoints

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


class Enough(Callback):
    """A checkpoint that is read and gone on with has been read."""

    def on_train_batch_start(self, *_: Any) -> None:
        raise ValueError("enough")


def go_on(run: Path, *callbacks: Callback, resume: bool = True) -> None:
    sets = SyntheticScenes(4, 2, size=32, seed=1), SyntheticScenes(2, 2, size=32, seed=2)
    train(TINY, *sets, run, resume=resume, callbacks=list(callbacks), trainer_options=QUIET)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        go_on(folder, resume=False)
    return folder


class Files(dict[str, bytes]):
    """By their path in the run."""

    def __repr__(self) -> str:
        return "Files()"  # beside which a case can be read


@pytest.fixture(scope="module")
def whole(run: Path) -> Files:
    return Files({file.relative_to(run).as_posix(): file.read_bytes() for file in run.rglob("*") if file.is_file()})


def restored(folder: Path, whole: Files, **changed: bytes | None) -> Path:
    """A run folder, some of whose files are others or gone."""
    for name, content in {**whole, **changed}.items():
        file = folder / "run" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            file.unlink(missing_ok=True)
        else:
            file.write_bytes(content)
    return folder / "run"


SCORES = {"iou": [0.9, 0.5, None], "mean_foreground_iou": 0.5, "mean_iou": 0.7, "mean_false_area": None, "images": 4}
RESULTS: dict[str, Any] = {
    "run": {"data": "synthetic", "seed": 0, "machine": "one"},
    "class_names": ["dog", "cat"],
    "rows": [
        {"method": "decomprec", "tags": False, "settings": {}, **SCORES},
        {"method": "CAM (best threshold)", "tags": True, "settings": {"threshold": 0.3}, **SCORES},
    ],
    "guide_accuracy": {"per_class": [0.9, 0.8], "mean": 0.85, "exact_match": 0.8, "images": 4},
}
DIAGNOSTICS = {"recon_error": 0.1, "present_recognised": 0.5, "mask_entropy": 0.2}


def as_json(values: Any) -> bytes:
    return json.dumps(values).encode("utf-8", errors="surrogatepass")


NUMBERS = {"results.json": RESULTS, "diagnostics.json": DIAGNOSTICS}


def spoilt_json(values: Any) -> st.SearchStrategy[bytes]:
    return st.one_of(mutated_values(values).map(as_json), mutated_bytes(as_json(values)))


@fuzzed
@given(file=st.sampled_from(sorted(NUMBERS)).flatmap(lambda n: st.tuples(st.just(n), spoilt_json(NUMBERS[n]))))
@example(file=("results.json", b"[" * 100_000))
@example(file=("results.json", as_json({**RESULTS, "rows": []})))
@example(file=("results.json", as_json({**RESULTS, "rows": [{**RESULTS["rows"][0], "method": 1}]})))
@example(file=("results.json", as_json({**RESULTS, "rows": [{**RESULTS["rows"][0], "mean_iou": 10**400}]})))
@example(file=("results.json", as_json({**RESULTS, "run": 1})))
@example(file=("results.json", as_json({**RESULTS, "guide_accuracy": {}})))
@example(file=("diagnostics.json", b'{"recon_error": [1]}'))
@example(file=("diagnostics.json", b'{"recon_error": 1' + b"0" * 400 + b"}"))
def test_report_of_a_run(folder: Path, whole: Files, file: tuple[str, bytes]) -> None:
    """Without logs, whose charts take most of a page's time; test_fuzz.py reads those."""
    logs = {name: None for name in whole if name.endswith("metrics.csv")}
    contents = logs | {name: as_json(values) for name, values in NUMBERS.items()}
    run = restored(folder, whole, **{**contents, file[0]: file[1]})
    survives(lambda: page(read_run(run), {}, [], []))


@fuzzed
@given(names=st.one_of(mutated_values(["a", "b"]).map(as_json), mutated_bytes(b'["a", "b"]')))
@example(names=b"null")
@example(names=b"[]")
@example(names=b"[" * 100_000)
def test_names_of_a_run(folder: Path, whole: Files, names: bytes) -> None:
    run = restored(folder, whole)
    values = json.loads(whole["model/config.json"])
    text = json.dumps({**values, "class_names": "HERE"}).encode()
    (run / "model" / "config.json").write_bytes(text.replace(b'"HERE"', names))
    survives(lambda: load(run))


PRESET = plain(TINY)


@fuzzed
@given(preset=st.one_of(mutated_values(PRESET).map(yaml.safe_dump), mutated_bytes(yaml.safe_dump(PRESET).encode())))
@example(preset=yaml.safe_dump({**PRESET, "guide": {**PRESET["guide"], "encoder_options": {"widths": True}}}))
@example(preset=yaml.safe_dump({**PRESET, "guide": {**PRESET["guide"], "encoder_options": {"x": 1}}}))
@example(preset=yaml.safe_dump({**PRESET, "guide": {**PRESET["guide"], "encoder_options": {"widths": [4, 10**9]}}}))
@example(preset=yaml.safe_dump({**PRESET, "segmenter": {**PRESET["segmenter"], "decoder_widths": [8, -3]}}))
@example(preset=yaml.safe_dump({**PRESET, "segmenter": {**PRESET["segmenter"], "decoder_widths": [8, 10**9]}}))
def test_preset_of_a_run(folder: Path, whole: Files, preset: str | bytes) -> None:
    content = preset if isinstance(preset, bytes) else preset.encode(errors="surrogatepass")
    run = restored(folder, whole, **{"preset.yaml": content})
    survives(lambda: read_run(run))


@fuzzed
@given(data=st.data())
def test_bytes_of_a_checkpoint(folder: Path, whole: Files, data: st.DataObject) -> None:
    path = folder / "last.ckpt"
    checkpoint = whole["guide/last.ckpt"]
    start = checkpoint.index(b"data.pkl") + 8
    # The pickle comes first; all bytes alike would mostly change weights.
    if data.draw(st.booleans()):
        path.write_bytes(checkpoint[:start] + data.draw(mutated_bytes(checkpoint[start : start + 3000])))
    else:
        path.write_bytes(data.draw(mutated_bytes(checkpoint)))
    survives(lambda: WholeCheckpoints().load_checkpoint(path))


@pytest.mark.parametrize("content", [b"", b"\x85", b"\x80\x02", b"PK\x03\x04"])
def test_bytes_that_are_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match="it is damaged or holds something else"):
        WholeCheckpoints().load_checkpoint(tmp_path / "last.ckpt")


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no epoch": lambda c: c.pop("epoch"),
    "a parameter less": lambda c: c["state_dict"].popitem(),
    "a parameter that is none": lambda c: c["state_dict"].update(dict.fromkeys(c["state_dict"], 1)),
    "no parameters of the optimiser": lambda c: c["optimizer_states"][0].update(param_groups=[1]),
    "no schedule": lambda c: c.update(lr_schedulers=[None]),
    "no loop": lambda c: c["loops"].pop("fit_loop"),
    "a loop of another type": lambda c: c["loops"].update(fit_loop=[]),
    "epochs below zero": lambda c: c["loops"]["fit_loop"]["epoch_progress"]["total"].update(ready=-1),
    "epochs that are text": lambda c: c["loops"]["fit_loop"]["epoch_progress"]["total"].update(ready="1"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("stage", ["guide", "segmenter"])
def test_a_checkpoint_of_another_form(folder: Path, whole: Files, change: str, stage: str) -> None:
    run = restored(folder, whole, **{f"{stage}/finished.safetensors": None})
    checkpoint = torch.load(run / stage / "last.ckpt", weights_only=True)
    CHANGES[change](checkpoint)
    torch.save(checkpoint, run / stage / "last.ckpt")
    with pytest.raises(ValueError, match="it is damaged or holds something else"):
        go_on(run, Enough())


def named_tensors(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Nested values with names in the place of tensors, to make a case readable."""
    if isinstance(value, torch.Tensor):
        name = f"tensor {len(tensors)}"
        tensors[name] = value
        return name
    if isinstance(value, list):
        return [named_tensors(child, tensors) for child in value]
    return {key: named_tensors(child, tensors) for key, child in value.items()} if isinstance(value, dict) else value


def with_tensors(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """What `named_tensors` has taken apart."""
    if isinstance(value, list):
        return [with_tensors(child, tensors) for child in value]
    if isinstance(value, dict):
        return {key: with_tensors(child, tensors) for key, child in value.items()}
    return tensors.get(value, value) if isinstance(value, str) else value


@fuzzed
@given(data=st.data(), stage=st.sampled_from(["guide", "segmenter"]))
def test_values_of_a_checkpoint(folder: Path, whole: Files, data: st.DataObject, stage: str) -> None:
    run = restored(folder, whole, **{f"{stage}/finished.safetensors": None})
    tensors: dict[str, torch.Tensor] = {}
    outline = named_tensors(torch.load(run / stage / "last.ckpt", weights_only=True), tensors)
    torch.save(with_tensors(data.draw(mutated_values(outline)), tensors), run / stage / "last.ckpt")
    survives(lambda: go_on(run, Enough()))


# Calls

MASK = encoded("PNG", "P")
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 7, "width": 9}],
    "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 18, "segmentation": [[2, 0, 4, 0, 4, 2, 2, 2]]}],
}


def called(*words: str | Path) -> None:
    """The command line ends in a result or in a sentence; nothing is trained, and nothing downloaded."""

    def offline(*args: Any, **kwargs: Any) -> str:
        raise OSError("no network")

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr("decomprec.experiment.run_experiment", lambda *args, **kwargs: None)
        patch.setattr("decomprec.trained_model.loading.snapshot_download", offline)
        result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1, 2)
    assert "Traceback" not in result.output


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model")
    network = DecompositionSegmenter(3, SmallEncoder((2, 4)), decoder_widths=(4, 2))
    TrainedModel(network, ["cat", "dog"], 16).save_pretrained(path)
    return path


def label_map() -> bytes:
    image = Image.new("P", (9, 7))
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.putpixel((2, 2), 1)
    return encoded("PNG", "P", image)


LABELS = label_map()


@fuzzed
@given(mask=mutated_bytes(LABELS), names=mutated_bytes(b"background\ncat\ndog\n"))
@example(mask=LABELS, names=b"background\ncat\ndog\xfd\n")
def test_evaluate_folders(folder: Path, mask: bytes, names: bytes) -> None:
    for where, content in (("masks", mask), ("truth", LABELS)):
        (folder / where).mkdir(exist_ok=True)
        (folder / where / "a.png").write_bytes(content)
    (folder / "masks" / "classes.txt").write_bytes(names)
    called("evaluate", folder / "masks", folder / "truth", "--json", folder / "scores.json")
    called("evaluate", folder / "truth", folder / "masks")


@fuzzed
@given(
    content=st.one_of(mutated_values(COCO).map(as_json), mutated_bytes(as_json(COCO))),
    names=mutated_bytes(b"background\ncat\ndog\n"),
)
@example(content=as_json(COCO), names=b"background\ncat\ndog\xfd\n")
def test_evaluate_coco(folder: Path, content: bytes, names: bytes) -> None:
    (folder / "named").mkdir(exist_ok=True)
    (folder / "named" / "a.png").write_bytes(LABELS)
    (folder / "named" / "classes.txt").write_bytes(names)
    (folder / "spoilt.json").write_bytes(content)
    (folder / "whole.json").write_bytes(as_json(COCO))
    called("evaluate", folder / "named", folder / "spoilt.json")
    called("evaluate", folder / "spoilt.json", folder / "whole.json")


@fuzzed
@given(data=st.sampled_from(IMAGES).flatmap(mutated_bytes))
def test_predict_images(folder: Path, model: Path, data: bytes) -> None:
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / "a.png").write_bytes(data)
    (folder / "images" / "b.png").write_bytes(IMAGES[0])
    words = ["--probabilities", "--components", "--device", "cpu"]
    called("predict", model, folder / "images", "--out", folder / "drawn", *words)


CALLS: dict[str, dict[str, Any]] = {
    "predict": {"model": "MODEL", "images": ["IMAGES"], "out": "OUT", "tags": "cat", "size": 16, "batch": 1},
    "evaluate": {"masks": "MASKS", "truth": "MASKS", "json": "OUT.json"},
    "train": {"data": "IMAGES", "out": "OUT", "format": "auto", "seed": 1, "set": ["image_size=32"], "workers": 0},
    "demo": {"out": "OUT", "seed": 1, "set": ["image_size=32"], "device": "cpu"},
}


def elsewhere(text: str, places: dict[str, Path]) -> str:
    """A config in which words stand for the only places that it may name."""
    text = re.sub(r"[/~]|\.\.", "_", text)
    for word, place in places.items():
        text = text.replace(word, str(place))
    return text


TRAINED = {
    "command": "train",
    "data": "DATA",
    "format": "csv",
    "classes": "cat,dog",
    "seed": 1,
    "skip-unreadable": True,
}


@fuzzed
@given(config=st.one_of(mutated_values(TRAINED).map(yaml.safe_dump), mutated_bytes(yaml.safe_dump(TRAINED).encode())))
@example(config=yaml.safe_dump({**TRAINED, "classes": ["cat"]}))
@example(config=yaml.safe_dump({**TRAINED, "seed": "1"}))
@example(config=yaml.safe_dump({**TRAINED, "data": 1}))
def test_report_of_a_call(folder: Path, whole: Files, config: str | bytes) -> None:
    """The config beside a run says where its images are."""
    data = folder / "data" / "tags.csv"
    data.parent.mkdir(exist_ok=True)
    data.write_text("image,split,tags\na.png,val,cat\nb.png,train,dog\n")
    for name in "ab":
        (data.parent / f"{name}.png").write_bytes(LABELS)
    text = config if isinstance(config, str) else config.decode("latin-1")
    text = elsewhere(text, {"DATA": data})
    run = restored(folder, whole, **{"config.yaml": text.encode("utf-8", errors="surrogatepass")})
    with contextlib.chdir(data.parent):
        called("report", run, "--out", folder / "report.html", "--device", "cpu")


@fuzzed
@given(data=st.data(), command=st.sampled_from(sorted(CALLS)))
def test_config_of_a_call(folder: Path, model: Path, data: st.DataObject, command: str) -> None:
    values = {"command": command, **CALLS[command]}
    text = yaml.safe_dump(data.draw(mutated_values(values)))
    if data.draw(st.booleans()):
        text = data.draw(mutated_bytes(text.encode(errors="replace"))).decode("latin-1")
    here = folder / "here"
    places = {"MODEL": model, "IMAGES": here / "cat", "MASKS": here / "cat", "OUT": here / "out"}
    text = elsewhere(text, places)
    (here / "cat").mkdir(parents=True, exist_ok=True)
    (here / "cat" / "a.png").write_bytes(LABELS)
    (folder / "config.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    with contextlib.chdir(here):
        called(command, "--config", folder / "config.yaml")


# Lists and rows


@fuzzed
@given(lines=mutated_bytes(b"Abyssinian_1 1 1 1\nbeagle_2 2 2 1\n"))
@example(lines=b"Abyssinian_1 1 3 1\n")
@example(lines=b"Abyssinian_1 1\n")
@example(lines=b"Abyssinian_1 1 1 \xfd\n")
def test_pets(folder: Path, lines: bytes) -> None:
    base = folder / "oxford-iiit-pet"
    for part, ending in (("images", "jpg"), ("annotations/trimaps", "png")):
        (base / part).mkdir(parents=True, exist_ok=True)
        for name in ("Abyssinian_1", "beagle_2"):
            (base / part / f"{name}.{ending}").write_bytes(LABELS)
    (base / "annotations" / "trainval.txt").write_bytes(lines)
    survives(lambda: OxfordPets(folder, masks=True)[0])


ROWS: list[dict[str, Any]] = [
    {"image": "IMAGE", "tags": ["cat"], "mask": [[0, 1], [1, 0]], "name": "a"},
    {"image": [[[0, 0, 0], [9, 9, 9]], [[0, 0, 0], [9, 9, 9]]], "tags": 1, "mask": "MASK"},
    {"image": "IMAGE", "tags": None, "mask": None, "name": None},
]


@fuzzed
@given(rows=mutated_values(ROWS), names=st.one_of(st.none(), mutated_values(["dog", "cat"])), skip=st.booleans())
@example(rows=None, names=None, skip=False)
@example(rows=[None, ROWS[0]], names=None, skip=False)
@example(rows=[ROWS[0], {"image": "IMAGE"}], names=None, skip=False)
@example(rows=[ROWS[0], {"tags": None}], names=None, skip=True)
@example(rows=[{**ROWS[0], "image": {"a": 1}}], names=None, skip=False)
@example(rows=[{**ROWS[0], "mask": [10**30]}], names=None, skip=False)
@example(rows=ROWS[:1], names=[None], skip=False)
@example(rows=ROWS[:1], names=True, skip=False)
def test_rows(folder: Path, rows: Any, names: Any, skip: bool) -> None:
    (folder / "IMAGE").write_bytes(IMAGES[0])
    (folder / "MASK").write_bytes(LABELS)

    def read() -> None:
        data = TaggedRows(rows, names=names, masks=True, on_error="skip" if skip else "raise")
        for i in range(len(data)):
            survives(lambda i=i: data[i])

    with contextlib.chdir(folder):
        survives(read)


NAMES = st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=20)


@fuzzed
@given(classes=st.lists(NAMES, max_size=3), images=st.lists(NAMES, max_size=3), split=st.sampled_from([None, "train"]))
def test_names_of_folders(
    tmp_path_factory: pytest.TempPathFactory, classes: list[str], images: list[str], split: str | None
) -> None:
    root = tmp_path_factory.mktemp("folders")
    for name in classes:
        if name in (".", "..") or len(name.encode()) > 200:
            continue
        (root / name).mkdir(exist_ok=True)
        for image in images:
            (root / name / f"{image}.png").write_bytes(IMAGES[0])

    def read() -> None:
        data = TaggedFolder(root, split)
        for i in range(len(data)):
            data[i]

    survives(read)
