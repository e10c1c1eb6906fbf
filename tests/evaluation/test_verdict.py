"""Verdicts: how far masks can be trusted by the tags alone."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decomprec.evaluation.verdict import (
    FEW_IMAGES,
    Verdict,
    VerdictAccumulator,
    verdict_table,
    verdicts_as_json,
    verdicts_from_json,
)


def verdict(**values: object) -> Verdict:
    known = {"images_with": 50, "images_without": 50, "accuracy": 0.95, "usual": 0.5, "area": 0.2}
    return Verdict(**{"name": "crack", **known, **values})


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 4)), min_size=1, max_size=30))
def test_numbers_are_counts_over_the_images(images: list[tuple[bool, bool, int]]) -> None:
    accumulator = VerdictAccumulator(["crack"])
    for has, said, drawn in images:  # one batch for each image; four pixels
        labels = torch.tensor([1] * drawn + [0] * (4 - drawn)).view(1, 2, 2)
        accumulator.update(torch.tensor([[float(has)]]), torch.tensor([[1.0 if said else -1.0]]), labels)
    (found,) = accumulator.compute()
    count = sum(has for has, _, _ in images)
    assert (found.images_with, found.images_without) == (count, len(images) - count)
    assert found.accuracy == pytest.approx(sum(has == said for has, said, _ in images) / len(images))
    assert found.usual == pytest.approx(max(count, len(images) - count) / len(images))
    areas = [drawn / 4 for has, _, drawn in images if has]
    assert found.area == (pytest.approx(sum(areas) / len(areas)) if areas else None)


def test_batches_and_classes_are_kept_apart() -> None:
    accumulator = VerdictAccumulator(["crack", "rust"])
    tags = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    logits = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    accumulator.update(tags, logits, torch.tensor([[[1, 1]], [[1, 2]], [[0, 0]]]))
    crack, rust = accumulator.compute()
    assert (crack.accuracy, crack.area) == (1.0, 0.75)
    assert rust.accuracy == pytest.approx(1 / 3)
    assert rust.area == 0.25


@pytest.mark.parametrize(
    ("accuracy", "usual", "grade"),
    [
        (1.0, 0.5, "good"),
        (0.81, 0.5, "good"),
        (0.7, 0.5, "fair"),
        (0.6, 0.5, "poor"),
        (0.9, 0.9, "poor"),
        (1, 1, "unknown"),
    ],
)
def test_the_grade_is_about_what_the_usual_answer_gets_wrong(accuracy: float, usual: float, grade: str) -> None:
    assert verdict(accuracy=accuracy, usual=usual).grade == grade


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, []),
        ({"images_without": 0, "usual": 1.0, "accuracy": 1.0}, ["add images without it"]),
        ({"images_with": 0, "usual": 1.0, "accuracy": 1.0, "area": None}, ["add images with it"]),
        ({"images_with": FEW_IMAGES - 1, "accuracy": 0.5}, ["add images with it"]),
        ({"accuracy": 0.5}, ["check its tags"]),
        ({"area": 0.0}, ["nothing is drawn"]),
        ({"area": 0.01}, ["larger image_size"]),
        ({"area": 0.96}, ["all is drawn"]),
    ],
)
def test_advice_names_what_would_help(values: dict[str, object], words: list[str]) -> None:
    advice = verdict(**values).advice
    assert len(advice) == len(words)
    assert all(word in sentence for word, sentence in zip(words, advice, strict=True))


def test_the_table_starts_with_the_class_to_distrust_most() -> None:
    table = verdict_table(
        [verdict(name="sure"), verdict(name="doubtful", accuracy=0.55), verdict(name="middling", accuracy=0.7)]
    )
    names = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert names == ["doubtful", "middling", "sure"]


def test_json_says_what_the_table_says() -> None:
    (entry,) = verdicts_as_json([verdict(area=0.01)])
    assert (entry["name"], entry["grade"]) == ("crack", "good")
    assert entry["advice"] == ["it is small: try a larger image_size"]


def test_without_images_there_is_no_verdict() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        VerdictAccumulator(["crack"]).compute()


def test_verdicts_are_read_as_they_were_written() -> None:
    written = [verdict(), verdict(name="rust", area=None)]
    assert verdicts_from_json(json.loads(json.dumps(verdicts_as_json(written)))) == tuple(written)


@pytest.mark.parametrize("entries", [{}, [1], [{"name": "crack"}], [{**vars(verdict()), "accuracy": "high"}]])
def test_other_json_is_no_verdict(entries: object) -> None:
    with pytest.raises(ValueError, match="verdicts as `train` writes them"):
        verdicts_from_json(entries)
