"""What a training step takes with and without kept memory, with one and two threads, alone and next to a busy program.

    uv run python -m benchmarks.speed.contention [--json FILE]

Each way runs in a separate process, as torch reads its threads and wait policy when it is imported. A step is one of
stage two of `robust` with random weights and images, without the seeds, which are computed before it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.files import RESULTS, ROOT, save

FILE = RESULTS / "speed" / "contention.json"
BATCH, STEPS = 32, 3

# Each way: images at once, whether freed memory is kept, threads (None: as torch chooses), and the wait policy.
WAYS: Sequence[Mapping[str, Any]] = (
    {"at once": 32, "kept": False, "threads": None, "wait": None},
    {"at once": 8, "kept": False, "threads": None, "wait": None},
    {"at once": 32, "kept": True, "threads": None, "wait": None},
    {"at once": 8, "kept": True, "threads": None, "wait": None},
    {"at once": 8, "kept": True, "threads": None, "wait": "passive"},
    {"at once": 8, "kept": True, "threads": 1, "wait": None},
)


def step_seconds(at_once: int, kept: bool, batch: int = BATCH, steps: int = STEPS) -> dict[str, float]:
    """Seconds and page faults for each image of a training step, and the most memory of this process."""
    import torch

    from decomprec._memory import keep_freed_memory
    from decomprec.training import PRESETS
    from decomprec.training.build import build_classifier, build_loss, build_segmenter

    if kept:
        keep_freed_memory()
    torch.manual_seed(0)
    preset = PRESETS["robust"].override({"guide.encoder_weights": None})
    classifier = build_classifier(preset, 2).eval()
    segmenter = build_segmenter(preset, 2, classifier).to(memory_format=torch.channels_last)
    loss = build_loss(preset, classifier)
    segmenter.train().encoder.requires_grad_(False).eval()
    images, tags = torch.rand(batch, 3, *[preset.segmenter_size] * 2), (torch.arange(batch) % 2).float()[:, None]

    def step() -> None:
        for part, its_tags in zip(images.split(at_once), tags.split(at_once), strict=True):
            loss(segmenter(part), part, its_tags).total.backward()

    step()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(steps):
        step()
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    count = steps * batch
    return {
        "seconds": seconds / count,
        "faults": (after.ru_minflt - before.ru_minflt) / count,
        "peak_bytes": after.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }


def measured(way: Mapping[str, Any]) -> dict[str, Any]:
    """One way in a process of its own."""
    settings = {"OMP_NUM_THREADS": way["threads"], "OMP_WAIT_POLICY": way["wait"]}
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    environment |= {name: str(value) for name, value in settings.items() if value is not None}
    command = [sys.executable, "-m", "benchmarks.speed.contention", "--way", json.dumps(way)]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def busy(programs: int) -> Iterator[None]:
    """Other programs that keep a core each busy."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(programs)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every way, alone and beside one busy program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=FILE)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.way:
        way = json.loads(args.way)
        print(json.dumps(step_seconds(way["at once"], way["kept"])))
        return
    rows = []
    for programs in (0, 1):
        with busy(programs):
            for way in WAYS:
                rows.append({**way, "other programs": programs, **measured(way)})
                print(json.dumps(rows[-1]), flush=True)
    import torch

    save({"contention": rows, "run": {"machine": f"{os.cpu_count()} CPU cores", "torch": torch.__version__}}, args.json)


if __name__ == "__main__":
    main()
