"""The trainings behind the table of `benchmarks.quality.comparison`, each resumable in a separate folder."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from benchmarks.quality.supervised import fit, shuffled
from decomprec.data import TaggedImages
from decomprec.models import PooledClassifier
from decomprec.trained_model import TrainedModel, load
from decomprec.training import CollapsedRunError, GuideModule, GuideSettings, Preset, SegmenterSettings, train
from decomprec.training.build import build_classifier
from decomprec.training.checkpoints import FINISHED

log = logging.getLogger(__name__)

SECOND_GUIDE_EPOCHS = 2


@dataclass(frozen=True)
class Conditions:
    """What all trainings share.

    Attributes:
        train_set: images with tags only.
        val_set: images that the progress is reported on, never those of the table.
        seed: of the runs.
        resume: whether to go on in folders that hold runs.
        workers: processes that load images.
        options: passed to `lightning.Trainer`.
    """

    train_set: TaggedImages
    val_set: TaggedImages
    seed: int
    resume: bool
    workers: int
    options: Mapping[str, Any]

    def run(self, preset: Preset, folder: Path, callbacks: Sequence[Callback] = ()) -> TrainedModel:
        """`decomprec.training.train`."""
        return train(
            preset,
            self.train_set,
            self.val_set,
            folder,
            resume=self.resume,
            seed=self.seed,
            num_workers=self.workers,
            callbacks=list(callbacks),
            trainer_options=self.options,
        )


def papers_recipe(preset: Preset) -> Preset:
    """The paper's objective for the encoder, the decoders and the length of another preset.

    Examples:
        >>> from decomprec.training import PRESETS
        >>> recipe = papers_recipe(PRESETS["robust"].override({"segmenter.enlarge": 3})).segmenter
        >>> recipe.encoder, recipe.enlarge, recipe.batch_size, recipe.content, recipe.lambda_mask
        ('guide', 3, 32, 'imagelets', 0.001)
    """
    # Everything of the segmenter but the objective.
    kept: tuple[str, ...] = ("encoder", "encoder_weights", "encoder_options", "decoder_widths", "image_size")
    kept += ("freeze_encoder", "enlarge", "batch_size", "epochs", "learning_rate")
    segmenter = SegmenterSettings(**{name: getattr(preset.segmenter, name) for name in kept})
    name = f"paper's recipe for {preset.name}"
    return Preset.model_validate({**preset.model_dump(), "name": name, "segmenter": segmenter})


def run_papers_recipe(
    conditions: Conditions, preset: Preset, ours: Path, folder: Path
) -> tuple[TrainedModel, str | None]:
    """A run by the paper's recipe with the guide of our run, and what its collapse was, if there was one.

    A collapse is a result too: the networks are then those of the last checkpoint.
    """
    guide, collapsed = folder / "guide" / FINISHED, folder / "collapsed.txt"
    if not guide.exists():
        guide.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ours / "guide" / FINISHED, guide)
    try:
        conditions.run(papers_recipe(preset), folder)
    except CollapsedRunError as error:
        log.warning("%s", error)
        _write_collapsed(folder, load(ours))
        collapsed.write_text(str(error), encoding="utf-8")
    return load(folder), collapsed.read_text(encoding="utf-8") if collapsed.exists() else None


def _write_collapsed(folder: Path, alike: TrainedModel) -> None:
    """Write the last checkpoint as the run's model, with the help of a run of like networks."""
    tensors = torch.load(folder / "segmenter" / "last.ckpt", weights_only=True, map_location="cpu")["state_dict"]
    prefix = "segmenter."
    alike.segmenter.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
    alike.save_pretrained(folder / "model", half=False)


def second_guide(preset: Preset) -> Preset:
    """A preset whose guide has the same architecture, wholly trained, for two epochs, with the same occlusion.

    Without occlusion it would not know masked views, and the gap would tell that rather than how adversarial masks are.

    Examples:
        >>> from decomprec.training import PRESETS
        >>> second_guide(PRESETS["robust"]).guide.learning_rate
        0.0001
    """
    # A rate that is meant for a head alone would wreck an encoder.
    learning_rate = GuideSettings().learning_rate if preset.guide.freeze_encoder else preset.guide.learning_rate
    return preset.override(
        {
            "guide.freeze_encoder": False,
            "guide.learning_rate": learning_rate,
            "guide.weight_decay": 0,
            "guide.scales": [1.0],
            "guide.epochs": SECOND_GUIDE_EPOCHS,
        }
    )


def train_second_guide(conditions: Conditions, first: Preset, folder: Path) -> PooledClassifier:
    """A guide of another seed that no segmenter is trained with: only to measure with."""
    preset, seed = second_guide(first), conditions.seed + 1
    if (folder / FINISHED).exists():
        preset = preset.override({"guide.encoder_weights": None})
    L.seed_everything(seed, verbose=False)
    names = conditions.train_set.class_names
    classifier = build_classifier(preset, len(names) + 1)
    loader = shuffled(conditions.train_set, preset.guide.batch_size, seed, conditions.workers)
    module = GuideModule(classifier, preset.guide, one_cycle=preset.one_cycle)
    fit(module, classifier, loader, folder, preset.guide.epochs, names, seed, conditions.options)
    return classifier
