"""The paper's open questions, asked of synthetic scenes: many classes, known areas, a context that goes with a class.

    uv run python -m benchmarks.questions.experiments classes
    uv run python -m benchmarks.questions.experiments areas
    uv run python -m benchmarks.questions.experiments context

Every variant trains a segmenter, with the guide of its data set, and is measured on unseen scenes beside CAM of that
guide. A variant that has been measured in --out is not run again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.files import RESULTS, save
from benchmarks.questions.data import (
    ALONE,
    EXTRA,
    NEGATIVES,
    SMALLER,
    TEST,
    TRAIN,
    VAL,
    Context,
    Scenes,
    Size,
    chosen,
    context_scenes,
    exact_areas,
    joined,
    mean_areas,
    noisy_areas,
    plain,
    with_areas,
)
from benchmarks.questions.measure import CAM, OURS, Figures, batches, context_figures, figures
from decomprec.cli.config import parse_settings
from decomprec.evaluation import compare
from decomprec.protocols import TaggedDataset
from decomprec.trained_model import TrainedModel
from decomprec.training import CollapsedRunError, train
from decomprec.training.checkpoints import FINISHED

log = logging.getLogger("questions")

NOTHING: Mapping[str, Any] = {}
SEEDS = {"segmenter.seeds": 0.3}


@dataclass(frozen=True)
class Variant:
    """One row of a question's table.

    Attributes:
        name: of the row.
        train_set: images and tags, perhaps areas.
        test_set: images and masks.
        settings: changes of the preset.
        guide_of: the variant that trains the guide; None for its own.
        val_set: images and masks, to watch the training.
        num_classes: that the figures are about, the first ones.
        more: further figures of the trained networks.
    """

    name: str
    train_set: Callable[[], TaggedDataset]
    test_set: Callable[[], Any]
    val_set: Callable[[], TaggedDataset]
    settings: Mapping[str, Any] = field(default_factory=dict)
    guide_of: str | None = None
    num_classes: int = 4
    more: Callable[[TrainedModel], Figures] = field(default=lambda trained: {})


def classes(size: Size) -> Iterator[Variant]:
    """Scenes with 3, 6 and 20 classes, with the preset and with the guide's evidence as seeds."""
    for settings, how in (({}, ""), (SEEDS, ", with seeds")):
        for count in (3, 6, 20):
            yield Variant(
                f"{count} classes{how}",
                partial(lambda count: plain(size.scenes(TRAIN, count)), count),
                partial(size.scenes, TEST, count),
                partial(size.scenes, VAL, count),
                settings,
                num_classes=count,
            )


def areas(size: Size) -> Iterator[Variant]:
    """What L_mask aims at."""

    def variant(name: str, train_set: Callable[[], Scenes], settings: Mapping[str, Any] = NOTHING) -> Variant:
        shared = None if name == "hinge (the preset's)" else "hinge (the preset's)"
        return Variant(name, train_set, partial(size.scenes, TEST), partial(size.scenes, VAL), settings, shared)

    def known(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], Scenes]:
        return lambda: with_areas(size.scenes(TRAIN), change(exact_areas(size.scenes(TRAIN))))

    def tagged() -> Scenes:
        return plain(size.scenes(TRAIN))

    yield variant("hinge (the preset's)", tagged)
    eq4 = {"segmenter.area_range": None}
    yield variant("tags (Eq. 4)", tagged, eq4)
    yield variant("exact areas", known(lambda exact: exact), eq4)
    for percent in (10, 30, 50):
        noise = partial(noisy_areas, relative=percent / 100, seed=0)
        yield variant(f"areas with {percent} % noise", known(noise), eq4)
    yield variant("mean area of each class", known(mean_areas), eq4)
    for name, train_set in (("tags (Eq. 4)", tagged), ("exact areas", known(lambda exact: exact))):
        yield variant(f"{name}, λ_m = 0.01", train_set, {**eq4, "segmenter.lambda_mask": 0.01})


def context(size: Size) -> Iterator[Variant]:
    """A band that nearly always comes with the first class, and means against it."""
    usual = Context()

    def drawn(series: int, how: Context) -> Scenes:
        return context_scenes(size.scenes(series), how, seed=series)

    def variant(
        name: str, how: Context, train_set: Callable[[], Scenes], settings: Mapping[str, Any] = NOTHING
    ) -> Variant:
        return Variant(
            name,
            lambda: plain(train_set()),
            # The images are the same for all, the tagged context only has a label.
            partial(drawn, TEST, Context(tagged=how.tagged)),
            partial(drawn, VAL, Context(tagged=how.tagged)),
            settings,
            more=lambda trained: context_figures(
                trained, size.scenes(ALONE), drawn(TEST, Context()), drawn(TEST, Context(0, 0))
            ),
        )

    def with_negatives(share: float) -> Scenes:
        alone = drawn(EXTRA, Context(without=1))
        empty = [not item["tags"].any() for item in alone.items]
        return joined(drawn(TRAIN, usual), chosen(alone, empty, round(share * size.train)))

    # As many bands as in the others, in images of any content.
    share = float(torch.stack([item["context"].any() for item in drawn(TRAIN, usual).items]).float().mean())
    even = Context(share, share)
    for settings, how in (({}, ""), (SEEDS, ", with seeds")):
        yield variant(f"as it is{how}", usual, partial(drawn, TRAIN, usual), settings)
        for negatives in NEGATIVES:
            name = f"{negatives:.0%} images of the context alone{how}".replace("%", " %")
            yield variant(name, usual, partial(with_negatives, negatives), settings)
        yield variant(f"no correlation{how}", even, partial(drawn, TRAIN, even), settings)
    tagged = Context(tagged=True)
    yield variant("the context is a class", tagged, partial(drawn, TRAIN, tagged))
    yield variant("guide sees parts only", usual, partial(drawn, TRAIN, usual), {"guide.occlusion": 1.0})


QUESTIONS: dict[str, Callable[[Size], Iterator[Variant]]] = {"classes": classes, "areas": areas, "context": context}


def run_variant(variant: Variant, size: Size, seed: int, folder: Path) -> dict[str, Any]:
    """Train and measure one variant, or read what an earlier run measured."""
    measured = folder / slug(variant.name) / "measured.json"
    if measured.exists():
        known: dict[str, Any] = json.loads(measured.read_text(encoding="utf-8"))
        return known
    log.info("== %s, seed %d", variant.name, seed)
    started = time.monotonic()
    found: dict[str, Any] = {"seed": seed}
    try:
        trained = train_variant(variant, size, seed, folder)
        trained.segmenter.cpu()
        trained.guide.cpu()
    except CollapsedRunError as error:
        log.warning("%s", error)
        found |= {"collapsed": str(error), "figures": {}}
    else:
        found["minutes"] = round((time.monotonic() - started) / 60, 2)
        test_set = variant.test_set()
        results = compare({OURS: trained.segmenter.predict}, trained.guide, batches(test_set), test_set.class_names)
        found["figures"] = {**figures(results, variant.num_classes), **variant.more(trained)}
        everything = results.to_dict()
        found["rows"] = [row for row in everything["rows"] if row["method"] in (OURS, CAM)]
        found["guide_accuracy"] = everything["guide_accuracy"]
    save(found, measured)
    return found


def train_variant(variant: Variant, size: Size, seed: int, folder: Path) -> TrainedModel:
    """Train the segmenter, and the guide too unless another variant has."""
    run_dir = folder / slug(variant.name)
    guide = run_dir / "guide" / FINISHED
    if variant.guide_of and not guide.exists():
        guide.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / slug(variant.guide_of) / "guide" / FINISHED, guide)
    return train(
        size.preset(variant.settings),
        variant.train_set(),
        variant.val_set(),
        run_dir,
        resume=True,
        seed=seed,
        trainer_options={"precision": size.precision, "enable_progress_bar": sys.stderr.isatty()},
    )


def slug(name: str) -> str:
    """A folder's name for a variant.

    Examples:
        >>> slug("tags (Eq. 4), λ_m = 0.01")
        'tags_eq_4_m_0_01'
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def ask(question: str, size: Size, seeds: Sequence[int], out: Path) -> dict[str, Any]:
    """All variants of a question with all seeds."""
    found: list[dict[str, Any]] = []
    for variant in QUESTIONS[question](size):
        runs = [run_variant(variant, size, seed, out / question / f"seed_{seed}") for seed in seeds]
        found.append({"name": variant.name, "settings": dict(variant.settings), "runs": runs})
    run = {
        "command": f"python -m benchmarks.questions.experiments {question}",
        "preset": "demo",
        "settings": " ".join(f"{key}={json.dumps(value)}" for key, value in size.settings.items()) or "as they are",
        "scenes": f"{size.train} to train on, {size.test} to measure on",
        "image_size": size.pixels,
        "precision": size.precision,
        "seeds": ", ".join(map(str, seeds)),
        "minutes": round(sum(run.get("minutes", 0) for variant in found for run in variant["runs"]), 1),
        "machine": f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} thread(s), shared with other work",
        "torch": torch.__version__,
    }
    return {"question": question, "run": run, "variants": found}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=list(QUESTIONS))
    parser.add_argument("--out", type=Path, default=Path("runs/questions"), help="folder of all runs")
    parser.add_argument("--results", type=Path, default=RESULTS / "questions", help="gets QUESTION.json")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], metavar="N")
    parser.add_argument("--scenes", type=int, default=1200, help="to train on")
    parser.add_argument("--test-scenes", type=int, default=300, help="to measure on")
    parser.add_argument("--pixels", type=int, default=64, help="height and width of the scenes")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="further changes of the preset")
    parser.add_argument("--precision", default="bf16-mixed", help="of training, as in Lightning")
    args = parser.parse_args(arguments)
    size = Size(args.scenes, args.test_scenes, args.pixels, {**SMALLER, **parse_settings(args.set)}, args.precision)
    save(ask(args.question, size, args.seed, args.out), args.results / f"{args.question}.json")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    main()
