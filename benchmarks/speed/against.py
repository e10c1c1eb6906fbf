"""The working tree against another commit, as a user sees them: time, processor time, memory and IoU of a training.

    uv run python -m benchmarks.speed.against 8997d52 --data DIR --weights FILE --out runs/against --json FILE

Both sides are called by their command lines, in turns, with this environment's packages. The parts are

- `train`: a run of `robust` on all of DIR, which holds train/CLASS, val/CLASS and val_masks;
- `small`: the same on 332 of its images and 161 for validation, drawn by the seed;
- `predict`: the masks of DIR/val by the model of `train`.

With `--preset fast` the working tree trains that preset. The time of a training is split at the files that its stages
write. What has been measured in --out is not run again; results of a working tree with changes are kept apart by its
`git diff`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from benchmarks.files import RESULTS, ROOT, save

PARTS = ("train", "small", "predict")
SMALL = {"train": 332, "val": 161}
METHOD = "decomprec, PAMR, guide's tags"  # what `decomprec predict` draws

# A stage ends when one of its files appears; the last one ends with the process.
STAGES: Mapping[str, tuple[str, ...]] = {
    "start": ("preset.yaml",),
    "guide": ("guide/finished.safetensors", "guide/weights.safetensors"),
    "segmenter": ("segmenter/finished.safetensors", "segmenter/weights.safetensors"),
    "table": ("results.json",),
}
REST = "rest"
POLL = 0.05  # seconds

# How settings were called in a commit, where not as today.
NAMES: Mapping[str, Mapping[str, str]] = {
    "8997d52": {
        "guide.encoder": "guide.model",
        "guide.encoder_weights": "guide.weights",
        "guide.encoder_options": "guide.options",
    }
}


@dataclass(frozen=True)
class Side:
    """A version of the code: its name in the results, its checkout, and what its trainings are set to."""

    name: str
    version: str
    root: Path
    preset: str
    settings: tuple[str, ...]

    def command(self, *words: str | Path) -> list[str]:
        return [sys.executable, "-m", "decomprec", *map(str, words)]

    def train(self, data: Path, run: Path, seed: int) -> list[str]:
        changes = [word for setting in self.settings for word in ("--set", setting)]
        return self.command("train", data, "--out", run, "--preset", self.preset, "--seed", str(seed), *changes)

    def folder(self, out: Path, part: str, seed: int) -> Path:
        return out / f"{self.name}-{self.version}-{self.preset}-{part}-{seed}"


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    out: Path = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    commit = git("rev-parse", "--short=7", args.commit)
    settings = [*([f"guide.encoder_weights={args.weights.resolve()}"] if args.weights else []), *args.set]
    then = renamed(settings, NAMES.get(commit, {})) if args.set_before is None else args.set_before
    sides = (
        Side("before", commit, checkout(commit, out / commit), "robust", tuple(then)),
        Side("after", working_tree(), ROOT, args.preset, tuple(settings)),
    )
    rows: list[dict[str, Any]] = []
    for seed in args.seeds:
        for part in (part for part in PARTS if part in args.parts):
            # Each side goes first as often as the other.
            for side in sides if len(rows) % 4 == 0 else sides[::-1]:
                rows.append(measured(side, part, seed, args.data.resolve(), out, args.limit))
                save({"against": rows, "run": described(args, commit)}, args.json)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", default="8997d52", help="what the working tree is compared with")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="train/CLASS, val/CLASS and val_masks")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weights of the guide's encoder")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--preset", default="robust", help="of the working tree; the commit trains robust")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes of the preset, on both sides"
    )
    parser.add_argument(
        "--set-before", nargs="+", metavar="KEY=VALUE", help="those of the commit, if its settings have other names"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="images of each split at most, for a smoke test")
    parser.add_argument("--out", type=Path, default=Path("runs/against"), metavar="DIR", help="folder of all runs")
    parser.add_argument("--json", type=Path, default=RESULTS / "speed" / "against_8997d52.json")
    return parser.parse_args(arguments)


def renamed(settings: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Settings "key=value" by the names of another commit.

    Examples:
        >>> renamed(["guide.encoder_weights=a=b", "image_size=64"], NAMES["8997d52"])
        ['guide.weights=a=b', 'image_size=64']
    """
    pairs = (setting.partition("=") for setting in settings)
    return [f"{names.get(key, key)}={value}" for key, _, value in pairs]


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def checkout(commit: str, folder: Path) -> Path:
    """The commit's files in a folder of their own."""
    if not folder.is_dir():
        git("worktree", "prune")
        git("worktree", "add", "--detach", str(folder), commit)
    return folder


def working_tree() -> str:
    """The commit, and a mark of what has been changed in `src` since."""
    head, changed = git("rev-parse", "--short=7", "HEAD"), git("diff", "HEAD", "--", "src")
    return f"{head}+{sha256(changed.encode()).hexdigest()[:7]}" if changed else head


def described(args: argparse.Namespace, commit: str) -> dict[str, Any]:
    """What all rows share."""
    run = {
        "before": commit,
        "after": working_tree(),
        "preset": args.preset if args.preset == "robust" else f"robust before, {args.preset} after",
        "settings": " ".join(args.set) or "as they are",
    }
    return {**run, "machine": f"{os.cpu_count()} CPU cores", "torch": torch.__version__}


def measured(side: Side, part: str, seed: int, data: Path, out: Path, limit: int | None) -> dict[str, Any]:
    """Run a part, or read what an earlier call measured."""
    folder = side.folder(out, part, seed)
    file = folder / "measured.json"
    if file.is_file():
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return known
    print(f"== {side.name} ({side.version}), {part}, seed {seed}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    most = {split: min(limit or SMALL[split], SMALL[split]) for split in SMALL}
    if part == "small" or limit is not None:
        data = subset(data, out / f"data-{seed}-{most['train']}-{most['val']}", most, seed)
    result = folder / "run"
    if part == "predict":
        model = side.folder(out, "train", seed) / "run"
        if not model.is_dir():
            raise ValueError(f"Expected the part train before predict, but found no {model}.")
        command = side.command("predict", model, data / "val", "--out", result)
    else:
        command = side.train(data, result, seed)
    row = {"side": side.name, "version": side.version, "part": part, "seed": seed}
    row |= timed(command, side.root, folder, result)
    counted = ("val",) if part == "predict" else ("train", "val")
    row["images"] = {split: len(image_files(data / split)) for split in counted}
    if part != "predict":
        row["iou"] = iou(json.loads((result / "results.json").read_text(encoding="utf-8")))
    save(row, file)
    return row


def subset(data: Path, to: Path, counts: Mapping[str, int], seed: int) -> Path:
    """A copy of some images of each split, drawn by a seed with as many of each class, and their masks."""
    if to.is_dir():
        return to
    draw, partial = random.Random(seed), to.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for split, count in counts.items():
        classes = sorted(folder for folder in (data / split).iterdir() if folder.is_dir())
        for index, folder in enumerate(classes):
            files = image_files(folder)
            share = count // len(classes) + (index < count % len(classes))
            chosen = draw.sample(files, min(share, len(files)))
            for file in chosen:
                copy(file, partial / split / folder.name / file.name)
            masks = (data / f"{split}_masks" / f"{file.stem}.png" for file in chosen)
            for mask in filter(Path.is_file, masks):
                copy(mask, partial / f"{split}_masks" / mask.name)
    return partial.rename(to)


def copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)


def image_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))


def timed(command: Sequence[str], root: Path, folder: Path, run: Path) -> dict[str, Any]:
    """Run a command in a separate process: seconds, processor seconds, most memory, and seconds of each stage.

    Args:
        command: its words.
        root: of the checkout whose package is imported.
        folder: where it runs, and gets its output in log.txt.
        run: folder in which the stages leave their files.

    Raises:
        RuntimeError: if it fails.
    """
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    before = os.getloadavg()[0]
    with (folder / "log.txt").open("wb") as log:
        started = time.monotonic()
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        seen: dict[str, float] = {}
        while True:
            pid, status, used = os.wait4(child.pid, os.WNOHANG)
            now = time.monotonic() - started
            for stage, files in STAGES.items():
                if stage not in seen and any((run / file).is_file() for file in files):
                    seen[stage] = now
            if pid:
                break
            time.sleep(POLL)
    if child.returncode is None:
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} failed; see {folder / 'log.txt'}.")
    return {
        "seconds": round(now, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "stages": between(seen, now) if seen else {},
        "load": [round(before, 2), round(os.getloadavg()[0], 2)],  # of the machine, before and after
    }


def between(ends: Mapping[str, float], total: float) -> dict[str, float]:
    """Seconds of each stage from the moments at which they end.

    Examples:
        >>> between({"start": 2.0, "guide": 5.0}, 5.5)
        {'start': 2.0, 'guide': 3.0, 'rest': 0.5}
    """
    last, stages = 0.0, {}
    for stage, end in {**ends, REST: total}.items():
        stages[stage], last = round(end - last, 2), end
    return stages


def iou(results: Mapping[str, Any]) -> dict[str, float]:
    """Foreground IoU of what `predict` draws, with and without tags, from a run's results.json."""
    found = {row["tags"]: row["mean_foreground_iou"] for row in results["rows"] if row["method"] == METHOD}
    return {"with tags": found[True], "without tags": found[False]}


if __name__ == "__main__":
    main()
