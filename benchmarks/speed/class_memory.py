"""The memory of a training step by the number of classes, with all slots and with those that are shown only.

    python -m benchmarks.speed.class_memory [--json FILE]

A step of stage two of `robust` at 64 pixels, with random weights and images of two tags each, seeds and Adam included.
Each runs in a separate process, whose peak the system tells (on Linux).
"""

from __future__ import annotations

import argparse
import resource
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.files import RESULTS, save
from decomprec.evidence import EvidenceMasks
from decomprec.training import PRESETS, SegmenterModule
from decomprec.training.build import build_classifier, build_loss, build_segmenter

FILE = RESULTS / "speed" / "class_memory.json"
CLASSES = (21, 1001)
BATCH, SIZE, STEPS = 4, 64, 2


def measured(num_classes: int, only: bool) -> dict[str, Any]:
    """Peak bytes of this process, and how many of them came with the steps."""
    torch.manual_seed(0)
    changes = {"guide.encoder_weights": None, "segmenter.image_size": SIZE, "segmenter.shown_slots_only": only}
    preset = PRESETS["robust"].override(changes)
    classifier = build_classifier(preset, num_classes).eval()
    segmenter = build_segmenter(preset, num_classes, classifier)
    module = SegmenterModule(
        segmenter,
        build_loss(preset, classifier),
        num_classes,
        preset.segmenter,
        evidence=EvidenceMasks(classifier),
    ).train()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad])
    before = _peak()
    for _ in range(STEPS):
        tags = torch.zeros(BATCH, num_classes - 1)
        tags.scatter_(1, torch.rand(BATCH, num_classes - 1).topk(2).indices, 1)
        module.losses({"image": torch.rand(BATCH, 3, SIZE, SIZE), "tags": tags})["total"].backward()
        optimizer.step()
        optimizer.zero_grad()
    row = {"K": num_classes, "shown slots only": only}
    return row | {"peak_bytes": _peak(), "step_bytes": _peak() - before}


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux counts in KiB


def main() -> None:
    """Write the rows of all numbers of classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=FILE)
    path = parser.parse_args().json
    with get_context("fork").Pool(1, maxtasksperchild=1) as pool:  # this process computes nothing before
        rows = pool.starmap(measured, [(k, only) for only, k in product((True, False), CLASSES)], chunksize=1)
    save({"class memory": rows, "run": {"images": BATCH, "pixels": SIZE, "steps": STEPS}}, path)


if __name__ == "__main__":
    main()
