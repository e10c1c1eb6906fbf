"""The trainings behind the table of `benchmarks.quality.comparison`, each resumable in a separate folder."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from benchmarks.quality.supervised import fit, shuffled
from decomprec.data import TaggedImages
from decomprec.models import PooledClassifier
from decomprec.trained_model import TrainedModel, load
from decomprec.training import (
    CollapsedRunError,
    GuideModule,
    GuideSettings,
    Preset,
    SegmenterSettings,
    build_classifier,
    train,
)
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
        >>> recipe = papers_recipe(PRESETS["robust"]).segmenter
        >>> recipe.encoder, recipe.batch_size, recipe.content, recipe.lambda_mask
        ('guide', 32, 'components', 0.001)
    """
    # Everything but the objective.
    kept: tuple[str, ...] = ("encoder", "encoder_weights", "encoder_options", "decoder_widths", "frozen", "image_size")
    kept += ("batch_size", "epochs", "learning_rate", "one_cycle")
    segmenter = SegmenterSettings(**{name: getattr(preset.segmenter, name) for name in kept})
    return Preset(f"paper's recipe for {preset.name}", preset.image_size, preset.augment, preset.guide, segmenter)


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


def second_guide_settings(settings: GuideSettings) -> GuideSettings:
    """The same architecture, wholly trained, for two epochs, with as many hidden parts as the first has seen.

    Without those it would be a stranger to masked views, and the gap would tell that, not how adversarial masks are.

    Examples:
        >>> second_guide_settings(GuideSettings(frozen=("encoder",), learning_rate=0.01)).learning_rate
        0.0001
    """
    # A rate that is meant for a head alone would wreck an encoder.
    learning_rate = GuideSettings.learning_rate if settings.frozen else settings.learning_rate
    free = replace(settings, frozen=(), refit_head=False, scales=(1.0,))
    return replace(free, epochs=SECOND_GUIDE_EPOCHS, learning_rate=learning_rate)


def train_second_guide(conditions: Conditions, first: GuideSettings, folder: Path) -> PooledClassifier:
    """A guide of another seed that no segmenter is trained with: only to measure with."""
    settings, seed = second_guide_settings(first), conditions.seed + 1
    weights = None if (folder / FINISHED).exists() else settings.weights
    L.seed_everything(seed, verbose=False)
    classifier = build_classifier(replace(settings, weights=weights), len(conditions.train_set.class_names) + 1)
    loader = shuffled(conditions.train_set, settings.batch_size, seed, conditions.workers)
    module = GuideModule(classifier, settings.learning_rate, settings.occlusion, settings.one_cycle)
    names = conditions.train_set.class_names
    fit(module, classifier, loader, folder, settings.epochs, names, seed, conditions.options)
    return classifier


def described(preset: Preset) -> dict[str, Any]:
    """The preset's settings as JSON knows them, with weights by the names of their files."""
    values = dataclasses.asdict(preset)
    for stage, key in (("guide", "weights"), ("segmenter", "encoder_weights")):
        if values[stage][key] is not None:
            values[stage][key] = Path(values[stage][key]).name
    return values
