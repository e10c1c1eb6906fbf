"""Any bytes in a file are read, or refused in a sentence by a ValueError or OSError.

A few seconds here. For longer: `DECOMPREC_FUZZ=3000 pytest tests/robustness/test_fuzz.py`, examples of each test.
"""

import contextlib
import json
from pathlib import Path, PurePath
from typing import Any

import pytest
import torch
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from support.fuzzing import IMAGES, fuzzed, mutated_bytes, mutated_values, plain, survives
from typer.testing import CliRunner

from decomprec import DecompositionSegmenter
from decomprec.cli import app
from decomprec.cli.config import parse_settings
from decomprec.data import CocoInstances, TaggedCSV, VOCDevkit
from decomprec.data.class_lists import read_colours
from decomprec.data.formats.split_lists import split_indices
from decomprec.data.formats.tag_cells import split_tags
from decomprec.data.image_io import read_image, read_labels, read_mask
from decomprec.models import PooledClassifier, SmallEncoder
from decomprec.models.weights import load_local
from decomprec.report.curves import read_charts
from decomprec.trained_model import TrainedModel, load
from decomprec.training import PRESETS, Preset

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@fuzzed
@given(data=st.sampled_from(IMAGES).flatmap(mutated_bytes))
def test_images_and_masks(folder: Path, data: bytes) -> None:
    path, whole = folder / "image.png", folder / "whole.png"
    path.write_bytes(data)
    whole.write_bytes(IMAGES[1])
    survives(lambda: read_image(path))
    survives(lambda: read_labels(path))
    survives(lambda: read_mask(path, whole))
    survives(lambda: read_mask(whole, path))


CSV = b'image,split,tags\na.png,train,"dog, cat"\nb,val,\nc.png,train,dog\n'


FLAGS = b'"Unnamed: 0",image,is_valid,cat,dog\n0,a.png,no,x,\n1,b,yes,,x\n2,c.png,no,,x\n'


@fuzzed
@given(data=st.sampled_from([CSV, FLAGS]).flatmap(mutated_bytes), split=st.sampled_from([None, "train", "val"]))
def test_csv(folder: Path, data: bytes, split: str | None) -> None:
    for name in "abc":
        (folder / f"{name}.png").write_bytes(IMAGES[0])
    (folder / "tags.csv").write_bytes(data)
    survives(lambda: TaggedCSV(folder / "tags.csv", split=split))


@fuzzed
@given(tags=st.lists(st.text("ab +&/,;|\"'()\n\t0", max_size=12), max_size=6))
def test_tags_of_a_table(tags: list[str]) -> None:
    survives(lambda: split_tags(tags))


@fuzzed
@given(
    data=mutated_bytes(b"cat/1\n./images/cat/2.png 0\n# more\ncat\\3.PNG, 1\n4\n"),
    split=st.sampled_from(["train", "val"]),
)
@example(data=b"\0\n", split="train")
@example(data=b"/\n//\n.\n..\n", split="train")
def test_lists_of_splits(folder: Path, data: bytes, split: str) -> None:
    (folder / "lists").mkdir(exist_ok=True)
    (folder / "lists" / "train.txt").write_bytes(data)
    (folder / "lists" / "test_list.csv").write_bytes(data)
    images = [PurePath(f"images/cat/{i}.png") for i in range(5)]
    survives(lambda: split_indices(images, split, folder / "lists", tables=[]))


JSON_LINES = b'{"file_name": "a.png", "tags": ["dog", "cat"]}\n{"file_name": "b.png", "tags": null}\n'


@fuzzed
@given(data=mutated_bytes(JSON_LINES))
@example(data=b"[" * 100_000)
def test_json_lines(folder: Path, data: bytes) -> None:
    for name in "ab":
        (folder / f"{name}.png").write_bytes(IMAGES[0])
    (folder / "metadata.jsonl").write_bytes(data)
    survives(lambda: TaggedCSV(folder / "metadata.jsonl"))


@fuzzed
@given(data=mutated_bytes(b"# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\n"))
def test_colours_of_masks(folder: Path, data: bytes) -> None:
    (folder / "labelmap.txt").write_bytes(data)
    (folder / "mask.png").write_bytes(IMAGES[0])
    survives(lambda: read_labels(folder / "mask.png", read_colours(folder / "labelmap.txt")))


COCO = {
    "images": [
        {"id": 7, "file_name": "a.png", "height": 9, "width": 7},
        {"id": 8, "file_name": "b.png", "height": 9, "width": 7},
    ],
    "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 18, "segmentation": [[2, 0, 4, 0, 4, 2, 2, 2]], "iscrowd": 0},
        {
            "id": 2,
            "image_id": 8,
            "category_id": 17,
            "segmentation": {"counts": [10, 5, 48], "size": [9, 7]},
            "iscrowd": 1,
        },
    ],
}


def read_coco(folder: Path, text: str) -> None:
    (folder / "instances.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    for name in "ab":
        (folder / f"{name}.png").write_bytes(IMAGES[0])

    def read() -> None:
        data = CocoInstances(folder / "instances.json", masks=True)
        for i in range(len(data)):
            survives(lambda i=i: data[i])

    survives(read)


@fuzzed
@given(values=mutated_values(COCO))
def test_coco_values(folder: Path, values: Any) -> None:
    read_coco(folder, json.dumps(values))


@fuzzed
@given(data=mutated_bytes(json.dumps(COCO).encode()))
@example(data=b"[" * 100_000)
def test_coco_bytes(folder: Path, data: bytes) -> None:
    read_coco(folder, data.decode("latin-1"))


XML = b"<annotation><object><name>dog</name></object><object><name>cat</name></object></annotation>"
# Each entity stands for ten of the one before.
ENTITIES = ['<!ENTITY b0 "haha">', *(f'<!ENTITY b{i} "{f"&b{i - 1};" * 10}">' for i in range(1, 10))]
LAUGHS = f"<!DOCTYPE a [{''.join(ENTITIES)}]><annotation><object><name>&b9;</name></object></annotation>".encode()


@fuzzed
@given(data=mutated_bytes(XML), names=mutated_bytes(b"one\ntwo\n"))
@example(data=LAUGHS, names=b"one\ntwo\n")
@example(data=b"", names=b"one\ntwo\n")
@example(data=XML, names=b"../../one\n")
def test_voc(folder: Path, data: bytes, names: bytes) -> None:
    root = folder / "voc"
    for part in ("JPEGImages", "Annotations", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for name, content in (("one", data), ("two", XML)):
        (root / "JPEGImages" / f"{name}.jpg").write_bytes(IMAGES[2])
        (root / "Annotations" / f"{name}.xml").write_bytes(content)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_bytes(names)
    survives(lambda: VOCDevkit(root))


@fuzzed
@given(values=mutated_values(plain(PRESETS["robust"])))
def test_preset_values(folder: Path, values: Any) -> None:
    path = folder / "preset.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8", errors="surrogatepass")
    survives(lambda: Preset.load(path).save(folder / "again.yaml"))


@fuzzed
@given(data=mutated_bytes(yaml.safe_dump(plain(PRESETS["paper"])).encode()))
@example(data=b"- a\n")
@example(data=b"")
@example(data=b"name: !!python/name:os.system\n")
@example(data=b"[" * 1000)
def test_preset_bytes(folder: Path, data: bytes) -> None:
    path = folder / "preset.yaml"
    path.write_bytes(data)
    survives(lambda: Preset.load(path))


@fuzzed
@given(setting=st.one_of(st.text(max_size=30), mutated_bytes(b"segmenter.epochs=3").map(lambda b: b.decode("latin-1"))))
@example(setting="image_size=[")
@example(setting="image_size=!!python/name:os.system")
@example(setting="guide.encoder_options=&a [*a]")
def test_settings(setting: str) -> None:
    survives(lambda: PRESETS["paper"].override(parse_settings([setting])))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its classifier has a separate encoder: all parts of a config are there."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model")
    network = DecompositionSegmenter(3, SmallEncoder((2, 4)), decoder_widths=(4, 2))
    classifier = PooledClassifier(SmallEncoder((3,)), 3, standardise=True)
    TrainedModel(network, ["cat", "dog"], 32, classifier).save_pretrained(path)
    return path


TIMM = {"kind": "timm", "name": "mobilenetv3_small_050", "options": {"drop_rate": 0.1}}


def read_config(model: Path, folder: Path, text: str) -> None:
    target = folder / "model"
    target.mkdir(exist_ok=True)
    (target / "config.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    (target / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    survives(lambda: load(target))


@fuzzed
@given(data=st.data(), encoder=st.sampled_from([None, None, TIMM]))
def test_config_of_a_model(model: Path, folder: Path, data: st.DataObject, encoder: Any) -> None:
    config = json.loads((model / "config.json").read_text())
    config["classifier"]["encoder"] = encoder or config["classifier"]["encoder"]
    if data.draw(st.booleans()):
        read_config(model, folder, json.dumps(data.draw(mutated_values(config))))
    else:
        read_config(model, folder, data.draw(mutated_bytes(json.dumps(config).encode())).decode("latin-1"))


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("mask_decoder", {"kind": "unet", "widths": [True, 2]}),
        ("encoder", {"kind": "small", "widths": [2, True]}),
        ("classifier", {"encoder": {**TIMM, "name": True}, "standardise": True}),
        ("image_size", True),
    ],
)
def test_a_bool_is_no_number_in_a_config(model: Path, folder: Path, part: str, values: Any) -> None:
    config = json.loads((model / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, part: values}))
    (folder / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="Expected"):
        load(folder)


@fuzzed
@given(data=st.data())
def test_weights_of_a_model(model: Path, folder: Path, data: st.DataObject) -> None:
    whole = (model / "model.safetensors").read_bytes()
    length = int.from_bytes(whole[:8], "little")
    target = folder / "model"
    target.mkdir(exist_ok=True)
    (target / "config.json").write_bytes((model / "config.json").read_bytes())
    if data.draw(st.booleans()):
        header = json.dumps(data.draw(mutated_values(json.loads(whole[8 : 8 + length])))).encode()
        changed = len(header).to_bytes(8, "little") + header + whole[8 + length :]
    else:
        changed = data.draw(mutated_bytes(whole[: 8 + length])) + whole[8 + length :]
    (target / "model.safetensors").write_bytes(changed)
    survives(lambda: load(target))
    survives(lambda: load_local(SmallEncoder((2, 4)), target / "model.safetensors"))


LOG = b"epoch,step,train/loss,val/loss\n0,9,4.5,\n0,9,,3.5\n1,19,2,1e-3\n"


@fuzzed
@given(data=mutated_bytes(LOG))
@example(data=b"step,train/loss\n1,2,3,4\n")
@example(data=b"step,train/loss\n1" + b"0" * 400 + b",2\n")
@example(data=b"step,train/loss\n1,1e308\n2,-1e308\n")
@example(data=b"step,train/loss\n1," + b"2" * 200_000 + b"\n")
def test_logs_of_a_run(folder: Path, data: bytes) -> None:
    path = folder / "stage" / "log" / "version_0" / "metrics.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)

    def read() -> None:
        for chart in read_charts(folder / "stage"):
            chart.svg()

    survives(read)


WORDS = st.one_of(
    st.sampled_from(
        ["train", "check", "demo", "predict", "evaluate", "report", "export", "FOLDER", "MODEL", "NOWHERE", "FILE"]
    ),
    st.sampled_from(["--out", "--preset", "--set", "--config", "--seed", "--size", "--tags", "--format", "--classes"]),
    st.sampled_from(["--json", "--resume", "--device", "--workers", "--probabilities", "--help", "--shard", "--", "-"]),
    st.sampled_from(
        ["cpu", "gpu", "image_size=8", "guide.encoder_options={widths: [4]}", "segmenter.fills=3", "voc", "coco"]
    ),
    st.text(max_size=6),
)


@fuzzed
@given(words=st.lists(WORDS, max_size=8))
def test_arguments(model: Path, folder: Path, words: list[str]) -> None:
    """No training starts: what would be trained is seen by nobody."""
    places = {"FOLDER": folder / "empty", "MODEL": model, "NOWHERE": folder / "nowhere", "FILE": folder / "tags.csv"}
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "tags.csv").write_bytes(CSV)
    words = [str(places.get(word, word)) for word in words]
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder / "empty"):
        patch.setattr("decomprec.experiment.run_experiment", lambda *args, **kwargs: None)
        patch.setattr("decomprec.trained_model.loading.snapshot_download", _offline)
        result = CliRunner().invoke(app, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), words
    assert result.exit_code in (0, 1, 2)


def _offline(*args: Any, **kwargs: Any) -> str:
    raise OSError("no network")
