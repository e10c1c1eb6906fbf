"""Run the fuzz tests for as long as you like, and write down what they found.

    uv run python -m benchmarks.robustness.fuzz --minutes 60 --json benchmarks/results/robustness/fuzz.json

The tests marked `@fuzzed` in tests/robustness/test_fuzz*.py take turns, each time with another seed and in a separate
process with bounded memory. A case fails if it takes too long, ends the process, or raises an exception that the test
does not expect. Files are read anew each time, so a fix made meanwhile is tested too. At the end, each input that
failed is tried again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.robustness.case_counter import CountedCases

ROOT = Path(__file__).parents[2]
TARGET = re.compile(r"^@fuzzed\n(?:@.*\n|    .*\n|\)\n)*def (test_\w+)", re.MULTILINE)
CONTEXT: Any = multiprocessing.get_context("forkserver")
# Not decomprec itself, which may be mended in between.
CONTEXT.set_forkserver_preload(
    [
        "__main__",
        "hypothesis",
        "lightning",
        "kornia",
        "segmentation_models_pytorch",
        "matplotlib.figure",
        "torchmetrics",
    ]
)


@dataclass
class Failure:
    """What went wrong, and when it was last seen."""

    target: str
    error: str
    place: str
    input: str
    seed: int
    storage: str
    times: int = 1
    cases_since: int = 0
    mended: bool = False


def targets(only: str = "") -> list[str]:
    """The fuzz tests whose names match a pattern, as pytest calls them."""
    files = sorted((ROOT / "tests" / "robustness").glob("test_fuzz*.py"))
    return [
        f"tests/robustness/{file.name}::{name}"
        for file in files
        for name in TARGET.findall(file.read_text("utf-8"))
        if re.search(only, name)
    ]


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions of a group."""
    if isinstance(error, BaseExceptionGroup):
        for child in error.exceptions:
            yield from leaves(child)
    else:
        yield error


def place(error: BaseException) -> str:
    """The innermost function of the library, or of the test, that the exception came through."""
    found, trace = "?", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        file = code.co_filename
        if file.startswith(str(ROOT)) and "/.venv/" not in file and "/benchmarks/" not in file:
            found = f"{Path(file).relative_to(ROOT)}: {code.co_qualname.rpartition('.<locals>.')[2]}"
        trace = trace.tb_next
    return found


class Recorder(CountedCases):
    """Tells another process of each case, and keeps the failures.

    Args:
        shared: the number of cases.
        folder: takes `case.txt`, the last case, and `failures.json`.
    """

    def __init__(self, shared: Any, folder: Path) -> None:
        super().__init__(self._begin)
        self.shared = shared
        self.folder = folder
        self.failures: list[tuple[str, str, str]] = []

    def _begin(self, case: dict[str, Any]) -> None:
        self.shared[0] += 1
        (self.folder / "case.txt").write_text(repr(case)[:5000], encoding="utf-8", errors="backslashreplace")

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Of a test that failed, each distinct exception."""
        for error in leaves(call.excinfo.value) if call.excinfo else ():
            text = "\n".join(getattr(error, "__notes__", []))[:3000]
            said = f"{type(error).__name__}: {error}"[:500]
            self.failures.append((said, place(error), text))
            (self.folder / "failures.json").write_text(json.dumps(self.failures))


def run_turn(target: str, seed: int, examples: int, folder: Path, storage: Path, gib: float, shared: Any) -> None:
    """Try cases of a target in this process, and exit as pytest does."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + int(gib * 2**30),) * 2)
    torch.set_num_threads(1)
    os.environ.update(DECOMPREC_FUZZ=str(examples), HYPOTHESIS_STORAGE_DIRECTORY=str(storage))
    os.environ.pop("CI", None)  # which would try the same cases each time
    os.chdir(ROOT)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1), os.dup2(log, 2)
    words = [target, "-q", "-p", "no:cacheprovider", f"--basetemp={folder / 'tmp'}", f"--hypothesis-seed={seed}"]
    sys.exit(int(pytest.main(words, plugins=[Recorder(shared, folder)])))


def take_turn(
    target: str, seed: int, examples: int, storage: Path, limits: argparse.Namespace
) -> tuple[int, list[Failure]]:
    """Try cases of a target in a separate process: how many there were, and what failed."""
    shared = CONTEXT.Array("d", 1, lock=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = CONTEXT.Process(target=run_turn, args=(target, seed, examples, folder, storage, limits.gib, shared))
        process.start()
        hung, case = False, (-1.0, 0.0, 0.0)
        while process.is_alive():
            process.join(0.2)
            used = processor_seconds(process.pid)
            if shared[0] != case[0]:
                case = (shared[0], time.monotonic(), used)
            # Of the processor, which others may use too; and one that waits uses none.
            hung = used - case[2] > limits.seconds or time.monotonic() - case[1] > 10 * limits.seconds
            if hung:
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                break
        found = []
        if hung or process.exitcode < 0:
            said = f"more than {limits.seconds:g} s" if hung else f"killed by signal {-process.exitcode}"
            last = folder / "case.txt"
            found.append((said, "?", last.read_text(errors="replace") if last.exists() else ""))
        elif (folder / "failures.json").exists():
            found = json.loads((folder / "failures.json").read_text())
        elif process.exitcode:
            print(f"{target}: pytest ended with {process.exitcode}\n{(folder / 'log.txt').read_text()[-2000:]}")
    return int(shared[0]), [Failure(target, *what, seed, str(storage)) for what in found]


def processor_seconds(pid: int) -> float:
    """What a process has used of the processor; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, metavar="N", help="how long")
    parser.add_argument("--only", default="", metavar="REGEX", help="tests whose names match, such as 'csv|coco|voc'")
    parser.add_argument("--examples", type=int, default=300, metavar="N", help="of a test in one turn")
    parser.add_argument("--seconds", type=float, default=60, metavar="N", help="a case may take")
    parser.add_argument("--gib", type=float, default=4, metavar="N", help="memory that a turn may take")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first turn")
    parser.add_argument("--json", type=Path, required=True, help="where the counts go")
    args = parser.parse_args()
    server = CONTEXT.Process(target=int)
    server.start(), server.join()  # when all is imported
    start, seeds = time.monotonic(), itertools.count(args.seed)
    cases, failures = Counter[str](), dict[tuple[str, str, str], Failure]()

    def minutes() -> float:
        return (time.monotonic() - start) / 60

    with tempfile.TemporaryDirectory() as storage:
        while minutes() < args.minutes:
            for target, seed in zip(targets(args.only), seeds, strict=False):
                if minutes() >= args.minutes:
                    break
                tried, found = take_turn(target, seed, args.examples, Path(storage, str(seed)), args)
                cases[target] += tried
                for known in failures.values():
                    known.cases_since += tried * (known.target == target)
                for failure in found:
                    key = failure.target, failure.error.partition(":")[0], failure.place
                    known = failures.setdefault(key, failure)
                    known.times += known is not failure
                    known.cases_since = 0
                    print(f"{minutes():.1f} min: {failure}\n", flush=True)
            save(args, minutes(), cases, failures)
            print(f"{minutes():.1f} min: {sum(cases.values())} cases, {len(failures)} failures", flush=True)
        for failure in failures.values():
            _, again = take_turn(failure.target, failure.seed, 25, Path(failure.storage), args)
            failure.mended = not again
        save(args, minutes(), cases, failures)


def save(args: argparse.Namespace, minutes: float, cases: Counter[str], failures: dict[Any, Failure]) -> None:
    """Write the counts."""
    import hypothesis

    from decomprec._files import written_whole

    table = {
        "fuzz": [{"target": target.partition("::")[2], "cases": count} for target, count in sorted(cases.items())],
        "failures": [
            {key: value for key, value in asdict(failure).items() if key != "storage"} for failure in failures.values()
        ],
        "minutes": round(minutes, 1),
        "examples in a turn": args.examples,
        "seconds for a case": args.seconds,
        "machine": f"{os.cpu_count()} CPU cores",
        "torch": torch.__version__,
        "hypothesis": hypothesis.__version__,
    }
    with written_whole(args.json) as partial:
        partial.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
