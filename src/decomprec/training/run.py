"""Both stages, one after the other, in a run folder that can be resumed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from decomprec.data import TaggedDataModule
from decomprec.protocols import TaggedDataset
from decomprec.trained_model import TrainedModel, model_card
from decomprec.training.build import (
    build_classifier,
    build_loss,
    build_segmenter,
    start_from_guide,
)
from decomprec.training.checkpoints import FINISHED
from decomprec.training.fit import fit_stage
from decomprec.training.modules import GuideModule, SegmenterModule, freeze
from decomprec.training.presets import Preset


def train(
    preset: Preset,
    train_set: TaggedDataset,
    val_set: TaggedDataset,
    run_dir: str | Path,
    *,
    resume: bool = False,
    seed: int = 0,
    num_workers: int = 0,
    callbacks: list[Callback] | None = None,
    compile: bool = False,
    trainer_options: Mapping[str, Any] | None = None,
) -> TrainedModel:
    """Train the guide, freeze it, and train the segmenter (section 4.3).

    The run folder gets, for each stage, checkpoints after every epoch with `preset.yaml` beside them, a CSV log
    (and TensorBoard's, where it is installed), and at its end the weights; `run_dir/model` gets the model, which
    `decomprec.load` reads. Several processes need a folder that all of them see, and each takes its own batch in every
    step.

    Args:
        preset: all settings.
        train_set: items with "image" and "tags"; its `class_names` are the K-1 classes.
        val_set: likewise; a "mask" is only used to report the IoU while training.
        run_dir: where everything is written.
        resume: go on where an earlier run in this folder stopped; otherwise the folder must be new.
        seed: of initial weights, data order and everything else that is random.
        num_workers: processes that load images.
        callbacks: further Lightning callbacks, for both stages.
        compile: run both networks through `torch.compile`.
        trainer_options: passed to every `lightning.Trainer`, such as accelerator, devices or precision.

    Raises:
        ValueError: if the folder holds a run already and `resume` is False, or its preset or seed is another one.
        CollapsedRunError: if the segmenter collapses; its weights are not written, its last checkpoint stays.
        NonFiniteError: if a loss or gradient is not finite, before the step that it would spoil.
        StoppedRunError: if there is not enough memory, or a process that loads images or trains along has ended; says
            what to try. Both errors above are StoppedRunErrors too.
        OSError: if the folder can't be written to, as on a full disk.
        KeyboardInterrupt: for Ctrl-C. Whatever stops a run, the last checkpoint stays, and the run can be resumed.
    """
    run_dir = Path(run_dir)
    class_names = tuple(train_set.class_names)
    num_classes = len(class_names) + 1
    data = [
        TaggedDataModule(
            train_set,
            val_set,
            stage.batch_size,
            num_workers,
            seed,
            accumulate=1 if stage.accumulate == "auto" else stage.accumulate,
        )
        for stage in (preset.guide, preset.segmenter)
    ]
    # A finished guide needs no file or download that it once started from.
    finished = (run_dir / "guide" / FINISHED).exists()
    L.seed_everything(seed, verbose=False)
    classifier = build_classifier(replace(preset.guide, weights=None) if finished else preset.guide, num_classes)
    L.seed_everything(seed, verbose=False)
    segmenter = build_segmenter(preset.segmenter, num_classes, classifier)
    # Wrong settings raise now, not after the guide is trained.
    build_loss(preset.segmenter, copy.deepcopy(classifier))  # which freezes the copy
    freeze(segmenter, preset.segmenter.frozen)
    _check(run_dir, preset, resume)
    fit = partial(
        fit_stage,
        preset=preset,
        class_names=class_names,
        seed=seed,
        callbacks=callbacks or [],
        compile=compile,
        options=dict(trainer_options or {}),
    )

    guide_module = GuideModule(
        classifier,
        learning_rate=preset.guide.learning_rate,
        occlusion=preset.guide.occlusion,
        one_cycle=preset.guide.one_cycle,
        frozen=preset.guide.frozen,
        weight_decay=preset.guide.weight_decay,
        refit_head=preset.guide.refit_head,
        scales=preset.guide.scales,
    )
    fit(guide_module, classifier, data[0], run_dir / "guide", preset.guide)

    start_from_guide(segmenter, preset.segmenter, classifier)
    segmenter_module = SegmenterModule(
        segmenter.requires_grad_(True).train(),
        build_loss(preset.segmenter, classifier),
        num_classes,
        learning_rate=preset.segmenter.learning_rate,
        one_cycle=preset.segmenter.one_cycle,
        frozen=preset.segmenter.frozen,
        image_size=preset.segmenter.image_size,
        background_bias=preset.segmenter.background_bias,
    )
    fit(segmenter_module, segmenter, data[1], run_dir / "segmenter", preset.segmenter)

    size = preset.segmenter.image_size or preset.image_size
    facts = [f"Preset: {preset.name}; seed: {seed}."]
    model = TrainedModel(segmenter, class_names, size, classifier, card=model_card(class_names, size, facts))
    _write(model, run_dir / "model")
    return model


@rank_zero_only
def _write(model: TrainedModel, folder: Path) -> None:
    model.save_pretrained(folder, half=False)  # its masks are those that are measured


def _check(run_dir: Path, preset: Preset, resume: bool) -> None:
    saved = run_dir / "preset.yaml"
    if saved.exists() and not resume:
        raise ValueError(f"Expected a new run folder, but {run_dir} holds a run; resume it or choose another.")
    if not saved.exists():
        return
    before = Preset.load(saved)
    # With another number of processes both sizes change alike; a checkpoint knows the product of size and number.
    alike = (
        before.guide.batch_size * preset.segmenter.batch_size == before.segmenter.batch_size * preset.guide.batch_size
    )
    if not alike or _results(before) != _results(preset):
        raise ValueError(f"Expected to resume with the preset of {saved}, but got other settings; use that preset.")


def _results(preset: Preset) -> Preset:
    """A preset without what may change when a run is resumed: a machine may have less memory, or fewer GPUs."""
    guide = replace(preset.guide, accumulate=1, batch_size=1)
    return replace(preset, guide=guide, segmenter=replace(preset.segmenter, accumulate=1, batch_size=1))
