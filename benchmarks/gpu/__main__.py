"""What a GPU can say of this library in a few minutes, the most telling first; `benchmarks/gpu.sh` prepares a machine.

    python -m benchmarks.gpu --out benchmarks/results/gpu
    python -m benchmarks.gpu --out /tmp/gpu --tiny            # at tiny sizes, to see that all of it runs

Each stage is a process with a time limit. What it has found is written at once, so a kill loses only what runs. If a
stage fails or has no time left, the others still run; the exit code is then 1, and the last line names the stage:

- stages.json: what was run, for how long, and the end of what a failed stage said
- speed_*.json: recomposition and training steps, with their shares of the measured copy and matmul rates
- train_*.json and .png: presets trained for as long as there is time: images per second, IoU, and a panel of masks
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.files import ROOT, save

STAGES = "stages.json"
_LAST_WORDS = 1500  # characters of what a failed stage has printed
_FEWEST = 10  # seconds worth starting a stage for
_GRACE = 8  # seconds to write after the time is up


@dataclass(frozen=True)
class Stage:
    """A command, and the seconds that it may take."""

    name: str
    seconds: int
    command: tuple[str, ...]


def plan(out: Path, data: Path | None, tiny: bool) -> list[Stage]:
    """The stages in order of worth."""
    compile_tests = "tests/core/test_compile_export.py"
    tests = ("tests/core/test_numerics.py::test_cpu_and_gpu_agree", compile_tests)
    if tiny:
        tests = (tests[0], f"{compile_tests}::test_random_fills_compile")
    steps = "paper" if tiny else "paper and batch64 and not K5 and not K81"
    return [
        Stage("tests", 80, ("pytest", "-q", "-p", "no:cacheprovider", *tests)),
        _speed("recompose", 60, out, "batch2" if tiny else "batch64 and not K5", tiny),
        _speed("train_step", 80, out, f"{steps} and not compiled", tiny),
        _training("paper", 130, out, data, tiny),
        _speed("train_step", 70, out, f"{steps} and bf16_sampled_compiled", tiny, "train_step_compiled"),
        *(_training("robust", 60, out, data, tiny, seed) for seed in range(1 if tiny else 3)),
    ]


def _speed(step: str, seconds: int, out: Path, rows: str, tiny: bool, name: str | None = None) -> Stage:
    name = f"speed_{name or step}"
    words = ("--benchmark", *(("--quick",) if tiny else ()), "-q", "-p", "no:cacheprovider", "-k", rows)
    file = f"benchmarks/speed/test_{step}.py"
    return Stage(name, seconds, ("pytest", file, *words, f"--benchmark-json={out / name}.json"))


def _training(preset: str, seconds: int, out: Path, data: Path | None, tiny: bool, seed: int = 0) -> Stage:
    name = f"train_{preset}_seed{seed}"
    words = ["--preset", preset, "--seed", str(seed), "--json", str(out / f"{name}.json")]
    words += ["--seconds", str(seconds), *(["--data", str(data)] if data else []), *(["--tiny"] if tiny else [])]
    return Stage(name, seconds, ("benchmarks.gpu.timed_training", *words))


def run(stage: Stage, seconds: float) -> dict[str, Any]:
    """Run a stage for so many seconds at most; what it was and how it ended."""
    started = time.monotonic()
    print(f"== {stage.name}, at most {seconds:.0f} s", flush=True)
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", *stage.command], cwd=ROOT, stdout=said, stderr=subprocess.STDOUT, process_group=0
        )
        try:
            code: int | str = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = "out of time"
            process.send_signal(signal.SIGINT)  # pytest then writes what it has measured
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)
        finally:
            _end(process)
        said.seek(0)
        words = said.read().decode(errors="replace")
    print(words[-_LAST_WORDS:], flush=True)
    row = {"stage": stage.name, "seconds": round(time.monotonic() - started, 1), "end": code}
    return row if code == 0 else row | {"said": words[-_LAST_WORDS:]}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a stage and the processes that it has started, if they are there."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _ending(code: int | str) -> str:
    return f"exit code {code}" if isinstance(code, int) else code


def about() -> dict[str, Any]:
    """What a reader of the numbers needs to know."""
    import torch

    from decomprec._devices import machine_name

    return {"machine": machine_name(), "cores": os.cpu_count(), "torch": torch.__version__, "cuda": torch.version.cuda}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all stages that there is time for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the results go")
    parser.add_argument("--seconds", type=float, default=520, help="for all stages together")
    parser.add_argument("--data", type=Path, metavar="DIR", help="tagged images to train on (default: drawn scenes)")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, no limit for a stage; times mean nothing")
    args = parser.parse_args(arguments)
    started = time.monotonic()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"gpu_stages": [], "run": about()}
    for stage in plan(out, args.data and args.data.resolve(), args.tiny):
        left = args.seconds - (time.monotonic() - started)
        row = {"stage": stage.name, "seconds": 0, "end": "no time left"}
        if left >= _FEWEST:
            row = run(stage, left if args.tiny else min(stage.seconds, left))
        found["gpu_stages"].append(row)
        for file in out.glob("*.json"):
            if file.stat().st_size == 0:  # opened by pytest-benchmark, which had no time to write
                file.unlink()
        save(found, out / STAGES)
    print("\n".join(f"{row['stage']}: {row['end']}, {row['seconds']} s" for row in found["gpu_stages"]))
    if missing := [f"{row['stage']} ({_ending(row['end'])})" for row in found["gpu_stages"] if row["end"] != 0]:
        sys.exit(f"error: not finished: {', '.join(missing)}; raise --seconds if time was short, and read {STAGES}")


if __name__ == "__main__":
    main()
