"""What each of several processes does for tests/training/test_processes.py, in a module that they can import."""

import os
from pathlib import Path

import torch
from support.two_processes import guide_stage, scenes, segmenter_stage

VAL = 5
ALL_EQUAL = {
    "guide": {"val/loss", "val/accuracy"},
    "segmenter": {"val/recon", "val/mask", "val/mean_iou", "val/mask_entropy"}
    | {
        "val/area_smallest",
        "val/area_largest",
        "val/area_present",
        "val/area_absent",
        "val/confidence",
        "val/adversarial_gap",
    },
}


def both_stages(folder: Path, processes: int) -> None:
    """Both stages by this number of processes; each writes what it saw."""
    val = scenes(VAL, 2, masks=True)
    saved = {"guide": guide_stage(processes, val), "segmenter": segmenter_stage(processes, val)}
    torch.save(saved, folder / f"{processes}-{os.environ.get('LOCAL_RANK', '0')}.pt")
