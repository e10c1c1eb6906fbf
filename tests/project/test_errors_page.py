"""The page of errors: every message is raised by the case under its heading, with the wording that it quotes."""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from PIL import Image
from support.tiny import BARE
from torch import Tensor, nn
from torch.utils.data import DataLoader

from decomprec import Decomposition, DecompositionLoss, DecompositionSegmenter
from decomprec._devices import check_count, torch_device
from decomprec.cli.predict import find_images
from decomprec.cli.surroundings import settle_ranks
from decomprec.data import SyntheticScenes, TaggedCSV, TaggedFolder, collate, load_images
from decomprec.data.datamodule import TaggedDataModule
from decomprec.data.formats.coco import mask_api
from decomprec.evaluation.label_files import score_label_files
from decomprec.export import export_masks
from decomprec.models import SmallEncoder
from decomprec.models.weights import clear_download_error
from decomprec.trained_model import TrainedModel, load
from decomprec.training import PRESETS, Preset, SegmenterModule, train
from decomprec.training.collapse import StopCollapsed

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "errors.md"
SCENES = SyntheticScenes(4, num_classes=2, size=16)


def entries() -> dict[str, tuple[str, str]]:
    """The message and the advice under each heading of the page."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"^### (.+?)\n\n```text\n(.+?)\n```$(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    return {heading: (" ".join(message.split()), advice) for heading, message, advice in found}


def small() -> DecompositionSegmenter:
    return DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4))


def image(path: Path, size: tuple[int, int] = (8, 8), mode: str = "RGB", colour: Any = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def masked(folder: Path, **mask: Any) -> Any:
    """The first image of a folder whose mask is so."""
    image(folder / "dog" / "a.png")
    image(folder / "masks" / "a.png", **{"mode": "L", **mask})
    return TaggedFolder(folder, masks=True)[0]


def table(folder: Path, text: str) -> Path:
    path = folder / "tags.csv"
    path.write_text(text)
    return path


def small_run(folder: Path, settings: dict[str, Any], **options: Any) -> None:
    preset = PRESETS["demo"].override({"guide.batch_size": 4, "segmenter.batch_size": 4, **settings})
    train(preset, SCENES, SCENES, folder, **options)


class Nothing(nn.Module):
    """Draws background everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Decomposition:
        background = torch.tensor([9.0, -9.0]).view(1, 2, 1, 1).expand(len(images), -1, *images.shape[2:])
        return Decomposition(background + 0 * self.weight, images[:, None].expand(-1, 2, -1, -1, -1))


def collapsed() -> None:
    items = [{"image": torch.rand(3, 4, 4), "tags": torch.ones(1)}] * 8
    loss = DecompositionLoss(lambda images: images.mean(dim=(1, 2, 3))[:, None])
    trainer = L.Trainer(
        max_epochs=2,
        callbacks=[StopCollapsed(["dog"])],
        **BARE,
    )
    batches = DataLoader(items, batch_size=8)
    trainer.fit(SegmenterModule(Nothing(), loss, num_classes=2), batches, batches)


def no_download() -> None:
    with clear_download_error("resnet18"):
        raise OSError("no network")


class SizedByHand(nn.Module):
    """An encoder that decides by the height: it can't be traced for all of them."""

    out_channels, strides = (4,), (1,)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.conv(images) if images.shape[2] > 50 else images.repeat(1, 2, 1, 1)[:, :4]]


class OneByOne(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, channels, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        out: Tensor = self.conv(features[-1])
        return out


def own_network() -> DecompositionSegmenter:
    return DecompositionSegmenter(2, SizedByHand(), mask_decoder=OneByOne(2), image_decoder=OneByOne(6))


IMAGES = torch.rand(2, 3, 16, 16)
LOSS = DecompositionLoss(lambda images: images.mean(dim=(1, 2, 3))[:, None])
ITEMS = [{"image": torch.zeros(3, 4, width), "tags": torch.ones(1), "name": "a"} for width in (4, 5)]

CASES: Mapping[str, Callable[[Path], Any]] = {
    "ImageNet weights cannot be downloaded": lambda _: no_download(),
    "No GPU": lambda _: torch_device("gpu"),
    "Fewer GPUs than asked for": lambda _: check_count("mps", 2),
    "Another number of processes": lambda _: settle_ranks({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}, 4),
    "Several machines without a launcher": lambda _: settle_ranks({}, 4, 2),
    "pycocotools is missing": lambda _: mask_api(),
    "Packages for ONNX are missing": lambda f: export_masks(TrainedModel(small(), ["dog"], 16), f / "dogs.onnx"),
    "No data at the path": lambda folder: load_images(folder / "images"),
    "No folder per class": lambda folder: TaggedFolder(folder),
    "Missing column in a CSV file": lambda f: TaggedCSV(table(f, "foto,split,tags\na,train,dog\n")),
    "Unknown split": lambda f: TaggedCSV(table(f, "image,split,tags\na,fold1,dog\nb,fold2,cat\n"), split="train"),
    "Missing files": lambda f: TaggedCSV(table(f, "image,split,tags\na,train,dog\n"), split="train"),
    "Unreadable image": lambda f: TaggedCSV(table(f, "image,split,tags\ntags.csv,train,dog\n"), split="train")[0],
    "Mask and image of different sizes": lambda folder: masked(folder, size=(4, 4)),
    "Mask in colour": lambda folder: masked(folder, mode="RGB", colour=(250, 50, 83)),
    "Unknown values in a mask": lambda folder: masked(folder, colour=128),
    "Tags that are the same everywhere": lambda folder: (
        image(folder / "dog" / "a.png"),
        TaggedDataModule(TaggedFolder(folder), TaggedFolder(folder), batch_size=1),
    ),
    "Different classes in training and validation": lambda _: TaggedDataModule(
        SCENES, SyntheticScenes(4, num_classes=3, size=16), batch_size=1
    ),
    "Batch larger than the training set": lambda _: TaggedDataModule(SCENES, SCENES, batch_size=32),
    "Images of different sizes in a batch": lambda _: collate(ITEMS),
    "Unknown preset": lambda _: Preset.load("roboust"),
    "Unknown setting": lambda _: Preset.load("fast").override({"epochs": 3}),
    "Setting of the wrong type": lambda _: Preset.load("fast").override({"segmenter.epochs": "few"}),
    "Run folder in use": lambda folder: (
        PRESETS["demo"].save(folder / "preset.yaml"),
        small_run(folder, {}),
    ),
    "Resuming with other settings": lambda folder: (
        PRESETS["demo"].save(folder / "preset.yaml"),
        small_run(folder, {"segmenter.epochs": 9}, resume=True),
    ),
    "The run has collapsed": lambda _: collapsed(),
    "Pixels outside [0, 1]": lambda _: small()(255 * IMAGES),
    "Tags with the background": lambda _: LOSS(small()(IMAGES), IMAGES, torch.ones(2, 2)),
    "No images to predict": lambda folder: find_images([folder / "holiday"], folder / "drawn"),
    "Unknown tag": lambda _: TrainedModel(small(), ["dog"], 16)(torch.zeros(3, 8, 8, dtype=torch.uint8), ["dogs"]),
    "Unfinished run": lambda folder: (
        PRESETS["demo"].save(folder / "preset.yaml"),
        load(folder),
    ),
    "Missing masks": lambda folder: (
        image(folder / "masks" / "a.png", mode="L"),
        image(folder / "truth" / "b.png", mode="L"),
        score_label_files(folder / "masks", folder / "truth"),
    ),
    "Model not found": lambda _: load("runs/mime/model"),
    "Not a model folder": lambda folder: load(folder),
    "Custom networks cannot be saved": lambda f: TrainedModel(own_network(), ["dog"], 16).save_pretrained(f),
    "Network cannot be traced": lambda f: export_masks(TrainedModel(own_network(), ["dog"], 48), f / "dogs.pt2"),
}


def test_page_and_cases_have_the_same_headings() -> None:
    headings = re.findall(r"^### (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == list(CASES)
    assert headings == list(entries())


@pytest.mark.filterwarnings("error:Expected:UserWarning")
@pytest.mark.parametrize("heading", CASES)
def test_message_is_the_one_of_the_page(heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.setattr("decomprec.export.find_spec", lambda name: None)
    with pytest.raises((ValueError, OSError, RuntimeError, UserWarning)) as caught:
        CASES[heading](tmp_path)
    message, advice = entries()[heading]
    fixed = message.split("...")
    assert sum(map(len, fixed)) >= 30  # not all of it may vary
    raised = " ".join(str(caught.value).split())
    assert re.fullmatch(".*".join(map(re.escape, fixed)), raised), raised

    stated = re.findall(r"A `(\w+Error)`|A (warning)\.", advice)
    kind = "warning" if isinstance(caught.value, Warning) else type(caught.value).__name__
    assert [error or warning for error, warning in stated] == [kind] * (not isinstance(caught.value, ValueError))
