"""The paper's experiment (section 4): learn to draw dogs from image tags, and compare with CAM of the same guide.

    uv run examples/dogs_imagenet.py              # synthetic scenes instead of ImageNet, minutes on 2 CPU cores
    uv run examples/dogs_imagenet.py IMAGENET     # dogs against the rest of ImageNet-1k, the paper's settings

The run folder (--out) gets checkpoints, the model, Figures 2 and 3 of the paper and, with masks, results.json.
`decomprec train` does the same for your own images; see docs/method/paper_experiment.md.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Subset

from decomprec.data import collate, eval_transform, load_images
from decomprec.evaluation import compare
from decomprec.experiment import synthetic_scenes
from decomprec.refine import RefinedPredictor, guided_filter, half_pamr
from decomprec.training import PRESETS, StoppedRunError, train
from decomprec.viz import figure_pairs, panel, save_image


def main(imagenet: Path | None, out: Path, resume: bool) -> None:
    if imagenet is None:
        preset = PRESETS["demo"]
        load = synthetic_scenes(preset.image_size)
    else:
        preset = PRESETS["paper"]
        load = load_images(imagenet, "imagenet", classes=["dog"], list_file=out / "imagenet_dogs.csv")
    transform = eval_transform(preset.image_size)
    train_set = load("train", transform=transform, masks=False)  # images and tags only
    val_set = load("val", transform=transform, masks=imagenet is None)

    # First the guide on the tags (Eq. 9); then, with the guide frozen, the segmenter (Eq. 7 and 8).
    model = train(preset, train_set, val_set, out, resume=resume, trainer_options={"devices": 1})
    device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
    model.to(device)

    # Figures 2 and 3: images and label maps; then one of decompositions: masks, image-lets and what they rebuild.
    for title, dataset in (("figure2_training", train_set), ("figure3_validation", val_set)):
        images = next(iter(DataLoader(Subset(dataset, range(100)), 100, collate_fn=collate)))["image"]
        labels = torch.cat([model.segmenter.predict(part.to(device)).cpu() for part in images.split(10)])
        save_image(figure_pairs(images, labels), out / "figures" / f"{title}.png")
    batch = collate([val_set[i] for i in range(5)])
    with torch.inference_mode():
        decomposition = model.segmenter(batch["image"].to(device))
    figure = panel(batch["image"], decomposition, val_set.class_names, batch["tags"], batch.get("mask"))
    save_image(figure, out / "figures" / "panel.png")

    if imagenet is not None:
        print(f"ImageNet has no masks to measure with; look at {out / 'figures'}")
        return
    logits = model.segmenter.mask_logits
    predictors = {
        "decomprec": RefinedPredictor(logits),
        "decomprec, guided filter": RefinedPredictor(logits, guided_filter),
        "decomprec, PAMR, guide's tags": RefinedPredictor(logits, half_pamr, model.guide),
    }
    loader = DataLoader(val_set, batch_size=8, collate_fn=collate)
    results = compare(predictors, model.guide, loader, val_set.class_names, device)
    results.save(out / "results.json")
    print(f"\n{results.table()}\n\nmodel, figures and results: {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("imagenet", nargs="?", type=Path, metavar="IMAGENET", help="folder that holds train/n0*/")
    parser.add_argument("--out", type=Path, default=Path("runs/dogs"), help="new run folder (default: runs/dogs)")
    parser.add_argument("--resume", action="store_true", help="continue a run that was stopped")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        main(**vars(parser.parse_args()))
    except (ValueError, OSError, StoppedRunError) as error:
        sys.exit(f"error: {error}")
