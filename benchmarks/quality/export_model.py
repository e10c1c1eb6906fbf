"""Make the model folder that a user takes away from a run of `benchmarks.quality.comparison`.

    uv run python -m benchmarks.quality.export_model runs/quality examples/models/dogs-small

The masks alone are kept, in half precision. The card is made from the run's results.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from decomprec.models.pretrained import save_pretrained
from decomprec.training import Preset, load_run

ROWS = (
    "ours, PAMR",
    "guide's evidence, PAMR",
    "CAM (best threshold)",
    "LayerCAM (best threshold)",
    "centred ellipse",
    "every pixel",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="--out of benchmarks.quality.comparison")
    parser.add_argument("folder", type=Path, help="the model's folder")
    parser.add_argument("--json", type=Path, help="the results, if they are not in the runs' folder")
    parser.add_argument("--data", required=True, help="what it was trained on, for the card")
    parser.add_argument("--limits", required=True, help="what it can't do, for the card")
    args = parser.parse_args()
    results = json.loads((args.json or args.runs / "results.json").read_text(encoding="utf-8"))
    trained, preset = load_run(args.runs / "ours"), Preset.load(args.runs / "ours" / "preset.yaml")
    save_pretrained(
        args.folder,
        trained.segmenter,
        trained.class_names,
        image_size=preset.segmenter_size,
        classifier=trained.classifier,
        masks_only=True,
        card=card(args.folder.name, results, args.data, args.limits),
    )
    print(f"{args.folder}: {sum(f.stat().st_size for f in args.folder.iterdir()) / 1e6:.1f} MB")


def card(name: str, results: dict[str, Any], data: str, limits: str) -> str:
    """The model card: data, protocol, figures, limits.

    Examples:
        >>> scores = {"tags": True, "mean_foreground_iou": 0.5, "mean_false_area": None}
        >>> run = {"half": "report, 4 images", "image_size": 224, "command": "python -m benchmarks.quality.comparison"}
        >>> results = {"run": run, "class_names": ["dog"], "rows": [{"method": "ours, PAMR", **scores}],
        ...            "guide_accuracy": {"mean": 0.9}}
        >>> "| ours, PAMR | yes | 0.500 | - |" in card("dogs-small", results, "Dogs.", "Small.")
        True
    """
    lines = [
        f"| {row['method']} | {'yes' if row['tags'] else 'no'} | {row['mean_foreground_iou']:.3f} | "
        f"{'-' if row['mean_false_area'] is None else format(row['mean_false_area'], '.3f')} |"
        for row in results["rows"]
        if row["method"] in ROWS
    ]
    run = results["run"]
    return f"""# {name}

Draws {", ".join(results["class_names"])} in photographs. Learned from image tags alone: no mask was seen in training.

    from decomprec.models.pretrained import load_pretrained

    model = load_pretrained("examples/models/{name}")

**Data.** {data}

**Protocol.** `{run["command"]}`.
The figures are those of the half {run["half"]}, at {run["image_size"]} pixels, before rounding to half precision.
The settings were chosen by masks of the other half. CAM and LayerCAM stand at the threshold that is best for the
reported half. The classifier that decides without tags is right on {results["guide_accuracy"]["mean"]:.1%} of the
images.

| method | tags at test time | foreground IoU | area where absent |
| --- | --- | --- | --- |
{chr(10).join(lines)}

**Limits.** {limits}
"""


if __name__ == "__main__":
    main()
