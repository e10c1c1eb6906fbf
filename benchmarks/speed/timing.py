"""Time, peak memory and share of the machine's ceiling of a step, written into pytest-benchmark's JSON."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.ceilings import DTYPE, ceilings
from benchmarks.speed.grid import Case
from decomprec.models import SmallEncoder
from decomprec.training import PRESETS, Preset

TINY = {
    "guide.encoder": "small",
    "guide.encoder_options": {"widths": [8, 8, 16]},
    "segmenter.decoder_widths": [16, 8],
}
SECONDS, ROUNDS = 5, (3, 20)  # as many rounds as fit into the seconds, within these bounds


@dataclass(frozen=True)
class Work:
    """What a step can't do without, and the ceiling that it is held against."""

    ceiling: str
    amount: float  # bytes for "copy", floating-point operations for "convolution"
    matmul: str | None = None  # the rate of products in the dtype of the step, as another yardstick


@dataclass(frozen=True)
class Machine:
    """Where the steps run: "cuda", "cpu", or "quick" for a smoke test on the CPU that times nothing properly."""

    name: str

    @property
    def device(self) -> str:
        return "cuda" if self.name == "cuda" else "cpu"

    @property
    def ceilings(self) -> dict[str, float]:
        return ceilings(self.name)

    @property
    def quick(self) -> bool:
        """Whether this is the smoke test, whose times mean nothing."""
        return self.name == "quick"

    def encoder(self, name: str) -> str | nn.Module:
        """The encoder of that name; for the smoke test a tiny one."""
        return SmallEncoder((8, 16)) if self.quick else name

    def preset(self, name: str) -> Preset:
        """The preset of that name without pretrained weights; for the smoke test with tiny networks."""
        preset = PRESETS[name].override({"guide.encoder_weights": None})
        return preset.override(TINY) if self.quick else preset

    def compile(self, function: Callable[..., Any], fullgraph: bool = True) -> Callable[..., Any]:
        """`torch.compile` for one size, whole or in several graphs; the smoke test traces, but generates no code."""
        torch.compiler.reset()  # every case is a new size of the same code, of which only a few are kept
        backend = "eager" if self.quick else "inductor"
        return torch.compile(function, backend=backend, fullgraph=fullgraph, dynamic=False)

    def synchronise(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def measure(
    benchmark: BenchmarkFixture,
    machine: Machine,
    case: Case,
    step: Callable[[], Tensor],
    work: Work | None = None,
    batches: int = 1,
) -> None:
    """Measure a step over some batches that gives one finite number and leaves no gradients behind.

    A way that can't run on this machine gets a row that says why.
    """
    device = torch.cuda.get_device_name() if machine.device == "cuda" else "cpu"
    benchmark.extra_info.update(vars(case), group=case.group, device=device, dtype=str(DTYPE).removeprefix("torch."))
    benchmark.extra_info.update(torch=torch.__version__, threads=torch.get_num_threads())
    benchmark.group = f"{benchmark.name.partition('[')[0]}: {case.group}"
    if case.way.endswith("compiled") and (missing := missing_compiler()):
        leave_out(benchmark, missing)
        return
    try:
        value = step().item()  # compiles, and fills the optimiser's state
        assert torch.isfinite(torch.tensor(value))
        peak = peak_bytes(machine, step)
        _time(benchmark, machine, step)
    except torch.OutOfMemoryError:
        leave_out(benchmark, "out of memory")
        return
    assert benchmark.stats is not None  # it has run
    seconds = benchmark.stats.stats.median
    images = batches * case.batch
    benchmark.extra_info.update(value=value, images=images, images_per_s=images / seconds, peak_bytes=peak)
    if work is not None:
        share = work.amount / seconds / machine.ceilings[work.ceiling]
        benchmark.extra_info.update(ceiling=work.ceiling, amount=work.amount, share_of_ceiling=share)
        if work.matmul is not None:
            benchmark.extra_info["share_of_matmul"] = work.amount / seconds / machine.ceilings[work.matmul]


def _time(benchmark: BenchmarkFixture, machine: Machine, step: Callable[[], Tensor]) -> None:
    def synchronised() -> None:
        step()
        machine.synchronise()

    rounds = 1
    if not machine.quick:
        start = perf_counter()
        synchronised()
        rounds = min(max(int(SECONDS / (perf_counter() - start)), ROUNDS[0]), ROUNDS[1])
    benchmark.pedantic(synchronised, rounds=rounds)


def leave_out(benchmark: BenchmarkFixture, reason: str) -> None:
    """A row without figures: pytest-benchmark keeps only what ran, so nothing is run and its time dropped later."""
    benchmark.extra_info["not_run"] = reason
    benchmark.pedantic(lambda: None, rounds=1)


def missing_compiler() -> str | None:
    """Why `torch.compile` can't run here, if it can't: it calls a C++ compiler, on the GPU for its launchers."""
    compiler = os.environ.get("CXX", "g++").split()[0]
    return None if shutil.which(compiler) else f"no C++ compiler: {compiler} not found"


def peak_bytes(machine: Machine, step: Callable[[], Tensor]) -> int:
    """The most memory that a step's tensors take at once, beyond what was held before it.

    On the GPU PyTorch's allocator says so. On the CPU the profiler sees every allocation of PyTorch's allocator, also
    of compiled code, but not what oneDNN allocates for itself.
    """
    if machine.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    memory = [event["args"] for event in events if event.get("name") == "[memory]"]
    before = memory[0]["Total Allocated"] - memory[0]["Bytes"]
    return max(event["Total Allocated"] for event in memory) - before


def flops(step: Callable[[], object]) -> int:
    """Floating-point operations of a step in eager mode: matrix products and convolutions, two per multiply-add."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()
