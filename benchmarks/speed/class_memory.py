"""The memory of a training step by the number of classes, with all slots and with those that are shown only.

    python -m benchmarks.speed.class_memory [--json FILE]

A step of stage two of `robust` at 64 pixels, with random weights and images of two tags each, seeds and Adam included.
Each runs in a process of its own, whose peak the system tells.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.files import RESULTS, ROOT, save

FILE = RESULTS / "speed" / "class_memory.json"
CLASSES = (21, 101, 1001)
BATCH, SIZE, STEPS = 8, 64, 3


def step_memory(num_classes: int, only: bool) -> dict[str, int]:
    """Peak bytes of this process, and how many of them came with the steps."""
    import torch

    from decomprec.evidence import EvidenceMasks
    from decomprec.training import PRESETS, SegmenterModule
    from decomprec.training.build import build_classifier, build_loss, build_segmenter

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
    return {"peak_bytes": _peak(), "step_bytes": _peak() - before}


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux counts in KiB


def measured(num_classes: int, only: bool) -> dict[str, Any]:
    """A row of the table, from a process of its own."""
    code = (
        "import json; from benchmarks.speed.class_memory import step_memory; "
        f"print(json.dumps(step_memory({num_classes}, {only})))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {"K": num_classes, "shown slots only": only, **json.loads(done.stdout.splitlines()[-1])}


def main() -> None:
    """Write the rows of all numbers of classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=FILE)
    path = parser.parse_args().json
    rows = [measured(k, only) for only in (True, False) for k in CLASSES]
    save({"memory": rows, "run": {"images": BATCH, "pixels": SIZE, "steps": STEPS}}, path)


if __name__ == "__main__":
    main()
