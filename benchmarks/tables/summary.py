"""The short table of README.md: our masks and the best map of the same guide, on sets of several kinds."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tables.domains import SETS, Scores, scores_of_sets
from benchmarks.tables.headlines import load
from benchmarks.tables.markdown import markdown, spread

HEAD = ("images", "tags given", "best CAM", "tags not given", "best CAM", "seeds")


def summary_table(results: Path) -> str:
    """A row for each set: foreground IoU of refined masks and of the best map, with tags and without."""
    lines = []
    for name, scores in scores_of_sets(load(results, SETS)).items():
        columns = [of_way(scores, way) for way in ("tags", "no tags")]
        lines.append([name, *(spread(values) for pair in columns for values in pair), str(len(scores.ours))])
    return markdown(HEAD, lines)


def of_way(scores: Scores, way: str) -> tuple[list[float], list[float]]:
    """IoU of our masks and of the best map, of each seed."""
    return [pair[way] for pair in scores.ours], [pair[way] for pair in scores.best_map]
