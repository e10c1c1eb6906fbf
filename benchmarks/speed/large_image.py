"""The most memory of `decomprec predict` on an image of 80 megapixels: docs/results/speed.md.

    python -m benchmarks.speed.large_image && python -m benchmarks.tables

Each way is a call of the command line in a separate process, whose peak the system counts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.files import RESULTS, ROOT, save

FILE = RESULTS / "speed" / "large_image.json"
MODEL = ROOT / "examples" / "models" / "dogs-small"
SIDES = (8000, 10_000)  # height and width

SMALL = (300, 400)

# Options of each way, and the sides of its image; None for the large one.
WAYS: dict[str, tuple[tuple[int, int] | None, Sequence[str]]] = {
    "an image of 300 x 400": (SMALL, ()),
    "masks": (None, ("--no-overlay",)),
    "masks, overlay, confidence and probabilities": (None, ("--confidence", "--probabilities")),
    "masks, `--size 2000`": (None, ("--no-overlay", "--size", "2000")),
}
OPTIONS = ("--tags", "dog", "--device", "cpu")


def draw_image(path: Path, height: int, width: int) -> Path:
    """An image of smooth colours and fine noise."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)).resize((width, height))
    pixels = np.array(coarse)
    pixels[::2] //= 2
    Image.fromarray(pixels).save(path, quality=90)
    return path


def cost(words: Sequence[str]) -> dict[str, float]:
    """Seconds, and peak bytes of memory, of one call of `decomprec predict`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    call = subprocess.Popen([sys.executable, "-m", "decomprec", "predict", *words], cwd=ROOT, env=environment)
    _, status, used = os.wait4(call.pid, 0)
    call.returncode = os.waitstatus_to_exitcode(status)
    if call.returncode != 0:
        raise RuntimeError(f"decomprec predict {' '.join(words)} ended with {call.returncode}.")
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": time.perf_counter() - started,
        "processor seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * unit,
    }


def rows(large: tuple[int, int], ways: Sequence[str]) -> list[dict[str, Any]]:
    """One row a way."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ways:
            sides, options = WAYS[name]
            image = draw_image(Path(folder) / "image.jpg", *(sides or large))
            out = Path(folder) / f"out{len(found)}"
            used = cost([str(MODEL), str(image), "--out", str(out), *OPTIONS, *options])
            found.append({"way": name, **used})
            print(found[-1], flush=True)
    return found


def main() -> None:
    """Measure every way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=FILE)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS), metavar="WAY")
    parser.add_argument("--sides", type=int, nargs=2, default=SIDES, metavar=("HEIGHT", "WIDTH"))
    args = parser.parse_args()
    import torch

    height, width = args.sides
    about = {"height": height, "width": width, "machine": f"{os.cpu_count()} CPU cores", "torch": torch.__version__}
    save({"large image": rows((height, width), args.ways), "run": about}, args.json)


if __name__ == "__main__":
    main()
