"""One table of runs that differ in one setting, measured on the half of the pictures on which settings are chosen.

    uv run python -m benchmarks.ablation --eval DIR --json FILE runs/quality/ours runs/another ...

Each run is a folder that `decomprec.training.train` left, or one of several with the same guide. The first is the
base; of the others only the settings that differ are written down.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.measure import Networks, choose_bias
from benchmarks.photographs import evaluation_pictures, of_half
from benchmarks.runs import described
from decomprec.data import collate, eval_transform
from decomprec.evaluation import evaluate, guide_accuracy
from decomprec.files import written_whole
from decomprec.refine import RefinedPredictor, multi_scale, multi_scale_tags, pamr
from decomprec.training import Preset, load_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eval", type=Path, required=True, metavar="DIR", help="photographs with masks")
    parser.add_argument("--json", type=Path, required=True, help="where the table goes")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, the base first")
    args = parser.parse_args()
    base = Preset.load(args.runs[0] / "preset.yaml")
    rows = []
    for run in args.runs:
        changed = difference(base, Preset.load(run / "preset.yaml"))
        rows.append({"settings": changed, **measured(run, args.eval)})
        print(json.dumps(rows[-1]), flush=True)
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    table = {"ablation": rows, "half": "tune", "machine": machine, "torch": torch.__version__}
    with written_whole(args.json) as partial:
        partial.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def difference(base: Preset, other: Preset) -> dict[str, Any]:
    """The settings of `other` that are not those of `base`, by dotted names.

    Examples:
        >>> from decomprec.training import PRESETS
        >>> difference(PRESETS["demo"], PRESETS["demo"].with_values(["segmenter.epochs=7"]))
        {'segmenter.epochs': 7}
    """

    def flat(preset: Preset) -> dict[str, Any]:
        groups = described(preset)  # in which files of weights have no folder
        pairs = {
            f"{name}.{key}": value
            for name, group in groups.items()
            if isinstance(group, dict)
            for key, value in group.items()
        }
        return {**{name: value for name, value in groups.items() if not isinstance(value, dict)}, **pairs}

    known = flat(base)
    return {name: value for name, value in flat(other).items() if value != known[name] and name != "name"}


def measured(run: Path, folder: Path) -> dict[str, Any]:
    """Foreground IoU of a run on the tuning half, each at the bias of the background that is best there."""
    preset, trained = Preset.load(run / "preset.yaml"), load_run(run)
    scale = (preset.segmenter.image_size or preset.image_size) / preset.image_size
    networks = Networks("ours", trained.segmenter, trained.classifier, {}, scale=scale).to("cpu")
    transform = eval_transform(preset.image_size)
    pictures = of_half(evaluation_pictures(folder, trained.class_names), "tune", transform)
    loader = DataLoader(pictures, batch_size=8, collate_fn=collate)
    slots = len(trained.class_names) + 1
    networks = replace(networks, background_bias=choose_bias(networks, loader, slots, "cpu"))
    logits = multi_scale(trained.segmenter.mask_logits, (scale,), flip=False)
    bias, guide = networks.background_bias, trained.classifier
    found: dict[str, Any] = {"background_bias": bias, "guide_accuracy": guide_accuracy(guide, loader)["mean"]}
    for name, predictor, use_tags in (
        ("tags, no bias", RefinedPredictor(logits), True),
        ("tags", RefinedPredictor(logits, background_bias=bias), True),
        ("tags, PAMR", RefinedPredictor(logits, pamr, background_bias=bias), True),
        ("guide's tags, PAMR", RefinedPredictor(logits, pamr, multi_scale_tags(guide), bias), False),
        ("no tags, PAMR", RefinedPredictor(logits, pamr, background_bias=bias), False),
    ):
        scores = evaluate(predictor, loader, slots, use_tags)
        found[name] = {"iou": scores.mean_foreground_iou, "area_where_absent": scores.mean_false_area}
    return found


if __name__ == "__main__":
    main()
