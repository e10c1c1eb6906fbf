"""What the checks of a data set cost at the start of a training, in CPU time: each round in a new process.

uv run python -m benchmarks.speed.data_checks DATA
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import decomprec.experiment  # noqa: F401  # before the processes fork: imports are no part of the checks
from benchmarks.files import RESULTS, save
from decomprec.data import load_images
from decomprec.data.findings import tag_findings
from decomprec.data.leaks import warn_of_shared_images
from decomprec.data.overview import overview_rows

PARTS = ("both splits, with checks of folders and masks", "equal images in both splits", "table and findings")


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of all threads, and what is returned."""
    started = time.process_time()
    result = call()
    return time.process_time() - started, result


def one_round(data: Path) -> list[float]:
    """Seconds of each of `PARTS`, as a training goes through them, and the images read."""
    load = load_images(data)
    seconds, (seen, unseen) = timed(
        lambda: (load("train", transform=None, masks=False), load("val", transform=None, masks=True))
    )
    shared, _ = timed(lambda: warn_of_shared_images(seen, unseen))
    looked, _ = timed(lambda: (overview_rows(seen, unseen), tag_findings(seen, unseen)))
    return [seconds, shared, looked, len(seen) + len(unseen)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a data set, as for train")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, default=RESULTS / "speed" / "data_checks.json")
    args = parser.parse_args(arguments)
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        rounds = [pool.apply(one_round, (args.data,)) for _ in range(args.rounds)]
    *parts, images = zip(*rounds, strict=True)
    rows = []
    for name, times in zip((*PARTS, "all"), (*parts, tuple(map(sum, zip(*parts, strict=True)))), strict=True):
        lower, _, upper = quantiles(times, n=4)
        rows.append({"part": name, "seconds": median(times), "iqr": upper - lower})
    save({"checks": rows, "run": {"images": int(images[0]), "rounds": args.rounds}}, args.json)


if __name__ == "__main__":
    main()
