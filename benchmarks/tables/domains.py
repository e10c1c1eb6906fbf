"""One default on sets of any kind: what `benchmarks.quality.domains` wrote."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchmarks.tables.markdown import describe, markdown

SETS = "quality/domains.json"
TITLES = {"crop_weed": "crop and weed", "voc_mini": "six classes of VOC"}  # of sets whose folder has another name
OURS, REFINED, EVIDENCE = "ours", "ours, PAMR", "guide's evidence, PAMR"
SUPERVISED = "supervised (masks of the other half)"
MAPS = ("CAM", "Grad-CAM++", "LayerCAM", "CAM + PAMR")
WAYS = ("tags", "no tags")


@dataclass(frozen=True)
class Scores:
    """IoU of one set by "tags" and "no tags", a mapping for each seed."""

    ours: list[dict[str, float]]
    evidence: list[dict[str, float]]
    best_map: list[dict[str, float]]


def scores_of_sets(runs: Sequence[dict[str, Any]]) -> dict[str, Scores]:
    """Refined masks, evidence and the best map of each set, by the set's title; from one file.

    Examples:
        >>> iou = {m: {"tags": 0.5, "no tags": 0.4} for m in (REFINED, EVIDENCE, *MAPS)}
        >>> scores_of_sets([{"sets": [{"set": "steel_strip", "iou": iou}]}])["steel strip"].best_map
        [{'tags': 0.5, 'no tags': 0.4}]
    """
    (run,) = runs
    found: dict[str, Scores] = {}
    for one in run["sets"]:
        scores = found.setdefault(title(one["set"]), Scores([], [], []))
        scores.ours.append(one["iou"][REFINED])
        scores.evidence.append(one["iou"][EVIDENCE])
        scores.best_map.append({way: best_map(one["iou"], way) for way in WAYS})
    return found


def title(name: str) -> str:
    """What readers call a set."""
    return TITLES.get(name, name.replace("_", " "))


def domains_table(runs: Sequence[dict[str, Any]]) -> str:
    """One line for each set, averaged over its seeds, and one for the mean of all sets; from one file.

    Cells of IoU are with tags and without.

    Examples:
        >>> iou = {m: {"tags": 0.5, "no tags": 0.4} for m in (OURS, REFINED, EVIDENCE, *MAPS)}
        >>> one = {"set": "dogs", "half": "report, 9 images", "seed": 0, "machine": "m", "torch": "2"}
        >>> one |= {"iou": iou, "guide_accuracy": 0.9, "minutes": 5}
        >>> domains_table([{"sets": [one, {**one, "minutes": 7}]}]).splitlines()[2].split("|")[1:4]
        [' dogs ', ' 0.500 / 0.400 ', ' 0.500 / 0.400 ']
    """
    (run,) = runs
    measured = run["sets"]
    head = ["set", "ours", "ours, refined", "evidence", "best map of the guide", "guide accuracy", "minutes"]
    lines = []
    for name in dict.fromkeys(one["set"] for one in measured):
        seeds = [one for one in measured if one["set"] == name]
        methods = [[one["iou"][method] for one in seeds] for method in (OURS, REFINED, EVIDENCE)]
        methods.append([{way: best_map(one["iou"], way) for way in WAYS} for one in seeds])
        pairs = [tuple(fmean(score[way] for score in scores) for way in WAYS) for scores in methods]
        numbers = [(fmean(one[key] for one in seeds),) for key in ("guide_accuracy", "minutes")]
        lines.append((title(name), [*pairs, *numbers]))
    columns = zip(*(values for _, values in lines), strict=True)
    means = [tuple(map(fmean, zip(*column, strict=True))) for column in columns]
    rows = [[name, *_cells(values)] for name, values in [*lines, ("mean", means)]]
    about = [{key: one[key] for key in ("seed", "machine", "torch")} for one in measured]
    return f"{markdown(head, rows)}\n\n{describe(about)}"


def supervised_table(runs: Sequence[dict[str, Any]]) -> str:
    """Masks learnt from tags next to those of the same network trained on masks, a line for each set; from one file.

    Examples:
        >>> iou = {m: {"tags": 0.5, "no tags": 0.4} for m in (REFINED, SUPERVISED, f"{SUPERVISED}, PAMR")}
        >>> one = {"set": "dogs", "iou": iou, "seed": 0, "machine": "m", "torch": "2"}
        >>> one["trained_on"] = {"tags": 3420, "masks": 406}
        >>> supervised_table([{"supervised": [one]}]).splitlines()[2].split("|")[2:4]
        [' 3,420         ', ' 0.500 / 0.400       ']
    """
    (run,) = runs
    rows = []
    for one in run["supervised"]:
        ours, raw, refined = (
            _cell(*(one["iou"][method][way] for way in WAYS)) for method in (REFINED, SUPERVISED, f"{SUPERVISED}, PAMR")
        )
        tagged, masked = (f"{one['trained_on'][what]:,}" for what in ("tags", "masks"))
        rows.append([title(one["set"]), tagged, ours, masked, raw, refined])
    about = [{key: one[key] for key in ("seed", "machine", "torch")} for one in run["supervised"]]
    head = ["set", "tagged images", "tags alone, refined", "masks", "trained on masks", "masks, refined"]
    return f"{markdown(head, rows)}\n\n{describe(about)}"


def trials_table(runs: Sequence[dict[str, Any]]) -> str:
    """What single steps gave on several sets: IoU of raw masks and of those that PAMR refined."""
    (run,) = runs
    sets = list(dict.fromkeys(name for row in run["trials"] for name in (*row["raw"], *row["refined"])))
    lines = [
        [row["step"], *(_cell(row["raw"].get(name), row["refined"].get(name)) for name in sets)]
        for row in run["trials"]
    ]
    return f"{markdown(['step', *sets], lines)}\n\n{describe([run['run']])}"


def _cell(*numbers: float | None) -> str:
    return " / ".join(f"{number:.3f}" for number in numbers if number is not None) or "-"


def best_map(iou: dict[str, dict[str, float]], way: str) -> float:
    """The highest IoU of the maps of the guide, with tags or without.

    Examples:
        >>> best_map({"CAM": {"tags": 0.3}, "LayerCAM": {"tags": 0.4}, "ours": {"tags": 0.6}}, "tags")
        0.4
    """
    return max(iou[method][way] for method in MAPS if method in iou)


def _cells(values: Iterable[tuple[float, ...]]) -> list[str]:
    *numbers, minutes = values
    return [*(" / ".join(f"{number:.3f}" for number in pair) for pair in numbers), f"{minutes[0]:.0f}"]
