"""A whole experiment in one run folder: both stages, figures, and the table with its baselines."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from decomprec._devices import autocast, machine_name, precision_of, torch_device
from decomprec._files import write_text
from decomprec._measuring import Measured, measure
from decomprec._memory import release_freed_memory
from decomprec._processes import number_of_processes
from decomprec.data import SyntheticScenes, eval_transform
from decomprec.data.findings import tag_findings
from decomprec.data.overview import heading, overview_rows
from decomprec.data.samples import Transform
from decomprec.data.transforms import crop_transforms
from decomprec.evaluation.comparison import text_table
from decomprec.evaluation.verdict import verdict_table, verdicts_as_json
from decomprec.figures import PREDICTIONS, as_seen, draw_figures, has_masks, pick
from decomprec.models.card import CARD, EVIDENCE_ONLY, model_card
from decomprec.protocols import LoadData
from decomprec.trained_model import TrainedModel
from decomprec.training import Preset, StoppedRunError, train
from decomprec.training.callbacks import ValidationPanels
from decomprec.training.interruptions import lost_process
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
    compile: bool = False,
    callbacks: Sequence[Callback] = (),
    in_memory: bool = False,
    start: TrainedModel | None = None,
    loggers: Sequence[str] = (),
    trainer_options: Mapping[str, Any] | None = None,
    evidence_only: bool = False,
) -> TrainedModel:
    """Train, draw the figures and, if there is ground truth, measure the model.

    In addition to what `train` writes, the run folder gets progress/, figures/, diagnostics.json, verdicts.json and
    results.json. Several processes share the training and the measuring; the first prints and writes.

    Args:
        preset: all settings.
        load: gives the images.
        run_dir: must be new, unless the run is resumed.
        data: name of the data, for readers of the results.
        resume: continue where an earlier run in this folder stopped.
        seed: of everything that is random.
        workers: processes that load images; None is the number of cores, shared by the GPUs, or 0 without a GPU.
        compile: train through `torch.compile`.
        callbacks: further Lightning callbacks, for both stages.
        in_memory: decode the training images once and keep them, reduced to about twice the size that is trained at
            (`TaggedImages.in_memory`).
        start: a trained model to start from, see `train`.
        loggers: further logs, see `train`.
        trainer_options: as for `train`; one device by default, also in a job of several processes. The precision is
            bf16-mixed by default where the hardware is fast in bfloat16, and can be "auto", too.
        evidence_only: train no segmenter, see `train`.

    Raises:
        ValueError, StoppedRunError, OSError, KeyboardInterrupt: see `train`.
    """
    started = time.monotonic()
    options: dict[str, Any] = {"accelerator": "auto", "devices": 1, "precision": "auto", **(trainer_options or {})}
    if options["devices"] == 1 and options.get("num_nodes", 1) == 1:
        options.setdefault("plugins", [LightningEnvironment()])
    device = torch_device(options["accelerator"])
    options["precision"] = precision_of(device, options["precision"])
    if workers is None:
        workers = _workers(device, options["devices"])
    whole = load("train", transform=eval_transform(None), masks=False)
    augmented, evaluated = crop_transforms(whole, preset.image_size, preset.augment)
    seen = load("train", transform=evaluated, masks=False)
    unseen = load("val", transform=evaluated, masks=True)
    train_set = load("train", transform=augmented, masks=False)
    _print_overview(data, seen, unseen)
    if in_memory and not hasattr(train_set, "in_memory"):
        raise ValueError("Expected image files with `in_memory`, but the images are rows or shards; leave it out.")
    if in_memory:
        train_set = train_set.in_memory(most_pixels=(2 * preset.image_size) ** 2)
    panels = ValidationPanels(
        as_seen(pick(unseen, 4, 4), preset.segmenter_size), unseen.class_names, run_dir / "progress"
    )
    measured = len(unseen) if has_masks(unseen) else 0
    progress = RunProgress(preset, len(train_set), len(unseen), measured, guide_only=evidence_only)
    model = train(
        preset,
        train_set,
        unseen,
        run_dir,
        resume=resume,
        seed=seed,
        start=start,
        num_workers=workers,
        callbacks=[panels, progress, *callbacks],
        compile=compile,
        loggers=loggers,
        trainer_options=options,
        evidence_only=evidence_only,
    )
    if getattr(rank_zero_only, "rank", 0) and number_of_processes() == 1:
        return model  # both stages were finished, so the processes have not met: the first measures alone
    minutes = round((time.monotonic() - started) / 60, 1)
    model.to(device)
    with autocast(device, options["precision"]):
        draw_figures(run_dir / "figures", model, seen, unseen)
        release_freed_memory()
        found = _measured(model, load, preset.image_size, device, run_dir)
    described = _description(preset, data, seed, options["precision"], minutes)
    results = found.results and dataclasses.replace(found.results, run=described)
    facts = [EVIDENCE_ONLY] if evidence_only else []
    facts.append(f"Trained on {data} with the preset {preset.name} and the seed {seed}.")
    if results is not None:
        facts.append(f"Figures: {results.rows[0].scores.images} validation images at {preset.image_size} pixels.")
    model.card = model_card(model.class_names, model.image_size, facts, results.table() if results else "")
    _write(run_dir, model.card, dataclasses.replace(found, results=results))
    return model


def _workers(device: str, devices: int | str) -> int:
    """Processes that load images, for each process that trains."""
    if device == "cpu":
        return 0
    sharing = devices if isinstance(devices, int) else torch.accelerator.device_count()
    return max(1, (os.cpu_count() or 1) // sharing)


def _measured(model: TrainedModel, load: LoadData, image_size: int, device: str, run_dir: Path) -> Measured:
    """Measure a model on whole validation images, at the size that the segmenter was trained at."""
    whole = load("val", transform=eval_transform(image_size, crop=False), masks=True)
    try:
        return measure(model, whole, device, masks=has_masks(whole), scale=model.image_size / image_size)
    except RuntimeError as error:
        if said := lost_process(error):
            raise StoppedRunError(f"{said} The model is in {run_dir / 'model'}; resume to measure it.") from error
        raise


def _description(preset: Preset, data: str, seed: int, precision: str, minutes: float) -> dict[str, Any]:
    """What results.json says about the run."""
    changes = preset.without_folders().changes()
    described = {
        "data": data,
        "preset": preset.name,
        "settings": " ".join(f"{key}={json.dumps(value)}" for key, value in changes.items()) or "as they are",
        "image_size": preset.image_size,
        "seed": seed,
        "precision": precision,
        "minutes": minutes,
        "machine": machine_name(),
        "torch": torch.__version__,
    }
    return described if number_of_processes() == 1 else {**described, "processes": number_of_processes()}


@rank_zero_only
def _print_overview(data: str, seen: Any, unseen: Any) -> None:
    print(f"{heading(data, seen)}\n\n{text_table(overview_rows(seen, unseen))}\n")
    for finding in tag_findings(seen, unseen):
        if finding.level != "note":
            print(f"warning: {finding.text}\n")


@rank_zero_only
def _write(run_dir: Path, card: str, measured: Measured) -> None:
    """Write what was measured, and print it."""
    results, verdicts = measured.results, measured.verdicts
    if measured.diagnostics is not None:
        write_text(run_dir / "diagnostics.json", json.dumps(measured.diagnostics, indent=2) + "\n")
    write_text(run_dir / "verdicts.json", json.dumps(verdicts_as_json(verdicts), indent=2) + "\n")
    write_text(run_dir / "model" / CARD, card)
    if results is None:
        print("no masks to measure with: see figures/ and the areas in verdicts.json")
    else:
        results.save(run_dir / "results.json")
        print(f"\n{results.table()}")
        if results.without_mask:
            print(f"\n{results.without_mask} validation images have no mask and are not measured")
        print(f"\nguide accuracy {results.guide['mean']:.3f} on {results.guide['images']} images")
    print(f"\nhow far to trust the masks, by the tags alone:\n\n{verdict_table(verdicts)}")
    print(f"\nimages with their masks: {run_dir / 'figures' / PREDICTIONS}")
    print(f"figures, checkpoints, results and model: {run_dir}")
