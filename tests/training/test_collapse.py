import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from support.tiny import BARE, QUIET, tiny
from torch import Tensor, nn
from torch.utils.data import DataLoader

from decomprec import Decomposition, DecompositionLoss, FrozenGuide
from decomprec.data import SyntheticScenes
from decomprec.training import CollapsedRunError, SegmenterModule, run, train
from decomprec.training.build import build_segmenter
from decomprec.training.collapse import Diagnostics, StopCollapsed

SIZE = 4
DIAGNOSTICS = (
    "area_smallest",
    "area_largest",
    "area_present",
    "area_absent",
    "mask_entropy",
    "confidence",
    "adversarial_gap",
)


class Colours(nn.Module):
    """A guide of two classes: how red and how green an image is."""

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness

    def forward(self, images: Tensor) -> Tensor:
        return self.sharpness * images[:, :2].square().mean(dim=(2, 3)) - 1


class Scripted(nn.Module):
    """A segmenter that gives the logits of `script`, one entry per validation, and never changes."""

    def __init__(self, script: Sequence[Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.script = list(script)
        self.validation = -1

    def train(self, mode: bool = True) -> "Scripted":
        if self.training and not mode:
            self.validation += 1
        return super().train(mode)

    def forward(self, images: Tensor) -> Decomposition:
        logits = self.script[max(self.validation, 0) % len(self.script)].view(1, -1, 1, 1)
        logits = logits.expand(len(images), -1, *images.shape[2:]) + 0 * self.weight
        return Decomposition(logits, images.unsqueeze(1).expand(-1, logits.shape[1], -1, -1, -1))


def logits(*areas: float) -> Tensor:
    return torch.tensor(areas).log()


SOUND = logits(0.7, 0.3)
VANISHED = logits(0.9998, 0.0002)
FULL = logits(0.0005, 0.9995)
UNDECIDED = logits(0.501, 0.499)
BROKEN = torch.tensor([math.nan, 0.0])


def fit(
    script: Sequence[Tensor],
    tags: Tensor,
    epochs: int,
    patience: int = 2,
    steps: int = 1,
    sanity: int = 0,
) -> L.Trainer:
    items = [{"image": torch.rand(3, SIZE, SIZE), "tags": tag} for tag in tags]
    module = SegmenterModule(
        Scripted(script), DecompositionLoss(lambda images: images.mean(dim=(1, 2, 3))[:, None]), num_classes=2
    )
    trainer = L.Trainer(
        max_epochs=epochs,
        num_sanity_val_steps=sanity,
        callbacks=[StopCollapsed(["dog"], patience)],
        **BARE,
    )
    trainer.fit(module, DataLoader(items[:1] * steps), DataLoader(items, batch_size=len(items)))
    return trainer


HALF = torch.tensor([1.0, 0.0]).repeat(8)[:, None]  # eight images with a dog, eight without


def logged(folder: Path) -> list[dict[str, str]]:
    (log,) = folder.glob("log/version_0/metrics.csv")
    with log.open() as file:
        return [row for row in csv.DictReader(file) if row["val/recon"]]


# Five images of three classes, told apart by one blue pixel; the last batch is smaller.
TAGS = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])


class Table(nn.Module):
    """A segmenter that looks its answers up."""

    def __init__(self, masks: Tensor, imagelets: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.masks, self.imagelets = masks, imagelets

    def forward(self, images: Tensor) -> Decomposition:
        which = (images[:, 2, 0, 0] * 8).long()
        return Decomposition(self.masks[which].log() + 0 * self.weight, self.imagelets[which])


def probability(pixels: Tensor, class_index: int, sharpness: float) -> float:
    """Of one image (3, H, W), by the definition of `Colours`."""
    squares = [float(value) ** 2 for value in pixels[class_index].flatten()]
    return 1 / (1 + math.exp(1 - sharpness * sum(squares) / len(squares)))


@pytest.mark.parametrize("witness", ["own pixels", "second guide"])
def test_the_log_holds_the_means_over_images(witness: str, tmp_path: Path) -> None:
    masks = (2 * torch.randn(5, 3, SIZE, SIZE)).softmax(dim=1)
    imagelets, images = torch.rand(5, 3, 3, SIZE, SIZE), torch.rand(5, 3, SIZE, SIZE)
    images[:, 2, 0, 0] = torch.arange(5) / 8
    module = SegmenterModule(
        Table(masks, imagelets),
        DecompositionLoss(FrozenGuide(Colours(9.0))),
        num_classes=3,
        second_guide=FrozenGuide(Colours(5.0)) if witness == "second guide" else None,
    )
    loader = DataLoader([{"image": i, "tags": t} for i, t in zip(images, TAGS, strict=True)], batch_size=2)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=CSVLogger(tmp_path, name="log"),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(module, loader, loader)
    (row,) = logged(tmp_path)

    areas: dict[int, list[float]] = {0: [], 1: [], 2: []}
    entropies, confidences, gaps, absent = [], [], [], []
    for n in range(5):
        pixels = [[float(masks[n, k, y, x]) for k in range(3)] for y in range(SIZE) for x in range(SIZE)]
        entropies.append(sum(-m * math.log(m, 3) for pixel in pixels for m in pixel) / SIZE**2)
        for k in range(3):
            area = sum(pixel[k] for pixel in pixels) / SIZE**2
            if k and not TAGS[n, k - 1]:
                absent.append(area)
                continue
            areas[k].append(area)
            if k:
                mask, component = masks[n, k].double(), masks[n, k].double() * imagelets[n, k].double()
                confidence = probability(component, k - 1, 9.0)
                if witness == "second guide":
                    other = probability(component, k - 1, 5.0)
                else:
                    other = probability(mask * images[n].double(), k - 1, 9.0)
                confidences.append(confidence)
                gaps.append(confidence - other)
    means = [sum(values) / len(values) for values in areas.values()]
    assert len(confidences) == 5
    averaged = (areas[1] + areas[2], absent, entropies, confidences, gaps)
    expected = [min(means), max(means), *(sum(v) / len(v) for v in averaged)]
    assert [float(row[f"val/{name}"]) for name in DIAGNOSTICS] == pytest.approx(expected, abs=1e-5)


def test_without_a_guide_the_rest_is_logged() -> None:
    trainer = L.Trainer(
        fast_dev_run=True, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, logger=False
    )
    loss = DecompositionLoss(cls_loss=lambda out, images, tags: out.masks.sum())
    loader = DataLoader([{"image": torch.rand(3, SIZE, SIZE), "tags": torch.ones(1)}])
    trainer.fit(SegmenterModule(Scripted([SOUND]), loss, num_classes=2), loader, loader)
    metrics = trainer.callback_metrics
    assert metrics["val/area_smallest"].item() == pytest.approx(0.3)
    assert metrics["val/area_largest"].item() == pytest.approx(0.7)
    entropy = -(0.3 * math.log2(0.3) + 0.7 * math.log2(0.7))
    assert metrics["val/mask_entropy"].item() == pytest.approx(entropy)
    assert not {"val/confidence", "val/adversarial_gap"} & set(metrics)


def test_processes_are_put_together_image_by_image() -> None:
    guide = Colours(9.0)
    out = Decomposition(torch.randn(5, 3, SIZE, SIZE), torch.rand(5, 3, 3, SIZE, SIZE))
    images = torch.rand(5, 3, SIZE, SIZE)

    def diagnose(part: slice) -> Diagnostics:
        diagnostics = Diagnostics(num_classes=3)
        piece = Decomposition(out.mask_logits[part], out.imagelets[part])
        diagnostics.update(piece, images[part], TAGS[part], guide)
        return diagnostics

    whole, first, second = diagnose(slice(5)), diagnose(slice(3)), diagnose(slice(3, 5))
    first.merge_state(second)
    torch.testing.assert_close(first.compute(), whole.compute())


@pytest.mark.parametrize(
    ("script", "tags", "steps", "said"),
    [
        ([VANISHED], HALF, 1, r"masks of 'dog' cover 0\.02 % .* have one, after epochs 0 and 1: .*raise the lower end"),
        ([FULL], torch.ones(8, 1), 1, r"background cover 0\.05 % of all images.*'dog' cover 99\.95 %"),
        ([BROKEN], HALF, 1, "not finite, after epochs 0 and 1: lower segmenter.learning_rate"),
        ([SOUND, VANISHED, VANISHED], HALF, 1, "after epochs 1 and 2"),
        # Undecided masks count from step 1000 on.
        ([UNDECIDED], HALF, 400, r"undecided everywhere.* 100 % of ln K, after epochs 2 and 3: .*lambda_cls"),
    ],
)
def test_a_collapsed_run_stops(script: list[Tensor], tags: Tensor, steps: int, said: str) -> None:
    with pytest.raises(CollapsedRunError, match=said):
        fit(script, tags, epochs=6, steps=steps)


@pytest.mark.parametrize(
    ("script", "tags"),
    [
        ([SOUND], HALF),
        ([SOUND, VANISHED], HALF),  # never twice in a row
        ([VANISHED, FULL], HALF),  # never the same
        ([VANISHED], HALF[:14]),  # seven dogs are too few to say
        ([logits(0.998, 0.002)], HALF),
        ([logits(0.002, 0.998)], HALF),
        ([UNDECIDED], HALF),  # a few steps leave masks undecided
        ([VANISHED], torch.zeros(16, 1)),  # the background may have all of what is only background
    ],
)
def test_a_run_that_may_be_sound_goes_on(script: list[Tensor], tags: Tensor) -> None:
    assert fit(script, tags, epochs=4).current_epoch == 4


def test_sanity_checking_stops_nothing() -> None:
    assert fit([VANISHED, SOUND], HALF, epochs=1, patience=1, sanity=2).current_epoch == 1
    with pytest.raises(CollapsedRunError, match="after epoch 0"):
        fit([SOUND, VANISHED], HALF, epochs=1, patience=1, sanity=2)


def test_patience_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="patience"):
        StopCollapsed(["dog"], patience=0)


def without_first_class(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def built(*args: object) -> nn.Module:
        segmenter = build(*args)
        forward = segmenter.forward

        def collapsed(images: Tensor) -> Decomposition:
            out = forward(images)
            unwanted = torch.tensor([0.0, 30.0, 0.0]).view(1, 3, 1, 1)
            return Decomposition(out.mask_logits - unwanted, out.imagelets)

        segmenter.forward = collapsed
        return segmenter

    return built


def test_a_collapsed_run_keeps_its_checkpoint_and_writes_no_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "build_segmenter", without_first_class(build_segmenter))
    preset = tiny({"segmenter.epochs": 4})
    scenes = SyntheticScenes(8, 2, size=32, seed=1), SyntheticScenes(40, 2, size=32, seed=2)
    name = scenes[0].class_names[0]
    folder = tmp_path / "segmenter"
    for resume in (False, True):
        with pytest.raises(CollapsedRunError, match=f"masks of '{name}' .* epochs 0 and 1"):
            train(preset, *scenes, tmp_path, resume=resume, trainer_options=QUIET)
        assert not (folder / "finished.safetensors").exists()
        assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 0
    assert (tmp_path / "guide" / "finished.safetensors").exists()
    rows = logged(folder)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    for row in rows:
        assert float(row["val/area_smallest"]) < 1e-6
        assert all(math.isfinite(float(row[f"val/{name}"])) for name in DIAGNOSTICS)
