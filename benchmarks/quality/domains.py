"""One default on sets of any kind: what `benchmarks.quality.comparison` says of each, in one table.

    uv run python -m benchmarks.quality.domains FOLDER... --json FILE [--seeds 0 1 2] [--half all] [--set KEY=VALUE ...]

Each folder is a data set with tags to train on and masks to measure with; no setting depends on it. Sets on
whose masks of the half "tune" settings were chosen are measured on "report", others on "all". A set that is measured
already is left as it is: a run that was broken off goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.files import save
from benchmarks.quality import comparison
from benchmarks.quality.measure import EVIDENCE, SUPERVISED
from decomprec.evaluation.comparison import number_cell, text_table

OURS, REFINED, EVERYWHERE = "ours", "ours, PAMR", "every pixel"
MAPS = ("CAM", "Grad-CAM++", "LayerCAM", "CAM + PAMR")


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
    parser.add_argument("--supervised", action="store_true", help="train a ceiling with the masks of the half tune")
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
            save({"sets": measured}, args.json)
    print(table(measured))


def summary(name: str, results: dict[str, Any]) -> dict[str, Any]:
    """What the table needs of a set's results.

    Examples:
        >>> row = {"method": "ours", "mean_foreground_iou": 0.5, "iou": [0.9, 0.5]}
        >>> rows = [{**row, "tags": True}, {**row, "tags": False, "mean_foreground_iou": 0.4}]
        >>> guide = {"mean": 0.9}
        >>> run = {"seed": 0, "half": "report, 10 images", "machine": "2 CPU cores", "torch": "2"}
        >>> results = {"run": run, "class_names": ["dog"], "rows": rows, "guide_accuracy": guide}
        >>> results["minutes"] = {"ours": 5}
        >>> summary("dogs", results)["iou"]
        {'ours': {'tags': 0.5, 'no tags': 0.4}}
    """
    iou: dict[str, dict[str, float]] = {}
    for row in results["rows"]:
        method = row["method"].removesuffix(" (best threshold)")
        iou.setdefault(method, {})["tags" if row["tags"] else "no tags"] = row["mean_foreground_iou"]
    per_class = {
        row["method"]: dict(zip(results["class_names"], row["iou"][1:], strict=True))
        for row in results["rows"]
        if row["tags"] and row["method"] in (OURS, REFINED)
    }
    return {
        "set": name,
        **{key: results["run"][key] for key in ("seed", "half", "machine", "torch")},
        "iou": iou,
        "per_class": per_class,
        "guide_accuracy": results["guide_accuracy"]["mean"],
        "minutes": results["minutes"]["ours"],
    }


def best_map(iou: dict[str, dict[str, float]], tags: str) -> float:
    """The highest IoU of the maps of the guide.

    Examples:
        >>> best_map({"CAM": {"tags": 0.3}, "LayerCAM": {"tags": 0.4}, "ours": {"tags": 0.6}}, "tags")
        0.4
    """
    return max(iou[method][tags] for method in MAPS if method in iou)


def table(measured: Sequence[dict[str, Any]]) -> str:
    """One line for each set, averaged over its seeds, and one for the mean of all sets.

    Examples:
        >>> iou = {m: {"tags": 0.5, "no tags": 0.4} for m in (OURS, REFINED, EVIDENCE, *MAPS, EVERYWHERE)}
        >>> one = {"set": "dogs", "iou": iou, "guide_accuracy": 0.9, "minutes": 5}
        >>> print(table([one, {**one, "minutes": 7}]).splitlines()[2].split("|")[1:4])
        [' dogs ', ' 0.500 / 0.400 ', ' 0.500 / 0.400 ']
    """
    ceiling = any(SUPERVISED in one["iou"] for one in measured)
    head = ["set", "ours", "ours, refined", "evidence", "best map of the guide", EVERYWHERE]
    head += [*(["supervised"] if ceiling else []), "guide accuracy", "minutes"]
    lines = []
    for name in dict.fromkeys(one["set"] for one in measured):
        runs = [one for one in measured if one["set"] == name]
        values = [
            *(_pair([run["iou"][m] for run in runs]) for m in (OURS, REFINED, EVIDENCE)),
            _pair([{tags: best_map(run["iou"], tags) for tags in ("tags", "no tags")} for run in runs]),
            _pair([run["iou"][EVERYWHERE] for run in runs]),
            *([_pair([run["iou"][SUPERVISED] for run in runs])] if ceiling else []),
            (statistics.fmean(run["guide_accuracy"] for run in runs),),
            (statistics.fmean(run["minutes"] for run in runs),),
        ]
        lines.append((name, values))
    every = list(zip(*(values for _, values in lines), strict=True))
    means = [tuple(map(statistics.fmean, zip(*column, strict=True))) for column in every]
    rows = [[name, *_cells(values)] for name, values in [*lines, ("mean", means)]]
    return text_table([head, *rows])


def _pair(scores: Sequence[dict[str, float]]) -> tuple[float, ...]:
    """With tags and without, averaged over the seeds."""
    return tuple(statistics.fmean(score[tags] for score in scores) for tags in ("tags", "no tags"))


def _cells(values: Iterable[tuple[float, ...]]) -> list[str]:
    *numbers, minutes = values
    return [*(" / ".join(map(number_cell, pair)) for pair in numbers), f"{minutes[0]:.0f}"]


if __name__ == "__main__":
    main()
