"""One default on sets of any kind: what `benchmarks.quality.comparison` says of each, in one table.

    uv run python -m benchmarks.quality.domains FOLDER... --json FILE [--seeds 0 1 2] [--half all] [--set KEY=VALUE ...]

Each folder is a data set with tags to train on and masks to measure with; no setting depends on it. Sets on
whose masks of the half "tune" settings were chosen are measured on "report", others on "all". A set that is measured
already is left as it is: a run that was broken off goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.files import save
from benchmarks.quality import comparison
from benchmarks.tables.domains import EVIDENCE, OURS, REFINED, domains_table, supervised_table


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and measure on every set that is not measured yet, and write the table of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", type=Path, metavar="FOLDER", help="data sets with tags and masks")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N")
    parser.add_argument("--half", choices=("report", "tune", "all"), default="report")
    parser.add_argument("--preset", default="robust")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="for every data set")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="to train (default: all)")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--out", type=Path, default=Path("runs/domains"), help="folder of all runs")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--supervised", action="store_true", help="also train on the masks of the half tune")
    args = parser.parse_args(arguments)

    measured = []
    for folder in args.sets:
        for seed in args.seeds:
            out = args.out / f"{folder.resolve().name}-seed{seed}"
            results = out / "results.json"
            if not results.is_file():
                options = ["--preset", args.preset, "--half", args.half, "--precision", args.precision]
                options += ["--seed", str(seed), "--out", str(out), "--workers", "0"]
                options += ["--no-paper", "--no-second-guide", "--no-diagnostics"]
                options += ["--resume"] if out.is_dir() else []
                options += ["--set", *args.set] if args.set else []
                options += ["--classes", *args.classes] if args.classes else []
                options += [] if args.supervised else ["--no-supervised"]
                comparison.main(["--train", str(folder), "--eval", str(folder), *options])
            measured.append(summary(folder.resolve().name, json.loads(results.read_text(encoding="utf-8"))))
            save({"supervised" if args.supervised else "sets": measured}, args.json)
    print(supervised_table([{"supervised": measured}]) if args.supervised else domains_table([{"sets": measured}]))


def summary(name: str, results: dict[str, Any]) -> dict[str, Any]:
    """What the table needs of a set's results.

    Examples:
        >>> row = {"method": "ours", "mean_foreground_iou": 0.5, "iou": [0.9, 0.5]}
        >>> rows = [{**row, "tags": True}, {**row, "tags": False, "mean_foreground_iou": 0.4}]
        >>> guide = {"mean": 0.9}
        >>> run = {"seed": 0, "half": "report, 10 images", "machine": "2 CPU cores", "torch": "2"}
        >>> results = {"run": run, "class_names": ["dog"], "rows": rows, "guide_accuracy": guide}
        >>> results |= {"minutes": {"ours": 5}, "trained_on": {"tags": 100, "masks": 20}}
        >>> summary("dogs", results)["iou"]
        {'ours': {'tags': 0.5, 'no tags': 0.4}}
    """
    iou: dict[str, dict[str, float]] = {}
    for row in results["rows"]:
        method = row["method"].removesuffix(" (best threshold)")
        iou.setdefault(method, {})["tags" if row["tags"] else "no tags"] = row["mean_foreground_iou"]
    per_class: dict[str, dict[str, dict[str, float]]] = {}
    for row in results["rows"]:
        if row["method"] in (OURS, REFINED, EVIDENCE):
            ious = dict(zip(results["class_names"], row["iou"][1:], strict=True))
            per_class.setdefault(row["method"], {})["tags" if row["tags"] else "no tags"] = ious
    return {
        "set": name,
        **{key: results["run"][key] for key in ("seed", "half", "machine", "torch")},
        "trained_on": results["trained_on"],
        "iou": iou,
        "per_class": per_class,
        "guide_accuracy": results["guide_accuracy"]["mean"],
        "minutes": results["minutes"]["ours"],
    }


if __name__ == "__main__":
    main()
