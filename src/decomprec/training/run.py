"""Both stages, one after the other, in a run folder that can be resumed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import Subset

from decomprec._memory import keep_freed_memory
from decomprec.data.datamodule import TaggedDataModule
from decomprec.data.dataset import TaggedRecords
from decomprec.data.shared_memory import fitting_workers
from decomprec.data.tags import tag_table
from decomprec.data.transforms import eval_transform
from decomprec.evidence import EvidenceMasks
from decomprec.models.card import EVIDENCE_ONLY, model_card
from decomprec.models.classifiers import PooledClassifier
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.protocols import TaggedDataset
from decomprec.trained_model import TrainedModel
from decomprec.training.build import (
    build_classifier,
    build_evidence,
    build_loss,
    build_segmenter,
    shift_background,
    start_at_odds,
    start_from_guide,
    start_from_model,
)
from decomprec.training.checkpoints import FINISHED, save_finished
from decomprec.training.fit import check_loggers, fit_stage
from decomprec.training.modules import GuideModule, SegmenterModule
from decomprec.training.presets import Preset
from decomprec.training.progress import RunProgress, with_progress
from decomprec.training.seeds import ComputeSeeds, SeedFile, shown_more_often


def train(
    preset: Preset,
    train_set: TaggedDataset,
    val_set: TaggedDataset,
    run_dir: str | Path,
    *,
    resume: bool = False,
    seed: int = 0,
    start: TrainedModel | None = None,
    num_workers: int = 0,
    callbacks: list[Callback] | None = None,
    compile: bool = False,
    loggers: Sequence[str] = (),
    trainer_options: Mapping[str, Any] | None = None,
    evidence_only: bool = False,
) -> TrainedModel:
    """Train the guide, freeze it, and train the segmenter (section 4.3).

    The run folder gets preset.yaml, the model (which `decomprec.load` reads), and for each stage a checkpoint after
    every epoch and a CSV log. Several processes need a folder that all of them see; each takes its own batch in every
    step. On Linux, the process keeps the memory that it frees, which saves time.

    Images whose masks are known (`decomprec.data.with_masks`) are learnt from these in place of the guide's evidence,
    and shown more often if they are few.

    Args:
        preset: all settings.
        train_set: items with "image" and "tags"; its `class_names` are the K-1 classes. `with_masks` adds
            the ground truth of some images. A guide with a frozen encoder learns from the images before their
            transform, which may crop at random, in the shape that it gives them.
        val_set: items of the same form; a "mask" is used only to report the IoU while training.
        run_dir: where everything is written.
        resume: continue where an earlier run in this folder stopped; otherwise the folder must be new.
        seed: of initial weights, data order and everything else that is random.
        start: a trained model of the same classes and architecture: its guide is kept, and training
            of its segmenter continues. None starts from the beginning.
        num_workers: processes that load images.
        callbacks: further Lightning callbacks, for both stages.
        compile: run both networks through `torch.compile`.
        loggers: further logs, by the names of Lightning's loggers: "tensorboard", "wandb", "mlflow".
        trainer_options: passed to every `lightning.Trainer`, such as accelerator, devices or precision.
        evidence_only: stop after the guide. The model's masks are then the guide's evidence, until the run is resumed.

    Raises:
        ValueError: if the folder holds a run already and `resume` is False, or its preset or seed is another one; if
            `start` doesn't fit, a logger is unknown or not installed, masks are known that the preset ignores, or, with
            `evidence_only`, the guide has no evidence or the segmenter is trained already.
        CollapsedRunError: if the segmenter collapses; its weights are not written, its last checkpoint stays.
        NonFiniteError: if a loss or gradient is not finite, before the step that it would spoil.
        StoppedRunError: if there is not enough memory, or a process that loads images or trains along has ended; says
            what to try. Both errors above are StoppedRunErrors too.
        OSError: if the folder can't be written to, as on a full disk.
        KeyboardInterrupt: for Ctrl-C. However a run is stopped, its last checkpoint is kept, and it can be resumed.
    """
    keep_freed_memory()
    run_dir, options = Path(run_dir), trainer_options or {}
    class_names = tuple(train_set.class_names)
    # All that can be wrong with the arguments raises now, not after the guide is trained.
    _check_run(run_dir, preset, resume)
    if evidence_only:
        _check_evidence(run_dir, preset)
    check_loggers(loggers)
    _check_masks(preset, train_set)
    guide_data, segmenter_data = _data(preset, train_set, val_set, num_workers, seed)
    classifier, segmenter = _networks(preset, class_names, run_dir / "guide", seed, start)
    if start is None and preset.guide.freeze_encoder:
        start_at_odds(classifier, tag_table(train_set))
    progress = RunProgress(preset, len(train_set), len(val_set), guide_only=evidence_only)
    callbacks = with_progress(callbacks or [], options, progress)
    fit = partial(
        fit_stage,
        preset=preset,
        loggers=loggers,
        class_names=class_names,
        seed=seed,
        compile=compile,
        options=options,
    )

    if start is not None and not (run_dir / "guide" / FINISHED).exists():  # every process writes the same
        save_finished(classifier, run_dir / "guide")
    guide_module = GuideModule(classifier, preset.guide, one_cycle=preset.one_cycle)
    fit(guide_module, classifier, guide_data, run_dir / "guide", epochs=preset.guide.epochs, callbacks=callbacks)

    facts = [f"Preset: {preset.name}; seed: {seed}."]
    if evidence_only:
        evident = build_evidence(preset, classifier)
        return _written(run_dir, evident, classifier, class_names, preset, [EVIDENCE_ONLY, *facts])

    if start is None:
        start_from_guide(preset, segmenter, classifier)
    evidence = EvidenceMasks(classifier) if preset.segmenter.seeds else None
    if evidence is not None and isinstance(train_set, TaggedRecords):
        file = SeedFile(run_dir / "segmenter", len(train_set))
        segmenter_data.train_set = _seeded(train_set, file)
        callbacks = [ComputeSeeds(file, evidence, classifier, train_set, preset.image_size), *callbacks]
    segmenter_module = SegmenterModule(
        segmenter,
        build_loss(preset, classifier),
        len(class_names) + 1,
        preset.segmenter,
        one_cycle=preset.one_cycle,
        evidence=evidence,
    )
    fit(
        segmenter_module,
        segmenter,
        segmenter_data,
        run_dir / "segmenter",
        epochs=preset.segmenter.epochs,
        min_steps=preset.segmenter.min_steps,
        callbacks=callbacks,
    )
    # The weights of the stage stay as they were trained: a run that is resumed gets the shift once, too.
    shift_background(segmenter, preset.segmenter.background_bias)
    return _written(run_dir, segmenter, classifier, class_names, preset, facts)


def _data(
    preset: Preset, train_set: TaggedDataset, val_set: TaggedDataset, num_workers: int, seed: int
) -> tuple[TaggedDataModule, TaggedDataModule]:
    """The batches of both stages."""
    workers = fitting_workers(num_workers, _batch_bytes(preset))
    guide_set = train_set
    if preset.guide.freeze_encoder and isinstance(train_set, TaggedRecords):
        guide_set = _uncropped(train_set)
    guide, segmenter = (
        TaggedDataModule(images, val_set, stage.batch_size, workers, seed, accumulate=preset.accumulate)
        for images, stage in ((guide_set, preset.guide), (train_set, preset.segmenter))
    )
    return guide, segmenter


def _uncropped(train_set: TaggedRecords[Any]) -> TaggedRecords[Any]:
    """The images as large as those of the training: a random crop may lack what the tags speak of.

    A head on frozen features has no use for more variety, see docs/results/experiments.md.
    """
    height, width = train_set[0]["image"].shape[-2:]
    return train_set.with_transform(eval_transform(round(math.sqrt(height * width)), aspect=width / height))


def _networks(
    preset: Preset, class_names: tuple[str, ...], guide_folder: Path, seed: int, start: TrainedModel | None
) -> tuple[PooledClassifier, DecompositionSegmenter]:
    """Both networks with their initial weights, or those of `start`."""
    num_classes = len(class_names) + 1
    # A finished guide needs no file or download that it once started from.
    finished = start is not None or (guide_folder / FINISHED).exists()
    L.seed_everything(seed, verbose=False)
    classifier = build_classifier(preset.override({"guide.encoder_weights": None}) if finished else preset, num_classes)
    L.seed_everything(seed, verbose=False)
    segmenter = build_segmenter(preset, num_classes, classifier)
    if start is not None:
        start_from_model(start, class_names, classifier, segmenter)
        shift_background(segmenter, -preset.segmenter.background_bias)
    return classifier, segmenter


def _seeded(train_set: TaggedRecords[Any], file: SeedFile) -> TaggedDataset:
    """The images with their seeds, and those whose masks are known more often if they are few."""
    order = shown_more_often(len(train_set), train_set.label_maps)
    return Subset(train_set.with_seeds(file), order)  # type: ignore[return-value]  # its tags have been checked


def _batch_bytes(preset: Preset) -> int:
    """The largest batch with its label maps, float32 and int64."""
    images = max(preset.guide.batch_size, preset.segmenter.batch_size) // preset.accumulate
    return max(1, images) * preset.image_size**2 * (3 * 4 + 8)


def _written(
    run_dir: Path,
    segmenter: DecompositionSegmenter,
    classifier: PooledClassifier,
    class_names: tuple[str, ...],
    preset: Preset,
    facts: list[str],
) -> TrainedModel:
    size = preset.segmenter_size
    model = TrainedModel(segmenter, class_names, size, classifier, card=model_card(class_names, size, facts))
    _write(model, run_dir / "model")
    return model


@rank_zero_only
def _write(model: TrainedModel, folder: Path) -> None:
    model.save_pretrained(folder, half=False)  # its masks are those that are measured


def _check_masks(preset: Preset, train_set: TaggedDataset) -> None:
    """Raise a ValueError if masks are known that the preset ignores."""
    if getattr(train_set, "label_maps", None) and not preset.segmenter.seeds:
        raise ValueError(
            "Expected segmenter.seeds to be positive for training images with masks, but got 0; set it to 1."
        )


def _check_evidence(run_dir: Path, preset: Preset) -> None:
    """Raise a ValueError unless the guide gives evidence and no trained segmenter would be replaced by it."""
    if not preset.standardise_guide:
        raise ValueError(
            f"Expected a preset whose guide has evidence for `evidence_only`, such as robust or fast, but got "
            f"{preset.name}; choose another, or set guide.freeze_encoder=true."
        )
    if (run_dir / "segmenter" / FINISHED).exists():
        raise ValueError(
            f"Expected no trained segmenter for `evidence_only`, but {run_dir} holds one; choose another run folder."
        )


def _check_run(run_dir: Path, preset: Preset, resume: bool) -> None:
    """Raise a ValueError unless the folder is new, or holds a run of these settings that is to be resumed."""
    saved = run_dir / "preset.yaml"
    if not saved.exists():
        return
    if not resume:
        raise ValueError(f"Expected a new run folder, but {run_dir} holds a run; resume it or choose another.")
    before = Preset.load(saved)
    # With another number of processes both sizes change alike; a checkpoint knows the product of size and number.
    alike = (
        before.guide.batch_size * preset.segmenter.batch_size == before.segmenter.batch_size * preset.guide.batch_size
    )
    # A machine may have less memory, or fewer GPUs.
    free = {"accumulate": 1, "guide.batch_size": 1, "segmenter.batch_size": 1}
    if not alike or before.override(free) != preset.override(free):
        raise ValueError(f"Expected to resume with the preset of {saved}, but got other settings; use that preset.")
