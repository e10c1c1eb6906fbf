"""How many tagged images it takes: the preset `fast` on fewer and fewer of them.

    uv run python -m benchmarks.quality.training_set_size --train DIR --eval DIR --json FILE [--set KEY=VALUE ...]

The images are drawn by the seed, each set within the next larger one. The segmenter is trained on each twice: for the
preset's epochs, which are fewer steps then, and for as many steps as with all. Measured as in
`benchmarks.quality.fast_preset`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from benchmarks.files import save
from benchmarks.quality.fast_preset import FAST, described, parse_arguments, row
from benchmarks.quality.photographs import training_images
from decomprec.cli.config import parse_settings
from decomprec.data import eval_transform

COUNTS = (100, 400)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments, __doc__, Path("runs/training_set_size"))
    preset = FAST.override(parse_settings(args.set))
    total = len(training_images(args.train, None, eval_transform(preset.image_size)))
    rows = []
    for count in (*(count for count in COUNTS if count < total), total):
        for times in sorted({1, round(total / count)}):
            epochs = times * preset.segmenter.epochs
            longer = preset.override({"segmenter.epochs": epochs, "segmenter.min_steps": 0})
            rows.append(row(f"{count} images, {epochs} epochs", longer, args, count) | {"epochs": epochs})
            save({"how_many": rows, "run": described(args)}, args.json)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    main()
