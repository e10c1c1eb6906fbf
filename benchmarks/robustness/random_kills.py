"""Kill trainings at random moments, resume them, and see whether they end as if nothing had happened.

    uv run python -m benchmarks.robustness.random_kills --kills 20 --json benchmarks/results/robustness/kills.json

A tiny training of both stages, with augmentation, sampled slots, occlusion and one cycle of the learning rate, is
killed (SIGKILL) in each phase in turn, in an occurrence of that phase and at a moment of it that are drawn by seed;
then it is resumed, and its weights are compared byte by byte with those of a training that nobody disturbed. Half of
them load their images by two workers, and are resumed with none.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from benchmarks.files import save
from decomprec.data import SyntheticScenes, train_transform
from decomprec.report.curves import read_charts
from decomprec.training import PRESETS, train

PHASES = ("a step", "a validation", "a checkpoint write", "between the stages")
SETTINGS = {
    "image_size": 32,
    "accumulate": 2,
    "guide.encoder_options": {"widths": [4, 8]},
    "guide.epochs": 2,
    "guide.batch_size": 8,
    "guide.freeze_encoder": True,
    "guide.head_steps": 20,
    "guide.weight_decay": 0.01,
    "segmenter.decoder_widths": [8, 4],
    "segmenter.epochs": 3,
    "segmenter.batch_size": 8,
    "segmenter.absent_slots": 1,
    "segmenter.seeds": 0.3,
}
STAGES = ("guide", "segmenter")
CONTEXT: Any = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["benchmarks.robustness.random_kills"])  # each child starts in milliseconds


def train_tiny(
    folder: Path,
    workers: int = 0,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    *callbacks: Callback,
) -> None:
    """The training that is killed."""
    torch.set_num_threads(1)
    # The workers that load: those of a fork server would outlive a killed parent.
    multiprocessing.set_start_method("fork", force=True)
    train(
        PRESETS["demo"].override({**SETTINGS, **(settings or {})}),
        SyntheticScenes(24, 2, size=32, seed=1, transform=train_transform(32)),
        SyntheticScenes(6, 2, size=32, seed=2, masks=True),  # too few to be judged as a collapse
        folder,
        resume=resume,
        num_workers=workers,
        callbacks=list(callbacks),
        trainer_options={"accelerator": "cpu", "enable_progress_bar": False, "log_every_n_steps": 1},
    )


def in_child(*args: Any) -> BaseProcess:
    """Start `train_tiny` in a separate process."""
    process: BaseProcess = CONTEXT.Process(target=train_tiny, args=args)
    process.start()
    return process


def finish(*args: Any) -> None:
    """Run `train_tiny` to its end in a separate process."""
    process = in_child(*args)
    process.join(300)
    if process.exitcode != 0:
        raise RuntimeError(f"Expected the training to finish, but it ended with {process.exitcode}.")


def result(folder: Path) -> tuple[list[bytes], list[Any]]:
    """What a run ended with: the bytes of its weights, and the curves of its logs."""
    weights = [(folder / stage / "finished.safetensors").read_bytes() for stage in STAGES]
    return weights, [chart.lines for stage in STAGES for chart in read_charts(folder / stage)]


class Phases(Callback):
    """Shows a parent process which phase has begun, and when each has.

    Args:
        began: shared; grows by the number of the phase, the time since the epoch, for each that begins.
    """

    def __init__(self, began: Any) -> None:
        self.began = began

    def _begin(self, phase: int) -> None:
        with self.began.get_lock():
            self.began[0] += 1
            self.began[2 * int(self.began[0]) - 1 : 2 * int(self.began[0]) + 1] = [phase, time.time()]

    def on_train_batch_start(self, *_: Any) -> None:
        """A step begins."""
        self._begin(0)

    def on_validation_start(self, *_: Any) -> None:
        """A validation begins."""
        self._begin(1)

    def on_save_checkpoint(self, *_: Any) -> None:
        """A checkpoint is about to be written."""
        self._begin(2)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A stage has ended; its weights are about to be written."""
        self._begin(3)


def phases(began: Any) -> list[tuple[int, float]]:
    """Those that have begun so far, and when."""
    values = began[1 : 1 + 2 * int(began[0])]
    return [(int(phase), moment) for phase, moment in zip(values[::2], values[1::2], strict=True)]


def kill_somewhere(folder: Path, workers: int, phase: int, usual: list[tuple[int, float]], draw: random.Random) -> int:
    """Kill a training at a random moment of a phase, and tell the phase that was really hit.

    Args:
        folder: of the run.
        workers: processes that load.
        phase: its number.
        usual: the phases of a training that nobody disturbs.
        draw: the occurrence and the moment.
    """
    at = draw.choice([i for i, (kind, _) in enumerate(usual[:-1]) if kind == phase])
    wait = draw.random() * (usual[at + 1][1] - usual[at][1])
    began = CONTEXT.Array("d", 2 * len(usual) + 3)
    process = in_child(folder, workers, False, None, Phases(began))
    while process.is_alive() and began[0] <= at:
        time.sleep(0.0005)
    time.sleep(wait)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    if process.exitcode != -signal.SIGKILL:
        raise RuntimeError(f"Expected the training to be killed, but it ended with {process.exitcode}.")
    return phases(began)[-1][0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="how many trainings to kill")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments")
    parser.add_argument("--json", type=Path, required=True, help="where the counts go")
    args = parser.parse_args()
    draw = random.Random(args.seed)
    hit, count = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        began = CONTEXT.Array("d", 10_000)
        finish(Path(folder) / "whole", 0, False, None, Phases(began))
        expected = result(Path(folder) / "whole")
        for number in range(args.kills):
            run = Path(folder) / str(number)
            turn, workers = number % len(PHASES), 2 * (number // len(PHASES) % 2)
            phase = PHASES[kill_somewhere(run, workers, turn, phases(began), draw)]
            hit[phase] += 1
            finish(run, 0, True)
            weights, curves = result(run)
            count["resumed"] += 1
            count["weights equal byte by byte"] += weights == expected[0]
            count["logs equal"] += curves == expected[1]
            count["half-written files left"] += len(list(run.rglob(".partial-*")))
            print(f"{number + 1}: in {phase}; weights {'equal' if weights == expected[0] else 'DIFFER'}", flush=True)
    table = {
        "kills": args.kills,
        "hit": {phase: hit[phase] for phase in PHASES},
        **count,
        "seed": args.seed,
        "machine": f"{os.cpu_count()} CPU cores",
        "torch": torch.__version__,
        "lightning": L.__version__,
    }
    save(table, args.json)


if __name__ == "__main__":
    main()
