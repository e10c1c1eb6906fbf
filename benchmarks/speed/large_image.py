"""The most memory of `decomprec predict` on an image of 80 megapixels: docs/results/speed.md.

    python -m benchmarks.speed.large_image && python -m benchmarks.tables

Each way is a call of the command line in a process of its own, whose peak the system counts.
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

WAYS: dict[str, Sequence[str]] = {
    "as in training": (),
    "`--size 2048`": ("--size", "2048"),
    "`--size 4096`": ("--size", "4096"),
}
OPTIONS = ("--tags", "dog", "--no-overlay", "--device", "cpu")
ALL_FILES = ("--tags", "dog", "--confidence", "--probabilities", "--device", "cpu")


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


def rows(height: int, width: int) -> list[dict[str, Any]]:
    """One row a way."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        image = draw_image(Path(folder) / "large.jpg", height, width)
        small = draw_image(Path(folder) / "small.jpg", 300, 400)
        calls = {
            "an image of 300 x 400": (small, (), OPTIONS),
            **{name: (image, words, OPTIONS) for name, words in WAYS.items()},
            "as in training, with overlay, confidence and probabilities": (image, (), ALL_FILES),
        }
        for name, (file, words, options) in calls.items():
            out = Path(folder) / f"out{len(found)}"
            used = cost([str(MODEL), str(file), "--out", str(out), *words, *options])
            found.append({"way": name, **used})
            print(found[-1], flush=True)
    return found


def main() -> None:
    """Measure every way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=FILE)
    parser.add_argument("--sides", type=int, nargs=2, default=SIDES, metavar=("HEIGHT", "WIDTH"))
    args = parser.parse_args()
    import torch

    height, width = args.sides
    about = {"height": height, "width": width, "machine": f"{os.cpu_count()} CPU cores", "torch": torch.__version__}
    save({"large image": rows(height, width), "run": about}, args.json)


if __name__ == "__main__":
    main()
