"""A whole experiment in one run folder: both stages, figures, and the table with its baselines."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from decomprec._files import write_text
from decomprec.data import SyntheticScenes, collate, eval_transform, train_transform
from decomprec.data.doubts import tag_doubts
from decomprec.data.overview import heading, overview_rows
from decomprec.data.samples import Transform
from decomprec.decomposition import labels_from_logits
from decomprec.evaluation import Results, compare
from decomprec.evaluation.comparison import DRAWN, text_table
from decomprec.evaluation.diagnostics import Diagnostics
from decomprec.evaluation.verdict import VerdictAccumulator, verdict_table, verdicts_as_json
from decomprec.figures import PREDICTIONS, draw_figures, has_masks, pick
from decomprec.models.card import CARD, EVIDENCE_ONLY, model_card
from decomprec.protocols import LoadData
from decomprec.refine import (
    RefinedPredictor,
    at_scale,
    guided_filter,
    half_pamr,
    multi_scale_tags,
    once,
    remembering,
    rescale,
    resize,
)
from decomprec.trained_model import TrainedModel
from decomprec.training import Preset, train
from decomprec.training.callbacks import PanelEveryEpoch
from decomprec.training.progress import RunProgress

SCENES = {"train": (3000, 1), "val": (400, 3)}
"""How many synthetic scenes each split has, and the seed that draws them."""


def synthetic_scenes(size: int) -> LoadData:
    """The synthetic scenes of the demo, `size` pixels high and wide."""

    def load(split: str, *, transform: Transform | None, masks: bool) -> SyntheticScenes:
        # Scenes are varied and of one size as they are: no transform.
        num_images, seed = SCENES[split]
        return SyntheticScenes(num_images, size=size, seed=seed, masks=masks)

    return load


def run_experiment(
    preset: Preset,
    load: LoadData,
    run_dir: Path,
    *,
    data: str,
    resume: bool = False,
    seed: int = 0,
    workers: int | None = None,
    accelerator: str = "auto",
    precision: str = "32-true",
    compile: bool = False,
    callbacks: Sequence[Callback] = (),
    in_memory: bool = False,
    evidence_only: bool = False,
) -> TrainedModel:
    """Train, draw the figures and, if there are true masks, measure the model.

    In addition to what `train` writes, the run folder gets progress/, figures/, diagnostics.json, verdicts.json and
    results.json.

    Args:
        preset: all settings.
        load: gives the images.
        run_dir: must be new, unless the run is resumed.
        data: name of the data, for readers of the results.
        resume: go on where an earlier run in this folder stopped.
        seed: of everything that is random.
        workers: processes that load images; None is one for each core with a GPU, else 0.
        accelerator: as in Lightning.
        precision: as in Lightning.
        compile: train through `torch.compile`.
        callbacks: further Lightning callbacks, for both stages.
        in_memory: decode the training images once and keep them, reduced to about twice the size that is trained at
            (`TaggedImages.in_memory`).
        evidence_only: train no segmenter, see `train`.

    Raises:
        ValueError, StoppedRunError, OSError, KeyboardInterrupt: see `train`.
    """
    started = time.monotonic()
    device = "cuda" if torch.cuda.is_available() and accelerator != "cpu" else "cpu"
    if workers is None:
        workers = (os.cpu_count() or 0) if device == "cuda" else 0
    evaluated = eval_transform(preset.image_size)
    seen = load("train", transform=evaluated, masks=False)
    unseen = load("val", transform=evaluated, masks=True)
    train_set = load("train", transform=train_transform(preset.image_size), masks=False) if preset.augment else seen
    print(f"{heading(data, seen)}\n\n{text_table(overview_rows(seen, unseen))}\n")
    for doubt in tag_doubts(seen, unseen):
        if doubt.level != "note":
            print(f"warning: {doubt.text}\n")
    if in_memory:
        train_set = train_set.in_memory(most_pixels=(2 * preset.image_size) ** 2)
    panels = PanelEveryEpoch(pick(unseen, 4, 4), unseen.class_names, run_dir / "progress")
    measured = len(unseen) if has_masks(unseen) else 0
    progress = RunProgress(preset, len(train_set), len(unseen), measured, guide_only=evidence_only)
    model = train(
        preset,
        train_set,
        unseen,
        run_dir,
        resume=resume,
        seed=seed,
        num_workers=workers,
        callbacks=[panels, progress, *callbacks],
        compile=compile,
        # One process, whatever job it is part of.
        trainer_options={
            "accelerator": accelerator,
            "precision": precision,
            "devices": 1,
            "plugins": [LightningEnvironment()],
        },
        evidence_only=evidence_only,
    )
    model.to(device)
    draw_figures(run_dir / "figures", model, seen, unseen)
    run = {
        "data": data,
        "preset": preset.name,
        "settings": " ".join(f"{key}={json.dumps(value)}" for key, value in preset.without_folders().changes().items())
        or "as they are",
        "image_size": preset.image_size,
        "seed": seed,
        "precision": precision,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores",
        "torch": torch.__version__,
    }
    # Images are shown at the size that the segmenter was trained at, and whole.
    whole = load("val", transform=eval_transform(preset.image_size, crop=False), masks=True)
    results = _measure(run_dir, model, whole, run, device, scale=model.image_size / preset.image_size)
    facts = [EVIDENCE_ONLY] if evidence_only else []
    facts.append(f"Trained on {data} with the preset {preset.name} and the seed {seed}.")
    if results is not None:
        facts.append(f"Figures: {results.rows[0].scores.images} validation images at {preset.image_size} pixels.")
    model.card = model_card(model.class_names, model.image_size, facts, results.table() if results else "")
    write_text(run_dir / "model" / CARD, model.card)
    print(f"\nimages with their masks: {run_dir / 'figures' / PREDICTIONS}")
    print(f"figures, checkpoints, results and model: {run_dir}")
    return model


def _measure(
    run_dir: Path, model: TrainedModel, unseen: Any, run: dict[str, Any], device: str, scale: float
) -> Results | None:
    """The table of results with its baselines, diagnostics and verdicts, in one pass over the images."""
    loader = DataLoader(unseen, batch_size=1, collate_fn=collate)  # of various shapes
    decompose = once(lambda images: model.segmenter(rescale(images, scale)))
    seen_masks = once(at_scale(model.segmenter.mask_logits, scale))
    diagnostics = None if model.masks_only else Diagnostics(model.guide)
    verdicts = VerdictAccumulator(model.class_names)

    def described() -> Iterator[dict[str, Any]]:
        for batch in tqdm(loader, "evaluating", disable=None):
            images, tags = batch["image"].to(device), batch["tags"].to(device)
            if diagnostics is not None:
                diagnostics.update(decompose(images), rescale(images, scale), tags)
            drawn = labels_from_logits(mask_logits(images), tags)
            verdicts.update(tags, model.guide(images), drawn)
            yield {**batch, "image": images}

    def mask_logits(images: Tensor) -> Tensor:
        if model.masks_only:
            return seen_masks(images)
        return resize(decompose(images).mask_logits, images.shape[-2:])

    ours = "evidence" if model.masks_only else "decomprec"
    predictors = {
        ours: RefinedPredictor(mask_logits),
        f"{ours}, guided filter": RefinedPredictor(mask_logits, guided_filter),
        # What `decomprec predict` draws.
        f"{ours}, {DRAWN}": RefinedPredictor(mask_logits, half_pamr, multi_scale_tags(model.guide)),
    }
    results = None
    with torch.inference_mode(), remembering(model.guide.encoder):
        if has_masks(unseen):
            results = compare(predictors, model.guide, described(), unseen.class_names, device)
        else:
            deque(described(), maxlen=0)
    if diagnostics is not None:
        write_text(run_dir / "diagnostics.json", json.dumps(diagnostics.compute(), indent=2) + "\n")
    write_text(run_dir / "verdicts.json", json.dumps(verdicts_as_json(verdicts.compute()), indent=2) + "\n")
    if results is None:
        print("no masks to measure with: see figures/ and the areas in verdicts.json")
    else:
        results = dataclasses.replace(results, run=run)
        results.save(run_dir / "results.json")
        print(f"\n{results.table()}")
        if results.without_mask:
            print(f"\n{results.without_mask} validation images have no mask and are not measured")
        print(f"\nguide accuracy {results.guide['mean']:.3f} on {results.guide['images']} images")
    print(f"\nhow far to trust the masks, by the tags alone:\n\n{verdict_table(verdicts.compute())}")
    return results
