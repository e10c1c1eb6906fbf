from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file, save_file
from support.tiny import QUIET, tiny

from decomprec.data import SyntheticScenes
from decomprec.losses import MaskLoss
from decomprec.models import PaperEncoder, PooledClassifier, SmallEncoder, TimmEncoder
from decomprec.priors import HingeAreaLoss
from decomprec.trained_model import load
from decomprec.training import PRESETS, GuideModule, Preset, SegmenterModule, train
from decomprec.training.augment import occlude
from decomprec.training.build import build_classifier, build_loss, build_segmenter
from decomprec.views import FilledView, component_view

TINY = tiny({"guide.epochs": 2, "segmenter.epochs": 3})


@pytest.fixture(scope="module")
def scenes() -> tuple[SyntheticScenes, SyntheticScenes]:
    return SyntheticScenes(24, 2, size=32, seed=1), SyntheticScenes(8, 2, size=32, seed=2, masks=True)


class StopAt(Callback):
    """What a kill between two epochs leaves: the checkpoint of the epoch before."""

    def __init__(self, stage: type[L.LightningModule], epoch: int) -> None:
        self.stage = stage
        self.epoch = epoch

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        if isinstance(pl_module, self.stage) and trainer.current_epoch == self.epoch:
            raise KeyError("killed")


def test_paper_preset_is_section_4_3_to_the_letter() -> None:
    preset = PRESETS["paper"]
    assert preset.image_size == 224
    assert not preset.augment
    guide, segmenter = preset.guide, preset.segmenter
    assert (guide.encoder, guide.encoder_weights) == ("resnet18", "imagenet")
    assert (guide.learning_rate, guide.batch_size, guide.epochs) == (1e-4, 32, 10)
    assert (preset.one_cycle, preset.accumulate) == (False, 1)
    assert (guide.occlusion, guide.freeze_encoder, guide.weight_decay, guide.scales) == (0, False, 0, (1.0,))
    assert (segmenter.encoder, segmenter.encoder_weights) == ("paper", None)
    assert (segmenter.learning_rate, segmenter.batch_size, segmenter.epochs) == (1e-4, 4, 10)
    assert (segmenter.lambda_mask, segmenter.lambda_cls) == (1e-3, 1e-3)
    assert not segmenter.freeze_encoder
    assert (segmenter.absent_slots, segmenter.seeds) == (None, 0)

    classifier = build_classifier(PRESETS["demo"], num_classes=2)
    loss = build_loss(preset, classifier)
    assert isinstance(loss.mask_loss, MaskLoss)
    assert loss.cls_loss.absent == "ignore"
    assert loss.cls_loss.view is component_view
    assert loss.extra == {}
    assert isinstance(build_segmenter(preset, 2, classifier).encoder, PaperEncoder)


@pytest.mark.parametrize("stage", ["GuideModule", "SegmenterModule"])
def test_the_optimiser_is_the_papers(stage: str, scenes, tmp_path: Path) -> None:
    seen = {}

    class Look(Callback):
        def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            seen[type(pl_module).__name__] = trainer.optimizers[0]

    preset = TINY.override({"one_cycle": False, "guide.learning_rate": 0.0001, "segmenter.learning_rate": 0.0001})
    train(preset, *scenes, tmp_path / "run", callbacks=[Look()], trainer_options=QUIET)
    optimizer = seen[stage]
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.defaults["betas"] == (0.9, 0.999)
    assert [g["lr"] for g in optimizer.param_groups] == [1e-4]


def test_training_lays_convolutions_out_anew_and_takes_the_same_steps(
    scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Look(Callback):
        def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            weights = [part.weight for part in pl_module.modules() if isinstance(part, torch.nn.Conv2d)]
            seen.append(all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights))

    laid_out = train(TINY, *scenes, tmp_path / "laid out", callbacks=[Look()], trainer_options=QUIET)
    assert all(tensor.is_contiguous() for tensor in laid_out.segmenter.state_dict().values())
    monkeypatch.setattr("decomprec.training.fit.convert_conv2d_weight_memory_format", lambda module, layout: module)
    plain = train(TINY, *scenes, tmp_path / "plain", callbacks=[Look()], trainer_options=QUIET)
    assert seen == [True, True, False, False]
    for name in ("classifier", "segmenter"):
        expected = getattr(plain, name).state_dict()
        torch.testing.assert_close(getattr(laid_out, name).state_dict(), expected, rtol=1e-3, atol=1e-4)


def test_settings_become_blocks() -> None:
    demo = PRESETS["demo"]
    classifier = build_classifier(demo, num_classes=4)
    loss = build_loss(demo, classifier)
    assert isinstance(loss.mask_loss, HingeAreaLoss)
    assert isinstance(loss.cls_loss.view, FilledView)
    assert loss.cls_loss.view.content == "images"
    standardised = PooledClassifier(SmallEncoder((4, 8)), num_classes=4, standardise=True)
    robust = build_loss(PRESETS["robust"], standardised)
    assert not robust.extra
    assert robust.lambda_seeds == PRESETS["robust"].segmenter.seeds
    assert robust.cls_loss.absent_slots == 1


def test_encoder_guide_starts_from_a_trainable_copy() -> None:
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3).requires_grad_(False).eval()
    segmenter = build_segmenter(TINY, 3, classifier)
    for own, original in zip(segmenter.encoder.parameters(), classifier.encoder.parameters(), strict=True):
        assert torch.equal(own, original)
        assert own.data_ptr() != original.data_ptr()
        assert own.requires_grad
    assert all(module.training for module in segmenter.encoder.modules())


def test_a_frozen_encoder_of_the_guide_is_shared() -> None:
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3)
    assert (
        build_segmenter(TINY.override({"segmenter.freeze_encoder": True}), 3, classifier).encoder is classifier.encoder
    )


def test_a_killed_run_resumes_to_the_same_result(scenes, tmp_path: Path) -> None:
    whole = train(TINY, *scenes, tmp_path / "whole", trainer_options=QUIET)
    for stage, epoch in [(GuideModule, 1), (SegmenterModule, 1), (SegmenterModule, 2)]:
        run = tmp_path / f"killed_in_{stage.__name__}_{epoch}"
        with pytest.raises(KeyError, match="killed"):
            train(TINY, *scenes, run, callbacks=[StopAt(stage, epoch)], trainer_options=QUIET)
        resumed = train(TINY, *scenes, run, resume=True, trainer_options=QUIET)
        for part in ("classifier", "segmenter"):
            expected, found = getattr(whole, part).state_dict(), getattr(resumed, part).state_dict()
            assert expected.keys() == found.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected), part


def test_the_run_folder_holds_what_it_should(scenes, tmp_path: Path) -> None:
    trained = train(TINY, *scenes, tmp_path / "run", trainer_options=QUIET)
    for stage, network in (("guide", trained.classifier), ("segmenter", trained.segmenter)):
        folder = tmp_path / "run" / stage
        saved = load_file(folder / "finished.safetensors")
        assert all(torch.equal(saved[name], tensor) for name, tensor in network.state_dict().items())
        (log,) = folder.glob("log/*/metrics.csv")
        assert len(log.read_text().splitlines()) > 1
    assert Preset.load(tmp_path / "run" / "preset.yaml") == TINY
    checkpoint = torch.load(tmp_path / "run" / "segmenter" / "last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == TINY.segmenter.epochs - 1
    assert set(checkpoint["state_dict"]) == {f"segmenter.{name}" for name in trained.segmenter.state_dict()}
    assert all(not p.requires_grad for p in trained.classifier.parameters())


def test_few_images_get_the_steps_that_training_needs(scenes, tmp_path: Path) -> None:
    steps = {}

    class Count(Callback):
        def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            steps[type(pl_module)] = (trainer.current_epoch, trainer.global_step)

    # 24 images in batches of 8 are three steps an epoch.
    preset = TINY.override({"segmenter.min_steps": 10})
    train(preset, *scenes, tmp_path / "run", callbacks=[Count()], trainer_options=QUIET)
    assert steps == {GuideModule: (2, 6), SegmenterModule: (4, 12)}
    assert Preset.load(tmp_path / "run" / "preset.yaml") == preset


def test_a_finished_run_is_read_back(scenes, tmp_path: Path) -> None:
    trained = train(TINY, *scenes, tmp_path / "run", trainer_options=QUIET)
    again = load(tmp_path / "run")
    assert again.class_names == scenes[0].class_names
    images = torch.rand(2, 3, 40, 24)
    assert torch.equal(again.classifier(images), trained.classifier(images))
    assert torch.equal(again.segmenter(images).mask_logits, trained.segmenter(images).mask_logits)
    assert again.image_size == TINY.image_size
    with pytest.raises(FileNotFoundError, match="to hold a model"):
        load(tmp_path)


def test_a_run_from_a_shortened_encoder_is_read_back_without_it(scenes, tmp_path: Path) -> None:
    """A local file that lacks the last blocks shortens the network; the run must not need that file again."""
    file = tmp_path / "trunk.safetensors"
    tensors = TimmEncoder("mobilenetv1_100").network.state_dict()
    save_file({name: t for name, t in tensors.items() if not name.startswith("blocks.4.1.")}, file)
    preset = TINY.override(
        {
            "guide.encoder": "mobilenetv1_100",
            "guide.encoder_weights": str(file),
            "guide.encoder_options": {},
            "guide.epochs": 1,
            "segmenter.epochs": 1,
            "segmenter.decoder_widths": [8, 8, 8, 8, 8],
        }
    )
    trained = train(preset, *scenes, tmp_path / "run", trainer_options=QUIET)
    file.unlink()
    again = load(tmp_path / "run")
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(again.segmenter(images).mask_logits, trained.segmenter(images).mask_logits)


def test_the_background_is_shifted_once_however_often_the_run_goes_on(scenes, tmp_path: Path) -> None:
    images, bias = torch.rand(2, 3, 40, 24), {"segmenter.background_bias": -0.75}
    plain = train(TINY, *scenes, tmp_path / "plain", trainer_options=QUIET)
    shifted = train(TINY.override(bias), *scenes, tmp_path / "run", trainer_options=QUIET)
    again = train(TINY.override(bias), *scenes, tmp_path / "run", resume=True, trainer_options=QUIET)
    # Steps too small to change a weight: what another training starts from.
    still = TINY.override({**bias, "segmenter.learning_rate": 1e-30, "segmenter.epochs": 1})
    further = train(still, *scenes, tmp_path / "further", start=shifted, trainer_options=QUIET)
    expected = plain.segmenter.mask_logits(images) - torch.tensor([0.75, 0, 0]).view(1, 3, 1, 1)
    for model in (shifted, again, load(tmp_path / "run")):
        torch.testing.assert_close(model.segmenter.mask_logits(images), expected)
    last = [p for name, p in further.segmenter.mask_decoder.named_parameters() if name.endswith("bias")][-1]
    wanted = [p for name, p in shifted.segmenter.mask_decoder.named_parameters() if name.endswith("bias")][-1]
    torch.testing.assert_close(last, wanted)


def test_a_used_run_folder_is_refused(scenes, tmp_path: Path) -> None:
    TINY.save(tmp_path / "preset.yaml")
    with pytest.raises(ValueError, match="holds a run"):
        train(TINY, *scenes, tmp_path)
    with pytest.raises(ValueError, match="other settings"):
        train(TINY.override({"image_size": 64}), *scenes, tmp_path, resume=True)


def test_training_with_masks_is_refused(scenes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tags only"):
        train(TINY, scenes[1], scenes[1], tmp_path / "run", trainer_options=QUIET)


def test_occlusion_hides_at_most_half_and_only_its_share() -> None:
    torch.manual_seed(0)
    images = torch.rand(64, 3, 32, 32) * 0.5 + 0.5
    hidden = (occlude(images, 0.5, [torch.zeros_like]) == 0).all(dim=1).float().mean(dim=(1, 2))
    assert hidden.max() <= 0.51
    untouched = (hidden == 0).float().mean()
    assert 0.3 < untouched < 0.75
    assert (occlude(images, 1.0, [torch.zeros_like]) == 0).any()
    assert torch.equal(occlude(images, 0.0, [torch.zeros_like]), images)


def test_compile_wraps_both_networks_and_changes_no_result(scenes, tmp_path: Path) -> None:
    plain = train(TINY, *scenes, tmp_path / "plain", trainer_options=QUIET)
    with torch.compiler.set_stance("force_eager"):  # the wrapping without the minutes that a compiler takes
        wrapped = train(TINY, *scenes, tmp_path / "compiled", compile=True, trainer_options=QUIET)
    for part in ("classifier", "segmenter"):
        network = getattr(wrapped, part)
        assert network._compiled_call_impl is not None
        expected = getattr(plain, part).state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    "setting",
    [
        {"guide.encoder": "resnet18", "guide.encoder_weights": "nowhere.safetensors", "guide.encoder_options": {}},
        {"guide.encoder_options": {"width": 3}},
        {"segmenter.encoder": "resnet5o"},
        {"segmenter.decoder_widths": [100_000]},
        {"guide.levels": [-9]},
        {"guide.batch_size": 25},
    ],
)
def test_wrong_settings_raise_before_any_work_and_leave_no_folder(
    setting: dict[str, Any], scenes, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="Expected"):
        train(TINY.override(setting), *scenes, tmp_path / "run", trainer_options=QUIET)
    assert not (tmp_path / "run").exists()


def test_a_segmenter_of_no_epochs_stays_as_it_starts(scenes, tmp_path: Path) -> None:
    assert TINY.one_cycle
    preset = TINY.override({"segmenter.epochs": 0})
    trained = train(preset, *scenes, tmp_path / "run", seed=4, trainer_options=QUIET)
    torch.manual_seed(4)
    start = build_segmenter(preset, 3, trained.classifier).state_dict()
    for name, tensor in trained.segmenter.state_dict().items():
        assert torch.equal(tensor, start[name]), name


def test_a_finished_guide_needs_no_starting_weights_on_resume(scenes, tmp_path: Path) -> None:
    file = tmp_path / "trunk.safetensors"
    save_file(TimmEncoder("mobilenetv3_small_050").network.state_dict(), file)
    preset = TINY.override(
        {
            "guide.encoder": "mobilenetv3_small_050",
            "guide.encoder_weights": str(file),
            "guide.encoder_options": {},
            "guide.epochs": 1,
            "segmenter.epochs": 2,
            "segmenter.decoder_widths": [8, 8, 8, 8, 8],
        }
    )
    with pytest.raises(KeyError, match="killed"):
        train(preset, *scenes, tmp_path / "run", callbacks=[StopAt(SegmenterModule, 1)], trainer_options=QUIET)
    file.unlink()
    train(preset, *scenes, tmp_path / "run", resume=True, trainer_options=QUIET)
    assert load(tmp_path / "run").class_names == scenes[0].class_names


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_all_of_a_training_can_be_in_another_precision(scenes, tmp_path: Path, precision: str) -> None:
    preset = tiny({"guide.freeze_encoder": True, "guide.head_steps": 5, "segmenter.seeds": 1.0})
    assert preset.guide.occlusion
    trained = train(preset, *scenes, tmp_path / "run", trainer_options={**QUIET, "precision": precision})
    dtype = torch.bfloat16 if precision == "bf16-true" else torch.float64
    for network in (trained.guide, trained.segmenter):
        assert {parameter.dtype for parameter in network.parameters()} == {dtype}
    assert trained.guide.floor.any()


def test_in_bfloat16_masks_of_another_size_are_validated(scenes, tmp_path: Path) -> None:
    options = {**QUIET, "precision": "bf16-mixed"}
    train(tiny({"segmenter.image_size": 16}), *scenes, tmp_path / "run", trainer_options=options)
    assert (tmp_path / "run/model/model.safetensors").is_file()
