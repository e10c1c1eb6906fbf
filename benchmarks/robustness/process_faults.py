"""Kill processes of a training, go on with others, and see whether its memory stays the same.

    uv run python -m benchmarks.robustness.process_faults --json benchmarks/results/robustness/processes.json

A tiny training of both stages is done by one, two and four processes that meet by gloo. One of them, or one that loads
images, is killed (SIGKILL); the others have a minute to end with a sentence, and the training is resumed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.files import save
from benchmarks.robustness.random_kills import CONTEXT, SETTINGS, STAGES
from decomprec.data import SyntheticScenes, train_transform
from decomprec.training import PRESETS, GuideModule, SegmenterModule, StoppedRunError, train

BATCH, MINUTE = 8, 60
MODULES = {"guide": GuideModule, "segmenter": SegmenterModule}
LOST = "Another of the processes that train together has ended"
WORKER = "A process that loads images was killed"


class Kill(Callback):
    """Kills a process in the second epoch of a stage: the one of a rank, or one that loads images for it."""

    def __init__(self, stage: str, rank: int, worker: bool = False) -> None:
        self.stage = stage
        self.rank = rank
        self.worker = worker

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Kill it."""
        here = isinstance(pl_module, MODULES[self.stage]) and trainer.global_rank == self.rank
        if here and trainer.current_epoch == 1:
            victim = multiprocessing.active_children()[0].pid if self.worker else os.getpid()
            assert victim is not None
            os.kill(victim, signal.SIGKILL)


class Memory(Callback):
    """Remembers, for each epoch, the resident MB of this process and of those that load for it."""

    def __init__(self) -> None:
        self.megabytes: list[float] = []

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read it."""
        pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
        self.megabytes.append(sum(_resident(pid) for pid in pids if pid))


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def train_share(folder: Path, processes: int, resume: bool = False, workers: int = 0, *callbacks: Callback) -> None:
    """What each process of a training does: its share of steps of eight images."""
    sizes = {f"{stage}.batch_size": BATCH // processes for stage in STAGES}
    parallel = {"devices": processes, "strategy": "ddp"} if processes > 1 else {"devices": 1}
    train(
        PRESETS["demo"].override({**SETTINGS, "accumulate": 1, "guide.occlusion": 0, **sizes}),
        SyntheticScenes(26, 2, size=32, seed=1, transform=train_transform(32)),
        SyntheticScenes(5, 2, size=32, seed=2, masks=True),
        folder,
        resume=resume,
        num_workers=workers,
        callbacks=list(callbacks),
        trainer_options={"accelerator": "cpu", "enable_progress_bar": False, "log_every_n_steps": 1} | parallel,
    )


def together(work: Callable[..., None], processes: int, said: Path, *args: Any) -> list[tuple[int | None, str]]:
    """Run a function in processes that find each other; give their exit codes and the sentences they stopped with.

    Args:
        work: what each of them does, with `args`.
        processes: how many.
        said: a new folder for their last words.
        args: of `work`.

    Raises:
        RuntimeError: if one of them has not ended a minute after the first.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said.mkdir(parents=True)
    started = [
        CONTEXT.Process(target=_one, args=(rank, processes, port, said / f"{rank}.txt", work, args))
        for rank in range(processes)
    ]
    for process in started:
        process.start()
    wait([process.sentinel for process in started], 300)
    end = time.monotonic() + MINUTE
    for process in started:
        process.join(max(0.1, end - time.monotonic()))
    late = [rank for rank, process in enumerate(started) if process.exitcode is None]
    for rank in late:
        started[rank].kill()
        started[rank].join()
    if late:
        raise RuntimeError(f"Expected all processes to end within a minute, but of {processes} these did not: {late}.")
    return [(p.exitcode, (said / f"{rank}.txt").read_text(encoding="utf-8")) for rank, p in enumerate(started)]


def _one(rank: int, processes: int, port: int, said: Path, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # of the workers that load: those end with their parent
    if processes > 1:  # else Lightning starts the others itself
        os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    said.write_text("", encoding="utf-8")
    try:
        work(*args)
    except (StoppedRunError, ValueError) as error:
        said.write_text(str(error), encoding="utf-8")
        sys.exit(1)


def steps(folder: Path) -> list[int]:
    """How many steps each stage of a run has made."""
    return [torch.load(folder / stage / "last.ckpt", weights_only=True)["global_step"] for stage in STAGES]


def same_guide(one: Path, other: Path) -> bool:
    """Whether two runs have the same guide, but for what its BatchNorm saw at once."""
    first, second = (load_file(run / "guide" / "finished.safetensors") for run in (one, other))
    return all((first[n] - second[n]).float().norm() <= 0.25 * first[n].float().norm() for n in first)


def survives(folder: Path, before: int, after: int, kill: Kill) -> None:
    """Kill a process of a training by `before` processes, and finish it by `after`.

    Raises:
        RuntimeError: if a process that was left did not end with the sentence, or the training could not be resumed.
    """
    ends = together(train_share, before, folder / "killed", folder / "run", before, False, 2 * kill.worker, kill)
    for rank, (code, text) in enumerate(ends):
        if rank == kill.rank and not kill.worker:
            good = code == -signal.SIGKILL
        else:
            expected = WORKER if rank == kill.rank else LOST
            good = code == 1 and text.startswith(expected) and "resume" in text
        if kill.worker and before == 1:
            # It may have loaded all that was asked of it: Python drops torch's error in some moments.
            good = good or (code, text) == (0, "")
        if not good:
            raise RuntimeError(f"Expected process {rank} of {before} to say why it stopped, but got {code}: {text!r}.")
    ends = together(train_share, after, folder / "resumed", folder / "run", after, True)
    if ends != [(0, "")] * after:
        raise RuntimeError(f"Expected the run to be finished by {after} processes, but got {ends}.")


def memory(folder: Path, epochs: int) -> dict[str, float]:
    """The resident MB of a training with two workers, in its first epochs after a fifth of them and in its last."""
    log = folder / "megabytes.json"
    ((code, text),) = together(train_long, 1, folder / "said", folder / "run", epochs, log)
    if code != 0:
        raise RuntimeError(f"Expected the training of {epochs} epochs to finish, but it ended with {code}: {text!r}.")
    values, warm = json.loads(log.read_text(encoding="utf-8")), epochs // 5
    first, last = (statistics.median(part) for part in (values[warm : warm + 5], values[-5:]))
    return {
        "epochs": epochs,
        "workers": 2,
        "MB after warming up": round(first, 1),
        "MB at the end": round(last, 1),
        "growth in percent": round(100 * (last / first - 1), 2),
    }


def train_long(folder: Path, epochs: int, log: Path) -> None:
    """A training of one stage, the segmenter, of many epochs, which writes down its memory."""
    seen = Memory()
    train(
        PRESETS["demo"].override({**SETTINGS, "guide.epochs": 1, "segmenter.epochs": epochs}),
        SyntheticScenes(24, 2, size=32, seed=1, transform=train_transform(32)),
        SyntheticScenes(6, 2, size=32, seed=2, masks=True),
        folder,
        num_workers=2,
        callbacks=[seen],
        trainer_options={"accelerator": "cpu", "enable_progress_bar": False},
    )
    log.write_text(json.dumps(seen.megabytes[1:]), encoding="utf-8")


FAULTS: dict[str, list[tuple[int, int, Kill]]] = {
    "rank of 2 killed": [(2, 2, Kill(stage, rank)) for stage in STAGES for rank in (0, 1)],
    "rank of 4 killed": [(4, 4, Kill(stage, rank)) for stage in STAGES for rank in (0, 3)],
    "rank of 2 killed, resumed by 1": [(2, 1, Kill(stage, 1)) for stage in STAGES],
    "rank of 4 killed, resumed by 2": [(4, 2, Kill(stage, 2)) for stage in STAGES],
    "worker killed": [(1, 1, Kill(stage, 0, worker=True)) for stage in STAGES],
    "worker killed, resumed by 2": [(1, 2, Kill(stage, 0, worker=True)) for stage in STAGES],
    "worker of 1 of 2 killed": [(2, 2, Kill("segmenter", rank, worker=True)) for rank in (0, 1)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=50, metavar="N", help="of the training whose memory is watched")
    parser.add_argument("--json", type=Path, required=True, help="where the counts go")
    args = parser.parse_args()
    faults, same = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        found = memory(Path(folder) / "memory", args.epochs)
        print(found, flush=True)
        whole = Path(folder) / "whole"
        if together(train_share, 1, Path(folder) / "said", whole, 1) != [(0, "")]:
            raise RuntimeError("Expected the training that nobody disturbs to finish, but it did not.")
        for name, cases in FAULTS.items():
            survived = 0
            for number, case in enumerate(cases):
                place = Path(folder) / f"{name} {number}"
                try:
                    survives(place, *case)
                    survived += steps(place / "run") == steps(whole)
                    same += same_guide(place / "run", whole)
                except RuntimeError as error:
                    print(error, flush=True)
            faults[name] = {"injected": len(cases), "survived": survived}
            print(name, faults[name], flush=True)
    table = {
        "machine": f"{os.cpu_count()} CPU cores",
        "torch": torch.__version__,
        "lightning": L.__version__,
        "faults": faults,
        "guides equal to one process's": same,
        "memory": found,
    }
    save(table, args.json)


if __name__ == "__main__":
    main()
