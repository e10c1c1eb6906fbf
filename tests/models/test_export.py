"""Exported mask branches, run by onnxruntime and torch.export, against the segmenter itself."""

import copy
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn
from typer.testing import CliRunner

import decomprec
from decomprec import DecompositionSegmenter, export
from decomprec.cli import app
from decomprec.export import METADATA, export_masks
from decomprec.models import SmallEncoder
from decomprec.trained_model import TrainedModel

# Multiples of the stride or not, less than one stride, a strip, one pixel; other batches than the one traced with.
SIZES = [(1, 64, 96), (3, 50, 70), (4, 33, 31), (1, 5, 120), (2, 1, 1), (1, 160, 213)]
NAMES = ("cat", "dog")

Run = Callable[[Tensor], Tensor]


def small() -> DecompositionSegmenter:
    return DecompositionSegmenter(3, SmallEncoder((4, 8, 16)), decoder_widths=(16, 8, 4))


class KerasEncoder(nn.Module):
    """With convolutions whose padding depends on the size, as the weights that come from Keras need."""

    out_channels = (4, 8)
    strides = (2, 4)

    def __init__(self) -> None:
        super().__init__()
        self.first = Conv2dSame(3, 4, kernel_size=(3, 5), stride=2)
        self.inner = nn.Sequential(Conv2dSame(4, 4, kernel_size=4, bias=False), nn.ReLU())
        self.second = Conv2dSame(4, 8, kernel_size=3, stride=2, dilation=2, groups=2)
        self.third = Conv2dSame(8, 8, kernel_size=1, stride=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = self.inner(self.first(images))
        return [fine, self.third(self.second(fine))]


def keras_padded() -> DecompositionSegmenter:
    return DecompositionSegmenter(3, KerasEncoder(), decoder_widths=(8, 4))


def settled(segmenter: DecompositionSegmenter) -> DecompositionSegmenter:
    """With batch statistics that are not those of a new model, and masks that are not all alike."""
    torch.manual_seed(0)
    for module in segmenter.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    for parameter in segmenter.mask_decoder.parameters():
        parameter.data *= 2
    return segmenter


def run_onnx(path: Path) -> Run:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["masks"], {"images": images.numpy()})[0])


def run_program(path: Path) -> Run:
    return torch.export.load(path).module()


def check(run: Run, segmenter: DecompositionSegmenter, sizes: Sequence[tuple[int, int, int]] = SIZES) -> None:
    segmenter = copy.deepcopy(segmenter).eval()
    for batch, height, width in sizes:
        images = torch.rand(batch, 3, height, width)
        with torch.no_grad():
            expected = segmenter.mask_logits(images).softmax(dim=1)
            got = run(images)
        assert got.shape == (batch, 3, height, width)
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
        assert batch * height * width < 1000 or expected.std() > 1e-3  # there is something to agree on


@pytest.mark.parametrize(("ending", "load"), [(".onnx", run_onnx), (".pt2", run_program)])
def test_masks_are_the_segmenters_at_every_size(ending: str, load: Callable[[Path], Run], tmp_path: Path) -> None:
    segmenter = settled(keras_padded())
    before = copy.deepcopy(segmenter.state_dict())
    export_masks(TrainedModel(segmenter, NAMES, 48), tmp_path / f"masks{ending}")
    assert [file.name for file in tmp_path.iterdir()] == [f"masks{ending}"]
    check(load(tmp_path / f"masks{ending}"), segmenter)
    assert isinstance(segmenter.encoder.first, Conv2dSame)
    assert all(torch.equal(value, before[name]) for name, value in segmenter.state_dict().items())


def test_the_papers_network(tmp_path: Path) -> None:
    segmenter = DecompositionSegmenter(3)
    export_masks(TrainedModel(segmenter, NAMES, 224), tmp_path / "masks.pt2")
    check(run_program(tmp_path / "masks.pt2"), segmenter, [(1, 33, 31), (3, 5, 40), (2, 1, 1)])


def test_half_precision_is_exported_as_float32(tmp_path: Path) -> None:
    segmenter = settled(small())
    exact = copy.deepcopy(segmenter.half()).float()
    export_masks(TrainedModel(segmenter, NAMES, 48), tmp_path / "masks.pt2")
    check(run_program(tmp_path / "masks.pt2"), exact)
    assert next(segmenter.parameters()).dtype == torch.float16


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DecompositionSegmenter]:
    """The folder of both files that the command line writes of a model."""
    folder = tmp_path_factory.mktemp("exported")
    segmenter = settled(small()).eval()
    TrainedModel(segmenter, NAMES, 48).save_pretrained(folder / "model", half=False, masks_only=True)
    for ending in ("onnx", "pt2"):
        out = folder / "masks" / f"masks.{ending}"
        result = CliRunner().invoke(app, ["export", str(folder / "model"), "--out", str(out)])
        assert result.exit_code == 0, result.output
        assert "masks of background, cat, dog; seen at 48 pixels" in result.stdout
    return folder / "masks", segmenter


def test_a_file_does_not_know_where_the_code_lay(exported: tuple[Path, DecompositionSegmenter]) -> None:
    folder, _ = exported
    with zipfile.ZipFile(folder / "masks.pt2") as archive:
        contents = [(folder / "masks.onnx").read_bytes(), *map(archive.read, archive.namelist())]
    for file in (torch.__file__, decomprec.__file__):
        assert not any(str(Path(file).parent).encode() in content for content in contents)


def test_from_the_command_line_with_metadata(exported: tuple[Path, DecompositionSegmenter]) -> None:
    folder, segmenter = exported
    for run in (run_onnx(folder / "masks.onnx"), run_program(folder / "masks.pt2")):
        check(run, segmenter)

    model = onnx.load(folder / "masks.onnx")
    onnx.checker.check_model(model, full_check=True)
    stored = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    files = {METADATA: ""}
    torch.export.load(folder / "masks.pt2", extra_files=files)
    assert stored == json.loads(files[METADATA]) == {"class_names": ["background", *NAMES], "image_size": 48}
    for value, channels in ((model.graph.input[0], 3), (model.graph.output[0], 3)):
        shape = [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        assert shape == ["batch", channels, "height", "width"]


class Encoder(SmallEncoder):
    """A custom encoder with something in it that no exported program can have."""

    def __init__(self, spoil: Callable[[Tensor], Tensor]) -> None:
        super().__init__((4, 8))
        self.spoil = spoil

    def forward(self, images: Tensor) -> list[Tensor]:
        return super().forward(self.spoil(images))


@pytest.mark.parametrize(("ending", "load"), [(".onnx", run_onnx), (".pt2", run_program)])
def test_an_encoder_that_sees_images_enlarged(ending: str, load: Callable[[Path], Run], tmp_path: Path) -> None:
    encoder = SmallEncoder((4, 8, 16))
    segmenter = settled(DecompositionSegmenter(3, encoder, decoder_widths=(8, 4), enlarge=2))
    export_masks(TrainedModel(segmenter, NAMES, 48), tmp_path / f"masks{ending}")
    check(load(tmp_path / f"masks{ending}"), segmenter)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda images: images[..., :64, :] if images.shape[-2] > 64 else images, "traceable for all sizes"),
        (lambda images: images * float(images.mean()), "traceable for all sizes"),
        (lambda images: F.dropout(images, 0.9), "masks to be the segmenter's, but they differ by"),
    ],
)
def test_what_can_not_be_exported_is_not_written(spoil: Any, message: str, tmp_path: Path) -> None:
    segmenter = settled(DecompositionSegmenter(3, Encoder(spoil), decoder_widths=(8, 4)))
    with pytest.raises(ValueError, match=message):
        export_masks(TrainedModel(segmenter, NAMES, 48), tmp_path / "masks.pt2")
    assert not list(tmp_path.iterdir())


def test_wrong_arguments_are_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_traced", lambda branch: pytest.fail("work began"))
    with pytest.raises(ValueError, match=r"ends in \.onnx or \.pt2, but got 'masks\.pt'"):
        export_masks(TrainedModel(small(), NAMES, 48), tmp_path / "masks.pt")
    with pytest.raises(ValueError, match="name the 2 classes"):
        export_masks(TrainedModel(small(), ["dog"], 48), tmp_path / "masks.pt2")
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ValueError, match=r"onnxscript to be installed.*pip install onnx"):
        export_masks(TrainedModel(small(), NAMES, 48), tmp_path / "masks.onnx")
