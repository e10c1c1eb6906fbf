"""The models that ship with the repository, from their cards and configs."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.files import ROOT
from benchmarks.tables.markdown import markdown

MODELS = ROOT / "examples" / "models"
HEAD = ("model", "classes", "backbone", "image size", "IoU, tags", "IoU, no tags", "size")


def zoo_table(models: Path) -> str:
    """A row for each model folder, and below it what the cards say of data and limits."""
    folders = sorted(path.parent for path in models.glob("*/config.json"))
    cards = {folder: (folder / "README.md").read_text(encoding="utf-8") for folder in folders}
    table = markdown(HEAD, [_row(folder, card) for folder, card in cards.items()])
    notes = [
        f"**{folder.name}**, {part.lower()}: {section(card, part)}"
        for folder, card in cards.items()
        for part in ("Data", "Limits")
    ]
    return "\n\n".join([table, *notes])


def _row(folder: Path, card: str) -> list[str]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    names, backbone = ", ".join(config["class_names"]), f"`{config['encoder']['name']}`"
    scores = [iou(card, tags) for tags in (True, False)]
    return [f"`{folder.name}`", names, backbone, str(config["image_size"]), *scores, f"{size:.1f} MB"]


def section(card: str, name: str) -> str:
    """The paragraph of a card with this name.

    Examples:
        >>> section("**Data.** Dogs.\\n\\n**Limits.** Small\\nones.", "Limits")
        'Small ones.'
    """
    (text,) = re.findall(rf"^\*\*{name}\.\*\* (.+?)(?:\n\n|\Z)", card, re.DOTALL | re.MULTILINE)
    return " ".join(text.split())


def iou(card: str, tags: bool) -> str:
    """The refined masks' IoU in a card's table.

    Examples:
        >>> iou("| ours, PAMR | no | 0.759 | 0.003 |", tags=False)
        '0.759'
    """
    (score,) = re.findall(rf"^\| ours, PAMR \| {'yes' if tags else 'no'} \| ([\d.]+) \|", card, re.MULTILINE)
    return str(score)
