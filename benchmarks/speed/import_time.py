"""How long `import decomprec` takes compared with `import torch`, each in a separate process.

uv run python -m benchmarks.speed.import_time
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

import torch

from benchmarks.files import RESULTS, save

IMPORTS = ("import torch", "import decomprec")


def seconds(statement: str) -> float:
    """Of a new interpreter that does nothing else."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path, default=RESULTS / "speed" / "import_time.json")
    args = parser.parse_args(arguments)
    for statement in IMPORTS:  # from the disk into the system's memory
        seconds(statement)
    rounds = [[seconds(statement) for statement in IMPORTS] for _ in range(args.rounds)]
    rows = []
    for statement, times in zip(IMPORTS, zip(*rounds, strict=True), strict=True):
        lower, _, upper = quantiles(times, n=4)
        rows.append({"statement": statement, "seconds": median(times), "iqr": upper - lower})
    ratio = median(ours / torchs for torchs, ours in rounds)
    run = {"rounds": args.rounds, "machine": f"{os.cpu_count()} CPU cores", "torch": torch.__version__}
    save({"imports": rows, "ratio": ratio, "run": run}, args.json)


if __name__ == "__main__":
    main()
