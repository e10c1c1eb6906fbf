"""What the small files of shards say of their images: numbers, names or JSON."""

import json
from collections.abc import Sequence
from typing import Any

from decomprec.data.formats.shards import Sample
from decomprec.data.formats.tag_cells import split_tags
from decomprec.data.notices import say

_KEYS = ("tags", "labels", "label", "classes", "class", "cls", "categories", "category")

Tags = list[list[int | str]]
Found = list[list[int | str] | None]
"""Tags of each sample, None where a kind of file doesn't say any."""


def shard_tags(samples: Sequence[Sample], names: Sequence[str] | None, where: object) -> Tags:
    """The tags of each sample, from its .cls, .json or .txt file.

    Args:
        samples: of all shards that are read.
        names: of the numbered classes, if they are known.
        where: the data set, for messages.

    Returns:
        Numbers or names; an empty list for an empty file.

    Raises:
        ValueError: if no file, or not every sample's, says what is in the image, two kinds of files say different
            things, or texts could be captions.
    """
    numbers, labels = _of_cls(samples), _of_json(samples)
    for sample, one, other in zip(samples, numbers, labels, strict=True):
        if one is not None and other is not None and one != other:
            raise ValueError(
                f"Expected .cls and .json files in {where} to say the same, but those of {sample.key} in "
                f"{sample.shard} say {one} and {other}; leave one kind out of the shards."
            )
    tags: Found = [one if one is not None else other for one, other in zip(numbers, labels, strict=True)]
    kind = ".cls or .json"
    texts = [sample.texts.get("txt") for sample in samples]
    has_text = any(text is not None for text in texts)
    if any(found is not None for found in tags):
        if has_text:
            say(f"{where}: classes are read from {kind} files; .txt files are read as captions.")
    elif has_text:
        kind, tags = ".txt", _of_texts(texts, names, where)
    else:
        raise ValueError(
            f"Expected {where} to hold a file .cls, .json or .txt for each image, but {samples[0].key} has none."
        )
    return _complete(samples, tags, kind)


def _of_cls(samples: Sequence[Sample]) -> Found:
    found: Found = []
    for sample in samples:
        content = sample.texts.get("cls")
        text = None if content is None else _decoded(content, sample, "cls").strip()
        found.append(text if text is None else [int(text) if text.isdecimal() else text] if text else [])
    return found


def _of_json(samples: Sequence[Sample]) -> Found:
    contents = [sample.texts.get("json") for sample in samples]
    return [
        None if content is None else _labels_in(_parsed(content, sample), sample)
        for sample, content in zip(samples, contents, strict=True)
    ]


def _labels_in(value: Any, sample: Sample) -> list[int | str] | None:
    """The labels of a parsed JSON file; None if it speaks of other things."""
    if isinstance(value, dict):
        keys = [key for key in _KEYS if key in value]
        if "tags" in keys:
            keys = ["tags"]
        if len(keys) > 1:
            raise ValueError(
                f"Expected the JSON of {sample.key} in {sample.shard} to have one key of tags, but "
                f"{' and '.join(map(repr, keys))} could be it; call the one that is meant 'tags'."
            )
        if not keys:
            return None
        value = value[keys[0]]
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(tag) in (int, str) for tag in values):
        raise ValueError(
            f"Expected the tags in the JSON of {sample.key} in {sample.shard} to be names or numbers, but got {values}."
        )
    return values


def _of_texts(texts: Sequence[bytes | None], names: Sequence[str] | None, where: object) -> Found:
    if names is None:
        raise ValueError(
            f"Expected a file classes.txt for the .txt files in {where}, which may be captions; if they hold tags, "
            "list the tags in classes.txt, one a line, next to the shards."
        )
    cells = ["" if text is None else text.decode("utf-8", "replace").strip() for text in texts]
    tags = split_tags(cells)
    unknown = next((tag for found in tags for tag in found if tag not in names), None)
    if unknown is not None:
        raise ValueError(
            f"Expected the .txt files in {where} to hold tags of classes.txt, but got {unknown!r}; add it there, or "
            "give the classes in .cls or .json files if the texts are captions."
        )
    return [None if text is None else list(found) for text, found in zip(texts, tags, strict=True)]


def _complete(samples: Sequence[Sample], tags: Found, kind: str) -> Tags:
    complete = [found for found in tags if found is not None]
    if len(complete) < len(samples):
        sample = next(s for s, found in zip(samples, tags, strict=True) if found is None)
        raise ValueError(
            f"Expected every image to have a {kind} file that says its classes, but {sample.key} in {sample.shard} "
            f"has none, as {len(samples) - len(complete)} of {len(samples)}; an image of no class has an empty one."
        )
    return complete


def _decoded(content: bytes, sample: Sample, kind: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected {sample.key}.{kind} in {sample.shard} to be text in UTF-8, but: {error}."
        ) from error


def _parsed(content: bytes, sample: Sample) -> Any:
    try:
        return json.loads(_decoded(content, sample, "json") or "[]")
    except json.JSONDecodeError as error:
        raise ValueError(f"Expected {sample.key}.json in {sample.shard} to be JSON, but: {error}.") from error
